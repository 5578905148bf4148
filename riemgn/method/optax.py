"""Any optimiser of optax as a method, and any method as a gradient transformation of optax."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Weights
from .._validation import checked_number
from ..linalg import numerical_rank, spectrum
from ..problem import Problem
from .base import AbstractMethod, check_use, first_state, MethodState
from .batch import batch_objective, Batches
from .ggn_score import GGNScore
from .gradient_descent import GradientDescent
from .gram_gauss_newton import GramGaussNewton


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
        optax = _optax("OptaxMethod")
        if not isinstance(optimiser, optax.GradientTransformation):
            raise ValueError(
                f"`optimiser` must be an optax transformation such as optax.adam(1e-3), got {optimiser!r}."
            )
        self.optimiser = optax.with_extra_args_support(optimiser)
        self.batches = Batches(batch_size, order)
        self.step_size = checked_number("step_size", 1.0)
        self.inverts = False
        self.stochastic = self.batches.stochastic

    def __repr__(self) -> str:
        return short_repr(self, batch_size=self.batches.size, order=self.batches.order, optimiser=type(self.optimiser))

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, (self.batches.start(problem), self.optimiser.init(w)))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, batch = self.batches.draw(state.memory[0], state.count, key)
        loss, gradient = jax.value_and_grad(lambda w: batch_objective(problem, w, batch))(w)
        update, moments = self.optimiser.update(
            gradient,
            state.memory[1],
            w,
            value=loss,
            grad=gradient,
            value_fn=lambda w: batch_objective(problem, w, batch),
        )
        return w + update, state.after((order, moments), {"step_size": self.step_size.astype(w.dtype)})


def as_optax(method: AbstractMethod, problem: Problem, *, key: Key | None = None, spectra: bool = True) -> Any:
    """A method on a problem as an `optax.GradientTransformationExtraArgs`, for a training loop of one's own.

    `update(grads, state, params, batch=(x, y))` gives `w_{k+1} - w_k` as a PyTree like `params`, for `optax.apply_updates`. A Gauss-Newton step is
    made of residuals and their Jacobian, which gradients do not hold: the transformation takes them from the model and the loss of the problem and
    leaves `grads` unread, so it comes first in an `optax.chain`; schedules, `optax.scale`, `optax.trace`, weight decay and clipping come after it.

    Arguments:

    - `method`: any discrete method, such as `LevenbergMarquardt(0.1)` or `GramGaussNewton(damping=0.1)`.
    - `problem`: model, loss, data, and the parameters whose shapes `params` must have, leaf by leaf. To train some parameters only, let the
      problem's model hold the others, and wrap the transformation in `optax.masked`.
    - `key`: JAX random key; needed by methods that draw their batches.
    - `spectra`: with False `init` does not look for the rank of the Jacobian, as in `iterate`.

    `batch=(x, y)`, to `update`, puts these samples in the place of the problem's; without it the method takes the problem's data as it deals them.
    The state is a `MethodState`: `state.report` tells about the last step.

    Raises: `ValueError` where optax is not installed, for another method or problem; from `init` and `update` for parameters of other shapes, missing
    parameters, and a batch for a method that deals its own or that fixed the rank of all samples at the start.

    >>> import jax, jax.numpy as jnp, optax, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    >>> optimiser = optax.chain(rg.as_optax(rg.GaussNewton(), problem), optax.scale(0.5))
    >>> params = problem.params
    >>> updates, state = optimiser.update(jax.tree.map(jnp.zeros_like, params), optimiser.init(params), params)
    >>> bool(problem.objective(problem.w0 + jax.tree.leaves(updates)[0].reshape(-1)) < problem.objective(problem.w0))
    True

    Reference: DeepMind, optax.
    """
    optax = _optax("as_optax")
    if not isinstance(method, AbstractMethod):
        raise ValueError(f"`method` must be a discrete method such as GaussNewton(), got {type(method).__name__}.")
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")
    check_use(method, key, spectra)
    random = jr.key(0) if key is None else key

    def init(params: Any) -> MethodState:
        w, rank = _flat(problem, params), jnp.asarray(min(problem.n, problem.p))
        if spectra and method.matrix_free is None:
            rank = numerical_rank(spectrum(problem.linearise(w, formed=False).jac), (problem.n, problem.p))
        return method.init(problem, w, rank)

    def update(
        grads: Any, state: MethodState, params: Any = None, *, batch: tuple[Any, Any] | None = None, **extra: Any
    ) -> tuple[Any, MethodState]:
        if params is None:
            raise ValueError("A Gauss-Newton step needs the parameters: call `update(grads, state, params)`.")
        w = _flat(problem, params)
        seen = problem if batch is None else _at(problem, method, batch)
        moved, state = method.step(seen, w, state, jr.fold_in(random, state.count))
        steps = jax.tree.leaves(problem.unflatten(moved - w))
        leaves, structure = jax.tree.flatten(params)
        return jax.tree.unflatten(
            structure, [step.astype(leaf.dtype) for step, leaf in zip(steps, leaves, strict=True)]
        ), state

    return optax.GradientTransformationExtraArgs(init, update)


def _optax(name: str) -> Any:
    """The module; raises `ValueError` where it is not installed."""
    try:
        import optax
    except ImportError:
        raise ValueError(f"{name} needs optax, which is not installed; install it with `pip install optax`.") from None
    return optax


def _flat(problem: Problem, params: Any) -> Weights:
    """`params` as one vector of the problem's type; leaves masked out by optax are none."""
    leaves, expected = jax.tree.leaves(params), jax.tree.leaves(problem.params)
    if [jnp.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in expected]:
        shapes = [[jnp.shape(leaf) for leaf in tree] for tree in (expected, leaves)]
        raise ValueError(f"`params` must have leaves of the shapes of the problem's, {shapes[0]}, got {shapes[1]}.")
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]).astype(problem.w0.dtype)


def _at(problem: Problem, method: AbstractMethod, batch: tuple[Any, Any]) -> Problem:
    """The problem at the samples of a caller's batch."""
    deals = isinstance(method, GradientDescent | GGNScore | GramGaussNewton | OptaxMethod)
    if deals and method.batches.size is not None:
        raise ValueError(
            f"The method '{method.name}' deals its own batches: give it `batch_size=None` where `update` is given a batch."
        )
    if not deals and method.inverts:
        raise ValueError(
            f"The method '{method.name}' fixes the rank of all samples at the start: for a batch use GramGaussNewton()."
        )
    return Problem(problem.model, problem.params, *batch, problem.loss, problem.working_memory)
