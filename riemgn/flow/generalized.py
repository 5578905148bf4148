"""The generalised Gauss-Newton flow: the loss Hessian inside the preconditioner."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._types import Count, Scalar, Weights
from ..linalg import damped_direction
from ..problem import Linearisation
from .base import AbstractSpectralFlow
from .damping import AbstractDamping, as_damping, is_zero


class GeneralizedGaussNewtonFlow(AbstractSpectralFlow):
    """`w' = -(J^T B J + rho I)^+ J^T grad g` with `B = Hess g(f)`: natural gradient where `B` is the Fisher metric.

    In the whitened outputs (`B^{1/2} J`, `B^{-1/2} grad g`) this is Levenberg-Marquardt, gain `phi(s) = s / (s + rho)`; `rho = 0` gives
    `grad g(f_t) = exp(-t) grad g(f_0)` for every strongly convex loss when `J` has full row rank.

    Arguments:

    - `damping`: `rho`, in units of the eigenvalues of `B^{1/2} K B^{1/2}`; a number or a schedule. Default 0.

    Raises: `ValueError` for negative or non-finite damping.

    Reference: theory.md C16; papers.md D8.
    """

    damping: AbstractDamping
    inverts: bool = eqx.field(static=True)
    name: ClassVar[str] = "ggn"
    matrix_free: ClassVar[None] = None
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = True

    def __init__(self, damping: AbstractDamping | float = 0.0):
        self.damping = as_damping(damping)
        self.inverts = is_zero(damping)

    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        return eigenvalues / (eigenvalues + damping)

    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        return damped_direction(point.jac, point.loss_gradient, damping, rank=rank)[:2]
