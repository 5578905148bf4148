"""The Levenberg-Marquardt method, the explicit Euler method of the Levenberg-Marquardt flow."""

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
from .search import armijo
from .trust_region import TrustRegion


class LevenbergMarquardt(AbstractMethod):
    """Levenberg-Marquardt, `w_{k+1} = w_k - eta (J^T J + rho_k I)^{-1} J^T grad g(f(w_k))`.

    On a linear model the mode of the eigenvalue `s` of `K` is multiplied by `1 - eta s / (s + rho_k)`: with `rho_k = c lambda_min(K_k)` and
    `eta = 1` every mode contracts at least by `c / (1 + c)`, at every conditioning.

    Arguments:

    - `damping`: `rho`, in units of the eigenvalues of `K`: a number, or a damping schedule of the flows such as `SpectralDamping(c)` or
      `ResidualDamping(c)`, any function `(time, point, rank) -> rho`; the time is the sum of the step sizes so far. Or a `TrustRegion()`,
      which follows the gain from step to step and rejects steps that increase the loss.
    - `step_size`: `eta > 0`, 1 by default.
    - `matrix_free`: a `MatrixFree` solves by products with `J`, for large n and p; None (default) forms `J`. The trajectory then has no `sigma_min`
      and no `grad_norms` (NaN), and `stats` no rank.
    - `line_search`: halve `eta` until `g(f(w + eta d)) <= g(f(w)) + 1e-4 eta <grad, d>` (Armijo); after 60 halvings the parameters stay.

    Raises: `ValueError` for negative or non-finite damping, a step size that is not positive, no damping where `matrix_free` is given, a line search beside a trust region.

    Reports `step_size` and `damping`; with `matrix_free` also `krylov_steps`; with `line_search` `slope`, the derivative of the loss along the step; with a trust region `gain` and `accepted`,
    1 or 0, and a step size of 0 where the step was rejected.

    >>> import riemgn as rg
    >>> method = rg.LevenbergMarquardt(rg.SpectralDamping(0.5))
    >>> traj = rg.iterate(rg.task.circle(), method, steps=3)
    >>> traj.stats["per_step"]["damping"].round(3).tolist()
    [2.0, 2.0, 2.0]

    Reference: theory.md C9; papers.md D13, D14.
    """

    damping: Callable | Array | TrustRegion
    matrix_free: MatrixFree | None
    step_size: Array
    line_search: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
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
        self.stochastic = False

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        names = ["damping"]
        names += ["krylov_steps"] if self.matrix_free is not None else []
        names += (
            ["gain", "accepted"] if isinstance(self.damping, TrustRegion) else ["slope"] if self.line_search else []
        )
        rho = jnp.asarray(self.damping.start, w.dtype) if isinstance(self.damping, TrustRegion) else None
        return first_state(w, (rank, rho), *names)

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        point, d, pushed, report = self._direction(problem, w, state)
        size = self.step_size.astype(w.dtype)
        if isinstance(self.damping, TrustRegion):
            predicted = -size * (point.loss_gradient @ pushed) - size**2 / 2 * jnp.sum(point.loss_hessian * pushed**2)
            before, after = problem.loss(point.outputs, problem.y), problem.objective(w + size * d)
            accepted, gain, rho = self.damping.judge(report["damping"], before, after, predicted)
            report |= {"step_size": jnp.where(accepted, size, 0.0), "gain": gain, "accepted": accepted.astype(w.dtype)}
            return jnp.where(accepted, w + size * d, w), state.after((state.memory[0], rho), report)
        if self.line_search:
            slope = point.loss_gradient @ pushed
            size = armijo(
                lambda size: problem.objective(w + size * d), problem.loss(point.outputs, problem.y), slope, size
            )
            report |= {"slope": slope}
        return w + size * d, state.after(state.memory, report | {"step_size": size})

    def _direction(
        self, problem: Problem, w: Weights, state: MethodState
    ) -> tuple[Linearisation, Weights, Outputs, dict[str, Scalar]]:
        """The point, the direction `d`, `J d`, and what is to be said of it."""
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            point = problem.without_jacobian(f)
            rho = self._damping_at(state, point, w)
            solution = self.matrix_free.direction(forward, backward, w, point.loss_gradient, rho)
            return (
                point,
                solution.w_dot,
                forward(solution.w_dot),
                {"damping": rho, "krylov_steps": solution.steps.astype(w.dtype)},
            )
        point, rank = problem.linearise(w, formed=False), state.memory[0]
        rho = self._damping_at(state, point, w)
        d = damped_direction(point.jac, point.loss_gradient, rho, rank=rank).w_dot
        return point, d, point.jac @ d, {"damping": rho}

    def _damping_at(self, state: MethodState, point: Linearisation, w: Weights) -> Scalar:
        rank, rho = state.memory
        if isinstance(self.damping, TrustRegion):
            return rho
        return jnp.asarray(self.damping(state.time, point, rank) if callable(self.damping) else self.damping, w.dtype)
