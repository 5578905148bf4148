"""Letters with GGN-SCORE."""

import numpy as np
import pytest

from paper_repro.adeoye2024 import letter
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/letter", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/letter", tmp_path, quick=False)


def runs(ggn=75.0, gd=20.0, tuned=30.0, late=75.0):
    """Test accuracies after 0, 5 and 20 epochs of GGN-SCORE, and after 0, 5, 50 and 200 of gradient descent, `late` at the end from 1/kappa."""
    slow = {"epochs": [0, 5, 50, 200], "test_accuracy": [[4.0, gd, gd, 60.0]] * 3}
    return {
        "GGN": {"epochs": [0, 5, 20], "test_accuracy": [[4.0, ggn, ggn]] * 3},
        "GD": slow,
        "GD 1/k": slow | {"test_accuracy": [[4.0, tuned, tuned, late]] * 3},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"late": 70.0}, 0),
        ({"ggn": 55.0}, 1),
        ({"gd": 72.0}, 1),
        ({"gd": 76.0}, 2),
        ({"tuned": 76.0}, 1),
        ({"ggn": np.nan}, 2),
    ],
)
def test_few_right_a_small_lead_and_an_equally_quick_gradient_descent_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(letter.checks(runs(**changed), quick=False)).values()) == refused
