"""California housing: convergence to the optimum in the class."""

import numpy as np
import pytest

from paper_repro.cayci2024 import housing
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/housing", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/housing", tmp_path, quick=False)


def a_run(**changed):
    times = np.linspace(0.0, 20.0, 61)
    run = {
        "times": times,
        "gaps": np.exp(-1.8 * times),
        "kappa": 0.9,
        "theta_min": 0.8,
        "late_rate": 0.81,
        "loss_gaps": [1e-13, 1e-13],
    }
    return run | {"slow_gaps": np.exp(-1e-4 * housing.CLOCK)} | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"loss_gaps": [1e-7, 1e-13]}, 1),
        ({"kappa": 0.95}, 1),
        ({"late_rate": 0.75}, 1),
        ({"slow_gaps": np.exp(-housing.CLOCK)}, 1),
        ({"loss_gaps": [float("nan"), 1e-13]}, 1),
    ],
)
def test_another_optimum_a_gap_above_its_bound_and_a_quick_gradient_flow_are_refused(changed, refused):
    assert (
        sum(not holds for holds in verdicts(housing.checks([a_run(), a_run(**changed)], seeds=2)).values()) == refused
    )


def test_a_run_that_does_not_converge_is_refused():
    assert not verdicts(housing.checks([a_run()], seeds=2))["runs that converge"]


def test_a_gap_that_is_never_reached_takes_for_ever():
    assert housing.reached([1.0, 0.5], [0.0, 1.0], 0.5) == 1.0
    assert housing.reached([1.0, 0.5], [0.0, 1.0], 0.1) == np.inf
