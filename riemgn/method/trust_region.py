"""Levenberg-Marquardt damping that follows the gain ratio, as in a trust-region method."""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Flag, Scalar
from .._validation import checked_number, is_traced

# The damping rises below the first gain ratio and falls above the second.
POOR, GOOD = 0.25, 0.75


class TrustRegion(eqx.Module):
    """Damping of the Levenberg-Marquardt method by the gain ratio.

    The gain ratio is the actual decrease of the loss over the decrease of its quadratic model
    `g(f) + <grad g, s J d> + |s J d|_B^2 / 2` with `B = Hess g`. If it is below 0.25, the damping
    is multiplied by `increase`. If it is above 0.75, the damping is divided by `decrease`, or
    multiplied by `sqrt(g_{k+1} / g_k)` if that is smaller. A step that increases the loss is
    rejected: the parameters and the time stay and the damping rises. It counts as a step.

    If the residual of a squared loss goes to zero, the damping goes to zero as fast and the
    convergence is quadratic, `|r_{k+1}| <= (rho_k / sigma_min^2 + C |r_k|) |r_k|`, with `C` as in
    `GaussNewton`. Otherwise the accuracy of the parameters is limited to the square root of the
    rounding error, because the rule compares values of the loss.

    Arguments:

    - `start`: the first damping (default 1), in units of the eigenvalues of `K`.
    - `increase`, `decrease`: factors above 1 (defaults 4 and 10).
    - `lower`, `upper`: bounds of the damping (defaults 1e-12 and 1e12).

    Raises: `ValueError` for numbers that are not positive, factors that are not above 1 and a start
    outside the bounds.

    >>> import riemgn as rg
    >>> far = rg.task.circle(radius=1.0, target=4.0, angle=1.0)
    >>> traj = rg.iterate(far, rg.LevenbergMarquardt(rg.TrustRegion()), steps=20)
    >>> bool((traj.losses[1:] <= traj.losses[:-1]).all())
    True

    Reference: Moré, Lecture Notes in Mathematics 630 (1978) 105-116; Madsen, Nielsen, Tingleff,
    Methods for Non-Linear Least Squares (2004).
    """

    start: Array = eqx.field(default=1.0, converter=partial(checked_number, "start"))
    increase: Array = eqx.field(default=4.0, converter=partial(checked_number, "increase"))
    decrease: Array = eqx.field(default=10.0, converter=partial(checked_number, "decrease"))
    lower: Array = eqx.field(default=1e-12, converter=partial(checked_number, "lower"))
    upper: Array = eqx.field(default=1e12, converter=partial(checked_number, "upper"))

    def __check_init__(self):
        for name, factor in (("increase", self.increase), ("decrease", self.decrease)):
            if not is_traced(factor) and not factor > 1:
                raise ValueError(f"`{name}` must be above 1, got {float(factor):g}.")
        bounds = (self.lower, self.start, self.upper)
        if not any(map(is_traced, bounds)) and not self.lower <= self.start <= self.upper:
            low, start, high = map(float, bounds)
            raise ValueError(f"`start` must be between `lower` = {low:g} and `upper` = {high:g}, got {start:g}.")

    def __repr__(self) -> str:
        return short_repr(self)

    def assess(self, rho: Scalar, loss: Scalar, trial: Scalar, predicted: Scalar) -> tuple[Flag, Scalar, Scalar]:
        """Return whether the step is accepted, its gain ratio, and the next damping.

        `rho` is the damping of this step, `loss` and `trial` are the loss before and after it, and
        `predicted` is the decrease of the quadratic model.
        """
        accepted = trial <= loss  # False for NaN
        certain = predicted > 8 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)
        gain = jnp.where(predicted > 0, (loss - trial) / jnp.where(predicted > 0, predicted, 1.0), 1.0)
        fall = jnp.sqrt(jnp.clip(trial / jnp.where(loss > 0, loss, jnp.inf), 0.0, 1.0))
        fall = jnp.where(loss > 0, jnp.minimum(fall, 1 / self.decrease), 1 / self.decrease)
        factor = jnp.where(gain > GOOD, fall, jnp.where(gain >= POOR, 1.0, self.increase))
        factor = jnp.where(accepted, jnp.where(certain, factor, 1.0), self.increase)
        return accepted, gain, jnp.clip(rho * factor, self.lower, self.upper).astype(rho.dtype)
