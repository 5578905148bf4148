"""Observed decay rates: the window chosen by rule, a 95 % interval from a regression with autocorrelated errors, two slopes told from one."""

import math
from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.special import stdtr

from ..flow import AbstractFlow
from ..geometry.immersion import Immersion
from ..trajectory import Trajectory

LEVEL = 0.95
FEWEST = 8  # points a window must hold
MARGINS = (100.0, 10.0)  # multiples of the floor above which values count; the second where the first leaves too little
ONE_EFOLD = 1.0
SLOPE_EFOLDS = 1.5  # a part that falls by less is no slope of its own
SEARCHED = 200  # points among which breaks are searched
CORRELATION_TIMES = 40


@dataclass(frozen=True)
class Slope:
    """One fitted slope: `rate = -d log(value) / dt` with its 95 % `interval`, on the `window` (t0, t1), from `points` values falling by `efolds`."""

    rate: float
    interval: tuple[float, float]
    window: tuple[float, float]
    points: int
    efolds: float

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.6g} in [{low:.6g}, {high:.6g}] on t = {self.window[0]:.4g} .. {self.window[1]:.4g} ({self.efolds:.1f} e-folds)"


@dataclass(frozen=True)
class RateFit:
    """The decay rate of a positive curve; of two slopes, `rate`, `interval` and `window` are those of the later one.

    - `rate`: `-d log(value) / dt` per unit time; `interval`: 95 %; `window`: (t0, t1).
    - `kind`: `"one slope"` or `"two slopes"`; `slopes`: one `Slope` or two, in order of time; `break_time`: where the two lines meet, else None.
    - `floor`: the level below which values were not believed, None where no floor was given or found.
    """

    slopes: tuple[Slope, ...]
    break_time: float | None
    floor: float | None

    @property
    def kind(self) -> str:
        """One slope or two."""
        return "one slope" if len(self.slopes) == 1 else "two slopes"

    @property
    def rate(self) -> float:
        """Rate per unit time, of the last slope."""
        return self.slopes[-1].rate

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `rate`."""
        return self.slopes[-1].interval

    @property
    def window(self) -> tuple[float, float]:
        """The times (t0, t1) between which `rate` was fitted."""
        return self.slopes[-1].window

    def __str__(self) -> str:
        floor = "" if self.floor is None else f"; floor {self.floor:.3g}"
        if self.break_time is None:
            return f"rate {self.slopes[0]}{floor}"
        return f"two slopes, break at t = {self.break_time:.4g}: {self.slopes[0]}; then {self.slopes[1]}{floor}"


def fit_rate(ts: ArrayLike, values: ArrayLike, *, floor: float | None = None) -> RateFit:
    """Rate of decay of a positive curve, `-d log(values) / dt`, with the window chosen by rule and a 95 % interval.

    The window:

    1. Floor. Values below 100 times the floor are left out, from the first of them on (10 times where that leaves fewer than 8 points or 3 e-folds).
       The floor is `floor`; else the largest size after the first value that is not positive; else the median of the last part of the best
       fit in pieces of up to four lines to the log, if that part falls by less than one e-fold and twice its scatter, at under a quarter
       of the rate before it, and lies two e-folds or more above where that rate would have led. A fall that a limit ends is cut in the same way.
    2. Two slopes are reported where the best two lines differ by 10 % or more and by more than their intervals, each falls by 1.5 e-folds or more,
       and each is steady: its halves differ by less than a third of the difference between the two. A part that falls by less is a transient.
    3. Transient. Of windows that drop up to two thirds of the points at the start and up to a third at the end, the longest is taken whose
       interval is at most twice the narrowest one: dropping points widens the interval unless what is dropped bends the line.

    The interval: least squares of `log v = a - rate t + e` with errors correlated like `exp(-|t - t'| / tau)` (a first-order autoregression on
    equally spaced times); `tau` is integrated out over 40 values, from uncorrelated to twice the window, with restricted-likelihood weights, so
    that the interval allows for not knowing it. Coverage on autoregressive noise is tested.

    Arguments:

    - `ts`: increasing times (t,); `values`: values (t,), such as `traj.grad_norms` or `traj.losses - infimum`, whose rate is twice as large.
    - `floor`: level below which values are noise, such as the integrator's error.

    Returns: a `RateFit`.

    Raises: `ValueError` for arrays that do not fit or are not finite, fewer than 8 points above the floor, or values that grow.

    >>> import numpy as np, riemgn.theory.rate as rate
    >>> ts = np.linspace(0, 10, 50)
    >>> round(rate.fit_rate(ts, np.exp(-0.7 * ts)).rate, 12)
    0.7

    Reference: derived; restricted likelihood as in Harville, JASA 72 (1977).
    """
    t, v = _checked(ts, values)
    if floor is not None and not 0 < float(floor) < math.inf:
        raise ValueError(f"`floor` must be a positive finite number, got {floor}.")
    level = _found_floor(t, v) if floor is None else float(floor)
    t, y = _above(t, v, level)
    slopes, break_time = _slopes(t, y)
    if slopes[-1].interval[1] < 0:
        raise ValueError(
            f"The values grow, at a rate of {-slopes[-1].rate:.3g} per unit time on t = {t[0]:.3g} .. {t[-1]:.3g}: there is no decay to fit."
        )
    return RateFit(slopes, break_time, level)


def _checked(ts: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    t, v = np.asarray(ts, dtype=float), np.asarray(values, dtype=float)
    if t.ndim != 1 or t.shape != v.shape:
        raise ValueError(
            f"`ts` and `values` must be one-dimensional and of one length, got shapes {t.shape} and {v.shape}."
        )
    if t.size < FEWEST:
        raise ValueError(f"A rate needs at least {FEWEST} points, got {t.size}.")
    bad = int(np.size(v) - (np.isfinite(v) & np.isfinite(t)).sum())
    if bad:
        raise ValueError(f"`ts` and `values` must be finite, got {bad} NaN or infinite of {t.size} points.")
    if not np.all(np.diff(t) > 0):
        raise ValueError(f"`ts` must increase, got {t[:3].tolist()} ... {t[-1]:g}.")
    if not v[0] > 0:
        raise ValueError(
            f"`values` must start above zero, got {v[0]:g}; subtract the limit from below, or pass absolute values."
        )
    return t, v


# --- the window ------------------------------------------------------------------------------------------------------


def _found_floor(t: np.ndarray, v: np.ndarray) -> float | None:
    """The floor that the values show themselves, or None; see `fit_rate`."""
    sunk = np.flatnonzero(v <= 0)
    if sunk.size:
        above = np.min(v[: sunk[0]])
        # exact zeros say nothing about their noise: then the last positive value does
        return float(np.max(np.abs(v[sunk[0] :]))) or float(above)
    y = np.log(v)
    edges = _pieces(t, y, 4)
    for before, edge in pairwise(edges[:-1]):
        head, tail = _line(t[before:edge], y[before:edge]), _line(t[edge:], y[edge:])
        span, level = t[-1] - t[edge], y[edge:] - tail * t[edge:]
        flat = abs(tail) * span < ONE_EFOLD + 2 * np.std(level) and abs(tail) < -head / 4
        if flat and (tail - head) * span > 2:
            return float(np.exp(np.median(y[edge:])))
    return None


def _above(t: np.ndarray, v: np.ndarray, floor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Times and logarithms before the values first come near the floor."""
    if floor is None:
        return t, np.log(v)
    for margin in MARGINS:
        low = np.flatnonzero(v < margin * floor)
        end = int(low[0]) if low.size else v.size
        if end >= FEWEST and np.log(v[0] / v[end - 1]) >= (3 if margin == MARGINS[0] else 0):
            return t[:end], np.log(v[:end])
    raise ValueError(
        f"Only {end} of {v.size} points lie above {MARGINS[-1]:g} times the floor {floor:.3g} before the values reach it; a rate needs {FEWEST}."
    )


def _pieces(t: np.ndarray, y: np.ndarray, most: int) -> list[int]:
    """Edges of the least-squares fit by up to `most` lines, each on 5 points or more; fewer lines where more gain under a factor 2."""
    size = min(SEARCHED, t.size)
    index = np.unique(np.linspace(0, t.size - 1, size).astype(int))
    t, y = t[index] - t.mean(), y[index] - y.mean()
    sums = np.stack([np.concatenate([[0.0], np.cumsum(u)]) for u in (np.ones_like(t), t, y, t * t, t * y, y * y)])
    # the error of the line on the points i .. j - 1, for all pairs (i, j)
    one, st, sy, tt, ty, yy = sums[:, None, :] - sums[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = yy - sy**2 / one - (ty - st * sy / one) ** 2 / (tt - st**2 / one)
    cost = np.where(one >= 5, np.maximum(cost, 0.0), np.inf)
    best, choice = [cost[0]], []
    for _ in range(most - 1):
        table = best[-1][:, None] + cost
        choice.append(np.argmin(table, axis=0))
        best.append(np.min(table, axis=0))
    count = 1
    rounding = 16 * np.finfo(float).eps * float(np.sum(y**2))  # of the sums above
    while count < most and best[count][-1] < (best[count - 1][-1] - rounding) / 2:
        count += 1
    edges = [len(t)]
    for stage in range(count - 2, -1, -1):
        edges.append(int(choice[stage][edges[-1]]))
    inner = [int(index[edge]) for edge in reversed(edges[1:])]
    return [0, *inner, int(index[-1]) + 1]


def _line(t: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope."""
    centred = t - t.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def _slopes(t: np.ndarray, y: np.ndarray) -> tuple[tuple[Slope, ...], float | None]:
    """Two slopes where both count and differ, else one on the best window."""
    edges = _pieces(t, y, 2)
    if min(edges[1], t.size - edges[1]) >= FEWEST:
        parts = [(t[a:b], y[a:b]) for a, b in pairwise(edges)]
        rates = [-_line(*part) for part in parts]
        apart = abs(rates[0] - rates[1])
        counts = all(abs(rate) * np.ptp(part[0]) >= SLOPE_EFOLDS for rate, part in zip(rates, parts, strict=True))
        if counts and apart >= 0.1 * max(map(abs, rates)) and all(_unsteadiness(*part) < apart / 3 for part in parts):
            slopes = tuple(_best_window(*part) for part in parts)
            (low, high), (other_low, other_high) = (slope.interval for slope in slopes)
            # half an interval of clearance: the break was chosen to make the two differ
            clearance = (high - low + other_high - other_low) / 4
            if max(low, other_low) - min(high, other_high) > clearance:
                return slopes, _crossing(parts, slopes)
    return (_best_window(t, y),), None


def _unsteadiness(t: np.ndarray, y: np.ndarray) -> float:
    """Difference of the slopes of the two halves."""
    half = t.size // 2
    return abs(_line(t[:half], y[:half]) - _line(t[half:], y[half:]))


def _crossing(parts: list[tuple[np.ndarray, np.ndarray]], slopes: tuple[Slope, ...]) -> float:
    """The time at which the two lines meet."""
    windows = [(t >= slope.window[0]) & (t <= slope.window[1]) for (t, _), slope in zip(parts, slopes, strict=True)]
    (t1, y1), (t2, y2) = ((t[inside].mean(), y[inside].mean()) for (t, y), inside in zip(parts, windows, strict=True))
    offset = (y2 + slopes[1].rate * t2) - (y1 + slopes[0].rate * t1)
    return float(offset / (slopes[1].rate - slopes[0].rate))


def _best_window(t: np.ndarray, y: np.ndarray) -> Slope:
    """The longest window whose interval is at most twice the narrowest; see `fit_rate`."""
    starts = np.unique(np.linspace(0, 2 * t.size // 3, 11).astype(int))
    ends = np.unique(np.linspace(t.size, 2 * t.size // 3, 4).astype(int))
    windows = [(a, b) for a in starts for b in ends if b - a >= max(FEWEST, t.size // 4)] or [(0, t.size)]
    rounding = 1e-14 * (1 + np.max(np.abs(y))) / np.ptp(t)
    widths = np.array([_regress(t[a:b], y[a:b]).deviation for a, b in windows]) + rounding
    allowed = np.flatnonzero(widths <= 2 * widths.min())
    a, b = windows[max(allowed, key=lambda i: (windows[i][1] - windows[i][0], -widths[i]))]
    fit = _regress(t[a:b], y[a:b])
    window = (float(t[a]), float(t[b - 1]))
    return Slope(fit.rate, fit.interval(), window, int(b - a), fit.rate * (window[1] - window[0]))


# --- the interval ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mixture:
    """The rate's distribution: Student t's of `freedom` degrees, one for each correlation time, with `centres`, `errors`, `weights` (c,)."""

    weights: np.ndarray
    centres: np.ndarray
    errors: np.ndarray
    freedom: int

    @property
    def rate(self) -> float:
        return float(self.weights @ self.centres)

    @property
    def deviation(self) -> float:
        """Root of the mean square of the errors and of the spread of the centres."""
        return float(np.sqrt(self.weights @ (self.errors**2 + (self.centres - self.rate) ** 2)))

    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.quantile((1 - LEVEL) / 2), self.quantile((1 + LEVEL) / 2)

    def quantile(self, q: float) -> float:
        """Quantile `q`, by bisection."""
        low, high = np.min(self.centres - 60 * self.errors), np.max(self.centres + 60 * self.errors)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.weights @ stdtr(self.freedom, (middle - self.centres) / self.errors) < q
            low, high = (middle, high) if below else (low, middle)
        return float((low + high) / 2)


def _regress(t: np.ndarray, y: np.ndarray) -> _Mixture:
    """Generalised least squares with errors correlated like `exp(-|t - t'| / tau)`, for many `tau` at once, each with its restricted likelihood."""
    gaps, span, n = np.diff(t), t[-1] - t[0], t.size
    centred = (t - t.mean()) / span
    y = y - y.mean()
    times = np.concatenate([[0.0], np.geomspace(gaps.min() / 3, 2 * span, CORRELATION_TIMES - 1)])
    with np.errstate(divide="ignore"):
        exponents = -gaps / times[:, None]
    rho, spread = np.exp(exponents), np.sqrt(-np.expm1(2 * exponents))

    def whiten(u):
        return np.concatenate([np.full((len(times), 1), u[0]), (u[1:] - rho * u[:-1]) / spread], axis=1)

    one, slope, data = whiten(np.ones(n)), whiten(centred), whiten(y)
    # orthogonalise the slope against the constant, then the data against both
    ones = np.sum(one**2, axis=1)
    slope = slope - (np.sum(one * slope, axis=1) / ones)[:, None] * one
    data = data - (np.sum(one * data, axis=1) / ones)[:, None] * one
    steep = np.sum(slope**2, axis=1)
    estimates = np.sum(slope * data, axis=1) / steep
    rounding = n * (4 * np.finfo(float).eps * max(1.0, np.max(np.abs(y)))) ** 2
    rest = np.sum((data - estimates[:, None] * slope) ** 2, axis=1) + rounding
    freedom = n - 2
    likelihood = -freedom / 2 * np.log(rest) - np.sum(np.log(spread), axis=1) - np.log(ones) / 2 - np.log(steep) / 2
    weights = np.exp(likelihood - likelihood.max())
    kept = weights > 1e-6 * weights.sum()
    weights, estimates, errors = weights[kept], estimates[kept], np.sqrt(rest / freedom / steep)[kept]
    return _Mixture(weights / weights.sum(), -estimates / span, errors / span, freedom)


# --- the rate at one time --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalRates:
    """The rate `-d log(value) / dt` at each of the times `ts` (t,), `rates` (t,), with an estimate `errors` (t,) of its numerical error."""

    ts: np.ndarray
    rates: np.ndarray
    errors: np.ndarray


def instantaneous_rate(ts: ArrayLike, values: ArrayLike) -> LocalRates:
    """The local rate of a sampled positive curve: at each time, minus the slope of the quartic through the logs of the five nearest points.

    The error is the difference to the slope of the parabola through the three nearest, plus what rounding does to it.

    Arguments:

    - `ts`: increasing times (t,), `values` (t,): at least 8, positive.

    Raises: `ValueError` for arrays that do not fit, are not finite, or values that are not positive.

    >>> import numpy as np, riemgn.theory.rate as rate
    >>> ts = np.linspace(0, 1, 20)
    >>> bool(np.allclose(rate.instantaneous_rate(ts, np.exp(-(ts**2))).rates, 2 * ts))
    True
    """
    t, v = _checked(ts, values)
    if np.any(v <= 0):
        raise ValueError(
            f"`values` must be positive, got {float(v.min()):g} at t = {t[np.argmin(v)]:g}; cut the curve above its floor."
        )
    y = np.log(v)
    fine, fine_noise = _derivative(t, y, 5)
    coarse, _ = _derivative(t, y, 3)
    return LocalRates(t, -fine, np.abs(fine - coarse) + fine_noise)


def _derivative(t: np.ndarray, y: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Derivative at each time of the polynomial through the nearest `points`, and the rounding error in it."""
    first = np.clip(np.arange(t.size) - points // 2, 0, t.size - points)
    index = first[:, None] + np.arange(points)
    scale = t[index[:, -1]] - t[index[:, 0]]
    nodes = (t[index] - t[:, None]) / scale[:, None]
    # weights that differentiate the monomials 1, z, z^2, ... exactly at z = 0
    powers = nodes[:, None, :] ** np.arange(points)[:, None]
    weights = np.linalg.solve(powers, np.eye(points)[:, 1:2])[..., 0] / scale[:, None]
    level = y[index] - y[:, None]
    return np.sum(weights * level, axis=1), 4 * np.finfo(float).eps * np.sum(np.abs(weights * y[index]), axis=1)


def dense_rate(trajectory: Trajectory, ts: ArrayLike) -> LocalRates:
    """The rate `-d log |P grad g| / dt` at any time of a trajectory with dense output, by the chain rule along the flow's velocity.

    `d/dt log |u| = <u, Du[w']> / |u|^2` with `u = P grad g` and `w'` the flow's velocity at the point `w(t)` of the dense output. The error is
    the change when `w'` is the derivative of the interpolation instead.

    Arguments:

    - `trajectory`: of a flow, from `solve(..., dense=True)`; `ts`: times (t,) inside it.

    Raises: `ValueError` for the iterates of a method, without dense output, or for a time outside the trajectory.

    Reference: derived, theory.md C4.
    """
    flow = trajectory.flow
    if not isinstance(flow, AbstractFlow):
        raise ValueError(f"`trajectory` must be that of a flow, got one of {type(flow).__name__}.")
    times = np.atleast_1d(np.asarray(ts, dtype=float))
    points = [trajectory.evaluate(t) for t in times]
    moving = [trajectory.interpolation.derivative(t)["w"] for t in times]
    rank = int(trajectory.stats["rank"])
    immersion = Immersion(trajectory.problem, None, None, rank)
    both = [_log_slopes(flow, immersion, jnp.asarray(t), w, v) for t, w, v in zip(times, points, moving, strict=True)]
    along, interpolated = np.asarray(both).T
    return LocalRates(times, -along, np.abs(along - interpolated))


@eqx.filter_jit
def _log_slopes(flow: AbstractFlow, immersion: Immersion, t: Array, w: Array, moving: Array) -> Float[Array, " 2"]:
    def log_norm(w):
        gradient = immersion.loss_gradient(immersion(w))
        return jnp.log(jnp.linalg.norm(immersion.frame(w).tangent_part(gradient)))

    velocity = flow.velocity(t, w, immersion.problem, immersion.dim)[0]
    return jnp.stack([jax.jvp(log_norm, (w,), (v,))[1] for v in (velocity, moving)])
