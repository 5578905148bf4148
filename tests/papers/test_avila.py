"""Avila with GGN-SCORE, with and without the outlier."""

import numpy as np
import pytest

from paper_repro.adeoye2024 import avila, classification
from riemgn.data import DataUnavailableError
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/avila", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/avila", tmp_path, quick=False)


def runs(ggn=65.0, gd=50.0, tuned=55.0, without=65.0, loss=0.025, loss_without=0.024, step_1=np.nan):
    """Test accuracies after 0, 5 and 10 epochs of GGN-SCORE, and after 0, 5, 10 and 500 of gradient descent."""
    slow = {"epochs": [0, 5, 10, 500], "test_accuracy": [[5.0, gd, gd, 68.0]] * 3}
    return {
        "GGN": {"epochs": [0, 5, 10], "test_accuracy": [[5.0, ggn, ggn]] * 3, "test": [[20.0, 0.03, loss]] * 3},
        "GD": slow,
        "GD 1": {"test": [[20.0, step_1]] * 3},
        "GD 1/k": slow | {"test_accuracy": [[5.0, tuned, tuned, 68.0]] * 3},
        "GGN*": {"test_accuracy": [[5.0, 60.0, without]] * 3, "test": [[20.0, 0.03, loss_without]] * 3},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"ggn": 60.0, "without": 60.0}, 1),
        ({"gd": 61.0}, 1),
        ({"gd": 65.0}, 2),
        ({"tuned": 65.0}, 1),
        ({"without": 61.0}, 1),
        ({"loss_without": 0.02}, 1),
        ({"step_1": 0.03}, 1),
        ({"ggn": np.nan}, 3),
    ],
)
def test_few_right_a_small_lead_and_an_outlier_that_decides_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(avila.checks(runs(**changed), quick=False)).values()) == refused


def test_the_outlier_is_in_the_data_of_both_sizes_and_in_neither_of_the_variant():
    try:
        tasks = [
            classification.task("avila", quick, None, variant) for quick in (True, False) for variant in (False, True)
        ]
    except DataUnavailableError as missing:
        pytest.skip(str(missing))
    assert [len(task.x) for task in tasks] == [960, 959, 10430, 10429]
    assert [float(abs(task.x).max()) > 300 for task in tasks] == [True, False, True, False]
    assert all(len(task.x) == len(task.y) and task.y.shape[1] == 12 for task in tasks)
