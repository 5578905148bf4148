"""An adapter to optax: its optimisers as methods, and methods as its gradient transformations."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Weights
from ..problem import check_problem, Problem
from .base import AbstractMethod, check_use, first_state, initial_rank, MethodState
from .batch import AbstractBatchMethod, batch_objective


class OptaxMethod(AbstractBatchMethod):
    """An optax optimiser as a method, `w_{k+1} = w_k + u_k`.

    `u_k` is the update of the optimiser for the gradient `J_B^T grad g_B(f_B(w_k))`. The time of
    the trajectory counts the steps.

    Arguments:

    - `optimiser`: an optax gradient transformation such as `optax.adam(1e-3)`, with its own
      learning rate. Every new optimiser is compiled again.
    - `batch_size`, `order`: samples per step (default all) and their order (default `"shuffled"`),
      see `AbstractBatchMethod`.

    Raises: `ValueError` if optax is not installed or `optimiser` is not a transformation of optax.

    >>> import optax, riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(), rg.OptaxMethod(optax.sgd(0.1)), steps=20)
    >>> bool(traj.losses[-1] < traj.losses[0])
    True

    Reference: DeepMind, optax.
    """

    optimiser: Any = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    order: str = eqx.field(static=True)
    step_size: Array
    name: ClassVar[str] = "optax"

    def __init__(self, optimiser: Any, batch_size: int | None = None, order: str = "shuffled"):
        optax = _optax("OptaxMethod")
        if not isinstance(optimiser, optax.GradientTransformation):
            raise ValueError(
                f"`optimiser` must be an optax transformation such as optax.adam(1e-3), got {optimiser!r}."
            )
        self.optimiser = optax.with_extra_args_support(optimiser)
        self.batch_size, self.order, self.step_size = batch_size, order, jnp.asarray(1.0)

    def __repr__(self) -> str:
        return short_repr(self, optimiser=type(self.optimiser))

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, (self.initial_samples(problem), self.optimiser.init(w)))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        samples, batch = self.draw(state.memory[0], state.count, key)
        objective = batch_objective(problem, batch)
        loss, gradient = jax.value_and_grad(objective)(w)
        update, moments = self.optimiser.update(
            gradient, state.memory[1], w, value=loss, grad=gradient, value_fn=objective
        )
        return w + update, state.after((samples, moments), {"step_size": self.step_size.astype(w.dtype)})


def as_optax(method: AbstractMethod, problem: Problem, *, key: Key | None = None, spectra: bool = True) -> Any:
    """Convert a method to an `optax.GradientTransformationExtraArgs`, for your own training loop.

    `update(grads, state, params, batch=(x, y))` returns `w_{k+1} - w_k` as a PyTree like `params`,
    for `optax.apply_updates`. A Gauss-Newton step needs residuals and their Jacobian, so the
    transformation computes them from the problem and ignores `grads`. Put it first in an
    `optax.chain`, before schedules, momentum, weight decay and clipping. If you pass `batch`, its
    samples replace those of the problem. The state is a `MethodState`.

    Arguments:

    - `method`: any discrete method, such as `LevenbergMarquardt(0.1)`.
    - `problem`: model, loss and data, with parameters of the same shapes as `params`. To train
      some parameters only, keep the others in the problem's model and use `optax.masked`.
    - `key`: JAX random key, needed by stochastic methods.
    - `spectra`: pass False to skip the rank of the Jacobian in `init`, as in `iterate`.

    Raises: `ValueError` if optax is not installed, or for another type of method or problem. `init`
    and `update` raise it for parameters of other shapes and a batch that the method cannot use.

    >>> import jax, jax.numpy as jnp, optax, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    >>> optimiser = optax.chain(rg.as_optax(rg.GaussNewton(), problem), optax.scale(0.5))
    >>> grads, state = jax.tree.map(jnp.zeros_like, problem.params), optimiser.init(problem.params)
    >>> updates, state = optimiser.update(grads, state, problem.params)
    >>> moved = problem.with_params(optax.apply_updates(problem.params, updates))
    >>> bool(moved.objective(moved.w0) < problem.objective(problem.w0))
    True

    Reference: DeepMind, optax.
    """
    optax = _optax("as_optax")
    if not isinstance(method, AbstractMethod):
        raise ValueError(f"`method` must be a discrete method such as GaussNewton(), got {type(method).__name__}.")
    check_problem(problem)
    check_use(method, key, spectra)
    base_key = jr.key(0) if key is None else key

    def init(params: Any) -> MethodState:
        w = _flat(problem, params)
        return method.init(problem, w, initial_rank(method, problem, w, spectra))

    def update(
        grads: Any, state: MethodState, params: Any = None, *, batch: tuple[Any, Any] | None = None, **extra: Any
    ) -> tuple[Any, MethodState]:
        if params is None:
            raise ValueError("A Gauss-Newton step needs the parameters: call `update(grads, state, params)`.")
        w = _flat(problem, params)
        data = problem if batch is None else _with_batch(problem, method, batch)
        w_new, state = method.step(data, w, state, jr.fold_in(base_key, state.count))
        steps = jax.tree.leaves(problem.unflatten(w_new - w))
        leaves, structure = jax.tree.flatten(params)
        steps = [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        return jax.tree.unflatten(structure, steps), state

    return optax.GradientTransformationExtraArgs(init, update)


def _optax(name: str) -> Any:
    """Import optax; raises `ValueError` if it is not installed."""
    try:
        import optax
    except ImportError:
        raise ValueError(f"{name} needs optax, which is not installed; install it with `pip install optax`.") from None
    return optax


def _flat(problem: Problem, params: Any) -> Weights:
    """Return `params` as one vector of the problem's type, without the leaves that optax masks."""
    leaves, expected = jax.tree.leaves(params), jax.tree.leaves(problem.params)
    shapes, expected_shapes = ([jnp.shape(leaf) for leaf in tree] for tree in (leaves, expected))
    if shapes != expected_shapes:
        raise ValueError(f"`params` must have leaves of the shapes of the problem's, {expected_shapes}, got {shapes}.")
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]).astype(problem.w0.dtype)


def _with_batch(problem: Problem, method: AbstractMethod, batch: tuple[Any, Any]) -> Problem:
    """Return the problem with the samples of the caller's batch."""
    if isinstance(method, AbstractBatchMethod):
        if method.batch_size is not None:
            raise ValueError(
                f"`update` got a batch, but '{method.name}' draws batches of {method.batch_size}: "
                "create the method with `batch_size=None`."
            )
    elif method.inverts:
        raise ValueError(
            f"`update` got a batch, but '{method.name}' uses the rank of all samples: use GramGaussNewton()."
        )
    return Problem(problem.model, problem.params, *batch, problem.loss, problem.working_memory)
