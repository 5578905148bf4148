"""Checks of arguments: each returns the value, or raises an error that quotes it."""

import math
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

SAVED_TIMES = 129  # number of saved times if the caller names none


def is_traced(value: Any) -> TypeGuard[Array]:
    """Tell whether a value is being traced by JAX, so that its entries cannot be checked."""
    return isinstance(value, Tracer)


def finite_number(name: str, value: Any, *, positive: bool, upper: float = math.inf) -> float:
    """Return a finite number that is `positive` or at least 0, and at most `upper`.

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
    """Return a positive `finite_number`."""
    return finite_number(name, value, positive=True)


def positive_integer(name: str, value: Any) -> int:
    """Return a positive integer.

    Raises: `ValueError` for anything else, also True.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
    return value


def checked_number(name: str, value: Any, *, positive: bool = True, upper: float = math.inf) -> Array:
    """Return a `finite_number` as an array, whose value can change without a new compilation."""
    if is_traced(value):
        return value
    return jnp.asarray(finite_number(name, value, positive=positive, upper=upper), dtype=float)


def times_until(ts: Any, t1: float, count: int = SAVED_TIMES) -> Float[Array, " t"]:
    """Return increasing times in [0, t1], for None `count` equally spaced ones.

    Raises: `ValueError` for anything else.
    """
    if ts is None:
        return jnp.asarray(np.linspace(0.0, t1, count), dtype=float)
    times = np.asarray(ts)
    if times.dtype.kind not in "iuf" or times.ndim != 1 or times.size == 0:
        raise ValueError(
            f"`ts` must be a non-empty one-dimensional array of times, got shape {times.shape} and dtype {times.dtype}."
        )
    # the last entry of a grid from logspace may exceed t1 by rounding
    times = np.where(np.isclose(times, t1, rtol=1e-12, atol=0.0), t1, times)
    if not (np.all(np.diff(times) > 0) and times[0] >= 0 and times[-1] <= t1):
        raise ValueError(f"`ts` must increase within [0, t1 = {t1:g}], got times from {times[0]:g} to {times[-1]:g}.")
    return jnp.asarray(times, dtype=float)


def finest_tolerance() -> float:
    """Return the smallest useful step tolerance: 1e-13 in float64, 1e-5 in float32."""
    return 1e-13 if jnp.result_type(float) == jnp.float64 else 1e-5
