"""The papers' items: at quick size every check holds and the numbers are the golden ones; a corrupted computation is caught."""

from pathlib import Path

import numpy as np
import pytest

from paper_repro.cayci2024 import alpha, conditioning, damping
from paper_repro.checks import judge
from paper_repro.runner import discover, run_item, Settings

ITEMS = {item.name: item for item in discover()}


def reproduced(name: str, out: Path, quick: bool):
    return run_item(ITEMS[name], Settings(out=out, quick=quick))


@pytest.mark.parametrize("name", ITEMS)
def test_item_holds_at_quick_size_and_matches_its_golden_numbers(name, tmp_path):
    outcome = reproduced(name, tmp_path, quick=True)
    assert outcome.verdict == "holds", (outcome.checks, outcome.notes)
    assert outcome.golden == "matches"
    assert all(path.is_file() for path in outcome.pictures.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ITEMS)
def test_item_holds_at_full_size(name, tmp_path):
    outcome = reproduced(name, tmp_path, quick=False)
    assert outcome.verdict == "holds" and outcome.golden == "matches", (outcome.checks, outcome.notes)


def verdicts(checks):
    return {check["name"]: judge(check)["holds"] for check in checks}


def test_conditioning_says_no_when_gauss_newton_sees_the_coordinates():
    good = {"cond": [1.0, 1e2, 1e4], "gn_reached": [3.4, 3.4, 3.4], "gf_reached": [1e5, 1e7, 1e10]}
    assert all(verdicts(conditioning.checks(good, 1e-9)).values())
    assert not verdicts(conditioning.checks(good, 1e-3))["GN outputs, spread over cond(A)"]
    slow = good | {"gn_reached": [3.4, 34.0, 340.0], "gf_reached": [1e5, 1e5, 1e5]}
    assert list(verdicts(conditioning.checks(slow, 1e-9)).values()) == [True, False, False]


def test_conditioning_says_no_when_gradient_flow_arrives_nowhere():
    lost = {"cond": [1.0, 1e2], "gn_reached": [3.4, 3.4], "gf_reached": [np.nan, np.nan]}
    assert not verdicts(conditioning.checks(lost, 1e-9))["GF time to 1e-3: slope in cond(A)"]


def test_alpha_says_no_to_a_rate_off_by_a_percent_and_to_no_stop():
    stop = {"result": "rank_lost", "alpha": 1.0}
    run = {"result": "successful", "alpha": 1e4, "measured_rate": 1.0, "predicted_rate": 1.0, "theta_min": 0.995}
    assert all(verdicts(alpha.checks([stop, run])).values())
    assert sum(not holds for holds in verdicts(alpha.checks([run])).values()) == 1
    assert sum(not holds for holds in verdicts(alpha.checks([stop, run | {"predicted_rate": 1.01}])).values()) == 1
    assert sum(not holds for holds in verdicts(alpha.checks([stop, run | {"measured_rate": 0.5, "predicted_rate": 0.5}])).values()) == 3


def test_a_curve_above_its_bound_is_seen_above_the_floor_only():
    bound = np.array([1.0, 1e-2, damping.FLOOR / 10])
    assert damping.largest_ratio(bound, bound) == 1.0
    assert damping.largest_ratio(bound * [1, 1.1, 1], bound) == pytest.approx(1.1)
    assert damping.largest_ratio(bound * [1, 1, 50], bound) == 1.0
