"""Damping by the least eigenvalue."""

import numpy as np
import pytest

from paper_repro.cai2019 import adaptive
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cai2019/adaptive", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cai2019/adaptive", tmp_path, quick=False)


def test_the_largest_step_satisfies_the_step_condition_with_equality():
    eta, bend, c, mu = adaptive.largest_step(0.3, 2.0, 0.25), 0.3, 2.0, 0.25
    assert eta * (bend / (1 + c) + mu * (1 + bend * eta / (2 * (1 + c))) ** 2) == pytest.approx(1.0)
    assert adaptive.largest_step(0.0, 1.0, 0.25) == pytest.approx(4.0)


def a_result(ladder=None, **changed):
    runs = []
    for loss in adaptive.LOSSES:
        for c in adaptive.FACTORS:
            for cond in (1e2, 1e8):
                runs.append(
                    {
                        "loss": loss,
                        "c": c,
                        "ratio": [0.9],
                        "status": ["holds"],
                        "condition": [0.95],
                        "cond": [cond],
                        "factor": [0.5],
                    }
                )
    runs[-1] |= changed
    return {"runs": runs, "ladder": {"condition": [0.95, 2.0], "status": ["holds", "not applicable"]} | (ladder or {})}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"ratio": [1.001]}, 1),
        ({"ratio": [np.nan]}, 1),
        ({"condition": [1.1]}, 1),
        ({"status": ["not applicable"]}, 1),
        ({"cond": [1e4]}, 0),
        ({"factor": [0.8]}, 1),  # slower at the worst conditioning
        ({"ladder": {"status": ["holds", "holds"]}}, 1),  # confirmed where its hypothesis fails
        ({"ladder": {"condition": [0.95, 0.96]}}, 1),
    ],
)
def test_a_slower_step_and_a_verdict_without_its_hypothesis_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(adaptive.checks(a_result(**changed))).values()) == refused


def test_kernels_of_one_conditioning_are_refused():
    result = a_result()
    for entry in result["runs"]:
        entry["cond"] = [1e4]
    assert not verdicts(adaptive.checks(result))["decades of cond(K)"]
