"""What every penalty has: value, gradient, diagonal of the Hessian, constants of generalised self-concordance.

A function is (M, nu)-generalised self-concordant if `|D^3 h(w)[v, u, u]| <= M |u|_w^2 |v|_w^{nu - 2} |v|^{3 - nu}`, `|u|_w^2 = D^2 h(w)[u, u]`;
in one variable, `|h'''| <= M (h'')^{nu/2}`. Every penalty here is `h_mu(w) = mu h(w / mu)` with a smoothing `mu > 0`; if `h` is (M, nu), then
`h_mu` is `(mu^{nu/2 - 2} M, nu)`.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Scalar, Weights
from .._validation import checked_number, is_traced


class AbstractPenalty(eqx.Module):
    """A convex penalty on the parameters; `curvature` is the diagonal of its Hessian.

    - `smoothing`: `mu`, in units of the parameters.
    - `constant`, `order`: the `M_h` and `nu` in use, at `mu = 1`. A `constant` below `tight_constant(order)` makes the bounds of `self_concordance` a
      rule of thumb.
    - `reference_constants`: the released code's `(M_h, nu)`, which are the defaults, or None where it has no such penalty.
    """

    smoothing: eqx.AbstractVar[Array]
    constant: eqx.AbstractVar[float]
    order: eqx.AbstractVar[float]
    reference_constants: eqx.AbstractVar[tuple[float, float] | None]

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def __call__(self, w: Weights) -> Scalar:
        """`h_mu(w)`, a scalar."""

    @abc.abstractmethod
    def gradient(self, w: Weights) -> Weights:
        """The gradient, shape (p,)."""

    @abc.abstractmethod
    def hessian_diagonal(self, w: Weights) -> Weights:
        """The diagonal of the Hessian, positive, shape (p,)."""

    @abc.abstractmethod
    def tight_constant(self, order: float) -> float:
        """The least `M_h` at `mu = 1` with which the penalty is self-concordant of order `nu`; infinite where there is none.

        Of a penalty that is not separable, a true one, see its class.
        """

    def local_norm(self, w: Weights) -> Scalar:
        """`sqrt(sum_i h_i'^2 / h_i'')`: the gradient in the norm of the inverse diagonal of the Hessian."""
        slope = self.gradient(w)
        flat = slope == 0
        # where the slope is 0, by underflow even, so is its term: a wall far away has neither slope nor curvature left
        return jnp.sqrt(jnp.sum(slope * (slope / jnp.where(flat, 1.0, self.hessian_diagonal(w)))))

    def self_concordance(self, p: int) -> Scalar:
        """`M_g = p^{(3 - nu)/2} mu^{nu/2 - 2} M_h`, the constant of the penalty on `p` parameters (ggn_score.md 2.2).

        The power of `p` is the released code's. The sum of separable terms is self-concordant without it, so `M_g` is a true constant as soon as
        `p^{(3 - nu)/2} constant >= tight_constant(nu)`, as `sum_i |h_i''' v_i| u_i^2 <= M sum_i h_i'' u_i^2 (h_i'' v_i^2)^{nu/2-1} |v_i|^{3-nu}`.

        The released code has a second formula for orders above 3, which it never reaches and which contradicts the law of scaling (exponent
        `4 - 3 nu / 2` of `mu` in place of `nu/2 - 2`): such orders are refused here.
        """
        return p ** ((3 - self.order) / 2) * self.smoothing ** (self.order / 2 - 2) * self.constant

    def omega(self, distance: Scalar) -> Scalar:
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
            value = _near_zero(
                distance,
                lambda t: (jnp.expm1(-a * jnp.log1p(-t)) / (a * t) - 1) / ((a + 1) * t),
                lambda k: (a + k - 1) / k,
            )
        return jnp.where(distance < 1, value, jnp.inf)

    def distance(self, p: int, euclidean: Scalar, local: Scalar) -> Scalar:
        """How far a step `d` goes, in units in which the Hessian of the penalty changes.

        `d_nu = (nu/2 - 1) M_g |d|^{3 - nu} |d|_w^{nu - 2}`, or `M_g |d|` for `nu = 2`.

        Arguments:

        - `p`: number of parameters.
        - `euclidean`: `|d|`; `local`: `|d|_w`.
        """
        if self.order == 2:
            return self.self_concordance(p) * euclidean
        return (
            (self.order / 2 - 1) * self.self_concordance(p) * euclidean ** (3 - self.order) * local ** (self.order - 2)
        )


class AbstractSeparablePenalty(AbstractPenalty):
    """`h_mu(w) = sum_i h_mu(w_i)` by definition: the Hessian is diagonal, so `curvature` is all of it."""

    @abc.abstractmethod
    def pointwise(self, w: Weights) -> Weights:
        """The terms `h_mu(w_i)`, shape (p,)."""

    def __call__(self, w: Weights) -> Scalar:
        return jnp.sum(self.pointwise(w))


def _near_zero(t: Scalar, closed: Callable, ratio: Callable) -> Scalar:
    """`closed(t)`, whose rounding error is `eps / t`; below 1e-3 its power series `1/2 (1 + ratio(3) t (1 + ratio(4) t (1 + ...)))`."""
    series = jnp.ones_like(t)
    for k in (8, 7, 6, 5, 4, 3):
        series = 1 + ratio(k) * t * series
    small = t < 1e-3
    return jnp.where(small, series / 2, closed(jnp.where(small, 0.5, t)))


def checked_constants(constant: float, order: float) -> tuple[float, float]:
    """`M_h` and `nu` as floats.

    Raises: `ValueError` unless `constant >= 0` is finite and `2 <= order <= 3`.
    """
    if not 0 <= constant < math.inf:
        raise ValueError(f"`constant` must be >= 0 and finite, got {constant}.")
    if not 2 <= order <= 3:
        raise ValueError(f"`order` must lie in [2, 3], got {order}.")
    return float(constant), float(order)


def checked_penalty(penalty: Any) -> AbstractPenalty:
    """The `penalty` itself.

    Raises: `ValueError` for anything else.
    """
    if not isinstance(penalty, AbstractPenalty):
        raise ValueError(f"`penalty` must be a penalty such as PseudoHuberPenalty(), got {penalty!r}.")
    return penalty


def checked_score_damping(damping: float | str, weight: Array) -> Array | None:
    """The `c` of GGN-SCORE's matrix `c D + J^T Q J`, from a `damping`: a positive number, `"unit"` (1) or `"tau"`; None for `c = tau = weight`.

    Raises: `ValueError` for anything else, and for `c = tau = 0`.
    """
    if not isinstance(damping, str):
        return checked_number("damping", damping)
    if damping not in ("unit", "tau"):
        raise ValueError(f"`damping` must be a positive number, 'unit' or 'tau', got {damping!r}.")
    if damping == "tau" and not is_traced(weight) and float(weight) == 0:
        raise ValueError("`weight` must be positive where damping='tau', got 0.")
    return jnp.asarray(1.0, dtype=float) if damping == "unit" else None
