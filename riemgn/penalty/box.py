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
from .base import AbstractSeparablePenalty, checked_constants


class ExponentialPenalty(AbstractSeparablePenalty):
    """Exponential walls, `h_mu(x) = mu exp((a - x) / mu) + mu exp((x - b) / mu)`: keep the parameters between `a` and `b`, softly.

    `h_mu' = -exp((a - x) / mu) + exp((x - b) / mu)`, `h_mu'' = h_mu / mu^2`; `M_h = 1` and `nu = 2`, both sharp. A bound at infinity has no wall.
    Parameters far inside have next to no curvature, which GGN-SCORE divides by: of use within some tens of `mu` of a bound. The released code
    takes an upper bound and does not use it.

    Arguments:

    - `smoothing`: `mu > 0`, the width of the walls.
    - `lower`, `upper`: the bounds `a < b`, numbers or shape (p,); None is no bound.
    - `constant`: `M_h`, 1 by default.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0`, `lower < upper` and every parameter has a finite bound.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.ExponentialPenalty(smoothing=0.5, lower=1.0)(jnp.array([1.0, 1.0])))
    1.0

    Reference: ggn_score.md 2.1.
    """

    smoothing: Array
    lower: Array
    upper: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    reference_constants: ClassVar[tuple[float, float]] = (1.0, 2.0)

    def __init__(self, smoothing: float = 1.0, lower: Any = 0.0, upper: Any = None, constant: float = 1.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.lower, self.upper = _checked_bounds(lower, upper)
        if not (is_traced(lower) or is_traced(upper)) and bool(jnp.any(jnp.isinf(self.lower) & jnp.isinf(self.upper))):
            raise ValueError(f"Each parameter needs a finite bound, got lower = {lower} and upper = {upper}.")
        self.constant, self.order = checked_constants(constant, 2.0)

    @staticmethod
    def tight_constant(order: float) -> float:
        """1 at `nu = 2`; infinite at every other order, where no constant serves bounds at all distances."""
        return 1.0 if order == 2 else math.inf

    def pointwise(self, w: Weights) -> Weights:
        below, above = self._heights(w)
        return self.smoothing * (below + above)

    def gradient(self, w: Weights) -> Weights:
        below, above = self._heights(w)
        return above - below

    def hessian_diagonal(self, w: Weights) -> Weights:
        below, above = self._heights(w)
        return (below + above) / self.smoothing

    def _heights(self, w: Weights) -> tuple[Weights, Weights]:
        return jnp.exp((self.lower - w) / self.smoothing), jnp.exp((w - self.upper) / self.smoothing)


class BoxPenalty(AbstractPenaltyOnAbsolute, AbstractSeparablePenalty):
    """Distance from the box `[a, b]`, smoothed: `h_mu(x - a)` below it, 0 inside, `h_mu(x - b)` above.

    With `h_mu` of `PseudoHuberPenalty` it is the released code's box, whose gradient has its sign flipped and tests `-x < a` for `x < a`. The Hessian
    jumps from 0 to `1 / mu` at the bounds, so no constant of self-concordance is true of it: `constant` and `order` are those of `h_mu`, which is
    met on either side of a bound.

    Arguments:

    - `absolute`: `h_mu`, `PseudoHuberPenalty` or `OstrovskiiBachPenalty`.
    - `lower`, `upper`: the bounds `a < b`, numbers or shape (p,); None is no bound.
    - `floor`: `curvature` inside the box is `floor / mu`, a thousandth of that at the bounds by default. The Hessian is 0 there; GGN-SCORE divides by
      `curvature`, and damps parameters inside the box by `c floor / mu`. The released code has the machine epsilon, which leaves them undamped.

    Raises: `ValueError` for another `absolute`, unless `lower < upper`, unless `floor` is positive and finite.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> box = rg.BoxPenalty(rg.PseudoHuberPenalty(smoothing=3.0), lower=-1.0, upper=1.0)
    >>> box.pointwise(jnp.array([-5.0, 0.5, 5.0])).tolist()
    [2.0, 0.0, 2.0]

    Reference: ggn_score.md 2.1, corrected.
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
        """Infinite: the second derivative jumps at the bounds."""
        return math.inf

    def pointwise(self, w: Weights) -> Weights:
        return self.absolute.pointwise(self._outside(w))

    def gradient(self, w: Weights) -> Weights:
        return self.absolute.gradient(self._outside(w))

    def hessian_diagonal(self, w: Weights) -> Weights:
        outside = (w < self.lower) | (w > self.upper)
        return jnp.where(outside, self.absolute.hessian_diagonal(self._outside(w)), self.floor / self.smoothing)

    def _outside(self, w: Weights) -> Weights:
        """How far each parameter lies outside its bounds, negative below the lower one."""
        return jnp.where(w < self.lower, w - self.lower, jnp.where(w > self.upper, w - self.upper, 0.0))


def _checked_bounds(lower: Any, upper: Any) -> tuple[Array, Array]:
    bounds = []
    for name, given, none in (("lower", lower, -math.inf), ("upper", upper, math.inf)):
        try:
            bound = jnp.asarray(none if given is None else given, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"`{name}` must be a number, numbers of shape (p,) or None, got {given!r}.") from None
        if bound.ndim > 1:
            raise ValueError(f"`{name}` must be a number or have shape (p,), got shape {bound.shape}.")
        bounds.append(bound)
    low, high = bounds
    if low.ndim == high.ndim == 1 and low.shape != high.shape:
        raise ValueError(f"`lower` and `upper` must have one shape, got {low.shape} and {high.shape}.")
    if not (is_traced(lower) or is_traced(upper)):
        for wrong in np.argwhere(~(np.asarray(low) < np.asarray(high)))[:1]:
            a, b = (
                np.broadcast_to(bound, np.broadcast_shapes(low.shape, high.shape))[tuple(wrong)]
                for bound in (low, high)
            )
            where = f" at parameter {wrong[0]}" if wrong.size else ""
            raise ValueError(f"`lower` must be less than `upper`, got {a:g} and {b:g}{where}.")
        if bool(jnp.any(low == jnp.inf)) or bool(jnp.any(high == -jnp.inf)):
            raise ValueError(
                f"`lower` must be below infinity and `upper` above minus infinity, got {lower} and {upper}."
            )
    return low, high
