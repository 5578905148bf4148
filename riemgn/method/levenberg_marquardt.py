"""The Levenberg-Marquardt method: explicit Euler steps of the Levenberg-Marquardt flow."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Count, Key, Outputs, Scalar, Weights
from .._validation import checked_number
from ..linalg import checked_matrix_free, damped_direction, MatrixFree
from ..problem import Linearisation, Problem
from .base import AbstractMethod, first_state, MethodState
from .search import take_step
from .trust_region import TrustRegion


class LevenbergMarquardt(AbstractMethod):
    """Levenberg-Marquardt, `w_{k+1} = w_k - eta (J^T J + rho_k I)^{-1} J^T grad g(f(w_k))`.

    On a linear model the mode with eigenvalue `s` of `K` contracts by `1 - eta s / (s + rho_k)`.
    For example, the factor is at most `c / (1 + c)` for `rho_k = c lambda_min(K_k)` and `eta = 1`.

    Arguments:

    - `damping`: `rho`, in units of the eigenvalues of `K`. You can pass a number, a schedule (for
      example `SpectralDamping(c)`), any function `(time, point, rank) -> rho`, where time is the
      sum of the step sizes, or a `TrustRegion()`, which rejects steps that increase the loss.
    - `step_size`: `eta > 0` (default 1).
    - `matrix_free`: a `MatrixFree` to solve by products with `J`, for large n and p (default None).
      The trajectory then has no `sigma_min` and `grad_norms` (NaN) and no rank.
    - `line_search`: halve `eta` until Armijo's condition holds (default False). After 60 halvings
      the parameters stay as they are.

    Each step reports `step_size` and `damping`. `matrix_free` adds `krylov_steps`, `line_search`
    adds `slope`, and a trust region adds `gain` and `accepted` (1 or 0). The step size of a
    rejected step is 0.

    Raises: `ValueError` for damping that is negative or not finite, a step size that is not
    positive, `matrix_free` without damping, and `line_search` with a trust region.

    >>> import riemgn as rg
    >>> method = rg.LevenbergMarquardt(rg.SpectralDamping(0.5))
    >>> traj = rg.iterate(rg.task.circle(), method, steps=3)
    >>> traj.stats["per_step"]["damping"].round(3).tolist()
    [2.0, 2.0, 2.0]

    Reference: Statements C9, D13 and D14.
    """

    damping: Callable | Array | TrustRegion
    matrix_free: MatrixFree | None
    step_size: Array
    line_search: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "levenberg-marquardt"

    def __init__(
        self,
        damping: Callable | TrustRegion | float,
        step_size: float = 1.0,
        matrix_free: MatrixFree | None = None,
        line_search: bool = False,
    ):
        if callable(damping) or isinstance(damping, TrustRegion):
            self.damping = damping
        else:
            self.damping = checked_number("damping", damping, positive=False)
        self.step_size = checked_number("step_size", step_size)
        self.inverts = isinstance(damping, int | float) and damping == 0
        self.matrix_free = checked_matrix_free(matrix_free, self.inverts)
        self.line_search = bool(line_search)
        if self.line_search and isinstance(damping, TrustRegion):
            raise ValueError("TrustRegion chooses the step by its damping: give it or `line_search=True`, not both.")

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        names, rho = ["damping"], None
        if self.matrix_free is not None:
            names += ["krylov_steps"]
        if isinstance(self.damping, TrustRegion):
            names, rho = [*names, "gain", "accepted"], jnp.asarray(self.damping.start, w.dtype)
        elif self.line_search:
            names += ["slope"]
        return first_state(w, (rank, rho), *names)

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        point, d, change, report = self._direction(problem, w, state)
        if isinstance(self.damping, TrustRegion):
            size = self.step_size.astype(w.dtype)
            predicted = -size * (point.loss_gradient @ change) - size**2 / 2 * jnp.sum(point.loss_hessian * change**2)
            before, after = problem.loss(point.outputs, problem.y), problem.objective(w + size * d)
            accepted, gain, rho = self.damping.assess(report["damping"], before, after, predicted)
            report |= {"step_size": jnp.where(accepted, size, 0.0), "gain": gain, "accepted": accepted.astype(w.dtype)}
            return jnp.where(accepted, w + size * d, w), state.after((state.memory[0], rho), report)
        w, step_report = take_step(self, w, d, problem.objective, lambda: point.loss_gradient @ change)
        return w, state.after(state.memory, report | step_report)

    def _direction(
        self, problem: Problem, w: Weights, state: MethodState
    ) -> tuple[Linearisation, Weights, Outputs, dict[str, Scalar]]:
        """Return the linearisation, the direction `d`, `J d` and the report about them."""
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            point = problem.without_jacobian(f)
            rho = self._damping_at(state, point, w)
            solution = self.matrix_free.direction(forward, backward, w, point.loss_gradient, rho)
            report = {"damping": rho, "krylov_steps": solution.steps.astype(w.dtype)}
            return point, solution.w_dot, forward(solution.w_dot), report
        point = problem.linearise(w, formed=False)
        rho = self._damping_at(state, point, w)
        d = damped_direction(point.jac, point.loss_gradient, rho, rank=state.memory[0]).w_dot
        return point, d, point.jac @ d, {"damping": rho}

    def _damping_at(self, state: MethodState, point: Linearisation, w: Weights) -> Scalar:
        rank, rho = state.memory
        if isinstance(self.damping, TrustRegion):
            return rho
        return jnp.asarray(self.damping(state.time, point, rank) if callable(self.damping) else self.damping, w.dtype)
