"""Penalties that keep the parameters between bounds."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import Weights
from .._validation import checked_number, is_traced
from .absolute import AbstractAbsolutePenalty, AbstractPenaltyOnAbsolute, checked_absolute
from .base import AbstractSeparablePenalty


class ExponentialPenalty(AbstractSeparablePenalty):
    """Exponential barriers at the bounds, `h_mu(x) = mu exp((a - x) / mu) + mu exp((x - b) / mu)`.

    The constants `M_h = 1` and `nu = 2` are sharp. An infinite bound has no barrier. You can use it
    if the parameters stay within some tens of `mu` of a bound. Farther inside, the second
    derivative is nearly 0, and GGN-SCORE divides by it.

    Arguments:

    - `smoothing`: `mu > 0` (default 1), the width of the barriers.
    - `lower`, `upper`: the bounds `a < b`, numbers or shape (p,), or None for no bound (defaults 0
      and None).
    - `constant`: `M_h` (default 1).

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0`, `lower < upper`
    and every parameter has a finite bound.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.ExponentialPenalty(smoothing=0.5, lower=1.0)(jnp.array([1.0, 1.0])))
    1.0

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13.
    """

    smoothing: Array
    lower: Array
    upper: Array
    constant: float = eqx.field(static=True)
    order: ClassVar[float] = 2.0
    reference_constants: ClassVar[tuple[float, float]] = (1.0, 2.0)

    def __init__(self, smoothing: float = 1.0, lower: Any = 0.0, upper: Any = None, constant: float = 1.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.lower, self.upper = _checked_bounds(lower, upper)
        if not (is_traced(lower) or is_traced(upper)) and bool(jnp.any(jnp.isinf(self.lower) & jnp.isinf(self.upper))):
            raise ValueError(f"Each parameter needs a finite bound, got lower = {lower} and upper = {upper}.")
        self.constant = float(constant)

    @staticmethod
    def tight_constant(order: float) -> float:
        """Return 1 for `nu = 2`, and infinity for every other order."""
        return 1.0 if order == 2 else math.inf

    def pointwise(self, w: Weights) -> Weights:
        below, above = self._barriers(w)
        return self.smoothing * (below + above)

    def gradient(self, w: Weights) -> Weights:
        below, above = self._barriers(w)
        return above - below

    def hessian_diagonal(self, w: Weights) -> Weights:
        below, above = self._barriers(w)
        return (below + above) / self.smoothing

    def _barriers(self, w: Weights) -> tuple[Weights, Weights]:
        return jnp.exp((self.lower - w) / self.smoothing), jnp.exp((w - self.upper) / self.smoothing)


class BoxPenalty(AbstractPenaltyOnAbsolute, AbstractSeparablePenalty):
    """Smooth distance from a box, `h_mu(x - a)` below it, 0 inside, `h_mu(x - b)` above it.

    The Hessian jumps from 0 to `1 / mu` at the bounds, so no constant of self-concordance is valid.
    `constant` and `order` are those of `h_mu`, which hold on either side of a bound. The gradient
    has the correct sign, unlike that of the released code.

    Arguments:

    - `absolute`: `h_mu`, a `PseudoHuberPenalty` or `OstrovskiiBachPenalty`.
    - `lower`, `upper`: the bounds `a < b`, numbers or shape (p,), or None for no bound (defaults 0
      and None).
    - `floor`: `hessian_diagonal` is `floor / mu` inside the box (default 1e-3), because GGN-SCORE
      divides by it.

    Raises: `ValueError` for another type of `absolute`, unless `lower < upper`, and unless `floor`
    is positive and finite.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> box = rg.BoxPenalty(rg.PseudoHuberPenalty(smoothing=3.0), lower=-1.0, upper=1.0)
    >>> box.pointwise(jnp.array([-5.0, 0.5, 5.0])).tolist()
    [2.0, 0.0, 2.0]

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875, corrected; Statement C13.
    """

    absolute: AbstractAbsolutePenalty
    lower: Array
    upper: Array
    floor: Array

    def __init__(self, absolute: AbstractAbsolutePenalty, lower: Any = 0.0, upper: Any = None, floor: float = 1e-3):
        self.absolute = checked_absolute(absolute)
        self.lower, self.upper = _checked_bounds(lower, upper)
        self.floor = checked_number("floor", floor)

    @staticmethod
    def tight_constant(order: float) -> float:
        """Return infinity, because the second derivative jumps at the bounds."""
        return math.inf

    def pointwise(self, w: Weights) -> Weights:
        return self.absolute.pointwise(self._outside(w))

    def gradient(self, w: Weights) -> Weights:
        return self.absolute.gradient(self._outside(w))

    def hessian_diagonal(self, w: Weights) -> Weights:
        outside = (w < self.lower) | (w > self.upper)
        return jnp.where(outside, self.absolute.hessian_diagonal(self._outside(w)), self.floor / self.smoothing)

    def _outside(self, w: Weights) -> Weights:
        """Return the signed distance of each parameter from the box, negative below it."""
        return jnp.where(w < self.lower, w - self.lower, jnp.where(w > self.upper, w - self.upper, 0.0))


def _checked_bounds(lower: Any, upper: Any) -> tuple[Array, Array]:
    low, high = _checked_bound("lower", lower, -math.inf), _checked_bound("upper", upper, math.inf)
    if low.ndim == high.ndim == 1 and low.shape != high.shape:
        raise ValueError(f"`lower` and `upper` must have one shape, got {low.shape} and {high.shape}.")
    if not (is_traced(lower) or is_traced(upper)):
        a, b = (np.atleast_1d(bound) for bound in np.broadcast_arrays(low, high))
        i = int(np.argmin(a < b))
        if not a[i] < b[i]:
            where = f" at parameter {i}" if low.ndim or high.ndim else ""
            raise ValueError(f"`lower` must be less than `upper`, got {a[i]:g} and {b[i]:g}{where}.")
    return low, high


def _checked_bound(name: str, value: Any, default: float) -> Array:
    try:
        bound = jnp.asarray(default if value is None else value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a number, numbers of shape (p,) or None, got {value!r}.") from None
    if bound.ndim > 1:
        raise ValueError(f"`{name}` must be a number or have shape (p,), got shape {bound.shape}.")
    return bound
