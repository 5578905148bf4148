"""What a check measures: the slope of an error over step sizes, or one number against its bound; and the verdict."""

from collections.abc import Callable
from itertools import product
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

Remainder = Callable[[float], tuple[Any, Any, Any]]

STEPS_PER_DECADE = 10
CLEAR = 10.0  # an error is read only where it is this many times its rounding level: a tenth of noise bends a window by under 0.02
STRAIGHT = 0.02  # root-mean-square distance from the fitted line, in decades: a power law has under 0.01, rounding noise about 0.5
SPANS = ((2.0, 1.0), (0.5,))  # decades a window spans; half a decade only where no decade is to be had
PROBES = (0.0, 1.0, 3.0, 10.0, 30.0)  # times eps: steps that only rounding can see


class SlopeLaw(eqx.Module):
    """An error that must fall at least as fast as `t^expected` as the step t goes to zero.

        log10 errors = constant + order log10 steps   on the window

    The window is the stretch of smallest steps that spans two decades (or one; half of one, where no decade is to be had), lies everywhere
    ten times above the rounding level, and whose points keep within 0.02 decades (root mean square) of one line. The smallest
    steps, not the straightest stretch: a gradient 1 % off has slope 2 at large steps and shows its slope 1 only at small ones.

    - `name`: the law, in words.
    - `steps`: t, increasing (s,).
    - `errors`: measured errors (s,), never below one rounding unit, so that a logarithm of them is finite; nan where nothing finite came.
    - `floor`: rounding level of each error (s,).
    - `expected`: least order the law asks for; `order`: the measured one, inf where exact, nan where no slope could be read.
    - `tolerance`: how far `order` may lie below `expected`.
    - `window`: (first, last) step of the fit, None without one; `constant`: the fit's value at t = 1.
    - `contrast`: largest ratio, on the window, of the term under test to the error; far below 10 the term is hidden by what it leaves over.
    - `exact`: no error rises clear of rounding (a linear function, a flat manifold): a pass.
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
        """Whether the law holds: exact, or an order that reaches the expected one."""
        return self.exact or self.order >= self.expected - self.tolerance

    def __str__(self) -> str:
        if self.exact:
            return f"{self.name}: exact, no error above {np.nanmax(self.errors):.1e}"
        if self.window is None:
            return f"{self.name}: no slope can be read, {_why_no_window(self.steps, self.errors, self.floor)}"
        first, last = self.window
        return f"{self.name}: order {self.order:.2f} (at least {self.expected:g} expected) on steps {first:.1e} to {last:.1e}"


class ValueLaw(eqx.Module):
    """One number, the `error`, that must not exceed its `bound`; `name` says which, such as `|P P a - P a| / |a|`."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the number is finite and within its bound."""
        return bool(self.error <= self.bound)

    def __str__(self) -> str:
        return f"{self.name}: {self.error:.1e} (at most {self.bound:.1e})"


class Check(eqx.Module):
    """What a check found: its laws, each decided by a slope or by a value; reads like a sentence, and is an assertion as `check.passed`.

    - `name`: which check.
    - `laws`: every law measured, `SlopeLaw` or `ValueLaw`; the first slope is the one the check is named after.
    - `notes`: what could not be measured and why.
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
        """One sentence for each law that does not hold."""
        return tuple(str(law) for law in self.laws if not law.passed)

    @property
    def slopes(self) -> tuple[SlopeLaw, ...]:
        """The laws that are slopes, in order."""
        return tuple(law for law in self.laws if isinstance(law, SlopeLaw))

    @property
    def slope(self) -> SlopeLaw:
        """The slope the check is named after.

        Raises: `ValueError` where the check has none.
        """
        if not self.slopes:
            raise ValueError(f"`{self.name}` measures no slope.")
        return self.slopes[0]

    @property
    def order(self) -> float:
        """Measured order of the first slope, inf where exact, nan where it could not be read."""
        return self.slope.order

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "failed"
        marks = [f"  {'ok ' if law.passed else 'NO '} {law}" for law in self.laws]
        return "\n".join([f"{self.name} {verdict}.", *marks, *(f"  --  {note}" for note in self.notes)])


def step_grid(smallest: float = 1e-8, largest: float = 1.0) -> Float[np.ndarray, " s"]:
    """Steps evenly spaced on a logarithmic scale, ten a decade."""
    count = round(STEPS_PER_DECADE * np.log10(largest / smallest)) + 1
    return np.logspace(np.log10(smallest), np.log10(largest), count)


def measure_slope(
    name: str,
    remainder: Remainder,
    expected: float,
    steps: Float[np.ndarray, " s"],
    *,
    eps: float = float(np.finfo(float).eps),
    noise: float = 0.0,
    tolerance: float = 0.1,
) -> SlopeLaw:
    """The order at which an error goes to zero, with the rounding level measured beside it.

        remainder(t) = (error, size, change)

    `size` is the size of the numbers whose difference the error is; `change` that of the term under test. The rounding level at t is
    `4 eps size(t)`, plus the largest error found on five steps of 0 to 30 eps, which only rounding can see, plus `noise`. An error is
    exact where it stays within ten rounding levels, or within `sqrt(eps)` of the change itself (half the digits: an ill-conditioned
    frame loses some).

    Arguments:
    - `remainder`: function of the step; where it is not finite or raises a `RuntimeError` (a solver that does not arrive), the step is left out.
    - `steps`: increasing and positive (s,).
    - `eps`: rounding unit of the numbers subtracted; `noise`: absolute error of the callables beyond rounding, such as a solver's tolerance.

    Raises: `ValueError` where the steps are not positive, increasing and at least a decade apart; what `remainder` raised if it did on every step.

    >>> import numpy as np
    >>> from riemgn.geometry.checks.slope import measure_slope, step_grid
    >>> str(measure_slope("sine", lambda t: (abs(np.sin(t) - t), t, t), 3, step_grid()))
    'sine: order 3.00 (at least 3 expected) on steps ...'
    """
    steps = checked_steps(steps)
    rows = _evaluated(remainder, steps)
    probes = _evaluated(remainder, eps * np.array(PROBES))[:, 0]
    errors, sizes, changes = rows.T
    least = np.maximum(eps * sizes, np.finfo(float).tiny)
    floor = 4 * least + (np.max(probes) if np.isfinite(probes).all() else 0.0) + noise
    errors = np.where(np.isfinite(errors), np.maximum(errors, least), np.nan)
    finite = np.isfinite(errors) & np.isfinite(floor)
    exact = bool(finite.any() and np.all(errors[finite] <= np.maximum(CLEAR * floor, np.sqrt(eps) * changes)[finite]))
    found = None if exact else find_window(steps, errors, floor)
    order, constant, window, contrast = (np.inf if exact else np.nan, np.nan, None, np.inf)
    if found is not None:
        inside = slice(found[0], found[1] + 1)
        order, intercept = np.polyfit(np.log10(steps[inside]), np.log10(errors[inside]), 1)
        constant, window = 10.0**intercept, (float(steps[found[0]]), float(steps[found[1]]))
        contrast = float(np.max(changes[inside] / errors[inside]))
    return SlopeLaw(
        name,
        steps,
        errors,
        floor,
        float(expected),
        float(tolerance),
        float(order),
        float(constant),
        window,
        contrast,
        exact,
    )


def find_window(
    steps: Float[np.ndarray, " s"], errors: Float[np.ndarray, " s"], floor: Float[np.ndarray, " s"]
) -> tuple[int, int] | None:
    """First and last index of the stretch a slope is read on (the rule is in `SlopeLaw`), None where there is none."""
    clear = _clear(errors, floor)
    logs = np.log10(steps)
    for spans in SPANS:
        for first, span in product(range(steps.size), spans):
            last = int(np.searchsorted(logs, logs[first] + span - 1e-9))
            if last >= steps.size or not clear[first : last + 1].all():
                continue
            if _bend(logs[first : last + 1], np.log10(errors[first : last + 1])) <= STRAIGHT:
                return first, last
    return None


def checked_steps(steps: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Steps on which a slope can be read.

    Raises: `ValueError` where they are not positive, increasing and at least a decade apart.
    """
    steps = np.asarray(steps, float)
    if (
        steps.ndim != 1
        or steps.size < 4
        or not (np.all(steps > 0) and np.all(np.diff(steps) > 0) and steps[-1] >= 10 * steps[0])
    ):
        raise ValueError(
            f"`steps` must be at least 4 positive, increasing numbers that span a decade, got {np.array2string(steps, threshold=6)}."
        )
    return steps


def _evaluated(remainder, steps):
    """Absolute values of what the remainder returns (s, 3); nan at a step whose evaluation failed, the failure itself where all did."""
    rows = np.full((len(steps), 3), np.nan)
    failures = []
    for row, t in zip(rows, steps, strict=True):
        try:
            row[:] = np.abs([float(number) for number in remainder(float(t))])
        except NotImplementedError:
            raise
        except (
            RuntimeError,
            ArithmeticError,
            np.linalg.LinAlgError,
        ) as failure:  # a solver that does not arrive, a point too far away
            failures.append(failure)
    if len(failures) == len(steps):
        raise failures[0]
    return rows


def _clear(errors, floor):
    with np.errstate(invalid="ignore"):
        return np.isfinite(errors) & np.isfinite(floor) & (errors > CLEAR * floor)


def _bend(x, y):
    return float(np.sqrt(np.mean((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2)))


def _why_no_window(steps, errors, floor):
    if not np.isfinite(errors).any():
        return "no finite value came back"
    clear = _clear(errors, floor)
    if np.ptp(np.log10(steps[clear])) < SPANS[-1][-1] - 1e-9:
        return f"less than half a decade of steps has an error clear of rounding (largest error {np.nanmax(errors):.1e}): give larger `steps`"
    return "the errors follow no power of the step over half a decade: give smaller `steps`, or `noise` where a solver's tolerance is seen"
