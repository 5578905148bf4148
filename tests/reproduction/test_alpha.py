"""What the output scale does."""

import pytest

from paper_repro.cayci2024 import alpha

from . import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/alpha", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/alpha", tmp_path, quick=False)


def test_alpha_says_no_to_a_rate_off_by_a_percent_and_to_no_stop():
    stop = {"result": "rank_lost", "alpha": 1.0}
    run = {"result": "successful", "alpha": 1e4, "measured_rate": 1.0, "predicted_rate": 1.0, "theta_min": 0.995}
    assert all(verdicts(alpha.checks([stop, run])).values())
    assert sum(not holds for holds in verdicts(alpha.checks([run])).values()) == 1
    assert sum(not holds for holds in verdicts(alpha.checks([stop, run | {"predicted_rate": 1.01}])).values()) == 1
    assert sum(not holds for holds in verdicts(alpha.checks([stop, run | {"measured_rate": 0.5, "predicted_rate": 0.5}])).values()) == 3
