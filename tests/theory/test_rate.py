"""Decay rates: windows, coverage of the intervals, two slopes, bad input, and local rates."""

import numpy as np
import pytest

import riemgn as rg
from riemgn.theory.rate import dense_rate, fit_rate, instantaneous_rate, RateFit, Slope

T = np.linspace(0, 10, 129)
LONG = np.linspace(0, 40, 129)
NOISE = np.random.default_rng(0).standard_normal(LONG.size)


def autoregressive(phi: float, size: int, seeds: int) -> np.ndarray:
    """Unit-variance AR(1) noise, one row per seed."""
    shocks = np.random.default_rng(7).standard_normal((seeds, size))
    noise = np.empty_like(shocks)
    noise[:, 0] = shocks[:, 0]
    for i in range(1, size):
        noise[:, i] = phi * noise[:, i - 1] + np.sqrt(1 - phi**2) * shocks[:, i]
    return noise


def broken_line(times, *parts):
    """`exp` of the continuous line with slope `-rate` after `start`: parts are (start, rate)."""
    starts, rates = np.array(parts).T
    slopes = rates[np.searchsorted(starts, times[:-1] + 1e-9, side="right") - 1]
    return np.exp(-np.concatenate([[0.0], np.cumsum(slopes * np.diff(times))]))


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_interval_covers_the_rate_under_correlated_noise(phi):
    fits = [fit_rate(T, np.exp(-T + 0.1 * noise)) for noise in autoregressive(phi, T.size, 100)]
    low, high = np.array([fit.interval for fit in fits]).T
    assert 0.85 <= np.mean((low <= 1) & (1 <= high))
    assert np.mean(high - low) < 0.2  # an interval that is useful
    assert sum(fit.kind == "two slopes" for fit in fits) <= 1


@pytest.mark.parametrize("times", [T, np.geomspace(1e-2, 30, 60), np.linspace(0, 1e-3, 8)], ids=["even", "log", "few"])
def test_exact_exponential_gives_its_rate(times):
    fit = fit_rate(times, 3e5 * np.exp(-0.7 * times))
    low, high = fit.interval
    assert fit.kind == "one slope" and fit.break_time is None and fit.window == (times[0], times[-1])
    assert fit.rate == pytest.approx(0.7, rel=1e-10) and low <= 0.7 <= high and high - low < 1e-8


FLOORS = {
    "positive_noise": 1e-10 * np.abs(NOISE),
    "signed_noise": 1e-10 * NOISE,
    "constant": np.full(LONG.size, 1e-9),
    "zero": np.where(LONG > 20, -np.exp(-LONG), 0),
}


@pytest.mark.parametrize("name", FLOORS)
def test_floor_is_found_and_left_out(name):
    fit = fit_rate(LONG, np.exp(-LONG) + FLOORS[name])
    assert fit.rate == pytest.approx(1.0, abs=1e-3)
    assert fit.floor is not None and fit.window[1] < 22 and fit.kind == "one slope"


def test_given_floor_ends_the_window():
    fit = fit_rate(LONG, np.exp(-LONG), floor=1e-8)
    assert fit.floor == 1e-8
    assert np.exp(-fit.window[1]) >= 1e-6 and fit.window[1] > 13


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        (0.3 * np.exp(-5 * LONG) + np.exp(-0.5 * LONG), 0.5),
        (np.exp(-LONG - 2 * (1 - np.exp(-LONG / 4))), 1.0),
        (1 / (1 + np.exp(0.7 * (LONG - 4))), 0.7),
    ],
    ids=["fast_mode", "slowing", "plateau"],
)
def test_transient_is_left_out(values, rate):
    fit = fit_rate(LONG, values)
    assert fit.kind == "one slope" and fit.window[0] > 0
    assert fit.rate == pytest.approx(rate, rel=1e-2)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_two_slopes_are_reported_and_not_averaged(noise):
    wobble = np.exp(noise * autoregressive(0.3, LONG.size, 1)[0])
    fit = fit_rate(LONG, (np.exp(-LONG) + 1e-4 * np.exp(-0.1 * LONG)) * wobble)
    early, late = fit.slopes
    assert fit.kind == "two slopes" and fit.rate == late.rate and "two slopes" in str(fit)
    assert early.rate == pytest.approx(1.0, rel=0.03) and late.rate == pytest.approx(0.1, rel=0.15)
    assert fit.break_time == pytest.approx(np.log(1e4) / 0.9, rel=0.1)


def test_two_slopes_above_a_floor():
    times = np.linspace(0, 60, 257)
    floor = 1e-13 * np.random.default_rng(1).random(times.size)
    fit = fit_rate(times, np.exp(-2 * times) + 1e-4 * np.exp(-0.5 * times) + floor)
    assert [slope.rate for slope in fit.slopes] == pytest.approx([2.0, 0.5], rel=0.02) and fit.floor is not None


@pytest.mark.parametrize(
    ("at", "second", "end", "kind"),
    [
        (10.0, 0.85, 20.0, "two slopes"),
        (10.0, 0.95, 20.0, "one slope"),
        (10.0, 0.12, 20.0, "one slope"),
        (1.2, 4.0, 4.0, "one slope"),
    ],
    ids=["differ", "alike", "second_too_short", "first_too_short"],
)
def test_two_slopes_differ_and_fall_enough(at, second, end, kind):
    times = np.linspace(0, end, 180)
    assert fit_rate(times, broken_line(times, (0.0, 1.0), (at, second))).kind == kind


def test_slowly_bending_curve_is_one_slope_with_a_wide_interval():
    fit = fit_rate(LONG, np.exp(-0.5 * LONG - 0.01 * LONG**2))
    low, high = fit.interval
    assert fit.kind == "one slope" and high - low > 0.02


@pytest.mark.parametrize(
    ("times", "values", "options", "sentence"),
    [
        (T[:7], np.exp(-T[:7]), {}, "at least 8 points, got 7"),
        (T, np.exp(-T)[:-1], {}, "of one length"),
        (T, np.where(T > 5, np.nan, 1.0), {}, "64 NaN or infinite"),
        (T[::-1], np.exp(-T), {}, "must increase"),
        (T, -np.exp(-T), {}, "start above zero, got -1"),
        (T, np.exp(T), {}, "grow, at a rate of 1 "),
        (T, 1e-9 * np.exp(-T), {"floor": 1.0}, "Only 0 of 129 points"),
        (T, np.exp(-T), {"floor": np.nan}, "positive finite number, got nan"),
    ],
    ids=["few", "lengths", "nan", "decreasing", "negative", "growing", "below_floor", "bad_floor"],
)
def test_bad_input_is_named(times, values, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_rate(times, values, **options)


def test_constant_has_rate_zero():
    fit = fit_rate(T, np.ones_like(T))
    assert fit.rate == 0 and fit.interval[0] <= 0 <= fit.interval[1]


def test_fits_print_their_slopes():
    slope = Slope(1.0, (0.5, 1.5), (0.0, 2.0), 9, 2.0)
    later = Slope(0.25, (0.125, 0.5), (2.0, 6.0), 9, 1.0)
    one = RateFit(slope.rate, slope.interval, slope.window, (slope,), None, None)
    two = RateFit(later.rate, later.interval, later.window, (slope, later), 2.5, 1e-9)
    assert str(one) == "rate 1 in [0.5, 1.5] on t = 0 .. 2 (2.0 e-folds)"
    assert str(two).endswith("then 0.25 in [0.125, 0.5] on t = 2 .. 6 (1.0 e-folds); floor 1e-09")


def test_local_rate_of_a_sampled_curve():
    times = np.linspace(0, 2, 60)
    local = instantaneous_rate(times, np.exp(-(times**2) - np.sin(times)))
    wrong = np.abs(local.rates - 2 * times - np.cos(times))
    assert np.all(wrong <= local.errors) and np.median(local.errors) < 0.02
    for level in (-1.0, 0.0):
        with pytest.raises(ValueError, match=f"must be positive, got {level:g}"):
            instantaneous_rate(T, np.where(T > 5, level, 1.0))


def test_dense_rate_on_the_circle():
    # phi' = -(s / R) sin(phi) and |u| = s sin(phi), so the rate is (s / R) cos(phi)
    problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=4.0, rtol=1e-10, atol=1e-12, dense=True)
    times = np.array([0.0, 0.7, 3.9])
    local = dense_rate(traj, times)
    angle = 2 * np.arctan(np.tan(0.5) * np.exp(-times / 2))
    assert local.rates == pytest.approx(np.cos(angle) / 2, abs=1e-9)
    assert np.all(local.errors < 1e-4)
    with pytest.raises(ValueError, match=r"\[0, 4\]"):
        dense_rate(traj, [5.0])


def test_dense_rate_needs_a_flow():
    steps = rg.iterate(rg.task.circle(), rg.GaussNewton(0.5), steps=3)
    with pytest.raises(ValueError, match="must be that of a flow, got one of GaussNewton"):
        dense_rate(steps, [0.5])
