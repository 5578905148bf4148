"""Every schedule stays in its ball."""

import numpy as np
import pytest

from paper_repro.cayci2024 import path
from paper_repro.cayci2024.schedules import SCHEDULES
from tests.papers import assert_reproduced, verdicts

ALPHA = np.array([1e2, 1e3, 1e4, 1e5])


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/path", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/path", tmp_path, quick=False)


def a_result(path_ratio=0.8, dissipation_error=1e-9, order=-1.0, radius=0.1, threshold=2e3):
    """Two seeds of all flows, with what one flow measured in the second seed replaced."""

    def replaced(usual, value):
        rows = {name: np.array([usual, usual]) for name in SCHEDULES}
        rows["residual"][1] = value
        return rows

    return {
        "alpha": ALPHA,
        "displacement": replaced(1 / ALPHA, ALPHA**order),
        "path_ratio": replaced(0 * ALPHA + 0.8, path_ratio),
        "dissipation_error": replaced(0 * ALPHA, dissipation_error),
        "radius": np.array([radius, radius]),
        "threshold": np.array([threshold, threshold]),
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"path_ratio": 1.01}, 1),
        ({"path_ratio": np.nan}, 1),
        ({"dissipation_error": 1e-5}, 1),
        ({"order": -0.85}, 1),
        ({"order": -1.15}, 1),
        ({"radius": 5e-5}, 1),
        ({"radius": 5e-5, "threshold": 5e4}, 0),
        ({"threshold": 1e6}, 1),
    ],
)
def test_a_path_longer_than_its_bound_and_a_ball_left_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(path.checks(a_result(**changed))).values()) == refused
