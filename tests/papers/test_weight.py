"""The sweep over the penalty's weight."""

import json
from pathlib import Path

import numpy as np
import pytest

from paper_repro.adeoye2024 import grids, weight
from paper_repro.adeoye2024.synthetic import drawn, run
from paper_repro.adeoye2024.variants import GGN, S2
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/weight", tmp_path)


@pytest.mark.slow
def test_small_and_large_weights_at_the_papers_size():
    """ggn_score.md 7.6, 9: 400 steps, one seed."""
    ends = {tau: run(S2, GGN, 0, (400,), None, tau) for tau in (1e-4, 1e-2, 1.0)}
    assert ends[1e-2]["test"][0] >= 20 * ends[1e-4]["test"][0]
    y = np.asarray(drawn(S2, 0)[2].y_test)
    assert ends[1.0]["test"][0] == pytest.approx(np.mean(y**2) / 2, rel=0.01) and ends[1.0]["norm"][0] < 1e-3


def test_what_the_text_says_of_the_full_size_is_in_its_record():
    record = json.loads((Path(__file__).parents[2] / "figures" / "adeoye2024" / "weight.json").read_text())
    assert not record["quick"]
    points = np.asarray(record["data"]["points"])
    gains = {
        run["preset"]: (end := np.asarray(run["test"])[:, :, -1])[0] / end for run in record["data"]["runs"]
    }  # (points, seeds)
    at = int(np.argmin(np.abs(points / 2.5e-4 - 1)))
    assert (
        gains["corrected"].shape == (41, 10)
        and 2.3 < gains["corrected"][at].min()
        and gains["corrected"][at].max() < 3.2
    )
    assert np.median(gains["released"], axis=1).max() < 1.105  # of medians
    for gain in gains.values():
        assert np.abs(np.median(gain, axis=1)[points <= 1.01e-5] - 1).max() < 0.1
        assert np.median(gain, axis=1)[points >= 0.99e-3].max() < 0.15


def test_the_full_grid_is_the_papers():
    full = grids.grid(False, weight.FEW, -8.0, 0.0)
    np.testing.assert_allclose(np.log10(full.points), np.arange(-40, 1) / 5, atol=1e-9)
    assert all(
        np.isclose(full.points, point, rtol=1e-6).any() for point in (1e-8, 1e-4, 1e-2, 1.0)
    )  # those of the checks


def a_result(
    corrected=(4e-5, 4e-5, 6e-3, 6e-2, 6.7e-2),
    released=(4e-6, 4e-6, 5e-3, 2e-2, 4e-2),
    zeros=(111, 111, 145, 276, 180),
    norm=0.0,
):
    def one(preset, losses):
        test = np.tile(np.asarray(losses)[:, None, None], (1, 2, 1))
        norms = np.tile(np.array([20.0, 20.0, 15.0, 1.0, norm])[:, None, None], (1, 2, 1))
        return {
            "preset": preset,
            "test": test,
            "norm": norms,
            "zeros": np.tile(np.asarray(zeros, float)[:, None], (1, 2)),
        }

    return {
        "points": weight.FEW,
        "steps": [400],
        "runs": [one("corrected", corrected), one("released", released)],
        "half_square": [6.7e-2] * 2,
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"corrected": (4e-5, 4e-5, 6e-4, 6e-2, 6.7e-2)}, 1),
        ({"corrected": (9e-5, 4e-5, 6e-3, 6e-2, 6.7e-2)}, 1),
        ({"corrected": (4e-5, 4e-5, 6e-3, 6e-2, 6.5e-2)}, 1),
        ({"released": (4e-6, 4e-4, 5e-3, 2e-2, 4e-2)}, 1),
        ({"zeros": (111, 145, 111, 276, 180)}, 1),
        ({"norm": 0.1}, 1),
        ({"norm": np.nan}, 1),
    ],
)
def test_a_weight_without_effect_or_a_run_that_does_not_collapse_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(weight.checks(a_result(**changed))).values()) == refused
