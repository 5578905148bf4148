"""Gram-Gauss-Newton: Gauss-Newton and Levenberg-Marquardt steps on mini-batches, with the batch's own Gram matrix."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array

from .._types import Count, Key, Weights
from ..linalg import formed, numerical_rank, spectral_direction, thin_svd
from ..problem import Problem
from .base import AbstractMethod, checked_number, first_state, MethodState
from .batch import Batches, linearise


class GramGaussNewton(AbstractMethod):
    """Gram-Gauss-Newton, `w_{k+1} = w_k - eta J_B^T (K_BB + rho I)^{-1} grad g_B(f_B(w_k))` with `K_BB = J_B J_B^T`.

    For the squared loss (the sum) `grad g_B = r_B`. The hyperparameters `(lambda, a)` of Cai et al., `J_B^T (lambda K_BB + a I)^{-1} r_B`, are
    `eta = 1 / lambda` and `rho = a / lambda`.

    Linear model, over-parameterised: `r^T K^{-1} r` never increases for `eta <= 2`, in any order of the batches. With `eta = 1`, `rho = 0` one cyclic
    epoch is block Gauss-Seidel, `r -> (I - K (D + Lo)^{-1}) r` with `D + Lo` the block lower triangle of `K`.

    `K_BB` is never formed: the singular values of `J_B` are filtered. Undamped, those below their rounding error are left out, batch by batch;
    `rank` reports how many stay.

    Arguments:

    - `batch_size`: samples per step; None takes all.
    - `step_size`: `eta > 0`, 1 by default.
    - `damping`: `rho >= 0`, in units of the eigenvalues of `K`, 0 by default.
    - `order`: how the samples are dealt, see `Batches`; `"shuffled"` by default.

    Raises: `ValueError` for a step size that is not positive, negative damping, a batch size below 1, an unknown order.

    Reports `step_size` and `rank`.

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
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "gram-gauss-newton"
    matrix_free: ClassVar[None] = None

    def __init__(self, batch_size: int | None = None, step_size: float = 1.0, damping: float = 0.0, order: str = "shuffled"):
        self.batches = Batches(batch_size, order)
        self.step_size = checked_number("step_size", step_size)
        self.damping = checked_number("damping", damping, positive=False)
        self.inverts = batch_size is None and isinstance(damping, int | float) and damping == 0
        self.stochastic = self.batches.stochastic

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        return first_state(w, self.batches.start(problem), "rank")

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, batch = self.batches.draw(state.memory, state.count, key)
        point = linearise(problem, w, batch).point
        svd = thin_svd(formed(point.jac))
        rank = numerical_rank(svd.s, (point.outputs.size, problem.p))
        size, rho = self.step_size.astype(w.dtype), self.damping.astype(w.dtype)
        d = spectral_direction(svd, point.cotangent, lambda s: s / (s + rho), rank)
        return w + size * d, state.after(order, {"step_size": size, "rank": rank.astype(w.dtype)})
