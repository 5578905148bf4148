"""Mini-batches of a fixed size: the samples of a step, and the problem linearised at them."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int

from .._types import Count, Key, Outputs, Scalar, Weights
from ..linalg import scale_rows
from ..problem import Linearisation, Problem
from .base import AbstractMethod

ORDERS = ("cyclic", "shuffled", "random", "subset")
Samples = Int[Array, " samples"]
Mask = Bool[Array, " n"]


class Batch(eqx.Module):
    """The samples of one step: `rows` (b,), and `valid` (b,), which is False for padding."""

    rows: Int[Array, " b"]
    valid: Bool[Array, " b"]


class AbstractBatchMethod(AbstractMethod):
    """A method on mini-batches, with `ceil(samples / batch_size)` batches per epoch.

    - `batch_size`: samples per step, or None to take all samples at every step.
    - `order`: `"cyclic"` takes the batches in the order of the data, `"shuffled"` shuffles the
      samples before every epoch, `"random"` draws one of the cyclic batches at every step, and
      `"subset"` draws a new subset at every step.

    Raises: `ValueError` for a batch size below 1 or an unknown order.
    """

    batch_size: eqx.AbstractVar[int | None]
    order: eqx.AbstractVar[str]

    def __check_init__(self):
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"`batch_size` must be a positive integer or None, got {size!r}.")
        if self.order not in ORDERS:
            raise ValueError(f"Unknown order {self.order!r}; known: {', '.join(ORDERS)}.")

    @property
    def stochastic(self) -> bool:
        """Whether the batches are random."""
        return self.batch_size is not None and self.order != "cyclic"

    def has_padding(self, problem: Problem) -> bool:
        """Return whether the last batch of an epoch is shorter and therefore padded."""
        return self.batch_size is not None and self.order != "subset" and problem.x.shape[0] % self.batch_size != 0

    def initial_samples(self, problem: Problem) -> Samples:
        """Return the samples in the order of the data.

        Raises: `ValueError` if a batch is larger than the data.
        """
        count = problem.x.shape[0]
        if self.batch_size is not None and self.batch_size > count:
            raise ValueError(f"`batch_size` must be at most the number of samples, {count}, got {self.batch_size}.")
        return jnp.arange(count)

    def draw(self, samples: Samples, step: Count, key: Key) -> tuple[Samples, Batch | None]:
        """Return the new order of the samples and the batch of a step, or None for all samples."""
        if self.batch_size is None:
            return samples, None
        blocks = -(-samples.size // self.batch_size)
        block = step % blocks
        if self.order == "shuffled":
            samples = jax.lax.cond(block == 0, lambda: jr.permutation(key, samples), lambda: samples)
        elif self.order == "random":
            block = jr.randint(key, (), 0, blocks)
        elif self.order == "subset":
            samples, block = jr.permutation(key, samples), 0
        positions = block * self.batch_size + jnp.arange(self.batch_size)
        return samples, Batch(samples[jnp.minimum(positions, samples.size - 1)], positions < samples.size)


def linearise_batch(problem: Problem, w: Weights, batch: Batch | None) -> tuple[Linearisation, Mask]:
    """Linearise a problem at a batch, and return which outputs are valid, not padding.

    `jac`, `residual` and `loss_gradient` have zero rows for padding. `jac` may be stored by layers,
    as in `Problem.linearise(w, formed=False)`.
    """
    if batch is None:
        return problem.linearise(w, formed=False), jnp.ones(problem.n, bool)
    valid, y = _valid(problem, batch), _select(problem, problem.y, batch)
    if problem.model.rowwise:
        part = _part(problem, batch).linearise(w, formed=False)
        f, jac = part.outputs, part.jac
    else:
        f = batch_outputs(problem, w, batch)
        jac = problem.jac_of(lambda w: batch_outputs(problem, w, batch), w, f.size)
    # `loss.gradient` and `loss.hessian` count the padding in a mean, which the ratio corrects
    ratio = _scale(problem, valid) / problem.loss.scale(valid.size)
    loss_gradient, loss_hessian = ratio * problem.loss.gradient(f, y), ratio * problem.loss.hessian(f, y)
    residual, loss_gradient = jnp.where(valid, f - y, 0.0), jnp.where(valid, loss_gradient, 0.0)
    return Linearisation(f, residual, loss_gradient, loss_hessian, scale_rows(valid.astype(f.dtype), jac)), valid


def batch_objective(problem: Problem, batch: Batch | None) -> Callable[[Weights], Scalar]:
    """Return the function `w -> g(f(w))` of a batch. A mean is over its valid outputs."""
    if batch is None:
        return problem.objective

    def objective(w: Weights) -> Scalar:
        valid = _valid(problem, batch)
        terms = problem.loss.pointwise(batch_outputs(problem, w, batch), _select(problem, problem.y, batch))
        return _scale(problem, valid) * jnp.sum(jnp.where(valid, terms, 0.0))

    return objective


def batch_outputs(problem: Problem, w: Weights, batch: Batch | None) -> Outputs:
    """Return `f(w)` at the batch, with padding."""
    if batch is None:
        return problem.outputs(w)
    if problem.model.rowwise:
        return _part(problem, batch).outputs(w)
    return _select(problem, problem.outputs(w), batch)


def _scale(problem: Problem, valid: Mask) -> Scalar | float:
    return 1 / jnp.sum(valid) if problem.loss.mean else 1.0


def _valid(problem: Problem, batch: Batch) -> Mask:
    return jnp.repeat(batch.valid, problem.n // problem.x.shape[0])


def _select(problem: Problem, outputs: Outputs, batch: Batch) -> Outputs:
    """Return the entries of `outputs` (n,) that belong to the samples of the batch."""
    return outputs.reshape(problem.x.shape[0], -1)[batch.rows].reshape(-1)


def _part(problem: Problem, batch: Batch) -> Problem:
    """Return the problem with the samples of the batch only."""
    data = problem.x[batch.rows], _select(problem, problem.y, batch)
    return eqx.tree_at(lambda problem: (problem.x, problem.y), problem, data)
