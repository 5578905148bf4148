"""Smoothings of the absolute value and what they promise."""

import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import smoothers
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/smoothers", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/smoothers", tmp_path, quick=False)


def test_the_ratio_of_the_exponential_function_is_its_constant():
    penalty = rg.regularizer.ExponentialPenalty(2.0)
    np.testing.assert_allclose(smoothers.ratio(penalty, 2.0, np.linspace(-1, 1, 5)), 0.5, rtol=1e-12)  # 1 / mu


def kind(order=2.6, tight=2.5, top=2.5, law=1.0, spare=0.1, status="holds"):
    ratios = [np.array([0.1, top]), np.array([0.1, law * tight * smoothers.OTHER ** (order / 2 - 2)])]
    steps = np.full((2, 3), 0.5)
    return {
        **{"order": order, "tight": tight, "released": 2.0, "ratios": ratios},
        **{"decrease": steps, "predicted_decrease": steps - spare, "certificate": ["holds", status]},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"top": 2.6}, 1),  # the constant is not true
        ({"top": 2.3}, 2),  # or not tight, and 2 would nearly do
        ({"law": 1.1}, 1),
        ({"spare": -1e-6}, 1),
        ({"status": "fails"}, 1),
        ({"top": np.nan}, 2),
    ],
)
def test_wrong_constants_and_broken_promises_are_refused(changed, refused):
    result = {"kinds": {"pseudo-Huber": kind(**changed), "Ostrovskii-Bach": kind()}}
    assert sum(not holds for holds in verdicts(smoothers.checks(result)).values()) == refused
