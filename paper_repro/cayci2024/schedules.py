"""Define the six flows of these items, with their names, colours and closed forms.

They are gradient flow, four schedules of Levenberg-Marquardt damping, and Gauss-Newton.
"""

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array

import riemgn as rg
from riemgn.flow import AbstractDamping

SHARE = 0.1  # of lambda_max(K_0): initial damping of the constant, residual and exponential schedules
FACTOR = 1.0  # c of rho = c lambda_min(K_t)

LOOKS = {
    "gf": ("gradient flow", {"color": "#D55E00", "marker": "s", "linestyle": "--"}),
    "constant": (r"$\rho$ constant", {"color": "#009E73", "marker": "^", "linestyle": "-."}),
    "residual": (r"$\rho = c\,|r_t|$", {"color": "#CC79A7", "marker": "D", "linestyle": (0, (5, 1, 1, 1))}),
    "exponential": (r"$\rho = \rho_0 e^{-t}$", {"color": "#E69F00", "marker": "v", "linestyle": ":"}),
    "spectral": (r"$\rho = \lambda_{\min}(K_t)$", {"color": "#000000", "marker": "P", "linestyle": (0, (3, 1))}),
    "gn": ("Gauss-Newton", {"color": "#0072B2", "marker": "o", "linestyle": "-"}),
}
SCHEDULES = tuple(LOOKS)
DAMPED = ("constant", "residual", "exponential", "spectral")


class SumDamping(AbstractDamping):
    """The sum of several schedules, where all but one have factor 0.

    All schedules then have one type, so they share one compiled program.
    """

    parts: tuple[AbstractDamping, ...]

    def __call__(self, t, point, rank) -> Array:
        return jnp.sum(jnp.stack([part(t, point, rank) for part in self.parts]))


def schedule(name, rho, residual=1.0, together=False):
    """One of `DAMPED` that starts with `rho`, where `residual` is `|r_0|`.

    The spectral schedule ignores both. With `together` all four have one type. Otherwise those with
    an implicit solver have one type and the others have another.
    """
    share = {key: float(key == name) for key in DAMPED}
    slow = rg.ConstantDamping(share["constant"] * rho), rg.ResidualDamping(share["residual"] * rho / residual)
    quick = rg.ExponentialDamping(share["exponential"] * rho, 1.0), rg.SpectralDamping(share["spectral"] * FACTOR)
    return SumDamping((*slow, *quick) if together else slow if name in ("constant", "residual") else quick)


def flow(name, rho, residual=1.0, together=False):
    """The flow called `name` in `SCHEDULES`, see `schedule`."""
    if name in DAMPED:
        return rg.LevenbergMarquardtFlow(schedule(name, rho, residual, together))
    return rg.GradientFlow() if name == "gf" else rg.GaussNewtonFlow()


def frozen_decay(name, t, eigenvalues, rho):
    """Factor of each mode of the residual after time t for a frozen kernel, not for `residual`."""
    match name:
        case "gf":
            return np.exp(-t * eigenvalues)
        case "constant":
            return np.exp(-t * eigenvalues / (eigenvalues + rho))
        case "spectral":
            return np.exp(-t * eigenvalues / (eigenvalues + FACTOR * np.min(eigenvalues)))
        case "exponential":
            return (eigenvalues + rho) / (eigenvalues * np.exp(np.minimum(t, 500.0)) + rho)
        case "gn":
            return np.full_like(eigenvalues, np.exp(-t))
    raise ValueError(f"The schedule {name!r} has no closed form; use its bound in `frozen_time`.")


def frozen_time(name, level, eigenvalues, amplitudes, rho):
    """Time until `|r_t| = level |r_0|` for a frozen kernel (Statements C6 to C8, C10).

    For `residual` it is the bound of Statement D7.
    """
    slowest, decay = np.min(eigenvalues), np.log(1 / level)
    if name == "residual":
        return float(decay + rho * (1 - level) / slowest)
    # The slowest mode alone takes longer than every mixture.
    latest = {
        "gf": decay / slowest,
        "constant": decay * (1 + rho / slowest),
        "spectral": decay * (1 + FACTOR),
        "gn": decay,
    }
    end = np.log(1.01 * latest.get(name, decay + np.log1p(rho / slowest)))
    start = np.linalg.norm(amplitudes)

    def excess(log_t):
        return np.log(np.linalg.norm(amplitudes * frozen_decay(name, np.exp(log_t), eigenvalues, rho)) / start / level)

    return float(np.exp(scipy.optimize.brentq(excess, end - 40, end, xtol=1e-12)))


def bound(name, t, least, rho, levels):
    """The closed-form bound on `|r_t| / |r_0|` (Statements C7, C8 and D7).

    `least` is the smallest eigenvalue of K on the path, `rho` the damping at the start. `levels`
    are the measured `|r_t| / |r_0|`, needed for `residual`.
    """
    if name == "residual":
        return np.exp(np.minimum(0.0, -t + rho * (1 - levels) / least))
    if name == "spectral":
        return np.exp(-t / (1 + FACTOR))
    return np.array([frozen_decay(name, s, np.array([least]), rho)[0] for s in t])
