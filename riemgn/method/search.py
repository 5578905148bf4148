"""Step sizes: a fixed step, or Armijo's backtracking line search."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._types import Scalar, Weights

# Armijo's condition, and the number of step sizes: 2^-60 is below the resolution of float64.
SUFFICIENT = 1e-4
HALVINGS = 60


def armijo(objective: Callable[[Scalar], Scalar], loss: Scalar, slope: Scalar, size: Scalar) -> Scalar:
    """Find the first of `size, size/2, size/4, ...` that decreases the loss sufficiently, else 0.

    The condition is `objective(s) <= loss + 1e-4 s slope`, where `objective` is the loss along the
    direction, `loss = objective(0)` and `slope` its derivative at 0, which is negative.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., section 3.1.
    """

    def too_long(trial):
        size, halvings = trial
        # the negation makes NaN count as too long
        return ~(objective(size) <= loss + SUFFICIENT * size * slope) & (halvings < HALVINGS)

    size, halvings = jax.lax.while_loop(too_long, lambda trial: (trial[0] / 2, trial[1] + 1), (size, 0))
    return jnp.where(halvings < HALVINGS, size, 0.0)


def take_step(
    method: Any, w: Weights, d: Weights, objective: Callable[[Weights], Scalar], slope: Callable[[], Scalar]
) -> tuple[Weights, dict[str, Scalar]]:
    """Return `w + eta d` and the report of the step.

    `eta` is `method.step_size`. With `method.line_search` it is the result of `armijo`, which needs
    the derivative `slope()` of the `objective` along `d`.
    """
    size = method.step_size.astype(w.dtype)
    if not method.line_search:
        return w + size * d, {"step_size": size}
    derivative = slope()
    size = armijo(lambda size: objective(w + size * d), objective(w), derivative, size)
    return w + size * d, {"step_size": size, "slope": derivative}
