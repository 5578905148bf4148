"""The animation of the README: one frame per time, drawn from its record."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures import animation
from riemgn.experiment.storage import read_json

README = Path(__file__).resolve().parents[2] / "README.md"
SMALL = {"size": (3.5, 1.8), "dpi": 40, "grid": 8}


def durations(picture) -> list[int]:
    return [picture.seek(row) or picture.info["duration"] for row in range(picture.n_frames)]


def test_script_writes_one_frame_per_time(tmp_path, capsys):
    assert animation.main(tmp_path / "flows", frames=4, **SMALL) == 0
    assert capsys.readouterr().out.count("holds") == 3
    record = read_json(tmp_path / "flows.json")
    with Image.open(tmp_path / "flows.gif") as picture:
        assert picture.n_frames == len(record["times"]) == 4 and picture.size == (140, 72)
        assert durations(picture) == [animation.HELD, animation.MOVING, animation.MOVING, animation.HELD]


def test_equal_charts_fail_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "SHEAR", np.eye(2))
    assert animation.main(tmp_path / "flows", frames=4, **SMALL) == 1


def test_readme_shows_the_animation():
    shown = re.findall(r"!\[([^\]]+)\]\((figures/\w+\.gif)\)", README.read_text())
    assert [link for _, link in shown] == ["figures/animation.gif"] and len(shown[0][0]) > 40
    gif, record = README.parent / shown[0][1], read_json(animation.PLACE.with_suffix(".json"))
    assert gif.stat().st_size < 2e6
    with Image.open(gif) as picture:
        assert picture.n_frames == len(record["times"]) == animation.FRAMES <= 90
        assert picture.width == 700 and durations(picture)[-1] == animation.HELD
    assert all(one["holds"] for one in record["checks"])


def test_recorded_paths_end_at_the_nearest_point():
    record = read_json(animation.PLACE.with_suffix(".json"))
    nearest = np.array([animation.MAJOR + animation.MINOR, 0.0, 0.0])
    for name, chart in [(name, chart) for name in animation.FLOWS for chart in animation.LOOKS]:
        path = np.asarray(record["paths"][name][chart])
        assert np.linalg.norm(path[-1] - nearest) < 0.2 < 2 < np.linalg.norm(path[0] - nearest)
    assert record["target"] == pytest.approx([animation.MAJOR + 2 * animation.MINOR, 0, 0])
