"""Observed rates: windows, intervals with honest coverage, two slopes told from one, and the rate at one time."""

import numpy as np
import pytest
from scipy.stats import t as student

import riemgn as rg
from riemgn.theory.rate import (
    _best_window,
    _found_floor,
    _pieces,
    _regress,
    _slopes,
    _unsteadiness,
    dense_rate,
    fit_rate,
    instantaneous_rate,
    RateFit,
    Slope,
)

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
    assert (
        early.rate == pytest.approx(1.0, rel=0.03)
        and late.rate == pytest.approx(0.1, rel=0.15)
        and fit.rate == late.rate
    )
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
    assert all(
        abs(found - place) <= 1 for found, place in zip(edges[1:-1], breaks, strict=True)
    )  # the point at the break is on both lines


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
    traj = rg.solve(
        rg.task.circle(radius=2.0, target=1.0, angle=1.0),
        rg.GaussNewtonFlow(),
        t1=4.0,
        rtol=1e-10,
        atol=1e-12,
        dense=True,
    )
    times = np.array([0.0, 0.7, 3.9])
    local = dense_rate(traj, times)
    angle = 2 * np.arctan(np.tan(0.5) * np.exp(-times / 2))
    assert local.rates == pytest.approx(np.cos(angle) / 2, abs=1e-9)
    assert np.all(local.errors < 1e-4)
    with pytest.raises(ValueError, match="must lie in"):
        dense_rate(traj, [5.0])


# --- exact bounds ----------------------------------------------------------------------------------------------------


def lines(times, *parts):
    """`exp` of the continuous line with the slopes `-rate` from the times `start` on: (start, rate), ..."""
    steps = np.diff(times)
    starts, rates = np.array(parts).T
    slopes = rates[np.searchsorted(starts, times[:-1] + 1e-9, side="right") - 1]
    return np.exp(-np.concatenate([[0.0], np.cumsum(slopes * steps)]))


@pytest.mark.parametrize(("m", "last"), [(20, 18), (10, 8), (9, 7), (8, 6)])
def test_values_count_down_to_a_hundred_floors(m, last):
    """`v = 25 2^-k` and the floor `2^-m`: `v = 100 floor` at `k = m - 2`; where fewer than 8 points remain, 10 floors."""
    k = np.arange(40.0)
    assert fit_rate(k, 25 * 2.0**-k, floor=2.0**-m).window == (0.0, last if last >= 7 else np.floor(m + np.log2(2.5)))


@pytest.mark.parametrize(("hundred", "last"), [(18, 18), (17, 17 + 13)])
def test_less_than_three_e_folds_are_too_few(hundred, last):
    """`v = 2^(-k / 4)` falls by `k log(2) / 4`, 3.1 or 2.9 e-folds; from 100 to 10 floors it is 13.3 steps."""
    k = np.arange(60.0)
    fit = fit_rate(k, 2.0 ** (-k / 4), floor=2.0 ** (-hundred / 4) / 100.01)
    assert fit.window == (0.0, last) and fit.slopes[0].points == last + 1


def test_fewer_than_eight_points_above_ten_floors_are_refused():
    k = np.arange(40.0)
    assert fit_rate(k, 5 * 2.0**-k, floor=2.0**-8).window == (0.0, 7.0)  # v = 10 floor at k = 7
    with pytest.raises(
        ValueError,
        match=r"Only 7 of 40 points lie above 10 times the floor 0\.00781 before the values reach it; a rate needs 8",
    ):
        fit_rate(k, 5 * 2.0**-k, floor=2.0**-7)
    for wrong in (0.0, np.inf, np.nan, -1.0):
        with pytest.raises(ValueError, match="positive finite number"):
            fit_rate(k, 2.0**-k, floor=wrong)
    assert fit_rate(k[:8], 2.0 ** -k[:8]).rate == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="start above zero, got 0"):
        fit_rate(k, np.where(k > 0, 2.0**-k, 0.0))


def test_what_is_not_positive_tells_the_floor():
    values = np.exp(-LONG)
    signed = np.where(
        np.arange(LONG.size) < 80, values, values[80] * np.array([-1.0, 3.0, -2.0])[np.arange(LONG.size) % 3]
    )
    signed[80] = -values[80]
    assert _found_floor(LONG, signed) == pytest.approx(3 * values[80])
    assert _found_floor(LONG, np.where(np.arange(LONG.size) < 80, values, 0.0)) == values[79]
    assert _found_floor(LONG, values) is None


FLAT = {  # the time it starts, its rate after a rate of 1, the end, whether it is a floor
    "falls by less than one e-fold": (10.0, 0.93 / 20, 30.0, True),
    "falls by more": (10.0, 1.07 / 20, 30.0, False),
    "under a quarter of the rate before": (8.0, 0.23, 11.6, True),
    "over a quarter": (8.0, 0.27, 11.6, False),
    "two e-folds above the line before": (10.0, 0.0, 12.2, True),
    "less above": (10.0, 0.0, 11.8, False),
    "rises by less than one e-fold": (10.0, -0.93 / 20, 30.0, True),
    "rises by more": (10.0, -1.07 / 20, 30.0, False),
}


@pytest.mark.parametrize(("start", "rate", "end", "found"), FLAT.values(), ids=FLAT)
def test_a_last_part_is_a_floor(start, rate, end, found):
    times = np.linspace(0, end, 190)
    values = lines(times, (0.0, 1.0), (start, rate))
    floor = _found_floor(times, values)
    assert (floor is not None) is found
    assert not found or floor == pytest.approx(np.median(values[times >= start]), rel=0.05)


@pytest.mark.parametrize(("rate", "found"), [(0.19, True), (0.21, False)])
def test_a_short_last_part_may_fall_by_one_e_fold_from_its_first_point_to_its_last(rate, found):
    times = np.arange(26.0)
    values = np.exp(np.where(times < 20, -times, -19.5 - rate * (times - 19.5)))
    assert (_found_floor(times, values) is not None) is found


def test_scatter_allows_a_floor_to_fall():
    """By one e-fold and twice its scatter, here 0.3."""
    times, wobble = np.linspace(0, 30, 190), 0.3 * (-1.0) ** np.arange(190)
    for fall, found in ((1.5, True), (1.75, False)):
        values = lines(times, (0.0, 1.0), (10.0, fall / 20)) * np.exp(np.where(times > 10, wobble, 0.0))
        assert (_found_floor(times, values) is not None) is found


TWO = {  # the time of the break, the two rates, the end, whether they are two
    "apart by a tenth": (10.0, 1.0, 0.89, 20.0, True),
    "apart by less": (10.0, 1.0, 0.91, 20.0, False),
    "faster later": (10.0, 1.0, 1.13, 20.0, True),
    "hardly faster later": (10.0, 1.0, 1.09, 20.0, False),
    "each falls by 1.5": (10.0, 1.0, 0.16, 20.0, True),
    "the second falls by less": (10.0, 1.0, 0.14, 20.0, False),
    "the first falls by 1.5": (1.62, 1.0, 4.0, 4.0, True),
    "the first falls by less": (1.4, 1.0, 4.0, 4.0, False),
}


@pytest.mark.parametrize(("at", "first", "second", "end", "two"), TWO.values(), ids=TWO)
def test_two_slopes_differ_and_fall_enough(at, first, second, end, two):
    times = np.linspace(0, end, 180)
    fit = fit_rate(times, lines(times, (0.0, first), (at, second)))
    assert fit.kind == ("two slopes" if two else "one slope")
    if two:
        assert [slope.rate for slope in fit.slopes] == pytest.approx([first, second], rel=1e-6)
        assert fit.break_time == pytest.approx(times[times >= at - 1e-9][0], abs=1e-6)
        assert (fit.rate, fit.interval, fit.window) == (
            fit.slopes[1].rate,
            fit.slopes[1].interval,
            fit.slopes[1].window,
        )


@pytest.mark.parametrize(("bend", "two"), [(0.14, True), (0.19, False)])
def test_each_of_two_slopes_is_steady(bend, two):
    """The halves of the second differ by `bend`, to be less than a third of the difference 1 - 0.5."""
    times = np.linspace(0, 40, 160)
    values = lines(times, (0.0, 1.0), (20.0, 0.5 + bend / 2), (30.0, 0.5 - bend / 2))
    assert (_unsteadiness(times[80:], np.log(values[80:])) < 0.5 / 3) is two
    assert (len(_slopes(times, np.log(values))[0]) == 2) is two


@pytest.mark.parametrize(
    ("spoiled", "window"),
    [((0, 0), (0, 119)), ((10, 0), (16, 119)), ((0, 10), (0, 105)), ((20, 20), (24, 92)), ((3, 30), (8, 79))],
)
def test_the_window_is_the_longest_of_those_that_are_sharp(spoiled, window):
    """Of 120 points up to 80 at the start are dropped, eight by eight, and up to 40 at the end, a third at a time."""
    times, before, after = np.arange(120.0), *spoiled
    bent = np.where(times < before, 0.1 * (before - times), 0.0) + np.where(
        times >= 120 - after, 0.1 * (times - 119 + after), 0.0
    )
    slope = _best_window(times, bent - 0.5 * times)
    assert slope.window == tuple(map(float, window)) and slope.points == window[1] - window[0] + 1
    assert slope.rate == pytest.approx(0.5) and slope.efolds == pytest.approx(0.5 * (window[1] - window[0]))


def test_a_window_may_be_a_quarter_of_the_points_rounded_down():
    times = np.arange(45.0)
    bent = np.where(times < 24, 0.1 * (24 - times), 0.0) + np.where(times >= 35, 0.1 * (times - 34), 0.0)
    assert _best_window(times, bent - 0.5 * times).points == 11


def test_the_interval_is_that_of_generalised_least_squares():
    """Against dense covariance matrices: restricted likelihood over 40 correlation times from none to twice the window."""
    times = np.sort(np.random.default_rng(2).uniform(0, 5, 30))
    y = -0.8 * times + 0.1 * np.random.default_rng(3).standard_normal(30).cumsum()
    design, span, found = np.stack([np.ones(30), times], axis=1), times[-1] - times[0], []
    for tau in [0.0, *np.geomspace(np.diff(times).min() / 3, 2 * span, 39)]:
        apart = np.abs(times[:, None] - times)
        covariance = np.exp(-apart / tau) if tau else np.eye(30)
        inverse = np.linalg.inv(covariance)
        normal = design.T @ inverse @ design
        estimate = np.linalg.solve(normal, design.T @ inverse @ y)
        rest = y - design @ estimate
        square = rest @ inverse @ rest
        likelihood = -14 * np.log(square) - np.linalg.slogdet(covariance)[1] / 2 - np.linalg.slogdet(normal)[1] / 2
        found.append((likelihood, -estimate[1], np.sqrt(square / 28 * np.linalg.inv(normal)[1, 1])))
    likelihoods, rates, errors = np.array(found).T
    weights = np.exp(likelihoods - likelihoods.max())
    weights /= weights.sum()
    fit = _regress(times, y)
    assert fit.freedom == 28 and fit.rate == pytest.approx(weights @ rates, rel=1e-5)
    assert fit.deviation == pytest.approx(np.sqrt(weights @ (errors**2 + (rates - weights @ rates) ** 2)), rel=1e-4)
    for q, bound in zip((0.025, 0.975), fit.interval(), strict=True):
        assert weights @ student.cdf((bound - rates) / errors, 28) == pytest.approx(q, abs=1e-5)


@pytest.mark.parametrize(("gap", "two"), [(0.501, True), (0.499, False)])
def test_intervals_of_two_slopes_lie_half_an_interval_apart(monkeypatch, gap, two):
    """Widths 1.5 and 0.5: the clearance is a quarter of both, whichever comes first."""
    times = np.linspace(0, 20, 100)
    y = np.log(lines(times, (0.0, 2.0), (10.0, 1.0)))
    for intervals in (((1.0, 2.5), (2.5 + gap, 3.0 + gap)), ((2.5 + gap, 3.0 + gap), (1.0, 2.5))):
        found = iter(
            [Slope(2.0, intervals[0], (0.0, 10.0), 50, 20.0), Slope(1.0, intervals[1], (10.0, 20.0), 50, 10.0), None]
        )
        monkeypatch.setattr("riemgn.theory.rate._best_window", lambda t, y, found=found: next(found))
        assert (len(_slopes(times, y)[0]) == 2) is two


def test_one_slope_reads_like_a_sentence_and_two_like_two():
    fit = RateFit((Slope(1.0, (0.5, 1.5), (0.0, 2.0), 9, 2.0),), None, None)
    assert str(fit) == "rate 1 in [0.5, 1.5] on t = 0 .. 2 (2.0 e-folds)" and fit.kind == "one slope"
    two = RateFit((*fit.slopes, Slope(0.25, (0.125, 0.5), (2.0, 6.0), 9, 1.0)), 2.5, 1e-9)
    assert str(two) == (
        "two slopes, break at t = 2.5: 1 in [0.5, 1.5] on t = 0 .. 2 (2.0 e-folds); "
        "then 0.25 in [0.125, 0.5] on t = 2 .. 6 (1.0 e-folds); floor 1e-09"
    )
    assert (two.rate, two.interval, two.window) == (0.25, (0.125, 0.5), (2.0, 6.0))


def test_local_rates_of_polynomials():
    """Five points are exact on a quartic; the three nearest err by `h^2 y''' / 6`, at the ends by twice that."""
    h, times = 0.25, np.linspace(0, 3, 13)
    quartic = instantaneous_rate(times, np.exp(-(times**4) / 20 + times))
    assert np.array_equal(quartic.ts, times) and np.allclose(quartic.rates, times**3 / 5 - 1, atol=1e-11)
    errors = instantaneous_rate(times, np.exp(-(times**3) / 6)).errors
    assert np.allclose(errors, h**2 / 6 * np.array([2, *[1] * 11, 2]), rtol=1e-9)
    level = instantaneous_rate(times, np.full(13, np.exp(2.0)))
    weights = (
        np.array([25 / 12 + 4 + 3 + 4 / 3 + 1 / 4, 1 / 4 + 5 / 6 + 3 / 2 + 1 / 2 + 1 / 12, *[1.5] * 9, 19 / 6, 32 / 3])
        / h
    )
    assert np.all(level.rates == 0.0) and np.allclose(
        level.errors, 4 * np.finfo(float).eps * 2 * weights, rtol=1e-9, atol=0
    )


def test_dense_rates_need_a_flow():
    steps = rg.iterate(rg.task.circle(), rg.GaussNewton(0.5), steps=3)
    with pytest.raises(ValueError, match="must be that of a flow, got one of GaussNewton"):
        dense_rate(steps, [0.5])
