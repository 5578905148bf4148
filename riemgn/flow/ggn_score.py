"""The flow that GGN-SCORE discretises: generalised Gauss-Newton damped by a penalty's Hessian."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._repr import short_repr
from .._types import Outputs, Scalar, Weights
from .._validation import checked_number
from ..linalg import BRANCHES, formed, scale_columns, score_direction, spectrum
from ..penalty import AbstractPenalty, checked_penalty, checked_score_damping
from ..problem import Linearisation, Problem
from .base import AbstractFlow, InitialRates
from .damping import Rank


class GGNScoreFlow(AbstractFlow):
    """GGN-SCORE flow, `w' = -(c D + J^T Q J)^{-1} (J^T e + tau h')`, for a self-concordant penalty.

    Here `e = grad g(f)`, `Q = Hess g(f)`, `h' = h_mu'(w)` and `D = diag h_mu''(w)`. It is the
    Riemannian gradient flow of `F(w) = g(f(w)) + tau sum_i h_mu(w_i)` with the metric
    `G(w) = c D + J^T Q J`, so `d/dt F = -<w', G w'>`. A step of `GGNScore` is its Euler step.

    The losses and gradient norms of a trajectory are those of `g`, and `flow.objective(problem, w)`
    is `F`. For `c` far below `tau` many short steps are needed, because the metric turns with `J`.

    Arguments:

    - `penalty`, `weight`: `h_mu`, such as `PseudoHuberPenalty()`, and `tau >= 0` (default 1e-4).
    - `damping`: `c`, a positive number, `"unit"` (default) for 1, or `"tau"` for `c = tau`.

    Raises: `ValueError` for another penalty, a negative weight or damping, or `c = tau = 0`.

    >>> import riemgn as rg
    >>> rg.solve(rg.task.circle(), rg.GGNScoreFlow(rg.PseudoHuberPenalty()), t1=5.0).status
    'successful'

    Reference: derived from the step of Adeoye, Petersen, Bemporad, arXiv:2404.14875.
    """

    penalty: AbstractPenalty
    weight: Array
    damping: Array | None
    name: ClassVar[str] = "ggn-score"
    inverts: ClassVar[bool] = False
    intrinsic: ClassVar[bool] = False
    matrix_free: ClassVar[None] = None

    def __init__(self, penalty: AbstractPenalty, weight: float = 1e-4, damping: float | str = "unit"):
        self.penalty = checked_penalty(penalty)
        self.weight = checked_number("weight", weight, positive=False)
        self.damping = checked_score_damping(damping, self.weight)

    def __repr__(self) -> str:
        return short_repr(self, damping="tau" if self.damping is None else self.damping)

    @property
    def c(self) -> Scalar:
        """The factor of `D` in the metric."""
        return self.weight if self.damping is None else self.damping

    def velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Rank) -> tuple[Weights, Outputs]:
        point = problem.linearise(w, formed=False)
        whitened, pull = point.whitened(), self.weight.astype(w.dtype) * self.penalty.gradient(w)
        metric = self.penalty.hessian_diagonal(w)
        w_dot = score_direction(whitened.jac, whitened.loss_gradient, pull, metric, self.c.astype(w.dtype))[0]
        return w_dot, point.jac @ w_dot

    def objective(self, problem: Problem, w: Weights) -> Scalar:
        """Return `F(w) = g(f(w)) + tau sum_i h_mu(w_i)`."""
        return problem.objective(w) + self.weight.astype(w.dtype) * self.penalty(w)

    def metric_matrix(self, problem: Problem, w: Weights) -> Float[Array, "p p"]:
        """Return `G(w) = c D + J^T Q J` as a dense matrix."""
        jac = formed(problem.linearise(w).whitened().jac)
        return jnp.diag(self.c.astype(w.dtype) * self.penalty.hessian_diagonal(w)) + jac.T @ jac

    def initial_rates(self, problem: Problem, point: Linearisation, singular_values: Array, rank: Rank) -> InitialRates:
        """Return the largest of the rates `(s + tau) / (s + c)` of the Gauss-Newton part."""
        s = spectrum(scale_columns(point.whitened().jac, 1 / jnp.sqrt(self.penalty.hessian_diagonal(problem.w0)))) ** 2
        # if n < p, some parameter directions change no output: their eigenvalue is 0
        s = jnp.concatenate([s, jnp.zeros((problem.n < problem.p,), s.dtype)])
        fastest = jnp.max((s + self.weight) / (s + self.c))
        # D and J change along the path, so the smallest rate is unknown
        return InitialRates(fastest, jnp.zeros_like(fastest), jnp.array(BRANCHES.index("weighted")))
