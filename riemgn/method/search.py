"""Armijo's rule: the step is halved until the loss falls by a fair part of what its slope promises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._types import Scalar

# Armijo's condition and the fewest step sizes tried: 2^-60 of the first is below the resolution of float64.
SUFFICIENT = 1e-4
HALVINGS = 60


def armijo(objective: Callable[[Scalar], Scalar], loss: Scalar, slope: Scalar, size: Scalar) -> Scalar:
    """The first of `size, size/2, size/4, ...` with `objective(size) <= loss + 1e-4 size slope`, or 0.

    Arguments:

    - `objective`: the loss at a step size along the direction.
    - `loss`: `objective(0)`.
    - `slope`: its derivative there, `<grad, d>`, negative.
    - `size`: the first step size tried.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.1.
    """

    def too_long(trial):
        size, halvings = trial
        # written so that NaN counts as too long
        return ~(objective(size) <= loss + SUFFICIENT * size * slope) & (halvings < HALVINGS)

    size, halvings = jax.lax.while_loop(too_long, lambda trial: (trial[0] / 2, trial[1] + 1), (size, 0))
    return jnp.where(halvings < HALVINGS, size, 0.0)
