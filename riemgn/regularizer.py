"""Separable penalties `h(w) = sum_i h_mu(w_i)` with their constants of generalised self-concordance.

A function of one variable is (M, nu)-generalised self-concordant if `|h'''| <= M (h'')^(nu/2)`. Every penalty here is `h_mu(x) = mu h(x / mu)`
with a smoothing `mu > 0`; its class states `nu` (`order`) and the constant `M_h` of `h` (`constant`) at `mu = 1`.
"""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._arguments import checked_number, is_traced
from ._types import Scalar, Weights


class AbstractPenalty(eqx.Module):
    """A convex, separable penalty on the parameters; its Hessian is diagonal and `curvature` returns that diagonal.

    - `smoothing`: `mu`, in units of the parameters.
    - `constant`, `order`: `M_h` and `nu` of the function of one variable at `mu = 1`.
    - `least_constant`: the least `M_h` that is true at the default order; a smaller `constant` makes the bounds of `self_concordance` a rule of
      thumb.
    """

    smoothing: eqx.AbstractVar[Array]
    constant: eqx.AbstractVar[float]
    order: eqx.AbstractVar[float]
    least_constant: eqx.AbstractClassVar[float]

    @abc.abstractmethod
    def pointwise(self, w: Weights) -> Weights:
        """The terms `h_mu(w_i)`, shape (p,)."""

    @abc.abstractmethod
    def slope(self, w: Weights) -> Weights:
        """The gradient, `h_mu'(w_i)`, shape (p,)."""

    @abc.abstractmethod
    def curvature(self, w: Weights) -> Weights:
        """The diagonal of the Hessian, `h_mu''(w_i) > 0`, shape (p,)."""

    def __call__(self, w: Weights) -> Scalar:
        """`sum_i h_mu(w_i)`, a scalar."""
        return jnp.sum(self.pointwise(w))

    def local_norm(self, w: Weights) -> Scalar:
        """`sqrt(sum_i h'^2 / h'')`: the gradient in the norm of the inverse Hessian."""
        return jnp.sqrt(jnp.sum(self.slope(w) ** 2 / self.curvature(w)))

    def self_concordance(self, p: int) -> Scalar:
        """`M_g = p^{(3 - nu)/2} mu^{nu/2 - 2} M_h`, the constant of the sum over `p` parameters (ggn_score.md 2.2).

        The power of `p` is the released code's. The sum of separable terms is self-concordant without it, so `M_g` is a true constant as soon as
        `p^{(3 - nu)/2} constant >= least_constant` (derived: `sum_i |h_i''' v_i| u_i^2 <= M sum_i h_i'' u_i^2 (h_i'' v_i^2)^{nu/2-1} |v_i|^{3-nu}`).
        """
        return p ** ((3 - self.order) / 2) * self.smoothing ** (self.order / 2 - 2) * self.constant

    def growth(self, distance: Scalar) -> Scalar:
        """`omega_nu(D)` with `h(w + d) <= h(w) + <h'(w), d> + omega_nu(D) |d|_w^2` at the distance `D = d_nu(w, w + d)` of `reach`.

        `omega_nu(D) = integral_0^1 (1 - s) (1 - s D)^{-2/(nu - 2)} ds`, 1/2 at `D = 0` and infinite from `D = 1` on; for `nu = 2` the power is
        `exp(s D)`.

        Reference: Sun and Tran-Dinh, arXiv:1703.04599; the integral form is derived here.
        """
        if self.order == 2:
            return _near_zero(distance, lambda t: (jnp.expm1(t) - t) / t**2, lambda k: 1 / k)
        a = 2 * (3 - self.order) / (self.order - 2)
        if self.order == 3:
            value = _near_zero(distance, lambda t: (-t - jnp.log1p(-t)) / t**2, lambda k: (k - 1) / k)
        else:
            value = _near_zero(distance, lambda t: (jnp.expm1(-a * jnp.log1p(-t)) / (a * t) - 1) / ((a + 1) * t), lambda k: (a + k - 1) / k)
        return jnp.where(distance < 1, value, jnp.inf)

    def reach(self, p: int, euclidean: Scalar, local: Scalar) -> Scalar:
        """How far a step `d` goes, in units in which the Hessian of the penalty changes.

        `d_nu = (nu/2 - 1) M_g |d|^{3 - nu} |d|_w^{nu - 2}`, or `M_g |d|` for `nu = 2`.

        Arguments:

        - `p`: number of parameters.
        - `euclidean`: `|d|`; `local`: `|d|_w = sqrt(sum_i h''(w_i) d_i^2)`.
        """
        if self.order == 2:
            return self.self_concordance(p) * euclidean
        return (self.order / 2 - 1) * self.self_concordance(p) * euclidean ** (3 - self.order) * local ** (self.order - 2)


def _near_zero(t: Scalar, closed: Callable, ratio: Callable) -> Scalar:
    """`closed(t)`, whose rounding error is `eps / t`; below 1e-3 its power series `1/2 (1 + ratio(3) t (1 + ratio(4) t (1 + ...)))`."""
    series = jnp.ones_like(t)
    for k in (8, 7, 6, 5, 4, 3):
        series = 1 + ratio(k) * t * series
    small = t < 1e-3
    return jnp.where(small, series / 2, closed(jnp.where(small, 0.5, t)))


class PseudoHuberPenalty(AbstractPenalty):
    """Smoothed absolute value, `h_mu(x) = sqrt(mu^2 + x^2) - mu`: quadratic near 0, slope 1 far away.

    `h_mu' = x / r,  h_mu'' = mu^2 / r^3,  r = sqrt(mu^2 + x^2)`.

    Arguments:

    - `smoothing`: `mu > 0`.
    - `constant`, `order`: `M_h` and `nu`. The defaults are the released code's, (2, 2.6); the least true constant at 2.6 is
      `3 sqrt(10) 11^{-0.55} = 2.5372`, with which `self_concordance` is a bound for every p (with 2 it is one for p >= 4). Other true pairs:
      (1.5, 2), (2.1943, 2.5), (3, 8/3); none at order 3.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and `2 <= order <= 3`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.PseudoHuberPenalty(smoothing=3.0)(jnp.array([4.0, 0.0])))
    2.0

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 2.
    """

    smoothing: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    least_constant: ClassVar[float] = 3 * math.sqrt(10) * 11**-0.55

    def __init__(self, smoothing: float = 1.0, constant: float = 2.0, order: float = 2.6):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = _checked_constants(constant, order)

    def pointwise(self, w: Weights) -> Weights:
        # x^2 / (r + mu) is r - mu without cancellation at small x
        return w**2 / (self._radius(w) + self.smoothing)

    def slope(self, w: Weights) -> Weights:
        return w / self._radius(w)

    def curvature(self, w: Weights) -> Weights:
        return self.smoothing**2 / self._radius(w) ** 3

    def _radius(self, w: Weights) -> Weights:
        return jnp.sqrt(self.smoothing**2 + w**2)


class OstrovskiiBachPenalty(AbstractPenalty):
    """Smoothed absolute value, `h_mu(x) = (s - mu)/2 + (mu/2) log(2 mu / (s + mu))` with `s = sqrt(mu^2 + 4 x^2)`: self-concordant (`nu = 3`).

    `h_mu' = 2 x / (s + mu),  h_mu'' = 2 mu / (s (s + mu))`: the released closed forms, without their division by x.

    Arguments:

    - `smoothing`: `mu > 0`.
    - `constant`, `order`: `M_h = 2 sqrt(2)` and `nu = 3` by default, both sharp; (2.0081, 2.6) is another true pair.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and `2 <= order <= 3`.

    >>> import riemgn as rg
    >>> round(float(rg.OstrovskiiBachPenalty(smoothing=4.0).self_concordance(p=100)), 6)
    1.414214

    Reference: Ostrovskii and Bach, arXiv:1810.06838; ggn_score.md 2.
    """

    smoothing: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    least_constant: ClassVar[float] = 2 * math.sqrt(2)

    def __init__(self, smoothing: float = 1.0, constant: float = 2 * math.sqrt(2), order: float = 3.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = _checked_constants(constant, order)

    def pointwise(self, w: Weights) -> Weights:
        half = 2 * w**2 / (self._radius(w) + self.smoothing)  # (s - mu) / 2 without cancellation
        return half - 0.5 * self.smoothing * jnp.log1p(half / self.smoothing)

    def slope(self, w: Weights) -> Weights:
        return 2 * w / (self._radius(w) + self.smoothing)

    def curvature(self, w: Weights) -> Weights:
        s = self._radius(w)
        return 2 * self.smoothing / (s * (s + self.smoothing))

    def _radius(self, w: Weights) -> Weights:
        return jnp.sqrt(self.smoothing**2 + 4 * w**2)


class ExponentialPenalty(AbstractPenalty):
    """Exponential wall, `h_mu(x) = mu exp((a - x) / mu)`: keeps the parameters above the lower bound `a`, softly.

    `h_mu' = -exp((a - x) / mu),  h_mu'' = exp((a - x) / mu) / mu`, with `M_h = 1` and `nu = 2`, both sharp. Parameters far above `a` have next to no
    curvature, which GGN-SCORE divides by: of use for `x - a` within some tens of `mu`.

    Arguments:

    - `smoothing`: `mu > 0`, the width of the wall.
    - `lower`: the bound `a`, a number or shape (p,).
    - `constant`: `M_h`, 1 by default.

    Raises: `ValueError` unless `smoothing` is positive and finite, `constant >= 0` and `lower` finite.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.ExponentialPenalty(smoothing=0.5, lower=1.0)(jnp.array([1.0, 1.0])))
    1.0

    Reference: ggn_score.md 2.1.
    """

    smoothing: Array
    lower: Array
    constant: float = eqx.field(static=True)
    order: float = eqx.field(static=True)
    least_constant: ClassVar[float] = 1.0

    def __init__(self, smoothing: float = 1.0, lower: Any = 0.0, constant: float = 1.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.lower = jnp.asarray(lower, dtype=float)
        if not is_traced(lower) and not bool(jnp.all(jnp.isfinite(self.lower))):
            raise ValueError(f"`lower` must be finite, got {lower}.")
        self.constant, self.order = _checked_constants(constant, 2.0)

    def pointwise(self, w: Weights) -> Weights:
        return self.smoothing * self._height(w)

    def slope(self, w: Weights) -> Weights:
        return -self._height(w)

    def curvature(self, w: Weights) -> Weights:
        return self._height(w) / self.smoothing

    def _height(self, w: Weights) -> Weights:
        return jnp.exp((self.lower - w) / self.smoothing)


class SquaredPenalty(AbstractPenalty):
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
    least_constant: ClassVar[float] = 0.0

    def __init__(self, smoothing: float = 1.0):
        self.smoothing = checked_number("smoothing", smoothing)
        self.constant, self.order = 0.0, 2.0

    def pointwise(self, w: Weights) -> Weights:
        return w**2 / (2 * self.smoothing)

    def slope(self, w: Weights) -> Weights:
        return w / self.smoothing

    def curvature(self, w: Weights) -> Weights:
        return jnp.ones_like(w) / self.smoothing


def _checked_constants(constant: float, order: float) -> tuple[float, float]:
    if not 0 <= constant < math.inf:
        raise ValueError(f"`constant` must be >= 0 and finite, got {constant}.")
    if not 2 <= order <= 3:
        raise ValueError(f"`order` must lie in [2, 3], got {order}.")
    return float(constant), float(order)


def checked_penalty(penalty: Any) -> AbstractPenalty:
    """The penalty itself.

    Raises: `ValueError` for anything else.
    """
    if not isinstance(penalty, AbstractPenalty):
        raise ValueError(f"`penalty` must be a penalty such as PseudoHuberPenalty(), got {penalty!r}.")
    return penalty


def checked_score_damping(damping: float | str, weight: Array) -> Array | None:
    """The `c` of GGN-SCORE's matrix `c D + J^T Q J`, from a positive number, `"unit"` (1) or `"tau"`; None stands for `c = tau = weight`.

    Raises: `ValueError` for anything else, and for `c = tau = 0`.
    """
    if not isinstance(damping, str):
        return checked_number("damping", damping)
    if damping not in ("unit", "tau"):
        raise ValueError(f"`damping` must be a positive number, 'unit' or 'tau', got {damping!r}.")
    if damping == "tau" and not is_traced(weight) and float(weight) == 0:
        raise ValueError("`weight` must be positive where damping='tau', got 0.")
    return jnp.asarray(1.0, dtype=float) if damping == "unit" else None


PENALTIES: dict[str, type[AbstractPenalty]] = {
    "pseudo-huber": PseudoHuberPenalty,
    "ostrovskii-bach": OstrovskiiBachPenalty,
    "exponential": ExponentialPenalty,
    "squared": SquaredPenalty,
}
