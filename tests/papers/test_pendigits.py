"""Pen-based digits with GGN-SCORE."""

import numpy as np
import pytest

from paper_repro.adeoye2024 import pendigits
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/pendigits", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/pendigits", tmp_path, quick=False)


def runs(ggn=95.0, gd=0.05, tuned=0.05, scaled=95.0):
    """Last test accuracies of GGN-SCORE and of gradient descent on scaled features, last test losses of gradient descent."""
    return {
        "GGN": {"test_accuracy": [[10.0, ggn]] * 3},
        "GD": {"test": [[1e5, gd]] * 3},
        "GD 1/k": {"test": [[1e5, tuned]] * 3},
        "GD*": {"test_accuracy": [[10.0, scaled]] * 3},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"ggn": 60.0}, 1),
        ({"gd": 0.03}, 1),
        ({"tuned": np.nan}, 1),
        ({"scaled": 50.0}, 1),
        ({"ggn": np.nan, "scaled": np.nan}, 2),
    ],
)
def test_a_ggn_score_that_does_not_learn_and_a_gradient_descent_that_does_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(pendigits.checks(runs(**changed), quick=False)).values()) == refused
