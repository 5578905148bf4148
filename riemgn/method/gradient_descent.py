"""Gradient descent: explicit Euler steps of gradient flow, on all samples or on mini-batches."""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Count, Key, Weights
from .._validation import checked_number
from ..problem import Problem
from .base import first_state, MethodState
from .batch import AbstractBatchMethod, batch_objective
from .search import take_step


class GradientDescent(AbstractBatchMethod):
    """Gradient descent, `w_{k+1} = w_k - eta J_B^T grad g_B(f_B(w_k))`.

    Arguments:

    - `step_size`: `eta > 0`. With `line_search` it is the first trial.
    - `batch_size`, `order`: samples per step (default all) and their order (default `"cyclic"`),
      see `AbstractBatchMethod`.
    - `line_search`: halve `eta` until Armijo's condition holds for the batch (default False).

    Each step reports `step_size` and `slope = -|d|^2`, the derivative of the batch's loss.

    Raises: `ValueError` for a step size or batch size that is not positive or an unknown order.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(), rg.GradientDescent(step_size=0.1), steps=20)
    >>> bool(traj.losses[-1] < traj.losses[0])
    True

    Reference: Statement C10; the baseline of Adeoye, Petersen, Bemporad, arXiv:2404.14875.
    """

    step_size: Array = eqx.field(converter=partial(checked_number, "step_size"))
    batch_size: int | None = eqx.field(static=True, default=None)
    order: str = eqx.field(static=True, default="cyclic")
    line_search: bool = eqx.field(static=True, default=False)
    name: ClassVar[str] = "gradient-descent"

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, self.initial_samples(problem), "slope")

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        samples, batch = self.draw(state.memory, state.count, key)
        objective = batch_objective(problem, batch)
        gradient = jax.grad(objective)(w)
        slope = -jnp.sum(gradient**2)
        w, report = take_step(self, w, -gradient, objective, lambda: slope)
        return w, state.after(samples, {"slope": slope, **report})
