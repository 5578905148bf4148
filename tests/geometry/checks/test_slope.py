"""Tests of the slope of an error: closed forms, rounding, windows, failures, and the report."""

import numpy as np
import pytest

from riemgn.geometry.checks.slope import Check, checked_steps, find_window, measure_slope, step_grid, ValueLaw

EPS = float(np.finfo(float).eps)
GRID = step_grid()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_power_has_its_order(order):
    law = measure_slope("power", lambda t: (-3 * t**order, -1.0, -t), order, GRID)
    assert law.passed and abs(law.order - order) < 1e-6 and abs(law.constant - 3) < 1e-6
    assert measure_slope("power", lambda t: (3 * t**order, 1.0, t), order - 1, GRID).passed
    assert not measure_slope("power", lambda t: (3 * t**order, 1.0, t), order + 1, GRID).passed


def test_exact_zeros_are_exact_and_give_no_nan():
    law = measure_slope("zero", lambda t: (0.0, 1.0, t), 2, GRID)
    assert law.exact and law.passed and law.window is None and np.all(law.errors > 0) and "exact" in str(law)


def test_zeros_between_errors_do_not_change_the_slope():
    law = measure_slope("some zeros", lambda t: (t**3 if t > 1e-5 else 0.0, 1.0, t), 3, GRID)
    assert law.passed and abs(law.order - 3) < 0.01


def test_errors_at_rounding_level_are_exact_and_noise_is_not():
    noise = 4e-16 * np.random.default_rng(0).standard_normal(1000)
    draws, large = iter(noise), iter(1e4 * noise)
    assert measure_slope("rounding", lambda t: (next(draws), 1.0, 0.0), 2, GRID).exact
    law = measure_slope("noise", lambda t: (next(large) if t > 1e-12 else 0.0, 1.0, 0.0), 2, GRID)
    assert not law.passed and law.window is None


@pytest.mark.parametrize(("part", "exact"), [(0.999, True), (1.001, False)])
def test_exact_means_half_the_digits_of_the_change(part, exact):
    law = measure_slope("half", lambda t: (part * EPS**0.5 * t if t > 1e-9 else 0.0, 0.0, t), 2, GRID)
    assert law.exact is exact


def test_a_known_noise_level_is_left_out():
    draws = iter(1e-9 * np.random.default_rng(0).standard_normal(1000))
    law = measure_slope("solver", lambda t: (t**2 + next(draws), 1.0, t), 2, GRID, noise=1e-9)
    assert law.passed and law.window[0] > 1e-5


def test_the_smallest_steps_decide():
    law = measure_slope("crossover", lambda t: (1e-4 * t + t**2, 1.0, t), 2, GRID)
    assert not law.passed and abs(law.order - 1) < 0.05 and law.window[1] < 1e-4


def test_the_window_is_above_rounding_and_before_the_bend():
    rng = np.random.default_rng(1)
    steps = step_grid(1e-8, 10.0)
    law = measure_slope("sine", lambda t: (np.sin(t) - t + 1e-16 * rng.standard_normal(), 1.0, t), 3, steps)
    first, last = law.window
    inside = (law.steps >= first) & (law.steps <= last)
    assert np.all(law.errors[inside] > 10 * law.floor[inside]) and last < 1 and abs(law.order - 3) < 0.02


@pytest.mark.parametrize(
    ("clear", "window"), [((4, 30), (4, 24)), ((4, 23), (4, 14)), ((7, 16), (7, 12)), ((26, 30), None)]
)
def test_the_window_is_the_first_of_the_widest_kind(clear, window):
    tenths, index = np.logspace(-3, 0, 31), np.arange(31)
    floor = np.where((index >= clear[0]) & (index <= clear[1]), 0, tenths**2)
    assert find_window(tenths, tenths**2, floor) == window


@pytest.mark.parametrize("failure", [RuntimeError, ZeroDivisionError, np.linalg.LinAlgError])
def test_steps_at_which_a_solver_fails_are_left_out(failure):
    def remainder(t, limit):
        if t > limit:
            raise failure("too far")
        return t**2, 1.0, t

    law = measure_slope("near", lambda t: remainder(t, 0.5), 2, GRID)
    assert law.passed and np.array_equal(np.isnan(law.errors), GRID > 0.5)
    with pytest.raises(failure, match="too far"):
        measure_slope("far", lambda t: remainder(t, -1.0), 2, GRID)


@pytest.mark.parametrize("failure", [NotImplementedError, ValueError])
def test_other_failures_are_raised(failure):
    def remainder(t):
        raise failure("here")

    with pytest.raises(failure, match="here"):
        measure_slope("broken", remainder, 2, GRID)


def test_nan_everywhere_fails_and_the_report_says_so():
    law = measure_slope("nan", lambda t: (np.nan, 1.0, t), 2, GRID)
    assert not law.passed and "note: nan: no value is finite" in str(Check("mine", (law,)))


def test_a_law_without_a_window_says_what_to_change():
    def zigzag(start):
        return lambda t: (10.0 ** (round(10 * np.log10(t)) % 2) if t > start else 0.0, 0.0, 0.0)

    few, many = (str(Check("mine", (measure_slope("mine", zigzag(start), 2, GRID),))) for start in (0.35, 0.1))
    assert "pass larger" in few and "pass smaller" in many


@pytest.mark.parametrize(
    "steps", [[1e-3, 1e-2], [1e-2, 1e-3, 1e-4, 1e-5], [0.0, 1e-3, 1e-2, 1.0], [0.1, 0.2, 0.3, 0.4], [[1e-3]]]
)
def test_steps_must_increase_over_a_decade(steps):
    with pytest.raises(ValueError, match="`steps` must be at least 4 positive, increasing numbers that span a decade"):
        checked_steps(steps)


def test_a_check_prints_a_table_and_has_a_short_repr():
    slope = measure_slope("a slope", lambda t: (t, 1.0, t), 2, GRID)
    check = Check("mine", (ValueLaw("good", 1e-3, 1.0), ValueLaw("bad", np.nan, 1.0), slope), ("a note " * 20,))
    lines = str(check).splitlines()
    assert lines[0] == "mine failed" and [line[:2] for line in lines[2:5]] == ["ok", "NO", "NO"]
    assert max(map(len, lines)) <= 80 and check.complaints == (lines[3], lines[4])
    assert check.slopes == (slope,) and check.order == slope.order and Check("mine", ()).passed
    assert repr(check) == "Check('mine', passed=False, laws=3, notes=1)"
