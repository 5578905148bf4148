"""Checks of arguments that several drivers share: each gives the value back, or one sentence that quotes what came."""

import math
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

SAVED_TIMES = 129  # saved times where the caller names none


def is_traced(value: Any) -> TypeGuard[Array]:
    """Whether a value is an array under JAX's tracing, whose entries are not known yet: it passes unchecked."""
    return isinstance(value, Tracer)


def finite_number(name: str, value: Any, *, positive: bool, upper: float = math.inf) -> float:
    """A finite number, positive or at least 0, and at most `upper`.

    Raises: `ValueError` for anything else.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be a number, got {value!r}.") from None
    if not 0 <= number <= upper or math.isinf(number) or (positive and number == 0):
        bound = "finite" if upper == math.inf else f"<= {upper:g}"
        raise ValueError(f"`{name}` must be {'positive' if positive else '>= 0'} and {bound}, got {value}.")
    return number


def positive(name: str, value: Any) -> float:
    """`finite_number` that is positive."""
    return finite_number(name, value, positive=True)


def checked_number(name: str, value: Any, *, positive: bool = True, upper: float = math.inf) -> Array:
    """`finite_number` as an array, so that sweeping it compiles nothing anew; a traced value passes unchecked."""
    return (
        value
        if is_traced(value)
        else jnp.asarray(finite_number(name, value, positive=positive, upper=upper), dtype=float)
    )


def times_until(ts: Any, t1: float, count: int = SAVED_TIMES) -> Float[Array, " t"]:
    """Increasing times in [0, t1]; `count` equally spaced ones for None.

    Raises: `ValueError` for anything else.
    """
    if ts is None:
        return jnp.asarray(np.linspace(0.0, t1, count), dtype=float)
    times = np.asarray(ts)
    if times.dtype.kind not in "iuf" or times.ndim != 1 or times.size == 0:
        raise ValueError(
            f"`ts` must be a non-empty one-dimensional array of times, got shape {times.shape} and dtype {times.dtype}."
        )
    # a grid built by logspace may pass t1 by its own rounding
    times = np.where(np.isclose(times, t1, rtol=1e-12, atol=0.0), t1, times)
    if not (np.all(np.diff(times) > 0) and times[0] >= 0 and times[-1] <= t1):
        raise ValueError(f"`ts` must increase within [0, t1 = {t1:g}], got times from {times[0]:g} to {times[-1]:g}.")
    return jnp.asarray(times, dtype=float)


def finest_tolerance() -> float:
    """Step tolerance that the default float type can still resolve: 1e-5 in float32, 1e-13 in float64."""
    return 1e-13 if jnp.result_type(float) == jnp.float64 else 1e-5
