"""The smooth sparse group lasso."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int

from .._types import Scalar, Weights
from .._validation import is_traced
from .absolute import AbstractAbsolutePenalty, AbstractPenaltyOnAbsolute, checked_absolute

Groups = Float[Array, " groups"]


class SparseGroupPenalty(AbstractPenaltyOnAbsolute):
    """Smooth sparse group lasso, `h(w) = sum_i h_mu(w_i) + sum_g c_g h_mu(|w_g|)`.

    `w_g` are the parameters of group `g`. The first sum makes single parameters small, the second
    makes whole groups small. The Hessian is not diagonal within a group. `hessian_diagonal` is its
    exact diagonal `h_mu''(w_i) + c_g (h_mu''(t) w_i^2 / t^2 + (h_mu'(t) / t) (1 - w_i^2 / t^2))` at
    `t = |w_g|`, which is positive everywhere. GGN-SCORE uses the diagonal as its metric, so its
    `predicted_decrease` is not a bound for this penalty.

    The released code uses the composition `sum_g h_mu(sum_j C_gj h_mu(w_j))` instead. Its second
    derivative is 0 at `w = 0`, where GGN-SCORE would divide by it.

    With `PseudoHuberPenalty` only `nu = 2` has a valid constant, 1.5. For higher orders there is
    none, because `h_mu(|w_g|)` has curvature `1 / t` across `w_g` and `1 / t^3` along it.

    Arguments:

    - `absolute`: `h_mu`, a `PseudoHuberPenalty` or `OstrovskiiBachPenalty`. It has its constants.
    - `labels`: the group of each parameter, integers 0, 1, ..., shape (p,).
    - `weights`: `c_g >= 0`, a number or one per group (default: square root of the group's size).

    Raises: `ValueError` for another type of `absolute`, wrong labels, weights that are negative,
    not finite or not one per group, and parameters of another number than the labels.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> h = rg.PseudoHuberPenalty(smoothing=12.0)
    >>> penalty, w = rg.SparseGroupPenalty(h, [0, 0, 1], [2.0, 1.0]), jnp.array([3.0, 4.0, 0.0])
    >>> float(penalty(w) - h(w))  # 2 (sqrt(12^2 + 3^2 + 4^2) - 12)
    2.0

    Reference: Simon, Friedman, Hastie, Tibshirani, J. Comput. Graph. Stat. 22 (2013);
    Statement C13. The smooth form is derived here.
    """

    absolute: AbstractAbsolutePenalty
    labels: Int[Array, " p"]
    weights: Groups

    def __init__(self, absolute: AbstractAbsolutePenalty, labels: Any, weights: Any = None):
        groups = np.asarray(labels)
        if groups.ndim != 1 or groups.size == 0 or groups.dtype.kind not in "iu" or groups.min() < 0:
            raise ValueError(f"`labels` must be integers >= 0 of shape (p,), got {_described(groups)}.")
        sizes = np.bincount(groups)
        self.absolute = checked_absolute(absolute)
        self.labels = jnp.asarray(groups)
        self.weights = (
            jnp.sqrt(jnp.asarray(sizes, dtype=float)) if weights is None else _checked_weights(weights, len(sizes))
        )

    def tight_constant(self, order: float) -> float:
        """Return a valid constant, `max(1, c^{1 - nu/2})` times that of `h(|x|)`.

        `c` is the smallest positive weight. The constant is sharp for `nu = 2`. It is infinite if
        no constant holds for every grouping.

        Reference: the sum rule of Sun and Tran-Dinh, arXiv:1703.04599, proposition 1.
        """
        weights = np.asarray(self.weights)
        smallest = min(1.0, float(weights[weights > 0].min(initial=1.0)))
        return smallest ** (1 - order / 2) * self.absolute.radial_constant(order)

    def __call__(self, w: Weights) -> Scalar:
        size, squares = self._scaled(w)
        r, offset = self._radius(size, squares), self.absolute.offset()
        excess = size * (size / (r + offset)) * squares
        return self.absolute(w) + jnp.sum(self.weights * self.absolute.value(excess))

    def gradient(self, w: Weights) -> Weights:
        r = self._radius(*self._scaled(w))[self.labels]
        return self.absolute.gradient(w) + self.weights[self.labels] * self.absolute.derivative(w, r)

    def hessian_diagonal(self, w: Weights) -> Weights:
        size, squares = self._scaled(w)
        r = self._radius(size, squares)
        others = self._others(w / size[self.labels]) * ((size / r) ** 2)[self.labels]
        return self.absolute.hessian_diagonal(w) + self.weights[self.labels] * self.absolute.second_derivative(
            r[self.labels], others
        )

    def _scaled(self, w: Weights) -> tuple[Groups, Groups]:
        """Return for each group a scale and the sum of the squares in units of the scale."""
        if w.shape != self.labels.shape:
            raise ValueError(f"The penalty has {self.labels.size} labels, but got parameters of shape {w.shape}.")
        # minus infinity for a group without members
        largest = jax.ops.segment_max(jnp.abs(w), self.labels, len(self.weights))
        size = stop_gradient(jnp.maximum(largest, self.absolute.offset()))
        return size, self._sum((w / size[self.labels]) ** 2)

    def _radius(self, size: Groups, squares: Groups) -> Groups:
        return size * jnp.sqrt((self.absolute.offset() / size) ** 2 + squares)

    def _others(self, u: Weights) -> Weights:
        """Return for each parameter the sum of the squares of the others in its group.

        The largest member is summed apart, so that at most half of a sum is subtracted.
        """
        size = jnp.abs(stop_gradient(u))
        indices = jnp.arange(u.size)
        is_largest = size == jax.ops.segment_max(size, self.labels, len(self.weights))[self.labels]
        first = jax.ops.segment_min(jnp.where(is_largest, indices, u.size), self.labels, len(self.weights))
        top = indices == first[self.labels]
        rest = self._sum(jnp.where(top, 0.0, u**2))[self.labels]
        largest = self._sum(jnp.where(top, u**2, 0.0))[self.labels]
        return jnp.where(top, rest, rest - u**2 + largest)

    def _sum(self, values: Weights) -> Groups:
        return jax.ops.segment_sum(values, self.labels, len(self.weights))


def _checked_weights(weights: Any, groups: int) -> Groups:
    if is_traced(weights):
        return jnp.broadcast_to(weights, (groups,))
    array = np.asarray(weights)
    if array.dtype.kind not in "iuf" or array.shape not in ((), (groups,)):
        raise ValueError(f"`weights` must be a number or one for each of the {groups} groups, got {_described(array)}.")
    if not np.all((array >= 0) & np.isfinite(array)):
        raise ValueError(f"`weights` must be >= 0 and finite, got {weights}.")
    return jnp.broadcast_to(jnp.asarray(array, dtype=float), (groups,))


def _described(array: np.ndarray) -> str:
    smallest = f" and smallest value {array.min()}" if array.size and array.dtype.kind in "iuf" else ""
    return f"shape {array.shape}, dtype {array.dtype}{smallest}"
