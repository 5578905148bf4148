"""The flows whose preconditioner is a function of the Jacobian alone: gradient flow, Gauss-Newton, Levenberg-Marquardt, interpolated."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
from .damping import AbstractDamping, as_damping, ConstantDamping, is_zero


class GradientFlow(AbstractSpectralFlow):
    """Gradient flow, `w' = -J^T grad g(f(w))`: gain `phi(s) = s`, so its rates are those of the kernel, `lambda_min(K)` the slowest.

    Arguments:

    - `matrix_free`: with True the direction is one product and `J` is never formed, for large n and p: no spectra are taken, and `solve` takes
        explicit steps also where the flow is stiff.

    Raises: `ValueError` for a `matrix_free` that is neither True nor False.

    >>> import riemgn as rg
    >>> rg.GradientFlow().name
    'gf'

    Reference: theory.md sections 1 and C10.
    """

    damping: AbstractDamping
    matrix_free: GradientProduct | None
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "gf"
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = False

    def __init__(self, matrix_free: bool = False):
        if not isinstance(matrix_free, bool):
            raise ValueError(
                f"`matrix_free` of GradientFlow, which has nothing to solve, must be True or False, got {matrix_free!r}."
            )
        self.damping = ConstantDamping(0.0)
        self.inverts = False
        self.matrix_free = GradientProduct() if matrix_free else None

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues

    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        return -(point.loss_gradient @ point.jac), jnp.array(BRANCHES.index("product"))


class GaussNewtonFlow(AbstractSpectralFlow):
    """Gauss-Newton flow, `w' = -J^+ grad g(f(w))`: gain `phi(s) = 1`, the Riemannian gradient flow of `g` on `M = f(W)`.

    `J^+` is the pseudo-inverse of the rank that `J` has at the start (minimum-norm velocity); where that rank is lost the flow ends.

    >>> import riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    >>> rg.solve(problem, rg.GaussNewtonFlow(), t1=1.0).ts[-1].item()
    1.0

    Reference: Cayci, arXiv:2412.14031v4; theory.md C1, C6.
    """

    damping: AbstractDamping
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "gn"
    matrix_free: ClassVar[None] = None
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = False

    def __init__(self):
        self.damping = ConstantDamping(0.0)
        self.inverts = True

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return jnp.ones_like(eigenvalues)

    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        return pseudo_inverse_direction(point.jac, point.loss_gradient, rank)[:2]


class LevenbergMarquardtFlow(AbstractSpectralFlow):
    """Levenberg-Marquardt flow, `w' = -(G + rho I)^{-1} J^T grad g`: gain `phi(s) = s / (s + rho)`.

    Arguments:

    - `damping`: `rho`, in units of the eigenvalues of `K`; a number or a schedule.
    - `matrix_free`: a `MatrixFree` solves by products with `J`, for large n and p; None (default) forms `J`.

    Raises: `ValueError` for negative or non-finite damping, and for no damping where `matrix_free` is given.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.LevenbergMarquardtFlow(0.5).gain(jnp.array([0.5]), 0.5)[0])
    0.5

    Reference: Cayci, arXiv:2412.14031v4; theory.md C7, C8.
    """

    damping: AbstractDamping
    matrix_free: MatrixFree | None
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "lm"
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = False

    def __init__(self, damping: AbstractDamping | float, matrix_free: MatrixFree | None = None):
        self.damping = as_damping(damping)
        self.inverts = is_zero(damping)
        self.matrix_free = checked_matrix_free(matrix_free, self.inverts)

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues / (eigenvalues + damping)

    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        return damped_direction(point.jac, point.loss_gradient, damping, rank=rank)[:2]


class InterpolatedFlow(AbstractSpectralFlow):
    """Between the two, `w' = -((1 - rho) G + rho I)^{-1} J^T grad g`: gain `phi(s) = s / ((1 - rho) s + rho)`, GN at 0 and GF at 1.

    Arguments:

    - `mix`: `rho` in [0, 1], without unit. The same paths as Levenberg-Marquardt with damping `rho / (1 - rho)` at clock speed `1 / (1 - rho)`.

    Raises: `ValueError` for `mix` outside [0, 1].

    Reference: theory.md section 1; papers.md D5.
    """

    damping: AbstractDamping
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "interpolated"
    matrix_free: ClassVar[None] = None
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = False

    def __init__(self, mix: float):
        self.damping = ConstantDamping(checked_number("mix", mix, positive=False, upper=1.0))
        self.inverts = is_zero(mix)

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues / ((1 - damping) * eigenvalues + damping)

    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        return damped_direction(point.jac, point.loss_gradient, damping, 1 - damping, rank)[:2]
