"""Smooth approximations of the absolute value and of the Euclidean norm."""

import abc
import cmath
import math
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array

from .._types import Weights
from .._validation import checked_number
from .base import AbstractPenalty, AbstractSeparablePenalty


class AbstractAbsolutePenalty(AbstractSeparablePenalty):
    """Smooth absolute value `h_mu(x)`, a function of `r = sqrt(m^2 + x^2)` with `m = O(mu)`.

    `h_mu(|x|)` with `r = sqrt(m^2 + |x|^2)` is a smooth norm of a vector `x`. The methods below
    serve both. They scale numbers before squaring them, so nothing overflows or underflows.

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13.
    """

    @abc.abstractmethod
    def offset(self) -> Array:
        """Return `m`, a scalar."""

    @abc.abstractmethod
    def value(self, excess: Array) -> Array:
        """Return the value from `excess = r - m`."""

    @abc.abstractmethod
    def derivative(self, x: Array, r: Array) -> Array:
        """Return the derivative by the component `x`."""

    @abc.abstractmethod
    def second_derivative(self, r: Array, others: Array) -> Array:
        """Return the second derivative by a component.

        `others` is the sum of the squares of the other components over `r^2`, 0 for a number.
        """

    @abc.abstractmethod
    def radial_constant(self, order: float) -> float:
        """Return `tight_constant` of `h(|x|)` for vectors `x` of at least two components."""

    def pointwise(self, w: Weights) -> Weights:
        # x^2 / (r + m) equals r - m and does not cancel for small x
        return self.value(w * (w / (self._radius(w) + self.offset())))

    def gradient(self, w: Weights) -> Weights:
        return self.derivative(w, self._radius(w))

    def hessian_diagonal(self, w: Weights) -> Weights:
        return self.second_derivative(self._radius(w), jnp.zeros_like(w))

    def _radius(self, w: Weights) -> Weights:
        size = stop_gradient(jnp.maximum(jnp.abs(w), self.offset()))
        return size * jnp.sqrt((self.offset() / size) ** 2 + (w / size) ** 2)


class AbstractPenaltyOnAbsolute(AbstractPenalty):
    """A penalty with a smooth absolute value `absolute`, whose `mu` and constants it uses."""

    absolute: eqx.AbstractVar[AbstractAbsolutePenalty]

    @property
    def smoothing(self) -> Array:
        return self.absolute.smoothing

    @property
    def reference_constants(self) -> tuple[float, float] | None:
        return self.absolute.reference_constants

    @property
    def constant(self) -> float:
        return self.absolute.constant

    @property
    def order(self) -> float:
        return self.absolute.order


def checked_absolute(absolute: Any) -> AbstractAbsolutePenalty:
    """Return `absolute`. Raises: `ValueError` for another type."""
    if not isinstance(absolute, AbstractAbsolutePenalty):
        raise ValueError(
            f"`absolute` must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got {type(absolute).__name__}."
        )
    return absolute


class PseudoHuberPenalty(AbstractAbsolutePenalty):
    """Smooth absolute value, `h_mu(x) = sqrt(mu^2 + x^2) - mu`.

    It is quadratic near 0 and has slope 1 far away: `h_mu' = x / r` and `h_mu'' = mu^2 / r^3` with
    `r = sqrt(mu^2 + x^2)`.

    Arguments:

    - `smoothing`: `mu > 0` (default 1), for example the size of a parameter that you call small.
    - `constant`, `order`: `M_h` and `nu` (default 2 and 2.6, as in the released code). The smallest
      valid constant for 2.6 is `3 sqrt(10) 11^{-0.55} = 2.5372`. With 2, `self_concordance` is
      valid for `p >= 4`.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and
    `2 <= order <= 3`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.PseudoHuberPenalty(smoothing=3.0)(jnp.array([4.0, 0.0])))
    2.0
    >>> [round(rg.PseudoHuberPenalty.tight_constant(order), 5) for order in (2, 2.5, 2.6, 8 / 3, 3)]
    [1.5, 2.19429, 2.5372, 3.0, inf]

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13.
    """

    smoothing: Array = eqx.field(default=1.0, converter=partial(checked_number, "smoothing"))
    constant: float = eqx.field(static=True, default=2.0, converter=float)
    order: float = eqx.field(static=True, default=2.6, converter=float)
    reference_constants: ClassVar[tuple[float, float]] = (2.0, 2.6)

    @staticmethod
    def tight_constant(order: float) -> float:
        """Return `3 b^{b/2} / (1 + b)^{(1 + b)/2}`, `b = 4 - 3 nu / 2`, infinite for `nu > 8/3`.

        `|h'''| / (h'')^{nu/2} = 3 x (1 + x^2)^{-(1 + b)/2}` has its maximum at `x = 1 / sqrt(b)`,
        or for `b = 0` its supremum 3 at infinity.
        """
        b = (8 - 3 * order) / 2
        return 3 * b ** (b / 2) / (1 + b) ** ((1 + b) / 2) if b >= 0 else math.inf

    def radial_constant(self, order: float) -> float:
        """Return `tight_constant` for `nu = 2`, and infinity above.

        Derived: with `t = |x|` and `a` in [0, 1] the component of `v` along `x` in the local norm,
        the worst `u` gives the ratio `(1 + 2 a) t r^{nu/2 - 2} (1 + a^2 t^2)^{(nu - 3)/2}`. For
        `a = 0` and `nu > 2` it is unbounded.
        """
        return self.tight_constant(order) if order == 2 else math.inf

    def offset(self) -> Array:
        return self.smoothing

    def value(self, excess: Array) -> Array:
        return excess

    def derivative(self, x: Array, r: Array) -> Array:
        return x / r

    def second_derivative(self, r: Array, others: Array) -> Array:
        return ((self.smoothing / r) ** 2 + others) / r


class OstrovskiiBachPenalty(AbstractAbsolutePenalty):
    """Self-concordant smooth absolute value (`nu = 3`).

    `h_mu(x) = (s - mu)/2 + (mu/2) log(2 mu / (s + mu))` with `s = sqrt(mu^2 + 4 x^2)`,
    `h_mu' = 2 x / (s + mu)` and `h_mu'' = 2 mu / (s (s + mu))`.

    Arguments:

    - `smoothing`: `mu > 0` (default 1).
    - `constant`, `order`: `M_h` and `nu` (default `2 sqrt(2)` and 3, as in the released code). Both
      are sharp.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and
    `2 <= order <= 3`.

    >>> import riemgn as rg
    >>> round(float(rg.OstrovskiiBachPenalty(smoothing=4.0).self_concordance(p=100)), 6)
    1.414214
    >>> [round(rg.OstrovskiiBachPenalty.tight_constant(order), 5) for order in (2, 2.6, 3)]
    [1.59075, 2.00807, 2.82843]

    Reference: Ostrovskii and Bach, arXiv:1810.06838; Statement C13.
    """

    smoothing: Array = eqx.field(default=1.0, converter=partial(checked_number, "smoothing"))
    constant: float = eqx.field(static=True, default=2 * math.sqrt(2), converter=float)
    order: float = eqx.field(static=True, default=3.0, converter=float)
    reference_constants: ClassVar[tuple[float, float]] = (2 * math.sqrt(2), 3.0)

    @staticmethod
    def tight_constant(order: float) -> float:
        """Return the supremum of `|h'''| / (h'')^{nu/2}`, infinite for `nu > 3`.

        In `s = sqrt(1 + 4 x^2)` the ratio is
        `2^{2 - nu/2} sqrt(s - 1) (2 s + 1) (s + 1)^{(nu - 3)/2} s^{nu/2 - 3}`. Its maximum is at
        the only positive root of `4 (3 - nu) s^3 = 3 (4 - nu) s + 6 - nu`. For `nu = 3` the
        supremum is `2 sqrt(2)` at infinity.
        """
        if order >= 3:
            return 2 * math.sqrt(2) if order == 3 else math.inf
        third = (4 - order) / (4 * (3 - order))
        cosine = (6 - order) / (8 * (3 - order)) / third**1.5
        s = 2 * math.sqrt(third) * cmath.cos(cmath.acos(cosine) / 3).real  # Viete's formula
        powers = (s + 1) ** ((order - 3) / 2) * s ** (order / 2 - 3)
        return 2 ** (2 - order / 2) * math.sqrt(s - 1) * (2 * s + 1) * powers

    def radial_constant(self, order: float) -> float:
        """Return `tight_constant`: derived for `nu = 3`, measured for `2 <= nu < 3`."""
        return self.tight_constant(order)

    def offset(self) -> Array:
        return self.smoothing / 2

    def value(self, excess: Array) -> Array:
        return excess - self.offset() * jnp.log1p(excess / self.smoothing)

    def derivative(self, x: Array, r: Array) -> Array:
        return x / (r + self.offset())

    def second_derivative(self, r: Array, others: Array) -> Array:
        ratio = self.offset() / r
        return (ratio * (1 + ratio) + others) / (1 + ratio) ** 2 / r
