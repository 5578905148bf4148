"""The flow that GGN-SCORE discretises: generalised Gauss-Newton with the Hessian of a self-concordant penalty as damping."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Scalar, Weights
from .._validation import checked_number
from ..linalg import BRANCHES, formed, scale_columns, score_direction, spectrum
from ..penalty import AbstractPenalty, checked_penalty, checked_score_damping
from ..problem import Linearisation, Problem
from .base import AbstractFlow, InitialRates


class GGNScoreFlow(AbstractFlow):
    """`w' = -(c D + J^T Q J)^{-1} (J^T e + tau h')`: the Riemannian gradient flow of `F(w) = g(f(w)) + tau sum_i h_mu(w_i)` on R^p.

    `e = grad g(f)`, `Q = Hess g(f)`, `h' = h_mu'(w)`, `D = diag h_mu''(w)`. The metric is `G(w) = c D + J^T Q J`, regular wherever `D` is positive:
    `d/dt F = -|w'|_G^2 = -<grad F, G^{-1} grad F>`. A step of `GGNScore` of length `s` is Euler's step of length `s`.

    `G` depends on `w` beside the outputs and the penalty pulls outside the row space of `J`: the flow is no gain on the singular values of `J`, and
    what is known of the others (residual laws, dissipation by the gain, invariance) does not apply. A trajectory's `losses` and `grad_norms` are
    those of `g`; `F` along it is `jax.vmap(lambda w: flow.objective(problem, w))(traj.params)`.

    Near a minimiser where `e` vanishes the rates are `(s + tau) / (s + c)` over the eigenvalues `s` of `Q^{1/2} J D^{-1} J^T Q^{1/2}` and zero: all
    are 1 for `c = tau`, and between `tau` and 1 for `c = 1 >= tau`. Far from the origin `D` is small, as `mu^2 / |w|^3` for the pseudo-Huber penalty:
    there a parameter that no output sees moves at first at the rate `tau w^2 / (c mu^2)`, which falls with `w`. Where `c` is far below `tau` the
    metric is nearly that of the outputs alone and turns with `J`: such a path takes many short steps.

    Arguments:

    - `penalty`: `h_mu`, such as `PseudoHuberPenalty(smoothing=...)`.
    - `weight`: `tau >= 0`.
    - `damping`: `c`, a positive number; `"unit"` (default) for `c = 1`, as in the released code; `"tau"` for `c = tau`.

    Raises: `ValueError` for another penalty, a negative weight, damping that is not positive, `c = tau = 0`.

    >>> import riemgn as rg
    >>> problem, flow = rg.task.circle(), rg.GGNScoreFlow(rg.PseudoHuberPenalty(), weight=1e-2)
    >>> traj = rg.solve(problem, flow, t1=5.0)
    >>> bool(flow.objective(problem, traj.params[-1]) < flow.objective(problem, traj.params[0]))
    True

    Reference: derived; the step is that of Adeoye, Petersen, Bemporad, arXiv:2404.14875, ggn_score.md 3.2.
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

    @property
    def c(self) -> Scalar:
        """The factor of `D` in the metric."""
        return self.weight if self.damping is None else self.damping

    def velocity(
        self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Float[Array, " n"]]:
        point = problem.linearise(w, formed=False)
        w_dot = self._direction(w, point)
        return w_dot, point.jac @ w_dot

    def _direction(self, w: Weights, point: Linearisation) -> Weights:
        seen = point.whitened()
        pull = self.weight.astype(w.dtype) * self.penalty.gradient(w)
        return score_direction(
            seen.jac, seen.loss_gradient, pull, self.penalty.hessian_diagonal(w), self.c.astype(w.dtype)
        )[0]

    def objective(self, problem: Problem, w: Weights) -> Scalar:
        """`F(w) = g(f(w)) + tau sum_i h_mu(w_i)`."""
        return problem.objective(w) + self.weight.astype(w.dtype) * self.penalty(w)

    def metric_matrix(self, problem: Problem, w: Weights) -> Float[Array, "p p"]:
        """`G(w) = c D + J^T Q J`, dense."""
        jac = formed(problem.linearise(w).whitened().jac)
        return jnp.diag(self.c.astype(w.dtype) * self.penalty.hessian_diagonal(w)) + jac.T @ jac

    def initial_rates(
        self, problem: Problem, point: Linearisation, singular_values: Float[Array, " k"], rank: Int[Array, ""]
    ) -> InitialRates:
        """The largest of the rates `(s + tau) / (s + c)` of the Gauss-Newton part; a least one is not promised, since `D` and `J` change.

        The metric may change faster than that where `D` is small, but over a path it adds up to the variation of `log D`, whatever the horizon: that
        is no stiffness.
        """
        s = spectrum(scale_columns(point.whitened().jac, 1 / jnp.sqrt(self.penalty.hessian_diagonal(problem.w0)))) ** 2
        unseen = jnp.zeros((problem.n < problem.p,), s.dtype)  # the eigenvalue 0 of the parameters that no output sees
        s = jnp.concatenate([s, unseen])
        fastest = jnp.max((s + self.weight) / (s + self.c))
        return InitialRates(fastest, jnp.zeros_like(fastest), jnp.array(BRANCHES.index("weighted")))
