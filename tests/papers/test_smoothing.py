"""The sweep over the smoothing; what both sweeps share."""

import json
from pathlib import Path

import numpy as np
import pytest

from paper_repro.adeoye2024 import grids, smoothing
from paper_repro.adeoye2024.synthetic import run
from paper_repro.adeoye2024.variants import GGN, S2, Setting
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/smoothing", tmp_path)


@pytest.mark.slow
def test_the_ends_of_the_grid_at_the_papers_size():
    """ggn_score.md 7.6, 8: 400 steps, one seed."""
    small, large = (run(S2, GGN, 0, (400,), mu) for mu in (1e-2, 10.0))
    assert small["test"][0] >= 100 * large["test"][0]
    assert small["step_size"][0] < 0.01 and run(S2, GGN, 0, (10,), 1e-3)["step_size"][0] < 0.01


def test_what_the_text_says_of_the_full_size_is_in_its_record():
    record = json.loads((Path(__file__).parents[2] / "figures" / "adeoye2024" / "smoothing.json").read_text())
    assert not record["quick"] and len(record["data"]["points"]) == 41
    points, nothing = np.asarray(record["data"]["points"]), np.median(record["data"]["half_square"])
    loss = {run["preset"]: np.median(np.asarray(run["test"])[:, :, -1], axis=1) for run in record["data"]["runs"]}
    zeros = {
        run["preset"]: np.median(run["zeros"], axis=1) / np.median(record["data"]["start_zeros"])
        for run in record["data"]["runs"]
    }

    def between(values, low, high):
        return values[(points > 0.99 * low) & (points < 1.01 * high)]

    def at(values, point):
        return between(values, point, point).item()

    corrected, released = loss["corrected"], loss["released"]
    assert corrected.shape == (41,) and corrected[0] / corrected[-1] > 10**4.5 and released[0] / released[-1] > 10**4.5
    level = between(corrected, 10**-2.2, 10**-0.9)
    assert level.size == 14 and 0.019 < level.min() and level.max() < 0.026
    assert np.all(np.diff(corrected[points > 0.1]) < 0) and corrected[-1] == pytest.approx(1.6e-5, rel=0.01)
    assert (
        np.abs(between(released, 1e-3, 10**-1.4) / nothing - 1).max() < 0.2
        and 6.5 < at(released, 10**-0.8) / nothing < 7.5
    )
    assert 3.8 < np.log10(at(released, 10**-0.2) / at(released, 10**0.1)) < 4
    for share in zeros.values():
        assert (
            np.abs(share[points > 1.2] - 1).max() < 0.12
            and 0.3 < share[points < 0.02].min()
            and share[points < 0.02].max() < 0.67
        )


def test_the_full_grid_is_the_papers():
    full = grids.grid(False, smoothing.FEW, -3.0, 1.0)
    assert full.setting == S2 and full.seeds == 10 and full.steps[-1] == 1600 and len(full.points) == 41
    np.testing.assert_allclose(np.log10(full.points), np.arange(-30, 11) / 10, atol=1e-12)
    assert grids.MIDDLE in full.steps and set(smoothing.FEW) <= {round(point, 12) for point in full.points}


def test_every_cell_is_found_at_its_place(monkeypatch):
    def cell(setting, variant, seed, steps, mu, tau, recycle):
        values = np.full(len(steps), mu * (1 + seed) * (10 if variant.preset == "released" else 1))
        return {"test": values, "zeros": 100 * mu + seed}

    monkeypatch.setattr(grids, "run", cell)
    sizes = grids.Grid(Setting(4, 3, 2, 5), (0.1, 1.0, 10.0), 2, (400, 1600))
    result = grids.swept_grid(sizes, "name", lambda mu: (mu, 0.0), "fixed")
    np.testing.assert_allclose(grids.value(result, "corrected", 1.0), [1.0, 2.0])
    np.testing.assert_allclose(grids.value(result, "released", 10.0, step=1600), [100.0, 200.0])
    np.testing.assert_allclose(grids.value(result, "corrected", 10.0, "zeros"), [1000.0, 1001.0])
    assert result["runs"][0]["test"].shape == (3, 2, 2) and len(result["half_square"]) == 2
    with pytest.raises(IndexError):
        grids.value(result, "corrected", 3.0)


def a_result(corrected, released, sizes):
    def one(preset, losses):
        test = np.tile(np.asarray(losses)[:, None, None], (1, 3, 1))
        return {"preset": preset, "test": test, "step_size": np.tile(np.asarray(sizes)[:, None, None], (1, 3, 1))}

    return {"points": smoothing.FEW, "steps": [400], "runs": [one("corrected", corrected), one("released", released)]}


GOOD = {
    "corrected": (3.0, 2e-2, 3e-2, 1e-3, 4e-5),
    "released": (0.1, 0.08, 0.9, 3e-2, 8e-6),
    "sizes": (1e-4, 3e-3, 0.1, 0.9, 0.95),
}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"corrected": (3.0, 2e-3, 3e-2, 1e-3, 4e-5)}, 1),
        ({"corrected": (3.0, 2e-2, 3e-2, 1e-4, 4e-5)}, 1),
        ({"released": (0.1, 8e-4, 0.9, 3e-2, 8e-5)}, 1),
        ({"sizes": (1e-4, 3e-2, 0.1, 0.9, 0.95)}, 1),
        ({"sizes": (1e-4, 3e-3, 0.1, 0.9, 0.5)}, 1),
        ({"corrected": (3.0, np.nan, 3e-2, 1e-3, 4e-5)}, 1),
    ],
)
def test_a_flat_curve_or_a_step_that_does_not_freeze_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(smoothing.checks(a_result(**(GOOD | changed)))).values()) == refused
