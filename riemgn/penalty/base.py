"""Base classes of penalties, with constants of self-concordance, and the ridge penalty."""

import abc
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Scalar, Weights
from .._validation import checked_number, is_traced


class AbstractPenalty(eqx.Module):
    """A convex penalty `h_mu(w) = mu h(w / mu)` on the parameters.

    `h` is (M_h, nu)-generalised self-concordant if, with `|u|_w^2 = D^2 h(w)[u, u]`,
    `|D^3 h(w)[v, u, u]| <= M_h |u|_w^2 |v|_w^{nu - 2} |v|^{3 - nu}`. In one variable this is
    `|h'''| <= M_h (h'')^{nu/2}`. `h_mu` then has the constants `(mu^{nu/2 - 2} M_h, nu)`.

    - `smoothing`: `mu > 0`, in units of the parameters.
    - `constant`, `order`: `M_h` and `nu`, with `2 <= nu <= 3`. If `constant` is below
      `tight_constant(order)`, the bounds that use `self_concordance` are heuristic.
    - `reference_constants`: `(M_h, nu)` of the released code, or None if it has no such penalty.

    Raises: `ValueError` for a negative or infinite constant and an order outside [2, 3].

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13.
    """

    smoothing: eqx.AbstractVar[Array]
    constant: eqx.AbstractVar[float]
    order: eqx.AbstractVar[float]
    reference_constants: eqx.AbstractVar[tuple[float, float] | None]

    def __check_init__(self):
        if not 0 <= self.constant < math.inf:
            raise ValueError(f"`constant` must be >= 0 and finite, got {self.constant}.")
        if not 2 <= self.order <= 3:
            raise ValueError(f"`order` must be between 2 and 3, got {self.order}.")

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def __call__(self, w: Weights) -> Scalar:
        """Return `h_mu(w)`, a scalar."""

    @abc.abstractmethod
    def gradient(self, w: Weights) -> Weights:
        """Return the gradient, shape (p,)."""

    @abc.abstractmethod
    def hessian_diagonal(self, w: Weights) -> Weights:
        """Return the diagonal of the Hessian, positive, shape (p,)."""

    @abc.abstractmethod
    def tight_constant(self, order: float) -> float:
        """Return the smallest valid `M_h` for the order `nu`, or infinity if no constant is valid.

        For a penalty that is not separable the constant is valid, but not always the smallest.
        """

    def local_norm(self, w: Weights) -> Scalar:
        """Return `sqrt(sum_i h_i'^2 / h_i'')`, the gradient in the local dual norm."""
        gradient = self.gradient(w)
        zero = gradient == 0
        # Far from a bound both derivatives underflow to 0, and so does their ratio.
        return jnp.sqrt(jnp.sum(gradient * (gradient / jnp.where(zero, 1.0, self.hessian_diagonal(w)))))

    def self_concordance(self, p: int) -> Scalar:
        """Return `M_g = p^{(3 - nu)/2} mu^{nu/2 - 2} M_h` for `p` parameters.

        The power of `p` is that of the released code. A sum of separable terms does not need it,
        so `M_g` is valid if `p^{(3 - nu)/2} constant >= tight_constant(nu)`.

        Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13.
        """
        return p ** ((3 - self.order) / 2) * self.smoothing ** (self.order / 2 - 2) * self.constant

    def omega(self, distance: Scalar) -> Scalar:
        """Return `omega_nu(t) = integral_0^1 (1 - s) (1 - s t)^{-2/(nu - 2)} ds`.

        It bounds the penalty by `h(w + d) <= h(w) + <h'(w), d> + omega_nu(t) |d|_w^2` at the
        `distance` `t`. It is 1/2 at `t = 0` and infinite for `t >= 1`. For `nu = 2` the power is
        `exp(s t)`.

        Reference: Sun and Tran-Dinh, arXiv:1703.04599. The integral form is derived here.
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
        """Return `d_nu = (nu/2 - 1) M_g |d|^{3 - nu} |d|_w^{nu - 2}` (`M_g |d|` for `nu = 2`).

        It measures how much the Hessian changes along a step `d` of `p` parameters with the norms
        `euclidean` (`|d|`) and `local` (`|d|_w`).

        Reference: Sun and Tran-Dinh, arXiv:1703.04599.
        """
        factor, nu = self.self_concordance(p), self.order
        if nu == 2:
            return factor * euclidean
        return (nu / 2 - 1) * factor * euclidean ** (3 - nu) * local ** (nu - 2)


class AbstractSeparablePenalty(AbstractPenalty):
    """A penalty `h_mu(w) = sum_i h_mu(w_i)`, by definition with a diagonal Hessian."""

    @abc.abstractmethod
    def pointwise(self, w: Weights) -> Weights:
        """Return the terms `h_mu(w_i)`, shape (p,)."""

    def __call__(self, w: Weights) -> Scalar:
        return jnp.sum(self.pointwise(w))


class SquaredPenalty(AbstractSeparablePenalty):
    """Ridge penalty, `h_mu(x) = x^2 / (2 mu)`, self-concordant with `M_h = 0`.

    GGN-SCORE with this penalty and weight 0 is the Levenberg-Marquardt method.

    Arguments:

    - `smoothing`: `mu > 0` (default 1).

    Raises: `ValueError` unless `smoothing` is positive and finite.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.SquaredPenalty()(jnp.array([3.0, 4.0])))
    12.5

    Reference: derived.
    """

    smoothing: Array = eqx.field(default=1.0, converter=partial(checked_number, "smoothing"))
    constant: ClassVar[float] = 0.0
    order: ClassVar[float] = 2.0
    reference_constants: ClassVar[None] = None

    @staticmethod
    def tight_constant(order: float) -> float:
        """Return 0, because the third derivative is 0."""
        return 0.0

    def pointwise(self, w: Weights) -> Weights:
        return w * (w / (2 * self.smoothing))

    def gradient(self, w: Weights) -> Weights:
        return w / self.smoothing

    def hessian_diagonal(self, w: Weights) -> Weights:
        return jnp.ones_like(w) / self.smoothing


def _near_zero(t: Scalar, closed: Callable, ratio: Callable) -> Scalar:
    """Return `closed(t)`, or for `t < 1e-3` the series `1/2 (1 + ratio(3) t (1 + ratio(4) t ...))`.

    The rounding error of `closed(t)` is `eps / t`.
    """
    series = jnp.ones_like(t)
    for k in (8, 7, 6, 5, 4, 3):
        series = 1 + ratio(k) * t * series
    small = t < 1e-3
    return jnp.where(small, series / 2, closed(jnp.where(small, 0.5, t)))


def checked_penalty(penalty: Any) -> AbstractPenalty:
    """Return the `penalty`. Raises: `ValueError` for another type."""
    if not isinstance(penalty, AbstractPenalty):
        raise ValueError(f"`penalty` must be a penalty such as PseudoHuberPenalty(), got {penalty!r}.")
    return penalty


def checked_score_damping(damping: float | str, weight: Array) -> Array | None:
    """Return the `c` in the matrix `c D + J^T Q J` of GGN-SCORE, or None for `c = tau`.

    `damping` is a positive number, `"unit"` (1) or `"tau"`, and `weight` is `tau`.

    Raises: `ValueError` for another `damping`, and for `c = tau = 0`.
    """
    if not isinstance(damping, str):
        return checked_number("damping", damping)
    if damping not in ("unit", "tau"):
        raise ValueError(f"`damping` must be a positive number, 'unit' or 'tau', got {damping!r}.")
    if damping == "tau" and not is_traced(weight) and float(weight) == 0:
        raise ValueError("`weight` must be positive where damping='tau', got 0.")
    return jnp.asarray(1.0, dtype=float) if damping == "unit" else None
