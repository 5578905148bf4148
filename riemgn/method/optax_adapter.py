"""Any optimiser of optax as a method."""

from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array

from .._arguments import checked_number
from .._types import Count, Key, Weights
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .batch import batch_objective, Batches


class OptaxMethod(AbstractMethod):
    """An optax gradient transformation, `w_{k+1} = w_k + u_k` with `u_k` its update for `J_B^T grad g_B(f_B(w_k))`.

    Arguments:

    - `optimiser`: such as `optax.adam(1e-3)`; it brings its own learning rate, and each new one compiles anew.
    - `batch_size`, `order`: samples per step and how they are dealt, see `Batches`; None takes all.

    Time counts the steps. Raises: `ValueError` where optax is not installed or `optimiser` is none of its transformations.

    Reference: DeepMind, optax.
    """

    batches: Batches
    step_size: Array
    optimiser: Any = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "optax"
    matrix_free: ClassVar[None] = None

    def __init__(self, optimiser: Any, batch_size: int | None = None, order: str = "shuffled"):
        try:
            import optax
        except ImportError:
            raise ValueError("OptaxMethod needs optax, which is not installed; install it with `pip install optax`.") from None
        if not isinstance(optimiser, optax.GradientTransformation):
            raise ValueError(f"`optimiser` must be an optax transformation such as optax.adam(1e-3), got {optimiser!r}.")
        self.optimiser = optax.with_extra_args_support(optimiser)
        self.batches = Batches(batch_size, order)
        self.step_size = checked_number("step_size", 1.0)
        self.inverts = False
        self.stochastic = self.batches.stochastic

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, (self.batches.start(problem), self.optimiser.init(w)))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, batch = self.batches.draw(state.memory[0], state.count, key)
        loss, gradient = jax.value_and_grad(lambda w: batch_objective(problem, w, batch))(w)
        update, moments = self.optimiser.update(
            gradient, state.memory[1], w, value=loss, grad=gradient, value_fn=lambda w: batch_objective(problem, w, batch)
        )
        return w + update, state.after((order, moments), {"step_size": self.step_size.astype(w.dtype)})
