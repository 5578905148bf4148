"""Damping schedules `rho(t, point)` of the Levenberg-Marquardt flows and methods."""

import abc
import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._repr import short_repr
from .._types import Scalar
from .._validation import checked_number
from ..linalg import spectrum
from ..problem import Linearisation

Rank = Int[Array, ""] | int


def _non_negative(name: str, default: Any = dataclasses.MISSING) -> Any:
    return eqx.field(converter=partial(checked_number, name, positive=False), default=default)


class AbstractDamping(eqx.Module):
    """A rule for the damping `rho >= 0`, in units of the eigenvalues of `K = J J^T`."""

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        """Return `rho` at time `t` and `point`, where `J` has the numerical rank `rank`."""


class ConstantDamping(AbstractDamping):
    """`rho_t = rho`, with rate `2 nu lambda_min / (lambda_min + rho)` (Statement C7)."""

    rho: Scalar | float = _non_negative("rho")

    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        return jnp.asarray(self.rho)


class ExponentialDamping(AbstractDamping):
    """`rho_t = rho0 exp(-rate t)`: full rate at `log(rho0 / lambda_min) / rate` (Statement C8)."""

    rho0: Scalar | float = _non_negative("rho0")
    rate: Scalar | float = _non_negative("rate", 1.0)

    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        return self.rho0 * jnp.exp(-self.rate * t)


class SpectralDamping(AbstractDamping):
    """`rho_t = factor * lambda_min(K_t)`, with rate `2 nu / (1 + factor)` (Statement C8).

    Raises: `ValueError` if `J` is matrix-free, because each evaluation computes its spectrum.
    """

    factor: Scalar | float = _non_negative("factor", 1.0)

    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        if not point.jac.shape[1]:
            raise ValueError(
                "SpectralDamping needs the singular values of J, which `matrix_free` never forms: "
                "pass a number or another schedule."
            )
        return self.factor * spectrum(point.jac)[rank - 1] ** 2


class ResidualDamping(AbstractDamping):
    """`rho_t = factor * |f(w_t) - y|^power`, which vanishes with the residual (Statement D7).

    The delay against no damping is at most `factor |r_0|^power / (power lambda_min)`.
    """

    factor: Scalar | float = _non_negative("factor")
    power: Scalar | float = _non_negative("power", 1.0)

    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        return self.factor * jnp.sum(point.residual**2) ** (0.5 * self.power)


class GradientDamping(AbstractDamping):
    """`rho_t = factor * |grad g(f(w_t))|^power`, for non-quadratic losses (Statement D7)."""

    factor: Scalar | float = _non_negative("factor")
    power: Scalar | float = _non_negative("power", 1.0)

    def __call__(self, t: Scalar, point: Linearisation, rank: Rank) -> Scalar:
        return self.factor * jnp.sum(point.loss_gradient**2) ** (0.5 * self.power)


def as_damping(value: AbstractDamping | Scalar | float) -> AbstractDamping:
    """Return a schedule as it is, a number as `ConstantDamping`."""
    return value if isinstance(value, AbstractDamping) else ConstantDamping(value)


def is_zero(value: AbstractDamping | float) -> bool:
    """Return whether `value` is the number 0, with which a flow inverts `J` itself."""
    return isinstance(value, int | float) and value == 0
