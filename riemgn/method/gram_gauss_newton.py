"""Gram-Gauss-Newton: Gauss-Newton and Levenberg-Marquardt steps on mini-batches, with the batch's own Gram matrix."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Scalar, Weights
from .._validation import checked_number, finite_number, positive
from ..linalg import damped_direction, FilledJacobian, squared_norm
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .batch import Batches, BatchPoint, linearise_batch
from .search import armijo


class GramGaussNewton(AbstractMethod):
    """Gram-Gauss-Newton, `w_{k+1} = w_k - eta J_B^T (K_BB + rho I)^{-1} grad g_B(f_B(w_k))` with `K_BB = J_B J_B^T`.

    For the squared loss (the sum) `grad g_B = r_B`. The hyperparameters `(lambda, a)` of Cai et al., `J_B^T (lambda K_BB + a I)^{-1} r_B`, are
    `eta = 1 / lambda` and `rho = a / lambda`.

    Linear model, over-parameterised: `r^T K^{-1} r` never increases for `eta <= 2`, in any order of the batches. With `eta = 1`, `rho = 0` one cyclic
    epoch is block Gauss-Seidel, `r -> (I - K (D + Lo)^{-1}) r` with `D + Lo` the block lower triangle of `K`.

    A step costs one factorisation of the batch's Gram matrix, kept accurate as in the Levenberg-Marquardt flow; of a network the Jacobian is kept by
    its layers and nothing of the size of batch x parameters is formed, as long as the conditioning allows. What decides the rank is the batch: where
    a triangle cannot tell, the singular values below their rounding error are left out. `rank` reports how many stay.

    Arguments:

    - `batch_size`: samples per step; None takes all.
    - `step_size`: `eta > 0`, 1 by default.
    - `damping`: `rho >= 0`, in units of the eigenvalues of `K`, 0 by default.
    - `order`: how the samples are dealt, see `Batches`; `"shuffled"` by default.
    - `line_search`: halve `eta` until the loss of the batch has `g_B(w + eta d) <= g_B(w) + 1e-4 eta <grad g_B, d>` (Armijo); after 60 halvings the
      parameters stay.

    Raises: `ValueError` for a step size that is not positive, negative damping, a batch size below 1, an unknown order.

    Reports `step_size` and `rank`; with `line_search` also `slope`, the derivative of the batch's loss along the step.

    >>> import jax, riemgn as rg
    >>> problem = rg.task.linear(6, 8, 10.0, key=jax.random.key(0))
    >>> traj = rg.iterate(problem, rg.GramGaussNewton(batch_size=4), steps=4, key=jax.random.key(1))
    >>> traj.stats["per_step"]["rank"].tolist()
    [4.0, 2.0, 4.0, 2.0]

    Reference: Cai et al., arXiv:1905.11675; theory.md C12; papers.md D16.
    """

    batches: Batches
    step_size: Array
    damping: Array
    damped: bool = eqx.field(static=True)
    line_search: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "gram-gauss-newton"
    matrix_free: ClassVar[None] = None

    def __init__(
        self,
        batch_size: int | None = None,
        step_size: float = 1.0,
        damping: float = 0.0,
        order: str = "shuffled",
        line_search: bool = False,
    ):
        self.batches = Batches(batch_size, order)
        self.step_size = checked_number("step_size", step_size)
        self.damping = checked_number("damping", damping, positive=False)
        self.damped = not (isinstance(damping, int | float) and damping == 0)
        self.line_search = bool(line_search)
        self.inverts = batch_size is None and not self.damped
        self.stochastic = self.batches.stochastic

    @classmethod
    def from_cai(
        cls, batch_size: int | None = None, lam: float = 1.0, a: float = 0.0, order: str = "shuffled"
    ) -> "GramGaussNewton":
        """The method by the hyperparameters of Cai et al.: `w_{k+1} = w_k - J_B^T (lam K_BB + a I)^{-1} grad g_B`.

        Arguments:

        - `lam`: `lambda > 0`, one over the step size.
        - `a`: `a >= 0`; the damping is `a / lambda`.
        - `batch_size`, `order`: as above.

        Raises: `ValueError` for `lam` that is not positive, a negative `a`.
        """
        lam, a = positive("lam", lam), finite_number("a", a, positive=False)
        return cls(batch_size, 1 / lam, a / lam, order)

    def __repr__(self) -> str:
        return short_repr(self, batch_size=self.batches.size, order=self.batches.order)

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, self.batches.start(problem), "rank", *(["slope"] if self.line_search else []))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, batch = self.batches.draw(state.memory, state.count, key)
        at_batch = linearise_batch(problem, w, batch, formed=False)
        rho = self.damping.astype(w.dtype) if self.damped else None
        d, rank = batch_direction(at_batch, rho, self.batches.cut_short(problem))
        size = self.step_size.astype(w.dtype)
        report = {"step_size": size, "rank": rank.astype(w.dtype)}
        if self.line_search:
            slope = at_batch.point.loss_gradient @ (at_batch.point.jac @ d)
            size = armijo(lambda size: at_batch.objective(w + size * d), at_batch.loss, slope, size)
            report |= {"step_size": size, "slope": slope}
        return w + size * d, state.after(order, report)


def batch_direction(at_batch: BatchPoint, damping: Scalar | None, cut_short: bool) -> tuple[Weights, Count]:
    """`-J_B^T (K_BB + rho I)^{-1} g_B`, or `-J_B^+ g_B` where `damping` is None, and the rank; `cut_short` says whether rows may not count."""
    jac, g, counted = at_batch.point.jac, at_batch.point.loss_gradient, at_batch.counted
    n, p = jac.shape
    if not cut_short or n >= p:
        d, _, rank = damped_direction(jac, g, damping)
        return d, jnp.minimum(rank, jnp.sum(counted))
    # the root mean square of the rows that count lies between the singular values: the condition number does not change
    size = jnp.sqrt(squared_norm(jac) / jnp.sum(counted))
    d, _, rank = damped_direction(FilledJacobian(jac, jnp.where(counted, 0.0, size)), g, damping)
    return d[:p], rank - jnp.sum(~counted)
