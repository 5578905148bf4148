"""Gram-Gauss-Newton: Gauss-Newton and Levenberg-Marquardt steps on mini-batches."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Count, Key, Scalar, Weights
from .._validation import checked_number
from ..linalg import damped_direction, FilledJacobian, squared_norm
from ..problem import Linearisation, Problem
from .base import first_state, MethodState
from .batch import AbstractBatchMethod, batch_objective, linearise_batch, Mask
from .search import take_step


class GramGaussNewton(AbstractBatchMethod):
    """Gram-Gauss-Newton, `w_{k+1} = w_k - eta J_B^T (K_BB + rho I)^{-1} grad g_B(f_B(w_k))`.

    `K_BB = J_B J_B^T` is the Gram matrix of the batch, and `grad g_B = r_B` for the squared loss
    (sum). The parameters `(lambda, a)` of Cai et al., `J_B^T (lambda K_BB + a I)^{-1} r_B`, are
    `eta = 1 / lambda` and `rho = a / lambda`. For example, use it if the Jacobian of all samples is
    too large to factor at every step.

    On an over-parameterised linear model `r^T K^{-1} r` never increases for `eta <= 2`, in any
    order of the batches. With `eta = 1` and `rho = 0` a cyclic epoch is one sweep of block
    Gauss-Seidel, `r -> (I - K (D + L)^{-1}) r`, where `D + L` is the block lower triangle of `K`.

    Arguments:

    - `batch_size`: samples per step (default all).
    - `step_size`: `eta > 0` (default 1).
    - `damping`: `rho >= 0` (default 0), in units of the eigenvalues of `K`.
    - `order`: order of the samples (default `"shuffled"`), see `AbstractBatchMethod`.
    - `line_search`: halve `eta` until Armijo's condition holds for the batch (default False).

    Each step reports `step_size` and `rank`, the numerical rank of the batch. With `line_search`
    it also reports `slope`, the derivative of the batch's loss along the step.

    Raises: `ValueError` for a step size or batch size that is not positive, negative damping or an
    unknown order.

    >>> import jax, riemgn as rg
    >>> problem = rg.task.linear(6, 8, 10.0, key=jax.random.key(0))
    >>> traj = rg.iterate(problem, rg.GramGaussNewton(batch_size=4), steps=4, key=jax.random.key(1))
    >>> traj.stats["per_step"]["rank"].tolist()
    [4.0, 2.0, 4.0, 2.0]

    Reference: Cai et al., arXiv:1905.11675; Statements C12 and D16.
    """

    batch_size: int | None = eqx.field(static=True)
    step_size: Array
    damping: Array
    order: str = eqx.field(static=True)
    line_search: bool = eqx.field(static=True)
    damped: bool = eqx.field(static=True)
    name: ClassVar[str] = "gram-gauss-newton"

    def __init__(
        self,
        batch_size: int | None = None,
        step_size: float = 1.0,
        damping: float = 0.0,
        order: str = "shuffled",
        line_search: bool = False,
    ):
        self.batch_size, self.order, self.line_search = batch_size, order, bool(line_search)
        self.step_size = checked_number("step_size", step_size)
        self.damping = checked_number("damping", damping, positive=False)
        self.damped = not (isinstance(damping, int | float) and damping == 0)

    @property
    def inverts(self) -> bool:
        """Whether the step is undamped on all samples."""
        return self.batch_size is None and not self.damped

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, self.initial_samples(problem), "rank", *(["slope"] if self.line_search else []))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        samples, batch = self.draw(state.memory, state.count, key)
        point, valid = linearise_batch(problem, w, batch)
        rho = self.damping.astype(w.dtype) if self.damped else None
        d, rank = _batch_direction(point, valid, rho, self.has_padding(problem))
        objective = batch_objective(problem, batch)
        w, report = take_step(self, w, d, objective, lambda: point.loss_gradient @ (point.jac @ d))
        return w, state.after(samples, {"rank": rank.astype(w.dtype), **report})


def _batch_direction(point: Linearisation, valid: Mask, damping: Scalar | None, padded: bool) -> tuple[Weights, Count]:
    """Return `-J_B^T (K_BB + rho I)^{-1} g_B`, or `-J_B^+ g_B` without damping, and the rank."""
    jac, g = point.jac, point.loss_gradient
    n, p = jac.shape
    if not padded or n >= p:
        d, _, rank = damped_direction(jac, g, damping)
        return d, jnp.minimum(rank, jnp.sum(valid))
    # The zero rows of the padding would make K_BB singular. They get an entry of the size of the
    # root mean square of the singular values of J_B, which does not change cond(J_B).
    size = jnp.sqrt(squared_norm(jac) / jnp.sum(valid))
    d, _, rank = damped_direction(FilledJacobian(jac, jnp.where(valid, 0.0, size)), g, damping)
    return d[:p], rank - jnp.sum(~valid)
