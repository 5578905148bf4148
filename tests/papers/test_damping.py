"""Damping schedules on ill-conditioned kernels."""

import numpy as np
import pytest

from paper_repro.cayci2024 import damping
from paper_repro.cayci2024.duplicates import duplicates
from paper_repro.cayci2024.schedules import bound, frozen_decay, frozen_time, SHARE
from tests.papers import assert_reproduced, verdicts

COND = np.array([1e2, 1e4, 1e6, 1e8, 1e10])
SPECTRUM, EVEN = np.array([1.0, 0.1, 1e-3]), np.ones(3) / np.sqrt(3)


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/damping", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/damping", tmp_path, quick=False)


def a_result(worst=(), **reached):
    """Times as theory says them, of two seeds, with some replaced."""
    times = {
        "gf": 12.6 * COND,
        "constant": 12.6 * (1 + SHARE * COND),
        "residual": 13.8 + 0.04 * COND,
        "spectral": 25 + 0 * COND,
        "gn": 13.8 + 0 * COND,
    }
    times |= {"exponential": 12.6 + np.log(1 + SHARE * COND)} | reached
    good = {"law": 1e-9, "mode_ratio": 1e-4, "excess": 1.0, "departure": 1e-3, "residual_ratio": 0.6}
    return {
        "cond": COND,
        "reached": {name: np.array([row, row]) for name, row in times.items()},
        "worst": good | dict(worst),
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"gf": 12.6 * COND**0.94}, 1),
        ({"gn": 13.8 * COND**0.021}, 1),
        ({"spectral": 25.0 * COND**-0.021}, 1),
        ({"constant": 1.26 * COND**1.06}, 1),
        ({"residual": 0.04 * COND**0.9}, 1),
        ({"exponential": 12.6 + 1.06 * np.log(COND)}, 1),
        ({"exponential": 12.6 * COND**0.1}, 1),
        ({"gf": np.where(COND > 1e9, np.nan, 12.6 * COND)}, 1),
        ({"worst": {"law": 1e-6}}, 1),
        ({"worst": {"excess": 1.01}}, 1),
        ({"worst": {"departure": 0.04}}, 1),
        ({"worst": {"residual_ratio": 1.01}}, 1),
        ({"worst": {"mode_ratio": np.nan}}, 1),
    ],
)
def test_a_time_that_does_not_scale_as_predicted_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(damping.checks(a_result(**changed))).values()) == refused


def test_the_worst_seed_decides():
    result = a_result()
    result["reached"]["gf"][1] = 12.6 * COND**1.06
    assert not verdicts(damping.checks(result))["GF: exponent of cond(K), worst seed"]


def test_a_curve_above_its_bound_is_seen_above_the_floor_only():
    limit = np.array([1.0, 1e-2, damping.FLOOR / 10])
    assert damping.largest_ratio(limit, limit) == 1.0
    assert damping.largest_ratio(limit * [1, 1.1, 1], limit) == pytest.approx(1.1)
    assert damping.largest_ratio(limit * [1, 1, 50], limit) == 1.0


@pytest.mark.parametrize("name", ["gf", "constant", "spectral", "exponential", "gn"])
def test_the_frozen_times_and_bounds_are_those_of_the_modes(name):
    rho, slowest = 0.1, np.array([0.0, 0.0, 1.0])
    time = frozen_time(name, 1e-3, SPECTRUM, EVEN, rho)
    assert np.linalg.norm(EVEN * frozen_decay(name, time, SPECTRUM, rho)) == pytest.approx(1e-3)
    alone = frozen_time(name, 1e-3, SPECTRUM, slowest, rho)
    assert time < alone * (1 + 1e-9)
    assert bound(name, np.array([alone]), SPECTRUM[-1], rho, None)[0] == pytest.approx(1e-3)


def test_residual_damping_is_bounded_by_its_delay_and_has_no_closed_form():
    assert frozen_time("residual", 1e-3, SPECTRUM, EVEN, 0.1) == pytest.approx(np.log(1e3) + 0.1 * (1 - 1e-3) / 1e-3)
    assert bound("residual", np.array([0.0, 200.0]), 1e-3, 0.1, np.array([1.0, 0.5])).tolist() == [1.0, np.exp(-150.0)]
    with pytest.raises(ValueError, match="residual"):
        frozen_decay("residual", 1.0, SPECTRUM, 0.1)


def test_the_duplicates_have_the_condition_number_and_the_modes_they_were_asked_for():
    case = duplicates(1e6, 1e6, 0)
    jac = np.asarray(case.problem.jac(case.problem.w0))
    assert np.linalg.cond(jac) ** 2 == pytest.approx(1e6, rel=1e-3)
    modes = np.linalg.svd(jac)[0].T @ np.asarray(case.problem.outputs(case.problem.w0) - case.problem.y)
    assert np.abs(modes) == pytest.approx(1 / np.sqrt(case.problem.n))
    with pytest.raises(ValueError, match="as well conditioned as 2"):
        duplicates(2.0, 1e6, 0)
