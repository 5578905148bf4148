"""Gauss-Newton does not see conditioning."""

import numpy as np
import pytest

from paper_repro.cayci2024 import conditioning
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/conditioning", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/conditioning", tmp_path, quick=False)


def test_conditioning_says_no_when_gauss_newton_sees_the_coordinates():
    good = {
        "cond": [1.0, 1e2, 1e4],
        "gn_reached": [3.4, 3.4, 3.4],
        "gf_reached": [1e5, 1e7, 1e10],
        "spreads": [[1e-9, 1e-8]] * 2,
    }
    assert all(verdicts(conditioning.checks(good)).values())
    assert not verdicts(conditioning.checks(good | {"spreads": [[1e-9, 1e-8], [1e-9, 1e-3]]}))[
        "GN outputs, spread over cond(A), worst seed"
    ]
    slow = good | {"gn_reached": [3.4, 34.0, 340.0], "gf_reached": [1e5, 1e5, 1e5]}
    assert list(verdicts(conditioning.checks(slow)).values()) == [True, False, False]


def test_conditioning_says_no_when_gradient_flow_arrives_nowhere():
    lost = {"cond": [1.0, 1e2], "gn_reached": [3.4, 3.4], "gf_reached": [np.nan, np.nan], "spreads": [[1e-9]]}
    assert not verdicts(conditioning.checks(lost))["GF time to 1e-3: slope in cond(A)"]
