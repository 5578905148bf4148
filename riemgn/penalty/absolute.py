"""Smoothings of the absolute value, which are smoothings of the Euclidean norm as well."""

import abc
import cmath
import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array

from .._types import Weights
from .._validation import checked_number
from .base import AbstractPenalty, AbstractSeparablePenalty, checked_constants


class AbstractAbsolutePenalty(AbstractSeparablePenalty):
    """`h_mu(x)`, a smoothing of `|x|` that is a function of `r = sqrt(m^2 + x^2)`, with a core `m` proportional to `mu`.

    `h_mu(|x|)` for a vector `x` is a smoothing of its norm, with `r = sqrt(m^2 + |x|^2)`. The methods below serve both. Nothing is squared before it
    is divided by a number of its size, so nothing overflows or underflows on the way.

    Reference: arXiv:2404.14875, ggn_score.md 2.
    """

    @abc.abstractmethod
    def core(self) -> Array:
        """`m`, a scalar."""

    @abc.abstractmethod
    def height(self, excess: Array) -> Array:
        """The value, from `excess = r - m`."""

    @abc.abstractmethod
    def pull(self, x: Array, r: Array) -> Array:
        """The derivative by the component `x`."""

    @abc.abstractmethod
    def bend(self, r: Array, others: Array) -> Array:
        """The second derivative by a component, from the sum of the squares of the other components over `r^2`, 0 for a number."""

    @abc.abstractmethod
    def radial_constant(self, order: float) -> float:
        """`tight_constant` of `h(|x|)` for vectors `x` of two and more components, for orders from 2 on."""

    def pointwise(self, w: Weights) -> Weights:
        # x^2 / (r + m) is r - m without cancellation at small x
        return self.height(w * (w / (self._radius(w) + self.core())))

    def gradient(self, w: Weights) -> Weights:
        return self.pull(w, self._radius(w))

    def hessian_diagonal(self, w: Weights) -> Weights:
        return self.bend(self._radius(w), jnp.zeros_like(w))

    def _radius(self, w: Weights) -> Weights:
        size = stop_gradient(jnp.maximum(jnp.abs(w), self.core()))
        return size * jnp.sqrt((self.core() / size) ** 2 + (w / size) ** 2)


class AbstractPenaltyOnAbsolute(AbstractPenalty):
    """A penalty made of a smoothing `absolute` of `|x|`, whose `mu` and constants it has."""

    absolute: eqx.AbstractVar[AbstractAbsolutePenalty]

    @property
    def smoothing(self) -> Array:
        """That of `absolute`."""
        return self.absolute.smoothing

    @property
    def reference_constants(self) -> tuple[float, float] | None:
        """That of `absolute`."""
        return self.absolute.reference_constants

    @property
    def constant(self) -> float:
        """That of `absolute`."""
        return self.absolute.constant

    @property
    def order(self) -> float:
        """That of `absolute`."""
        return self.absolute.order


def checked_absolute(absolute: Any) -> AbstractAbsolutePenalty:
    """The smoothing itself.

    Raises: `ValueError` for anything else.
    """
    if not isinstance(absolute, AbstractAbsolutePenalty):
        raise ValueError(
            f"`absolute` must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got {type(absolute).__name__}."
        )
    return absolute


class PseudoHuberPenalty(AbstractAbsolutePenalty):
    """Smoothed absolute value, `h_mu(x) = sqrt(mu^2 + x^2) - mu`: quadratic near 0, slope 1 far away.

    `h_mu' = x / r,  h_mu'' = mu^2 / r^3,  r = sqrt(mu^2 + x^2)`.

    Arguments:

    - `smoothing`: `mu > 0`.
    - `constant`, `order`: `M_h` and `nu`. The defaults are the released code's, (2, 2.6); the least true constant at 2.6 is
      `3 sqrt(10) 11^{-0.55} = 2.5372`, with which `self_concordance` is a bound for every p (with 2 it is one for p >= 4).

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and `2 <= order <= 3`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.PseudoHuberPenalty(smoothing=3.0)(jnp.array([4.0, 0.0])))
    2.0
    >>> [round(rg.PseudoHuberPenalty.tight_constant(order), 5) for order in (2, 2.5, 2.6, 8 / 3, 3)]
    [1.5, 2.19429, 2.5372, 3.0, inf]

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 2.
    """

    smoothing: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    reference_constants: ClassVar[tuple[float, float]] = (2.0, 2.6)

    def __init__(self, smoothing: float = 1.0, constant: float = 2.0, order: float = 2.6):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = checked_constants(constant, order)

    @staticmethod
    def tight_constant(order: float) -> float:
        """`3 b^{b/2} / (1 + b)^{(1 + b)/2}` with `b = 4 - 3 nu / 2`, infinite for `nu > 8/3`.

        `|h'''| / (h'')^{nu/2} = 3 x (1 + x^2)^{-(1 + b)/2}` has its maximum at `x = 1 / sqrt(b)`, for `b = 0` its supremum 3 at infinity.
        """
        b = (8 - 3 * order) / 2
        return 3 * b ** (b / 2) / (1 + b) ** ((1 + b) / 2) if b >= 0 else math.inf

    def radial_constant(self, order: float) -> float:
        """That of a number at `nu = 2`, infinite above.

        Derived: with `t = |x|` and `a` in [0, 1] the component of `v` along `x` in the local norm, the ratio to be bounded is, for the worst `u`,
        `(1 + 2 a) t r^{nu/2 - 2} (1 + a^2 t^2)^{(nu - 3)/2}`; for `a = 0`, across `x`, it grows without bound as soon as `nu > 2`.
        """
        return self.tight_constant(order) if order == 2 else math.inf

    def core(self) -> Array:
        return self.smoothing

    def height(self, excess: Array) -> Array:
        return excess

    def pull(self, x: Array, r: Array) -> Array:
        return x / r

    def bend(self, r: Array, others: Array) -> Array:
        return ((self.smoothing / r) ** 2 + others) / r


class OstrovskiiBachPenalty(AbstractAbsolutePenalty):
    """Smoothed absolute value, `h_mu(x) = (s - mu)/2 + (mu/2) log(2 mu / (s + mu))` with `s = sqrt(mu^2 + 4 x^2)`: self-concordant (`nu = 3`).

    `h_mu' = 2 x / (s + mu),  h_mu'' = 2 mu / (s (s + mu))`: the released closed forms, without their division by x.

    Arguments:

    - `smoothing`: `mu > 0`.
    - `constant`, `order`: `M_h = 2 sqrt(2)` and `nu = 3` by default, the released code's and both sharp.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and `2 <= order <= 3`.

    >>> import riemgn as rg
    >>> round(float(rg.OstrovskiiBachPenalty(smoothing=4.0).self_concordance(p=100)), 6)
    1.414214
    >>> [round(rg.OstrovskiiBachPenalty.tight_constant(order), 5) for order in (2, 2.6, 3)]
    [1.59075, 2.00807, 2.82843]

    Reference: Ostrovskii and Bach, arXiv:1810.06838; ggn_score.md 2.
    """

    smoothing: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    reference_constants: ClassVar[tuple[float, float]] = (2 * math.sqrt(2), 3.0)

    def __init__(self, smoothing: float = 1.0, constant: float = 2 * math.sqrt(2), order: float = 3.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = checked_constants(constant, order)

    @staticmethod
    def tight_constant(order: float) -> float:
        """The maximum over `s >= 1` of `2^{2 - nu/2} sqrt(s - 1) (2 s + 1) (s + 1)^{(nu - 3)/2} s^{nu/2 - 3}`, infinite for `nu > 3`.

        That is `|h'''| / (h'')^{nu/2}` in `s = sqrt(1 + 4 x^2)`. Its maximum lies at the one positive root of
        `4 (3 - nu) s^3 = 3 (4 - nu) s + 6 - nu`; at `nu = 3` its supremum `2 sqrt(2)` lies at infinity.
        """
        if order >= 3:
            return 2 * math.sqrt(2) if order == 3 else math.inf
        third = (4 - order) / (4 * (3 - order))
        cosine = (6 - order) / (8 * (3 - order)) / third**1.5
        s = 2 * math.sqrt(third) * cmath.cos(cmath.acos(cosine) / 3).real  # of a depressed cubic, by Viete
        return (
            2 ** (2 - order / 2) * math.sqrt(s - 1) * (2 * s + 1) * (s + 1) ** ((order - 3) / 2) * s ** (order / 2 - 3)
        )

    def radial_constant(self, order: float) -> float:
        """That of a number (at `nu = 3` derived, between 2 and 3 measured: the supremum lies along `x`)."""
        return self.tight_constant(order)

    def core(self) -> Array:
        return self.smoothing / 2

    def height(self, excess: Array) -> Array:
        return excess - self.core() * jnp.log1p(excess / self.smoothing)

    def pull(self, x: Array, r: Array) -> Array:
        return x / (r + self.core())

    def bend(self, r: Array, others: Array) -> Array:
        share = self.core() / r
        return (share * (1 + share) + others) / (1 + share) ** 2 / r
