"""The Gauss-Newton flow is the Riemannian gradient flow of the outputs."""

import pytest

from paper_repro.cayci2024 import equivalence
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/equivalence", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/equivalence", tmp_path, quick=False)


def a_run(**changed):
    run = {
        "gaps": [0.0, 1e-10],
        "rtols": [1e-4, 1e-10],
        "end_gaps": [[1e-5], [1e-10]],
        "distance": 1e-12,
        "contrast": [0.0, 0.5],
    }
    return run | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"gaps": [0.0, 1e-7]}, 1),
        ({"gaps": [float("nan"), 0.0]}, 1),
        ({"end_gaps": [[1e-5], [1e-6]]}, 2),
        ({"contrast": [0.0, 1e-6]}, 1),
    ],
)
def test_flows_apart_and_a_contrast_that_is_none_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(equivalence.checks([a_run(**changed)])).values()) == refused
