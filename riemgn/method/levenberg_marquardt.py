"""The Levenberg-Marquardt method, and its damping by the gain ratio."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Flag, Key, Outputs, Scalar, Weights
from .._validation import checked_number, is_traced
from ..linalg import checked_matrix_free, damped_direction, MatrixFree
from ..problem import Linearisation, Problem
from .base import AbstractMethod, first_state, MethodState, take_step

# The damping rises below the first gain ratio and falls above the second.
POOR, GOOD = 0.25, 0.75


class TrustRegion(eqx.Module):
    """Damping of the Levenberg-Marquardt method by the gain ratio.

    The gain ratio is the actual decrease of the loss over the decrease of its quadratic model
    `g(f) + <grad g, s J d> + |s J d|_B^2 / 2` with `B = Hess g`. If it is below 0.25, the damping
    is multiplied by `increase`. If it is above 0.75, the damping is divided by `decrease`, or
    multiplied by `sqrt(g_{k+1} / g_k)` if that is smaller. A step that increases the loss is
    rejected: the parameters and the time stay and the damping rises. It counts as a step.

    If the residual of a squared loss goes to zero, the damping goes to zero as fast and the
    convergence is quadratic, `|r_{k+1}| <= (rho_k / sigma_min^2 + C |r_k|) |r_k|`, with `C` as in
    `GaussNewton`. Otherwise the accuracy of the parameters is limited to the square root of the
    rounding error, because the rule compares values of the loss.

    Arguments:

    - `start`: the first damping (default 1), in units of the eigenvalues of `K`.
    - `increase`, `decrease`: factors above 1 (defaults 4 and 10).
    - `lower`, `upper`: bounds of the damping (defaults 1e-12 and 1e12).

    Raises: `ValueError` for numbers that are not positive, factors that are not above 1 and a start
    outside the bounds.

    >>> import riemgn as rg
    >>> far = rg.task.circle(radius=1.0, target=4.0, angle=1.0)
    >>> traj = rg.iterate(far, rg.LevenbergMarquardt(rg.TrustRegion()), steps=20)
    >>> bool((traj.losses[1:] <= traj.losses[:-1]).all())
    True

    Reference: Moré, Lecture Notes in Mathematics 630 (1978) 105-116; Madsen, Nielsen, Tingleff,
    Methods for Non-Linear Least Squares (2004).
    """

    start: Array = eqx.field(default=1.0, converter=partial(checked_number, "start"))
    increase: Array = eqx.field(default=4.0, converter=partial(checked_number, "increase"))
    decrease: Array = eqx.field(default=10.0, converter=partial(checked_number, "decrease"))
    lower: Array = eqx.field(default=1e-12, converter=partial(checked_number, "lower"))
    upper: Array = eqx.field(default=1e12, converter=partial(checked_number, "upper"))

    def __check_init__(self):
        for name, factor in (("increase", self.increase), ("decrease", self.decrease)):
            if not is_traced(factor) and not factor > 1:
                raise ValueError(f"`{name}` must be above 1, got {float(factor):g}.")
        bounds = (self.lower, self.start, self.upper)
        if not any(map(is_traced, bounds)) and not self.lower <= self.start <= self.upper:
            low, start, high = map(float, bounds)
            raise ValueError(f"`start` must be between `lower` = {low:g} and `upper` = {high:g}, got {start:g}.")

    def __repr__(self) -> str:
        return short_repr(self)

    def assess(self, rho: Scalar, loss: Scalar, trial: Scalar, predicted: Scalar) -> tuple[Flag, Scalar, Scalar]:
        """Return whether the step is accepted, its gain ratio, and the next damping.

        `rho` is the damping of this step, `loss` and `trial` are the loss before and after it, and
        `predicted` is the decrease of the quadratic model.
        """
        accepted = trial <= loss  # False for NaN
        certain = predicted > 8 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)
        gain = jnp.where(predicted > 0, (loss - trial) / jnp.where(predicted > 0, predicted, 1.0), 1.0)
        fall = jnp.sqrt(jnp.clip(trial / jnp.where(loss > 0, loss, jnp.inf), 0.0, 1.0))
        fall = jnp.where(loss > 0, jnp.minimum(fall, 1 / self.decrease), 1 / self.decrease)
        factor = jnp.where(gain > GOOD, fall, jnp.where(gain >= POOR, 1.0, self.increase))
        factor = jnp.where(accepted, jnp.where(certain, factor, 1.0), self.increase)
        return accepted, gain, jnp.clip(rho * factor, self.lower, self.upper).astype(rho.dtype)


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
