"""Curvature against the output scale, worst case against instance."""

import numpy as np
import pytest

from paper_repro.cayci2024 import curvature
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/curvature", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/curvature", tmp_path, quick=False)


ALPHAS = np.array([1e2, 1e4, 1e6, 1e8])


def a_result(**changed):
    edge = {"above": {"status": "holds"}, "below": {"status": "not applicable"}}
    law, bound = 1.0 / ALPHAS, 1e3 / ALPHAS
    good = {
        "alphas": ALPHAS,
        "curvature": [law, 2 * law],
        "bound": [bound, bound],
        "rate": [np.ones(4)] * 2,
        "edges": [edge, edge],
    }
    return good | {"guaranteed": [curvature.guarantee(ALPHAS, 1e6)] * 2, "laws": ["holds", "holds"]} | changed


def edges(above, below):
    return [
        {"above": {"status": above}, "below": {"status": below}},
        {"above": {"status": "holds"}, "below": {"status": "not applicable"}},
    ]


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"curvature": [1 / ALPHAS, ALPHAS**-0.85]}, 1),
        ({"curvature": [1 / ALPHAS, 1e4 / ALPHAS]}, 1),
        ({"laws": ["holds", "not applicable"]}, 1),
        ({"edges": edges("not applicable", "not applicable")}, 1),
        ({"edges": edges("holds", "holds")}, 1),
        ({"rate": [np.ones(4), np.full(4, 0.49)]}, 1),
    ],
)
def test_another_order_a_broken_bound_and_certificates_that_say_otherwise_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(curvature.checks(a_result(**changed))).values()) == refused


def test_the_theorem_guarantees_half_the_rate_at_its_threshold_and_nothing_below():
    assert curvature.guarantee(np.array([1e6, 1e9]), 1e6) == pytest.approx([0.5, 0.9995])
    assert np.isnan(curvature.guarantee(np.array([0.9e6]), 1e6)).all()
