"""The sparse group lasso, smoothed."""

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
    """Sparse group lasso, smoothed: `h(w) = sum_i h_mu(w_i) + sum_g c_g h_mu(|w_g|)`, where `w_g` are the parameters of group `g`.

    The first sum makes single parameters small, the second whole groups. The Hessian is not diagonal between members of a group; `curvature` is its
    exact diagonal, `h_mu''(w_i) + c_g (h_mu''(t) w_i^2 / t^2 + (h_mu'(t) / t) (1 - w_i^2 / t^2))` at `t = |w_g|`: positive everywhere, and
    `(1 + c_g) / mu` at 0. GGN-SCORE with it has the diagonal as its metric, and its `predicted_decrease` is then no bound.

    The released code has the composition `sum_g h_mu(sum_j C_gj h_mu(w_j))` instead, with a matrix `C` that it leaves out of the gradient (`C^T` is
    missing), and as value that of the parameters after a shrinkage of each group. The composition has no curvature at `w = 0`, because `h_mu'(0) = 0`
    twice: GGN-SCORE would divide by 0 at the very point to which the penalty pulls, and the group norms do not occur in it.

    Constants: the released code's are those of `h_mu`, `(2, 2.6)` and `(2 sqrt(2), 3)`. With pseudo-Huber only `nu = 2` has a true one, 1.5:
    `h_mu(|w_g|)` bends as `1 / t` across `w_g` and as `1 / t^3` along it, and at higher orders the ratio to be bounded grows without end.

    Arguments:

    - `absolute`: `h_mu`, `PseudoHuberPenalty` or `OstrovskiiBachPenalty`; its constants are taken over.
    - `labels`: the group of each parameter, whole numbers 0, 1, ..., shape (p,).
    - `weights`: `c_g >= 0`, a number or one for each group; the square root of the size of the group by default, as is the custom.

    Raises: `ValueError` for another `absolute`, labels that are no such numbers, weights that are negative, not finite, or not one for each group,
    and for another number of parameters than of labels.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> penalty = rg.SparseGroupPenalty(rg.PseudoHuberPenalty(smoothing=12.0), labels=[0, 0, 1], weights=[2.0, 1.0])
    >>> float(penalty(jnp.array([3.0, 4.0, 0.0])) - penalty.absolute(jnp.array([3.0, 4.0, 0.0])))  # 2 (sqrt(12^2 + 3^2 + 4^2) - 12)
    2.0

    Reference: Simon, Friedman, Hastie, Tibshirani, J. Comput. Graph. Stat. 22 (2013); ggn_score.md 2.1, corrected; the smoothed form is ours.
    """

    absolute: AbstractAbsolutePenalty
    labels: Int[Array, " p"]
    weights: Groups

    def __init__(self, absolute: AbstractAbsolutePenalty, labels: Any, weights: Any = None):
        marks = np.asarray(labels)
        if marks.ndim != 1 or marks.size == 0 or marks.dtype.kind not in "iu" or marks.min() < 0:
            raise ValueError(f"`labels` must be whole numbers >= 0 of shape (p,), got {_described(marks)}.")
        sizes = np.bincount(marks)
        self.absolute = checked_absolute(absolute)
        self.labels = jnp.asarray(marks)
        self.weights = (
            jnp.sqrt(jnp.asarray(sizes, dtype=float)) if weights is None else _checked_weights(weights, len(sizes))
        )

    def tight_constant(self, order: float) -> float:
        """A true constant: `max(1, c^{1 - nu/2})` times that of `h(|x|)`, `c` the least positive weight.

        Sharp at `nu = 2`, perhaps not the least above; infinite where no constant holds for every grouping.

        Reference: the sum rule of Sun and Tran-Dinh, arXiv:1703.04599, proposition 1.
        """
        weights = np.asarray(self.weights)
        least = min(1.0, float(weights[weights > 0].min(initial=1.0)))
        return least ** (1 - order / 2) * self.absolute.radial_constant(order)

    def __call__(self, w: Weights) -> Scalar:
        size, squares = self._scaled(w)
        r, core = self._radius(size, squares), self.absolute.core()
        excess = size * (size / (r + core)) * squares
        return self.absolute(w) + jnp.sum(self.weights * self.absolute.height(excess))

    def gradient(self, w: Weights) -> Weights:
        r = self._radius(*self._scaled(w))[self.labels]
        return self.absolute.gradient(w) + self.weights[self.labels] * self.absolute.pull(w, r)

    def hessian_diagonal(self, w: Weights) -> Weights:
        size, squares = self._scaled(w)
        r = self._radius(size, squares)
        others = self._others(w / size[self.labels]) * ((size / r) ** 2)[self.labels]
        return self.absolute.hessian_diagonal(w) + self.weights[self.labels] * self.absolute.bend(
            r[self.labels], others
        )

    def _scaled(self, w: Weights) -> tuple[Groups, Groups]:
        """For each group the size of its numbers, constant for derivatives, and the sum of the squares in units of it."""
        if w.shape != self.labels.shape:
            raise ValueError(f"The penalty has {self.labels.size} labels and got parameters of shape {w.shape}.")
        largest = jax.ops.segment_max(
            jnp.abs(w), self.labels, len(self.weights)
        )  # minus infinity for a group without members
        size = stop_gradient(jnp.maximum(largest, self.absolute.core()))
        return size, self._sum((w / size[self.labels]) ** 2)

    def _radius(self, size: Groups, squares: Groups) -> Groups:
        return size * jnp.sqrt((self.absolute.core() / size) ** 2 + squares)

    def _others(self, u: Weights) -> Weights:
        """For each parameter the sum of the squares of the others in its group, without cancellation.

        The largest of a group is left out and the others are summed; for every other member, what is taken away is at most half of the sum.
        """
        size = jnp.abs(stop_gradient(u))
        numbers = jnp.arange(u.size)
        is_largest = size == jax.ops.segment_max(size, self.labels, len(self.weights))[self.labels]
        first = jax.ops.segment_min(jnp.where(is_largest, numbers, u.size), self.labels, len(self.weights))
        top = numbers == first[self.labels]
        rest = self._sum(jnp.where(top, 0.0, u**2))[self.labels]
        largest = self._sum(jnp.where(top, u**2, 0.0))[self.labels]
        return jnp.where(top, rest, rest - u**2 + largest)

    def _sum(self, values: Weights) -> Groups:
        return jax.ops.segment_sum(values, self.labels, len(self.weights))


def _checked_weights(weights: Any, groups: int) -> Groups:
    if is_traced(weights):
        return jnp.broadcast_to(weights, (groups,))
    given = np.asarray(weights)
    if given.dtype.kind not in "iuf" or given.shape not in ((), (groups,)):
        raise ValueError(f"`weights` must be a number or one for each of the {groups} groups, got {_described(given)}.")
    if not np.all((given >= 0) & np.isfinite(given)):
        raise ValueError(f"`weights` must be >= 0 and finite, got {weights}.")
    return jnp.broadcast_to(jnp.asarray(given, dtype=float), (groups,))


def _described(array: np.ndarray) -> str:
    least = f" and least value {array.min()}" if array.size and array.dtype.kind in "iuf" else ""
    return f"shape {array.shape}, dtype {array.dtype}{least}"
