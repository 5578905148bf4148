"""The squared penalty."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Weights
from .._validation import checked_number
from .base import AbstractSeparablePenalty


class SquaredPenalty(AbstractSeparablePenalty):
    """Ridge, `h_mu(x) = x^2 / (2 mu)`: constant curvature, self-concordant with `M_h = 0`. GGN-SCORE with it is Levenberg-Marquardt.

    Arguments:

    - `smoothing`: `mu > 0`.

    Raises: `ValueError` unless `smoothing` is positive and finite.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.SquaredPenalty()(jnp.array([3.0, 4.0])))
    12.5

    Reference: derived.
    """

    smoothing: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    reference_constants: ClassVar[None] = None

    def __init__(self, smoothing: float = 1.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = 0.0, 2.0

    @staticmethod
    def tight_constant(order: float) -> float:
        """0 at every order: there is no third derivative."""
        return 0.0

    def pointwise(self, w: Weights) -> Weights:
        return w * (w / (2 * self.smoothing))

    def gradient(self, w: Weights) -> Weights:
        return w / self.smoothing

    def hessian_diagonal(self, w: Weights) -> Weights:
        return jnp.ones_like(w) / self.smoothing
