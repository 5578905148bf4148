"""Damping by the gain ratio: more where the quadratic model promised too much, less where it kept its promise."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Flag, Scalar
from .._validation import checked_number, is_traced

# The gain below which the damping rises and above which it falls.
POOR, GOOD = 0.25, 0.75


class TrustRegion(eqx.Module):
    """Damping of the Levenberg-Marquardt method that follows the gain, actual over predicted decrease of the loss, from step to step.

    The prediction is that of the quadratic model `g(f) + <grad g, s J d> + |s J d|_B^2 / 2` with `B = Hess g`. The damping is multiplied by
    `increase` where the gain is below 0.25 and divided by `decrease` where it is above 0.75, or by `sqrt(g_k / g_{k+1})` where that is more, within
    `[least, most]`; where the predicted decrease is below the rounding error of the loss, a step that is taken leaves it.

    A step that increases the loss is rejected: the parameters and the time stay, the damping rises, and the next step tries again. It counts as a
    step and costs a Jacobian; `stats["num_rejected_steps"]` says how many there were.

    Where the residual of a squared loss goes to zero the damping goes as fast, `rho_k <= c |r_k|`, and the end is quadratic:
    `|r_{k+1}| <= (rho_k / sigma_min^2 + C |r_k|) |r_k|`, `C` as for `GaussNewton`. Where it does not, the loss, and so this rule, tells two
    points apart down to the root of its rounding error only.

    Arguments:

    - `start`: the first damping, in units of the eigenvalues of `K`, 1 by default.
    - `increase`, `decrease`: factors above 1, 4 and 10 by default.
    - `least`, `most`: bounds, 1e-12 and 1e12 by default.

    Raises: `ValueError` for numbers that are not positive, factors not above 1, a start outside the bounds.

    >>> import riemgn as rg
    >>> far = rg.task.circle(radius=1.0, target=4.0, angle=1.0)
    >>> traj = rg.iterate(far, rg.LevenbergMarquardt(rg.TrustRegion()), steps=20)
    >>> bool((traj.losses[1:] <= traj.losses[:-1]).all())
    True

    Reference: Moré, Lecture Notes in Mathematics 630 (1978) 105-116; Madsen, Nielsen, Tingleff, Methods for Non-Linear Least Squares (2004).
    """

    start: Array
    increase: Array
    decrease: Array
    least: Array
    most: Array

    def __init__(
        self,
        start: float = 1.0,
        increase: float = 4.0,
        decrease: float = 10.0,
        least: float = 1e-12,
        most: float = 1e12,
    ):
        self.start = checked_number("start", start)
        self.increase, self.decrease = checked_number("increase", increase), checked_number("decrease", decrease)
        self.least, self.most = checked_number("least", least), checked_number("most", most)
        for name, factor in (("increase", self.increase), ("decrease", self.decrease)):
            if not is_traced(factor) and not factor > 1:
                raise ValueError(f"`{name}` must be above 1, got {float(factor):g}.")
        if not any(map(is_traced, (self.start, self.least, self.most))) and not self.least <= self.start <= self.most:
            raise ValueError(
                f"`start` must lie between `least` and `most`, {float(self.least):g} and {float(self.most):g}, got {float(self.start):g}."
            )

    def __repr__(self) -> str:
        return short_repr(self)

    def judge(self, rho: Scalar, loss: Scalar, trial: Scalar, predicted: Scalar) -> tuple[Flag, Scalar, Scalar]:
        """Whether the step is taken, its gain, and the damping of the next.

        Arguments:

        - `rho`: the damping of this step.
        - `loss`, `trial`: the loss before and after.
        - `predicted`: the decrease by the quadratic model.
        """
        accepted = trial <= loss  # NaN is rejected
        certain = predicted > 8 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)
        gain = jnp.where(predicted > 0, (loss - trial) / jnp.where(predicted > 0, predicted, 1.0), 1.0)
        fall = jnp.sqrt(jnp.clip(trial / jnp.where(loss > 0, loss, jnp.inf), 0.0, 1.0))
        fall = jnp.where(loss > 0, jnp.minimum(fall, 1 / self.decrease), 1 / self.decrease)
        factor = jnp.where(gain > GOOD, fall, jnp.where(gain >= POOR, 1.0, self.increase))
        factor = jnp.where(accepted, jnp.where(certain, factor, 1.0), self.increase)
        return accepted, gain, jnp.clip(rho * factor, self.least, self.most).astype(rho.dtype)
