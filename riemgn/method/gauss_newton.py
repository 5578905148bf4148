"""The Gauss-Newton method: explicit Euler steps of the Gauss-Newton flow."""

from functools import partial
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array

from .._types import Count, Key, Weights
from .._validation import checked_number
from ..linalg import pseudo_inverse_direction
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .search import take_step


class GaussNewton(AbstractMethod):
    """Gauss-Newton, `w_{k+1} = w_k - eta J^+ grad g(f(w_k))`.

    `J^+` is the pseudo-inverse for the numerical rank of `J` at the start (minimum-norm step). For
    the squared loss and `J` of full row rank, `|r_{k+1}| <= (1 - eta) |r_k| + C eta^2 |r_k|^2` with
    `C = Lip(J) / (2 sigma_min^2)`. The full step converges quadratically if `C |r_0| < 1`.

    Arguments:

    - `step_size`: `eta > 0` (default 1), in units of the flow's time.
    - `line_search`: halve `eta` until Armijo's condition holds (default False). After 60 halvings
      the parameters stay as they are.

    Each step reports `step_size`, and with `line_search` the `slope` of the loss along the step.

    Raises: `ValueError` if the step size is not positive.

    >>> import riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    >>> traj = rg.iterate(problem, rg.GaussNewton(step_size=1.0), steps=20)
    >>> abs(float(traj.params[-1, 0])) < 1e-5
    True

    Reference: Statements C9, D13 and D15.
    """

    step_size: Array = eqx.field(default=1.0, converter=partial(checked_number, "step_size"))
    line_search: bool = eqx.field(static=True, default=False)
    inverts = True
    name: ClassVar[str] = "gauss-newton"

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, rank, *(["slope"] if self.line_search else []))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        point = problem.linearise(w, formed=False)
        d = pseudo_inverse_direction(point.jac, point.loss_gradient, state.memory).w_dot
        w, report = take_step(self, w, d, problem.objective, lambda: point.loss_gradient @ (point.jac @ d))
        return w, state.after(state.memory, report)
