"""The last iterate is the optimum in the class."""

import numpy as np
import pytest

from paper_repro.cayci2024 import last_iterate
from paper_repro.cayci2024.optimum import starts_around
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/last_iterate", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/last_iterate", tmp_path, quick=False)


def a_run(**changed):
    times = 20 * last_iterate.SHARES
    run = {
        "times": times,
        "gaps": np.exp(-1.8 * times),
        "kappa": 0.9,
        "theta_min": 0.8,
        "late_rate": 0.81,
        "loss_gaps": [1e-13, 1e-13],
        "output_gaps": [1e-7, 1e-7],
    }
    return run | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"loss_gaps": [1e-7, 1e-13]}, 1),
        ({"loss_gaps": [float("nan"), 1e-13]}, 1),
        ({"loss_gaps": [1e-13, 1e-3]}, 1),
        ({"output_gaps": [1e-3, 1e-7]}, 1),
        ({"kappa": 0.95}, 1),
        ({"late_rate": 0.75}, 1),
    ],
)
def test_another_optimum_and_a_gap_above_its_bound_are_refused(changed, refused):
    depth = {"cases": [{"runs": [a_run()]}, {"runs": [a_run(**changed)]}]}
    assert sum(not holds for holds in verdicts(last_iterate.checks([depth], seeds=1)).values()) == refused


def test_a_run_that_loses_rank_at_the_larger_alpha_is_refused():
    depth = {"cases": [{"runs": []}, {"runs": [a_run()]}]}
    assert not verdicts(last_iterate.checks([depth], seeds=2))["runs at the larger alpha that converge"]


def test_random_starts_lie_at_the_distance_asked_for():
    import riemgn as rg

    problem = rg.task.circle()
    starts = starts_around(problem, 0.3, 4, seed=1)
    assert np.linalg.norm(starts - np.asarray(problem.w0), axis=1) == pytest.approx(0.3)
