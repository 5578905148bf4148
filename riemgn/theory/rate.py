"""Decay rates of positive curves: an automatic window, a 95 % interval, and one or two slopes."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.interpolate import make_interp_spline
from scipy.special import stdtrit

from ..flow import AbstractFlow
from ..geometry.immersion import Immersion
from ..trajectory import Trajectory

LEVEL = 0.95
MIN_POINTS = 8
MARGINS = (100.0, 10.0)  # values count above this multiple of `floor`; the second if few remain
MIN_EFOLDS = 1.5  # a part that falls by less is a transient, not a slope
BREAKS = 100  # candidate times of a break


@dataclass(frozen=True)
class Slope:
    """One fitted slope: `rate` is `-d log(value) / dt` with its 95 % `interval`.

    The fit uses `points` values on `window` (t0, t1), which fall by `efolds` e-folds.
    """

    rate: float
    interval: tuple[float, float]
    window: tuple[float, float]
    points: int
    efolds: float

    def __str__(self) -> str:
        (low, high), (start, end) = self.interval, self.window
        return f"{self.rate:.6g} in [{low:.6g}, {high:.6g}] on t = {start:.4g} .. {end:.4g} ({self.efolds:.1f} e-folds)"


@dataclass(frozen=True)
class RateFit:
    """The decay rate of a positive curve.

    - `rate`, `interval`, `window`: rate per unit time, 95 % interval and times of the last slope.
    - `slopes`: one `Slope`, or two in order of time.
    - `break_time`: the time where the two lines meet, or None.
    - `floor`: the noise level of the values, or None if it is not visible.
    """

    rate: float
    interval: tuple[float, float]
    window: tuple[float, float]
    slopes: tuple[Slope, ...]
    break_time: float | None
    floor: float | None

    @property
    def kind(self) -> str:
        """`"one slope"` or `"two slopes"`."""
        return "one slope" if self.break_time is None else "two slopes"

    def __str__(self) -> str:
        floor = "" if self.floor is None else f"; floor {self.floor:.3g}"
        if self.break_time is None:
            return f"rate {self.slopes[0]}{floor}"
        return f"two slopes, break at t = {self.break_time:.4g}: {self.slopes[0]}; then {self.slopes[1]}{floor}"


def fit_rate(ts: ArrayLike, values: ArrayLike, *, floor: float | None = None) -> RateFit:
    """Fit the decay rate `-d log(values) / dt` of a positive curve on an automatic window.

    1. Noise: values after the first one below `100 floor` are left out (`10 floor` if too few
       remain). Without `floor`, it is estimated from values that are not positive, or from a last
       part that is flat: it falls by less than an e-fold, at under a quarter of the rate before.
    2. Two slopes: the best continuous line with one break gives two slopes if each falls by 1.5
       e-folds and is steady, and if they differ by 10 % and by more than their intervals.
    3. Transient: up to two thirds of the points are dropped at the start and a third at the end.
       The longest window is used whose interval is at most twice the narrowest one.

    The interval is that of least squares. Its standard error is enlarged for first-order
    autocorrelation of the residuals, as in Santer et al., J. Geophys. Res. 105 (2000).

    Arguments:

    - `ts`: increasing times (t,).
    - `values`: values (t,), such as `traj.grad_norms`. The rate of `traj.losses` is twice as large.
    - `floor`: level below which values are noise, such as the integrator's error.

    Returns: a `RateFit`.

    Raises: `ValueError` for arrays that do not fit or are not finite, for fewer than 8 points above
    the noise, or for growing values.

    >>> import numpy as np, riemgn as rg
    >>> ts = np.linspace(0, 10, 50)
    >>> round(rg.fit_rate(ts, np.exp(-0.7 * ts)).rate, 12)
    0.7
    """
    t, v = _checked(ts, values)
    if floor is not None and not 0 < float(floor) < math.inf:
        raise ValueError(f"`floor` must be a positive finite number, got {floor}.")
    level = _estimated_floor(t, v) if floor is None else float(floor)
    t, y = _above(t, v, level)
    slopes, break_time = _slopes(t, y)
    last = slopes[-1]
    if last.interval[1] < 0:
        where = f"on t = {t[0]:.3g} .. {t[-1]:.3g}"
        raise ValueError(f"The values grow, at a rate of {-last.rate:.3g} per unit time {where}; pass a decay.")
    return RateFit(last.rate, last.interval, last.window, slopes, break_time, level)


def _checked(ts: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    t, v = np.asarray(ts, dtype=float), np.asarray(values, dtype=float)
    if t.ndim != 1 or t.shape != v.shape:
        raise ValueError(f"`ts` and `values` must be of one length (t,), got shapes {t.shape} and {v.shape}.")
    if t.size < MIN_POINTS:
        raise ValueError(f"A rate needs at least {MIN_POINTS} points, got {t.size}.")
    bad = int(np.sum(~(np.isfinite(v) & np.isfinite(t))))
    if bad:
        raise ValueError(f"`ts` and `values` must be finite, got {bad} NaN or infinite of {t.size} points.")
    if not np.all(np.diff(t) > 0):
        raise ValueError(f"`ts` must increase, got {t[:3].tolist()} ... {t[-1]:g}.")
    if not v[0] > 0:
        raise ValueError(f"`values` must start above zero, got {v[0]:g}; subtract the limit, or pass absolute values.")
    return t, v


def _estimated_floor(t: np.ndarray, v: np.ndarray) -> float | None:
    """The largest size after the first value that is not positive, or the level of a flat end."""
    not_positive = np.flatnonzero(v <= 0)
    if not_positive.size:
        first = not_positive[0]
        # exact zeros do not show their noise, so the smallest value before them is used
        return float(np.max(np.abs(v[first:]))) or float(np.min(v[:first]))
    y, start = np.log(v), 0
    while (place := _break(t[start:], y[start:])) is not None:
        head, tail = slice(start, start + place), slice(start + place, None)
        before, after = _regress(t[head], y[head]).rate, _regress(t[tail], y[tail]).rate
        scatter, span = np.std(y[tail] + after * t[tail]), t[-1] - t[start + place]
        flat = abs(after) * span < 1 + 2 * scatter and abs(after) < before / 4
        if flat and (before - after) * span > 2:
            return float(np.exp(np.median(y[tail])))
        start += place
    return None


def _above(t: np.ndarray, v: np.ndarray, floor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Times and logarithms before the first value near `floor`."""
    if floor is None:
        return t, np.log(v)
    for margin in MARGINS:
        low = np.flatnonzero(v < margin * floor)
        end = int(low[0]) if low.size else v.size
        if end >= MIN_POINTS and (margin == MARGINS[-1] or np.log(v[0] / v[end - 1]) >= 3):
            return t[:end], np.log(v[:end])
    message = f"Only {end} of {v.size} points are above {MARGINS[-1]:g} times the floor {floor:.3g}"
    raise ValueError(f"{message}; a rate needs {MIN_POINTS}.")


def _break(t: np.ndarray, y: np.ndarray) -> int | None:
    """Index of the break of the best continuous line with two slopes, None if one is as good."""
    if t.size < 2 * MIN_POINTS:
        return None
    places = np.unique(np.linspace(MIN_POINTS - 1, t.size - MIN_POINTS, BREAKS).astype(int))
    line = np.stack([np.ones_like(t), (t - t[0]) / np.ptp(t)], axis=1)

    def squares(design):
        return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))

    errors = [squares(np.column_stack([line, np.maximum(line[:, 1] - line[k, 1], 0.0)])) for k in places]
    rounding = t.size * (16 * np.finfo(float).eps * float(np.max(np.abs(y)))) ** 2
    return int(places[np.argmin(errors)]) if min(errors) < (squares(line) - rounding) / 2 else None


def _slopes(t: np.ndarray, y: np.ndarray) -> tuple[tuple[Slope, ...], float | None]:
    """Two slopes if both count and differ, else one on the best window."""
    place = _break(t, y)
    if place is not None:
        parts = [(t[: place + 1], y[: place + 1]), (t[place:], y[place:])]
        rates = [_regress(*part).rate for part in parts]
        apart = abs(rates[0] - rates[1])
        counts = all(abs(rate) * np.ptp(part[0]) >= MIN_EFOLDS for rate, part in zip(rates, parts, strict=True))
        if counts and apart >= 0.1 * max(map(abs, rates)) and all(_unsteadiness(*part) < apart / 3 for part in parts):
            first, second = (_best_window(*part) for part in parts)
            (low, high), (other_low, other_high) = first.interval, second.interval
            # the break was chosen to make the two differ, hence the clearance of half an interval
            if max(low, other_low) - min(high, other_high) > (high - low + other_high - other_low) / 4:
                return (first, second), float(t[place])
    return (_best_window(t, y),), None


def _unsteadiness(t: np.ndarray, y: np.ndarray) -> float:
    """Difference of the slopes of the two halves."""
    half = t.size // 2
    return abs(_regress(t[:half], y[:half]).rate - _regress(t[half:], y[half:]).rate)


def _best_window(t: np.ndarray, y: np.ndarray) -> Slope:
    """The longest window whose interval is at most twice the narrowest one."""
    starts = np.unique(np.linspace(0, 2 * t.size // 3, 11).astype(int))
    ends = np.unique(np.linspace(t.size, 2 * t.size // 3, 4).astype(int))
    fits = [_regress(t[a:b], y[a:b]) for a in starts for b in ends if b - a >= max(MIN_POINTS, t.size // 4)]
    fits = fits or [_regress(t, y)]
    rounding = 1e-12 * (1 + np.max(np.abs(y))) / np.ptp(t)
    widths = np.array([fit.interval[1] - fit.interval[0] for fit in fits]) + rounding
    allowed = np.flatnonzero(widths <= 2 * widths.min())
    return fits[max(allowed, key=lambda i: (fits[i].points, -widths[i]))]


def _regress(t: np.ndarray, y: np.ndarray) -> Slope:
    """Least squares on all points, with an interval that allows for autocorrelated residuals."""
    n, span = t.size, float(np.ptp(t))
    centred = t - t.mean()
    rate = -float(centred @ y / (centred @ centred))
    rest = y - y.mean() + rate * centred
    square = float(rest @ rest) + n * (4 * np.finfo(float).eps * max(1.0, float(np.max(np.abs(y))))) ** 2
    correlation = float(rest[1:] @ rest[:-1]) / square
    correlation = min(max(correlation + (2 + 4 * correlation) / n, 0.0), 0.99)  # removes the bias of the estimate
    independent = max(n * (1 - correlation) / (1 + correlation), 3.0)
    error = math.sqrt(square / (independent - 2) / (centred @ centred))
    half = float(stdtrit(independent - 2, (1 + LEVEL) / 2)) * error
    return Slope(rate, (rate - half, rate + half), (float(t[0]), float(t[-1])), n, rate * span)


@dataclass(frozen=True)
class LocalRates:
    """The `rates` `-d log(value) / dt` (t,) at times `ts` (t,), with estimated `errors` (t,)."""

    ts: np.ndarray
    rates: np.ndarray
    errors: np.ndarray


def instantaneous_rate(ts: ArrayLike, values: ArrayLike) -> LocalRates:
    """Compute the rate of a sampled positive curve at each time, from a spline of its logarithm.

    The rate is that of the spline of degree 5. The error is the difference from degree 3.

    `ts` are increasing times (t,), at least 8, and `values` (t,) are positive.

    Raises: `ValueError` for arrays that do not fit, are not finite, or are not positive.

    >>> import numpy as np, riemgn.theory.rate as rate
    >>> ts = np.linspace(0, 1, 20)
    >>> bool(np.allclose(rate.instantaneous_rate(ts, np.exp(-(ts**2))).rates, 2 * ts))
    True
    """
    t, v = _checked(ts, values)
    if np.any(v <= 0):
        raise ValueError(f"`values` must be positive, got {v.min():g} at t = {t[np.argmin(v)]:g}; cut it at its floor.")
    fine, coarse = (-make_interp_spline(t, np.log(v), k=k).derivative()(t) for k in (5, 3))
    rounding = 4 * np.finfo(float).eps * np.max(np.abs(np.log(v))) / np.min(np.diff(t))
    return LocalRates(t, fine, np.abs(fine - coarse) + rounding)


def dense_rate(trajectory: Trajectory, ts: ArrayLike) -> LocalRates:
    """Compute the rate `-d log |P grad g| / dt` at any time, by the chain rule along the flow.

    `d/dt log |u| = <u, Du[w']> / |u|^2` with `u = P grad g`, at the point `w(t)` of the dense
    output. The error is the change if `w'` is the derivative of the interpolation instead.

    `trajectory` comes from `solve(..., dense=True)`, and `ts` are times (t,) inside it.

    Raises: `ValueError` for iterates of a method, without dense output, or for a time outside.

    Reference: Statement C4.
    """
    flow = trajectory.flow
    if not isinstance(flow, AbstractFlow):
        raise ValueError(f"`trajectory` must be that of a flow, got one of {type(flow).__name__}.")
    times = np.atleast_1d(np.asarray(ts, dtype=float))
    points = [trajectory.evaluate(t) for t in times]
    immersion = Immersion(trajectory.problem, None, None, int(trajectory.stats["rank"]))
    slopes = []
    for t, w in zip(times, points, strict=True):
        moving = trajectory.interpolation.derivative(t)["w"]
        slopes.append(_log_slopes(flow, immersion, jnp.asarray(t), w, moving))
    by_flow, by_interpolation = np.asarray(slopes).T
    return LocalRates(times, -by_flow, np.abs(by_flow - by_interpolation))


@eqx.filter_jit
def _log_slopes(flow: AbstractFlow, immersion: Immersion, t: Array, w: Array, moving: Array) -> Float[Array, " 2"]:
    def log_norm(w):
        gradient = immersion.loss_gradient(immersion(w))
        return jnp.log(jnp.linalg.norm(immersion.frame(w).tangent_part(gradient)))

    velocity = flow.velocity(t, w, immersion.problem, immersion.dim)[0]
    return jnp.stack([jax.jvp(log_norm, (w,), (v,))[1] for v in (velocity, moving)])
