"""Damping schedules `rho(t, point)`: constant, exponential in time, by the smallest kernel eigenvalue, by the residual or the gradient."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._types import Scalar
from .._validation import checked_number
from ..linalg import spectrum
from ..problem import Linearisation


class AbstractDamping(eqx.Module):
    """A rule for the damping `rho >= 0`, in units of the eigenvalues of `K = J J^T`."""

    @abc.abstractmethod
    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        """`rho` at time `t` and the point `point`; `rank` singular values of `J` count as non-zero."""


class ConstantDamping(AbstractDamping):
    """`rho_t = rho`. Rate `2 nu lambda_min / (lambda_min + rho)`: degrades with the conditioning (theory.md C7)."""

    rho: Array

    def __init__(self, rho: Scalar | float):
        self.rho = checked_number("rho", rho, positive=False)

    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        return self.rho


class ExponentialDamping(AbstractDamping):
    """`rho_t = rho0 exp(-rate t)`. Full rate after a time `log(rho0 / lambda_min) / rate` (theory.md C8)."""

    rho0: Array
    rate: Array

    def __init__(self, rho0: float, rate: float = 1.0):
        self.rho0 = checked_number("rho0", rho0, positive=False)
        self.rate = checked_number("rate", rate, positive=False)

    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        return self.rho0 * jnp.exp(-self.rate * t)


class SpectralDamping(AbstractDamping):
    """`rho_t = c lambda_min(K_t)`, `c` the `factor`. Rate `2 nu / (1 + c)` at every conditioning; one spectrum per evaluation.

    Raises: `ValueError` for a negative factor; when called without a Jacobian, as by `matrix_free`.

    Reference: theory.md C8.
    """

    factor: Array

    def __init__(self, factor: float = 1.0):
        self.factor = checked_number("factor", factor, positive=False)

    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        if not point.jac.shape[1]:
            raise ValueError(
                "SpectralDamping needs the singular values of J, which `matrix_free` never forms: give a number or another schedule."
            )
        return self.factor * spectrum(point.jac)[rank - 1] ** 2


class ResidualDamping(AbstractDamping):
    """`rho_t = c |f(w_t) - y|^power`, `c` the `factor`. Asymptotically undamped; delay at most `c |r_0|^power / (power lambda_min)`.

    Raises: `ValueError` for a negative factor or power.

    Reference: papers.md D7.
    """

    factor: Array
    power: Array

    def __init__(self, factor: float, power: float = 1.0):
        self.factor = checked_number("factor", factor, positive=False)
        self.power = checked_number("power", power, positive=False)

    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        return self.factor * _power_of_norm(point.residual, self.power)


class GradientDamping(AbstractDamping):
    """`rho_t = c |grad g(f(w_t))|^power`, `c` the `factor`: `ResidualDamping` for a loss that is not quadratic.

    Raises: `ValueError` for a negative factor or power.

    Reference: papers.md D7.
    """

    factor: Array
    power: Array

    def __init__(self, factor: float, power: float = 1.0):
        self.factor = checked_number("factor", factor, positive=False)
        self.power = checked_number("power", power, positive=False)

    def __call__(self, t: Scalar, point: Linearisation, rank: Int[Array, ""] | int) -> Scalar:
        return self.factor * _power_of_norm(point.loss_gradient, self.power)


def _power_of_norm(v: Array, power: Array) -> Scalar:
    return jnp.sum(v**2) ** (0.5 * power)


def as_damping(value: AbstractDamping | float) -> AbstractDamping:
    """A schedule as it is, a number as `ConstantDamping`."""
    return value if isinstance(value, AbstractDamping) else ConstantDamping(value)


def is_zero(value: AbstractDamping | float) -> bool:
    """Whether `value` is the plain number 0: a flow damped so inverts `J` itself."""
    return isinstance(value, int | float) and value == 0
