"""Observed rates: windows, intervals with honest coverage, two slopes told from one, and the rate at one time."""

import numpy as np
import pytest

import riemgn as rg
from riemgn.theory.rate import _pieces, dense_rate, fit_rate, instantaneous_rate

T = np.linspace(0, 10, 129)
LONG = np.linspace(0, 40, 129)


def autoregressive(phi: float, size: int, seeds: int) -> np.ndarray:
    """Unit-variance AR(1) noise, one row per seed."""
    shocks = np.random.default_rng(7).standard_normal((seeds, size))
    noise = np.empty_like(shocks)
    noise[:, 0] = shocks[:, 0]
    for i in range(1, size):
        noise[:, i] = phi * noise[:, i - 1] + np.sqrt(1 - phi**2) * shocks[:, i]
    return noise


def coverage(intervals, truth: float) -> float:
    low, high = np.asarray(intervals).T
    return float(np.mean((low <= truth) & (truth <= high)))


# --- the interval ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_interval_covers_the_rate_under_autoregressive_noise(phi):
    fits = [fit_rate(T, np.exp(-T + 0.1 * noise)) for noise in autoregressive(phi, T.size, 200)]
    assert 0.90 <= coverage([fit.interval for fit in fits], 1.0) <= 0.995
    assert sum(fit.kind == "two slopes" for fit in fits) <= 2


def test_coverage_says_no_to_an_interval_for_uncorrelated_errors():
    noise = 0.1 * autoregressive(0.9, T.size, 200)
    centred = T - T.mean()
    rates = -(noise - T) @ centred / (centred @ centred)
    rest = noise - T + rates[:, None] * centred
    errors = np.sqrt(np.var(rest, axis=1, ddof=2) / (centred @ centred))
    assert coverage(np.stack([rates - 1.98 * errors, rates + 1.98 * errors], axis=1), 1.0) < 0.7


def test_interval_covers_at_uneven_times():
    times = np.sort(np.random.default_rng(3).uniform(0, 10, 100))
    fits = [fit_rate(times, np.exp(-times + 0.1 * noise)) for noise in autoregressive(0.0, times.size, 100)]
    assert coverage([fit.interval for fit in fits], 1.0) >= 0.9


@pytest.mark.parametrize("times", [T, np.geomspace(1e-2, 30, 60), np.linspace(0, 1e-3, 8)])
def test_exact_exponential_gives_its_rate(times):
    fit = fit_rate(times, 3e5 * np.exp(-0.7 * times))
    low, high = fit.interval
    assert fit.kind == "one slope" and fit.break_time is None and fit.window == (times[0], times[-1])
    assert fit.rate == pytest.approx(0.7, rel=1e-10) and low <= 0.7 <= high and high - low < 1e-8


# --- the window ------------------------------------------------------------------------------------------------------


def floors() -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).standard_normal(LONG.size)
    return {
        "positive noise": 1e-10 * np.abs(noise),
        "signed noise": 1e-10 * noise,
        "constant": np.full(LONG.size, 1e-9),
        "zero": np.where(LONG > 20, -np.exp(-LONG), 0),
    }


@pytest.mark.parametrize("name", floors())
def test_floor_is_found_and_left_out(name):
    values = np.exp(-LONG) + floors()[name]
    fit = fit_rate(LONG, values)
    assert fit.rate == pytest.approx(1.0, abs=1e-3)
    assert fit.floor is not None and fit.window[1] < 22 and fit.kind == "one slope"


def test_a_fit_into_the_floor_would_be_wrong():
    log = np.log(np.exp(-LONG) + floors()["constant"])
    assert abs(np.polyfit(LONG, log, 1)[0] + 1) > 0.3


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
)
def test_transient_is_left_out(values, rate):
    fit = fit_rate(LONG, values)
    assert fit.kind == "one slope" and fit.window[0] > 0
    assert fit.rate == pytest.approx(rate, rel=1e-2)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_two_slopes_are_reported_and_not_averaged(noise):
    wobble = np.exp(noise * autoregressive(0.3, LONG.size, 1)[0])
    fit = fit_rate(LONG, (np.exp(-LONG) + 1e-4 * np.exp(-0.1 * LONG)) * wobble)
    assert fit.kind == "two slopes" and "two slopes" in str(fit)
    early, late = fit.slopes
    assert early.rate == pytest.approx(1.0, rel=0.03) and late.rate == pytest.approx(0.1, rel=0.15) and fit.rate == late.rate
    assert fit.break_time == pytest.approx(np.log(1e4) / 0.9, rel=0.1)


@pytest.mark.parametrize("points", [6, 10])
def test_a_slope_of_its_own_needs_eight_points(points):
    times = np.linspace(0, 20, 41)
    fit = fit_rate(times, np.exp(-0.5 * times - 4 * np.minimum(times, times[points])))
    assert fit.kind == ("one slope" if points < 8 else "two slopes") and fit.rate == pytest.approx(0.5, rel=1e-6)


def test_two_slopes_above_a_floor():
    times = np.linspace(0, 60, 257)
    floor = 1e-13 * np.random.default_rng(1).random(times.size)
    fit = fit_rate(times, np.exp(-2 * times) + 1e-4 * np.exp(-0.5 * times) + floor)
    assert [slope.rate for slope in fit.slopes] == pytest.approx([2.0, 0.5], rel=0.02) and fit.floor is not None


@pytest.mark.parametrize("breaks", [(), (40,), (20, 70), (13, 55, 101)])
def test_lines_are_broken_where_they_were(breaks):
    slopes = np.repeat((-1.0, -0.2, -2.0, -0.5)[: len(breaks) + 1], np.diff([0, *breaks, T.size]))
    y = np.concatenate([[0.0], np.cumsum(slopes[1:] * np.diff(T))])
    edges = _pieces(T, y, 4)
    assert len(edges) == len(breaks) + 2 and (edges[0], edges[-1]) == (0, T.size)
    assert all(abs(found - place) <= 1 for found, place in zip(edges[1:-1], breaks, strict=True))  # the point at the break is on both lines


def test_each_line_has_five_points_and_noise_breaks_none():
    corner = np.where(np.arange(129) < 3, -10.0 * T, 0.0)
    assert np.diff(_pieces(T, corner, 4)).min() >= 5
    assert _pieces(T[:9], np.abs(T[:9] - T[4]), 4) == [0, 9]  # two lines need ten points
    assert len(_pieces(T[:10], np.abs(T[:10] - (T[4] + T[5]) / 2), 4)) == 3
    noise = np.random.default_rng(0).standard_normal(129)
    assert _pieces(T, 1e-3 * noise - T, 4) == [0, 129]


def test_a_slowly_bending_curve_is_not_two_slopes():
    fit = fit_rate(LONG, np.exp(-0.5 * LONG - 0.01 * LONG**2))
    low, high = fit.interval
    assert fit.kind == "one slope"
    assert high - low > 0.02  # it says that no single rate fits


# --- bad input -------------------------------------------------------------------------------------------------------


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
        (T, np.exp(-T), {"floor": -1.0}, "positive finite number, got -1"),
    ],
)
def test_bad_input_is_named(times, values, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_rate(times, values, **options)


def test_a_constant_has_rate_zero_and_says_so():
    fit = fit_rate(T, np.ones_like(T))
    assert fit.rate == 0 and fit.interval[0] <= 0 <= fit.interval[1]


# --- the rate at one time --------------------------------------------------------------------------------------------


def test_local_rate_of_a_gaussian():
    times = np.sort(np.random.default_rng(0).uniform(0, 2, 60))
    local = instantaneous_rate(times, np.exp(-(times**2) - np.sin(times)))
    wrong = np.abs(local.rates - 2 * times - np.cos(times))
    assert np.all(wrong <= local.errors) and np.median(local.errors) < 0.02
    for level in (-1.0, 0.0):
        with pytest.raises(ValueError, match=f"must be positive, got {level:g}"):
            instantaneous_rate(T, np.where(T > 5, level, 1.0))


def test_rate_from_dense_output_on_the_circle():
    # phi' = -(s / R) sin(phi) and |u| = s sin(phi): the rate is (s / R) cos(phi)
    traj = rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewton(), t1=4.0, rtol=1e-10, atol=1e-12, dense=True)
    times = np.array([0.0, 0.7, 3.9])
    local = dense_rate(traj, times)
    angle = 2 * np.arctan(np.tan(0.5) * np.exp(-times / 2))
    assert local.rates == pytest.approx(np.cos(angle) / 2, abs=1e-9)
    assert np.all(local.errors < 1e-4)
    with pytest.raises(ValueError, match="must lie in"):
        dense_rate(traj, [5.0])
