"""Losses on the outputs, `g : R^n -> R`, with gradient, Hessian and convexity constants.

Every loss here is a sum over outputs, `g(f) = scale * sum_i l(f_i, y_i)`, so its Hessian is
diagonal. `scale` is 1, or `1 / n` with `mean=True`.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ._types import Outputs, Scalar


class AbstractLoss(eqx.Module):
    """`g(f) = scale * sum_i l(f_i, y_i)`, `l` by definition convex and twice differentiable."""

    mean: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def pointwise(self, f: Outputs, y: Outputs) -> Outputs:
        """Compute the terms `l(f_i, y_i)`, shape (n,)."""

    @abc.abstractmethod
    def minima(self, y: Outputs) -> Outputs:
        """Compute the infimum of each term over `f_i`, shape (n,)."""

    @abc.abstractmethod
    def curvature_range(self, radius: float) -> tuple[float, float]:
        """Bound `l''` where `|f_i - y_i| <= radius`, or `|f_i| <= radius` (logistic, Poisson)."""

    def check_targets(self, y: Outputs) -> str | None:
        """Return one sentence if the targets do not fit the loss, else None (default)."""
        return None

    def __call__(self, f: Outputs, y: Outputs) -> Scalar:
        """Compute `g(f)`."""
        return self.scale(f.size) * jnp.sum(self.pointwise(f, y))

    def scale(self, n: int) -> float:
        """Return 1 for the sum, `1 / n` for the mean over the n outputs."""
        return 1.0 / n if self.mean else 1.0

    def gradient(self, f: Outputs, y: Outputs) -> Outputs:
        """Compute `grad g(f)`, shape (n,)."""
        return jax.grad(self)(f, y)

    def hessian(self, f: Outputs, y: Outputs) -> Outputs:
        """Compute the diagonal of `Hess g(f)`, shape (n,). All other entries are zero."""
        # a diagonal matrix times the vector of ones is its diagonal
        return jax.jvp(lambda f: self.gradient(f, y), (f,), (jnp.ones_like(f),))[1]

    def infimum(self, y: Outputs) -> Scalar:
        """Compute `inf g`, the infimum over all outputs."""
        return self.scale(y.size) * jnp.sum(self.minima(y))

    def strong_convexity(self, n: int, radius: float = math.inf) -> float:
        """Return the largest `nu` with `Hess g >= nu I` on the set of `curvature_range`."""
        return self.scale(n) * self.curvature_range(_checked_radius(radius))[0]

    def smoothness(self, n: int, radius: float = math.inf) -> float:
        """Return the smallest `mu` with `Hess g <= mu I` on the set of `curvature_range`."""
        return self.scale(n) * self.curvature_range(_checked_radius(radius))[1]


class SquaredLoss(AbstractLoss):
    """`g(f) = 1/2 |f - y|^2`, with `nu = mu = 1` everywhere. `mean=True` divides by n.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> float(rg.SquaredLoss()(jnp.array([3.0, 4.0]), jnp.zeros(2)))
    12.5

    Reference: Statements, definitions.
    """

    mean: bool = eqx.field(static=True, default=False)

    def pointwise(self, f: Outputs, y: Outputs) -> Outputs:
        return 0.5 * (f - y) ** 2

    def minima(self, y: Outputs) -> Outputs:
        return jnp.zeros_like(y)

    def curvature_range(self, radius: float) -> tuple[float, float]:
        return 1.0, 1.0


class PseudoHuberLoss(AbstractLoss):
    """`l(f, y) = delta^2 (sqrt(1 + ((f - y) / delta)^2) - 1)`: quadratic near y, linear far away.

    Use it for data with outliers. `l'' = (1 + ((f - y) / delta)^2)^(-3/2)`, so `mu = 1`. `delta`
    (default 1) is the residual at which the loss turns linear. `mean=True` divides by n.

    Raises: `ValueError` unless `delta` is positive and finite.

    Reference: Charbonnier et al., IEEE Trans. Image Process. 6 (1997). Constants derived here.
    """

    delta: float = eqx.field(static=True, default=1.0)
    mean: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not 0 < self.delta < math.inf:
            raise ValueError(f"`delta` must be positive and finite, got {self.delta}.")

    def pointwise(self, f: Outputs, y: Outputs) -> Outputs:
        z = (f - y) / self.delta
        # sqrt(1 + z^2) - 1 without cancellation at small z
        return self.delta**2 * z**2 / (jnp.sqrt(1 + z**2) + 1)

    def minima(self, y: Outputs) -> Outputs:
        return jnp.zeros_like(y)

    def curvature_range(self, radius: float) -> tuple[float, float]:
        return (1 + (radius / self.delta) ** 2) ** -1.5, 1.0


class LogisticLoss(AbstractLoss):
    """`l(f, y) = log(1 + exp(f)) - y f` for targets in [0, 1]. `mean=True` divides by n.

    `l'' = s(f) (1 - s(f))` with the logistic function `s`. So `mu = 1/4`, and
    `nu = s(radius) (1 - s(radius))` where `|f_i| <= radius`.

    Reference: McCullagh and Nelder, Generalized Linear Models (1989), chapter 4. Constants derived.
    """

    mean: bool = eqx.field(static=True, default=False)

    def pointwise(self, f: Outputs, y: Outputs) -> Outputs:
        return jax.nn.softplus(f) - y * f

    def minima(self, y: Outputs) -> Outputs:
        return -jax.scipy.special.xlogy(y, y) - jax.scipy.special.xlogy(1 - y, 1 - y)

    def curvature_range(self, radius: float) -> tuple[float, float]:
        decay = math.exp(-radius)
        return decay / (1 + decay) ** 2, 0.25

    def check_targets(self, y: Outputs) -> str | None:
        low, high = float(y.min()), float(y.max())
        fits = 0 <= low and high <= 1
        return None if fits else f"The logistic loss needs targets in [0, 1], got values from {low:g} to {high:g}."


class PoissonLoss(AbstractLoss):
    """`l(f, y) = exp(f) - y f` for counts `y >= 0`, of which `exp(f)` is the expected value.

    `l'' = exp(f)`: where `|f_i| <= radius`, `nu = exp(-radius)` and `mu = exp(radius)`.
    `mean=True` divides by n.

    Reference: McCullagh and Nelder, Generalized Linear Models (1989), chapter 6. Constants derived.
    """

    mean: bool = eqx.field(static=True, default=False)

    def pointwise(self, f: Outputs, y: Outputs) -> Outputs:
        return jnp.exp(f) - y * f

    def minima(self, y: Outputs) -> Outputs:
        return y - jax.scipy.special.xlogy(y, y)

    def curvature_range(self, radius: float) -> tuple[float, float]:
        return math.exp(-radius), math.exp(radius) if radius < 700 else math.inf

    def check_targets(self, y: Outputs) -> str | None:
        low = float(y.min())
        return None if low >= 0 else f"The Poisson loss needs targets >= 0, got a smallest value of {low:g}."


def _checked_radius(radius: float) -> float:
    if not radius >= 0:
        raise ValueError(f"`radius` must be >= 0 (in units of the outputs), got {radius}.")
    return float(radius)


LOSSES: dict[str, Callable[..., AbstractLoss]] = {
    "squared": SquaredLoss,
    "pseudo-huber": PseudoHuberLoss,
    "logistic": LogisticLoss,
    "poisson": PoissonLoss,
}
