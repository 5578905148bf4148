"""The result of a check: slopes of errors over step sizes, numbers with bounds, and the verdict."""

import textwrap
from collections.abc import Callable
from itertools import product
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

EPS = float(np.finfo(float).eps)
CLEAR = 10.0  # an error counts if it is this many times its rounding level (slope off by under 0.02)
STRAIGHT = 0.02  # root-mean-square distance from the fitted line in decades; noise has about 0.5
SPANS = ((2.0, 1.0), (0.5,))  # decades that a window spans; half a decade only if there is no longer window
PROBES = np.array([0.0, 1.0, 3.0, 10.0, 30.0])  # times eps: at these steps there is nothing but rounding
ROW = "{:3}{:41}{:>8}  {:12}  {}"  # fits 80 columns
MARKS = ("NO", "ok")


class SlopeLaw(eqx.Module):
    """Hold an error that must fall at least as fast as `t^expected` as the step t goes to zero.

        log10 errors = log10 constant + order log10 steps    on the window

    The window is the stretch of smallest steps that spans two decades (or one, or half a decade),
    is everywhere ten times above the rounding level, and stays within 0.02 decades of a line.
    The smallest steps decide: a gradient that is 1 % off has slope 2 at large steps.

    - `name`, `steps`, `errors`, `floor`: the law in words, t, the errors (NaN where the evaluation
        failed) and their rounding levels, each (s,).
    - `expected`, `tolerance`: the `order` must be at least `expected - tolerance`. It is inf if the
        law is `exact` (no error exceeds rounding), and NaN if no slope could be fitted.
    - `constant`, `window`: value of the fit at t = 1, and its first and last step (or None).
    - `contrast`: largest ratio on the window of the tested term to the error.
    """

    name: str
    steps: Float[np.ndarray, " s"]
    errors: Float[np.ndarray, " s"]
    floor: Float[np.ndarray, " s"]
    expected: float
    tolerance: float
    order: float
    constant: float
    window: tuple[float, float] | None
    contrast: float
    exact: bool

    @property
    def passed(self) -> bool:
        """Whether the law holds."""
        return self.exact or self.order >= self.expected - self.tolerance

    def __str__(self) -> str:
        order = "exact" if self.exact else "none" if self.window is None else f"{self.order:.2f}"
        window = "" if self.window is None else f"{self.window[0]:.0e}..{self.window[1]:.0e}"
        required = f"order >= {self.expected - self.tolerance:g}"
        return ROW.format(MARKS[self.passed], self.name, order, required, window).rstrip()

    def __repr__(self) -> str:
        return f"SlopeLaw({self.name!r}, order={self.order:.3g}, expected={self.expected:g}, passed={self.passed})"


class ValueLaw(eqx.Module):
    """Hold a number, the `error`, that must not exceed its `bound`, under a `name`."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the number is finite and within its bound."""
        return bool(self.error <= self.bound)

    def __str__(self) -> str:
        return ROW.format(MARKS[self.passed], self.name, f"{self.error:.1e}", f"<= {self.bound:.1e}", "").rstrip()


class Check(eqx.Module):
    """Hold the result of the check `name`, which `print` shows as a table.

    - `laws`: every law that was measured, a `SlopeLaw` or a `ValueLaw`.
    - `notes`: what could not be measured, and why.
    """

    name: str
    laws: tuple[SlopeLaw | ValueLaw, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every law holds."""
        return all(law.passed for law in self.laws)

    @property
    def complaints(self) -> tuple[str, ...]:
        """A line for each law that does not hold."""
        return tuple(str(law) for law in self.laws if not law.passed)

    @property
    def slopes(self) -> tuple[SlopeLaw, ...]:
        """The laws that are slopes. The first one gives the check its order."""
        return tuple(law for law in self.laws if isinstance(law, SlopeLaw))

    @property
    def order(self) -> float:
        """Measured order of the first slope: inf if exact, NaN if no slope could be fitted."""
        return self.slopes[0].order

    def __str__(self) -> str:
        table = [ROW.format("", "law", "measured", "required", "steps of fit"), *map(str, self.laws)]
        unfitted = [f"{law.name}: {_why_no_window(law)}" for law in self.slopes if np.isnan(law.order)]
        notes = [textwrap.fill(f"note: {note}", 80, subsequent_indent="  ") for note in (*unfitted, *self.notes)]
        return "\n".join([f"{self.name} {'passed' if self.passed else 'failed'}", *table, *notes])

    def __repr__(self) -> str:
        return f"Check({self.name!r}, passed={self.passed}, laws={len(self.laws)}, notes={len(self.notes)})"


def step_grid(smallest: float = 1e-8, largest: float = 1.0) -> Float[np.ndarray, " s"]:
    """Return steps evenly spaced on a logarithmic scale, ten a decade."""
    return np.logspace(np.log10(smallest), np.log10(largest), round(10 * np.log10(largest / smallest)) + 1)


def measure_slope(
    name: str,
    remainder: Callable[[float], tuple[Any, Any, Any]],
    expected: float,
    steps: Float[np.ndarray, " s"],
    *,
    eps: float = EPS,
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> SlopeLaw:
    """Measure the order at which an error goes to zero, with its rounding level.

        remainder(t) = (error, size, change)

    `size` is the size of the numbers whose difference is the error, and `change` that of the tested
    term. The rounding level at t is `4 eps size(t)`, plus `noise`, plus the largest error at five
    steps of at most 30 eps. Steps where `remainder` raises a `RuntimeError` are left out.
    """
    steps = checked_steps(steps)
    errors, sizes, changes = _evaluate(remainder, steps).T
    rounding = _evaluate(remainder, eps * PROBES)[:, 0]
    smallest = np.maximum(eps * sizes, np.finfo(float).tiny)
    floor = 4 * smallest + (np.max(rounding) if np.isfinite(rounding).all() else 0.0) + noise
    errors = np.where(np.isfinite(errors), np.maximum(errors, smallest), np.nan)
    finite = np.isfinite(errors) & np.isfinite(floor)
    # half the digits of the change, because an ill-conditioned frame loses the others
    exact = bool(finite.any() and np.all(errors[finite] <= np.maximum(CLEAR * floor, np.sqrt(eps) * changes)[finite]))
    order, constant, window, contrast = np.inf if exact else np.nan, np.nan, None, np.inf
    ends = None if exact else find_window(steps, errors, floor)
    if ends is not None:
        inside, window = slice(ends[0], ends[1] + 1), (float(steps[ends[0]]), float(steps[ends[1]]))
        order, intercept = np.polyfit(np.log10(steps[inside]), np.log10(errors[inside]), 1)
        constant, contrast = 10.0**intercept, np.max(changes[inside] / errors[inside])
    numbers = (float(value) for value in (expected, tolerance, order, constant))
    return SlopeLaw(name, steps, errors, floor, *numbers, window, float(contrast), exact)


def find_window(steps: np.ndarray, errors: np.ndarray, floor: np.ndarray) -> tuple[int, int] | None:
    """Return first and last index of the window described in `SlopeLaw`, or None."""
    clear, logs = _clear(errors, floor), np.log10(steps)
    for spans in SPANS:
        for first, span in product(range(steps.size), spans):
            last = int(np.searchsorted(logs, logs[first] + span - 1e-9))
            if last < steps.size and clear[first : last + 1].all():
                x, y = logs[first : last + 1], np.log10(errors[first : last + 1])
                if np.sqrt(np.mean((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2)) <= STRAIGHT:
                    return first, last
    return None


def checked_steps(steps: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Return the steps as an array. Raises `ValueError` if no slope can be fitted on them."""
    steps = np.asarray(steps, float)
    increasing = steps.ndim == 1 and steps.size >= 4 and steps[0] > 0 and np.all(np.diff(steps) > 0)
    if not increasing or steps[-1] < 10 * steps[0]:
        raise ValueError(
            f"`steps` must be at least 4 positive, increasing numbers that span a decade, got "
            f"{np.array2string(steps, threshold=6)}."
        )
    return steps


def _evaluate(remainder, steps):
    """Evaluate |remainder| (s, 3), NaN at failed steps. If all steps fail, raise the failure."""
    rows = np.full((len(steps), 3), np.nan)
    failures = []
    for row, t in zip(rows, steps, strict=True):
        try:
            row[:] = np.abs([float(number) for number in remainder(float(t))])
        except NotImplementedError:
            raise
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as failure:  # a solver diverges
            failures.append(failure)
    if len(failures) == len(steps):
        raise failures[0]
    return rows


def _clear(errors, floor):
    with np.errstate(invalid="ignore"):
        return np.isfinite(errors) & np.isfinite(floor) & (errors > CLEAR * floor)


def _why_no_window(law):
    if not np.isfinite(law.errors).any():
        return "no value is finite"
    if np.ptp(np.log10(law.steps[_clear(law.errors, law.floor)])) < SPANS[-1][-1] - 1e-9:
        return f"the errors (up to {np.nanmax(law.errors):.1e}) hardly exceed rounding: pass larger `steps`"
    return "the errors follow no power of the step: pass smaller `steps`, or the solver's error as `noise`"
