"""The Gauss-Newton method, the explicit Euler method of the Gauss-Newton flow."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array

from .._types import Count, Key, Weights
from .._validation import checked_number
from ..linalg import pseudo_inverse_direction
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .search import armijo


class GaussNewton(AbstractMethod):
    """Gauss-Newton, `w_{k+1} = w_k - eta J^+ grad g(f(w_k))`.

    `J^+` is the pseudo-inverse of the rank that `J` has at the start (minimum-norm step), by the singular values of `J` itself.

    Over-parameterised squared loss, full row rank: `|r_{k+1}| <= (1 - eta) |r_k| + C eta^2 |r_k|^2`, `C = Lip(J) / (2 sigma_min^2)`: the full step
    `eta = 1` converges quadratically once `C |r_0| < 1`. On a linear model `P r_{k+1} = (1 - eta) P r_k`.

    Arguments:

    - `step_size`: `eta > 0`, 1 by default; one unit of time of the flow.
    - `line_search`: halve `eta` until `g(f(w + eta d)) <= g(f(w)) + 1e-4 eta <grad, d>` (Armijo); after 60 halvings the parameters stay.

    Raises: `ValueError` for a step size that is not positive.

    Reports `step_size`; with `line_search`
    `slope`, the derivative of the loss along the step.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewton(step_size=1.0), steps=20)
    >>> abs(float(traj.params[-1, 0])) < 1e-5
    True

    Reference: theory.md C9; papers.md D13, D15.
    """

    step_size: Array
    line_search: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "gauss-newton"
    matrix_free: ClassVar[None] = None

    def __init__(self, step_size: float = 1.0, line_search: bool = False):
        self.step_size = checked_number("step_size", step_size)
        self.line_search = bool(line_search)
        self.inverts = True
        self.stochastic = False

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, rank, *(["slope"] if self.line_search else []))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        point = problem.linearise(w, formed=False)
        size = self.step_size.astype(w.dtype)
        report = {"step_size": size}
        d = pseudo_inverse_direction(point.jac, point.loss_gradient, state.memory).w_dot
        if self.line_search:
            slope = point.loss_gradient @ (point.jac @ d)
            size = armijo(
                lambda size: problem.objective(w + size * d), problem.loss(point.outputs, problem.y), slope, size
            )
            report |= {"step_size": size, "slope": slope}
        return w + size * d, state.after(state.memory, report)
