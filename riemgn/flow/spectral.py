"""Flows with a gain on the spectrum of the Jacobian: gradient, Gauss-Newton and in between."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._repr import short_repr
from .._types import Count, Scalar, Weights
from .._validation import checked_number
from ..linalg import (
    BRANCHES,
    checked_matrix_free,
    damped_direction,
    GradientProduct,
    MatrixFree,
    pseudo_inverse_direction,
)
from ..problem import Linearisation
from .base import AbstractSpectralFlow
from .damping import AbstractDamping, as_damping, ConstantDamping, is_zero, Rank


class GradientFlow(AbstractSpectralFlow):
    """Gradient flow, `w' = -J^T grad g(f(w))`, with gain `phi(s) = s`.

    Its rates are the eigenvalues of `K = J J^T`, so it is slow if `K` is ill-conditioned.

    With `matrix_free=True` neither `J` nor its spectra are computed, for large n and p.

    Raises: `ValueError` for a `matrix_free` that is neither True nor False.

    Reference: Statements, definitions and C10.
    """

    damping: AbstractDamping
    matrix_free: GradientProduct | None
    inverts: ClassVar[bool] = False
    name: ClassVar[str] = "gf"

    def __init__(self, matrix_free: bool = False):
        if not isinstance(matrix_free, bool):
            raise ValueError(f"`matrix_free` of GradientFlow must be True or False, got {matrix_free!r}.")
        self.damping = ConstantDamping(0.0)
        self.matrix_free = GradientProduct() if matrix_free else None

    def __repr__(self) -> str:
        return short_repr(self, matrix_free=self.matrix_free is not None)

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues

    def direction_and_branch(self, point: Linearisation, damping: Scalar, rank: Rank) -> tuple[Weights, Count]:
        return -(point.loss_gradient @ point.jac), jnp.array(BRANCHES.index("product"))


class GaussNewtonFlow(AbstractSpectralFlow):
    """Gauss-Newton flow, `w' = -J^+ grad g(f(w))`, with gain `phi(s) = 1`.

    It is the Riemannian gradient flow of `g` on the set of outputs `M = f(W)`. A solve stops with
    `rank_lost` if `J` loses the rank that it has at the start.

    >>> import riemgn as rg
    >>> rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0).status
    'successful'

    Reference: Cayci, arXiv:2412.14031v4, and Statements C1 and C6.
    """

    damping: AbstractDamping
    inverts: ClassVar[bool] = True
    name: ClassVar[str] = "gn"
    matrix_free: ClassVar[None] = None

    def __init__(self):
        self.damping = ConstantDamping(0.0)

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return jnp.ones_like(eigenvalues)

    def direction_and_branch(self, point: Linearisation, damping: Scalar, rank: Rank) -> tuple[Weights, Count]:
        return pseudo_inverse_direction(point.jac, point.loss_gradient, rank)[:2]


class _DampedFlow(AbstractSpectralFlow):
    """`w' = -(a J^T J + rho I)^{-1} J^T grad g`, with gain `phi(s) = s / (a s + rho)`."""

    damping: AbstractDamping
    inverts: bool = eqx.field(static=True)

    def _share(self, damping: Scalar) -> Scalar | float:  # `a`
        return 1.0

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues / (self._share(damping) * eigenvalues + damping)

    def direction_and_branch(self, point: Linearisation, damping: Scalar, rank: Rank) -> tuple[Weights, Count]:
        return damped_direction(point.jac, point.loss_gradient, damping, self._share(damping), rank)[:2]


class LevenbergMarquardtFlow(_DampedFlow):
    """Levenberg-Marquardt flow, `w' = -(J^T J + rho I)^{-1} J^T grad g`.

    Its gain is `phi(s) = s / (s + rho)`. Modes with eigenvalues far below `rho` move slowly.

    Arguments:

    - `damping`: `rho`, a number or a schedule, in units of the eigenvalues of `K = J J^T`.
    - `matrix_free`: None (default), or a `MatrixFree` that solves by products, for large n and p.

    Raises: `ValueError` for damping that is negative or not finite, or 0 with `matrix_free`.

    >>> import riemgn as rg
    >>> rg.LevenbergMarquardtFlow(0.1)
    LevenbergMarquardtFlow(damping=0.1)

    Reference: Cayci, arXiv:2412.14031v4, and Statements C7 and C8.
    """

    matrix_free: MatrixFree | None
    name: ClassVar[str] = "lm"

    def __init__(self, damping: AbstractDamping | float, matrix_free: MatrixFree | None = None):
        self.damping = as_damping(damping)
        self.inverts = is_zero(damping)
        self.matrix_free = checked_matrix_free(matrix_free, self.inverts)


class GeneralizedGaussNewtonFlow(_DampedFlow):
    """Generalised Gauss-Newton flow, `w' = -(J^T B J + rho I)^+ J^T grad g` with `B = Hess g(f)`.

    It is Levenberg-Marquardt in the whitened outputs `B^{1/2} J`, and the natural gradient flow if
    `B` is the Fisher metric. With `rho = 0`, a strongly convex loss and full row rank it gives
    `grad g(f_t) = exp(-t) grad g(f_0)`.

    `damping` is `rho` (default 0), in units of the eigenvalues of `B^{1/2} K B^{1/2}`.

    Raises: `ValueError` for damping that is negative or not finite.

    Reference: Statements C16 and D8.
    """

    name: ClassVar[str] = "ggn"
    matrix_free: ClassVar[None] = None
    whitens: ClassVar[bool] = True

    def __init__(self, damping: AbstractDamping | float = 0.0):
        self.damping = as_damping(damping)
        self.inverts = is_zero(damping)


class InterpolatedFlow(_DampedFlow):
    """Flow between Gauss-Newton and gradient, `w' = -((1 - rho) J^T J + rho I)^{-1} J^T grad g`.

    It takes the path of Levenberg-Marquardt with damping `rho / (1 - rho)`, but `1 / (1 - rho)`
    times as fast.

    Raises: `ValueError` for `mix` (`rho`) outside [0, 1].

    Reference: Statements, definitions and D5.
    """

    name: ClassVar[str] = "interpolated"
    matrix_free: ClassVar[None] = None

    def __init__(self, mix: float):
        self.damping = ConstantDamping(checked_number("mix", mix, positive=False, upper=1.0))
        self.inverts = is_zero(mix)

    def _share(self, damping: Scalar) -> Scalar:
        return 1 - damping
