"""Gradient descent, the explicit Euler method of gradient flow; mini-batches and a line search on request."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Weights
from .._validation import checked_number
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .batch import batch_objective, Batches
from .search import armijo


class GradientDescent(AbstractMethod):
    """Gradient descent, `w_{k+1} = w_k - eta J_B^T grad g_B(f_B(w_k))`.

    Arguments:

    - `step_size`: `eta > 0`; with `line_search` the first one tried.
    - `batch_size`, `order`: samples per step and how they are dealt, see `Batches`; None takes all.
    - `line_search`: halve `eta` until `g_B(w + eta d) <= g_B(w) - 1e-4 eta |d|^2` (Armijo); after 60 halvings the parameters stay.

    Raises: `ValueError` for a step size that is not positive, a batch size below 1, an unknown order.

    Reports `step_size` and `slope = -|d|^2`, the derivative of the batch's loss along the step.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(), rg.GradientDescent(step_size=0.1), steps=20)
    >>> bool(traj.losses[-1] < traj.losses[0])
    True

    Reference: theory.md C10; baseline of arXiv:2404.14875, ggn_score.md 3.5.
    """

    step_size: Array
    batches: Batches
    line_search: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "gradient-descent"
    matrix_free: ClassVar[None] = None

    def __init__(
        self, step_size: float, batch_size: int | None = None, order: str = "cyclic", line_search: bool = False
    ):
        self.step_size = checked_number("step_size", step_size)
        self.batches = Batches(batch_size, order)
        self.line_search = bool(line_search)
        self.inverts = False
        self.stochastic = self.batches.stochastic

    def __repr__(self) -> str:
        return short_repr(self, batch_size=self.batches.size, order=self.batches.order)

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, self.batches.start(problem), "slope")

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, batch = self.batches.draw(state.memory, state.count, key)
        loss, gradient = jax.value_and_grad(lambda w: batch_objective(problem, w, batch))(w)
        slope = -jnp.sum(gradient**2)
        size = self.step_size.astype(w.dtype)
        if self.line_search:
            size = armijo(lambda size: batch_objective(problem, w - size * gradient, batch), loss, slope, size)
        return w - size * gradient, state.after(order, {"step_size": size, "slope": slope})
