"""Mini-batches of one size: which samples a step sees, and the problem linearised at them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int

from .._types import Count, Key, Outputs, Scalar, Weights
from ..linalg import scale_rows
from ..problem import Linearisation, Problem

ORDERS = ("cyclic", "shuffled", "random", "subset")


class Batch(eqx.Module):
    """The samples of one step: `rows` (b,) and which of them count, `valid` (b,); the last batch of an epoch may be short."""

    rows: Int[Array, " b"]
    valid: Bool[Array, " b"]


class Batches(eqx.Module):
    """How samples are dealt to the steps, `ceil(samples / size)` batches an epoch.

    Arguments:

    - `size`: samples per batch; None takes all samples at every step.
    - `order`: `"cyclic"`, batch after batch in the order of the data; `"shuffled"`, the same after a new shuffle every epoch; `"random"`, at every
      step one batch of the cyclic partition, drawn uniformly (block Kaczmarz); `"subset"`, at every step a uniformly drawn subset.

    Raises: `ValueError` for a size below 1 or an unknown order.
    """

    size: int | None = eqx.field(static=True, default=None)
    order: str = eqx.field(static=True, default="cyclic")

    def __check_init__(self):
        if self.size is not None and (isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1):
            raise ValueError(f"`batch_size` must be a positive integer or None, got {self.size!r}.")
        if self.order not in ORDERS:
            raise ValueError(f"Unknown order {self.order!r}; known: {', '.join(ORDERS)}.")

    @property
    def stochastic(self) -> bool:
        """Whether the batches are drawn."""
        return self.size is not None and self.order != "cyclic"

    def cut_short(self, problem: Problem) -> bool:
        """Whether the last batch of an epoch is short, and padded."""
        return self.size is not None and self.order != "subset" and problem.x.shape[0] % self.size != 0

    def start(self, problem: Problem) -> Int[Array, " samples"]:
        """The samples in the order of the data.

        Raises: `ValueError` for a batch larger than the data.
        """
        samples = problem.x.shape[0]
        if self.size is not None and self.size > samples:
            raise ValueError(f"`batch_size` must be at most the number of samples, {samples}, got {self.size}.")
        return jnp.arange(samples)

    def draw(
        self, order: Int[Array, " samples"], count: Count, key: Key
    ) -> tuple[Int[Array, " samples"], Batch | None]:
        """The order of the samples from now on and the batch of step `count`; None stands for all samples."""
        if self.size is None:
            return order, None
        samples = order.size
        blocks = -(-samples // self.size)
        block = count % blocks
        if self.order == "shuffled":
            order = jax.lax.cond(block == 0, lambda: jr.permutation(key, order), lambda: order)
        elif self.order == "random":
            block = jr.randint(key, (), 0, blocks)
        elif self.order == "subset":
            order, block = jr.permutation(key, order), 0
        places = block * self.size + jnp.arange(self.size)
        return order, Batch(order[jnp.minimum(places, samples - 1)], places < samples)


class BatchPoint(eqx.Module):
    """A problem linearised at a batch: `point` has zero rows in `jac`, `residual` and `loss_gradient` where `valid` is False.

    The loss is that of the batch alone: with `mean=True` the mean is over the outputs that count.
    """

    problem: Problem
    batch: Batch | None
    point: Linearisation

    def objective(self, w: Weights) -> Scalar:
        """`g(f(w))` of the batch."""
        return _batch_loss(self.problem, self.outputs(w), self.batch)

    @property
    def loss(self) -> Scalar:
        """`g(f(w))` of the batch at the point itself."""
        return _batch_loss(self.problem, self.point.outputs, self.batch)

    def outputs(self, w: Weights) -> Outputs:
        """`f(w)` at the batch."""
        return _outputs(self.problem, w, self.batch)

    @property
    def counted(self) -> Bool[Array, " n"]:
        """Which outputs count."""
        return _counted(self.problem, self.batch)


def linearise_batch(problem: Problem, w: Weights, batch: Batch | None, formed: bool = True) -> BatchPoint:
    """The problem linearised at a batch, or at all samples. A row-wise model is evaluated at the batch only, of others the batch's rows are made.

    With `formed=False` the Jacobian of a network with fewer outputs in the batch than parameters is a `LayerJacobian`, see `Problem.linearise`.
    """
    if batch is None:
        return BatchPoint(problem, None, problem.linearise(w, formed=formed))
    counted, y = _counted(problem, batch), _targets(problem, batch)
    if problem.model.rowwise:
        seen = _part(problem, batch).linearise(w, formed=formed)
        f, jac = seen.outputs, seen.jac
    else:
        f = _outputs(problem, w, batch)
        jac = problem.jac_of(lambda w: _outputs(problem, w, batch), w, f.size)
    # gradient and Hessian of the loss at the padded batch, brought to the scale of the outputs that count
    ratio = _scale(problem, counted) / problem.loss.scale(counted.size)
    loss_gradient, loss_hessian = ratio * problem.loss.gradient(f, y), ratio * problem.loss.hessian(f, y)
    point = Linearisation(
        outputs=f,
        residual=jnp.where(counted, f - y, 0.0),
        loss_gradient=jnp.where(counted, loss_gradient, 0.0),
        loss_hessian=loss_hessian,
        jac=scale_rows(counted.astype(f.dtype), jac),
    )
    return BatchPoint(problem, batch, point)


def batch_objective(problem: Problem, w: Weights, batch: Batch | None) -> Scalar:
    """`g(f(w))` of the batch, without a Jacobian; `jax.grad` of it is the stochastic gradient."""
    return _batch_loss(problem, _outputs(problem, w, batch), batch)


def _batch_loss(problem: Problem, f: Outputs, batch: Batch | None) -> Scalar:
    if batch is None:
        return problem.loss(f, problem.y)
    counted = _counted(problem, batch)
    terms = problem.loss.pointwise(f, _targets(problem, batch))
    return _scale(problem, counted) * jnp.sum(jnp.where(counted, terms, 0.0))


def _scale(problem: Problem, counted: Bool[Array, " n"]) -> Scalar | float:
    """The factor of the loss, 1 or one over the number of outputs that count."""
    return 1 / jnp.sum(counted) if problem.loss.mean else 1.0


def _by_sample(problem: Problem, values: Array) -> Array:
    """Split the leading axis of `n` outputs into samples x outputs per sample."""
    return values.reshape(problem.x.shape[0], -1, *values.shape[1:])


def _targets(problem: Problem, batch: Batch) -> Outputs:
    return _by_sample(problem, problem.y)[batch.rows].reshape(-1)


def _part(problem: Problem, batch: Batch) -> Problem:
    """The problem of the samples of a batch alone."""
    return eqx.tree_at(lambda whole: (whole.x, whole.y), problem, (problem.x[batch.rows], _targets(problem, batch)))


def _outputs(problem: Problem, w: Weights, batch: Batch | None) -> Outputs:
    if batch is None:
        return problem.outputs(w)
    if problem.model.rowwise:
        return _part(problem, batch).outputs(w)
    return _by_sample(problem, problem.outputs(w))[batch.rows].reshape(-1)


def _counted(problem: Problem, batch: Batch | None) -> Bool[Array, " n"]:
    if batch is None:
        return jnp.ones(problem.n, bool)
    return jnp.repeat(batch.valid, problem.n // problem.x.shape[0])
