"""The essays: their numbers hold at quick size, and a corrupted one is caught; their command names what it does not know."""

from pathlib import Path

import pytest

from figures.__main__ import main, ROOT
from paper_repro.checks import judge
from paper_repro.runner import discover, run_item, Settings

ITEMS = {item.id: item for item in discover(ROOT)}


@pytest.mark.parametrize("name", ITEMS)
def test_essay_holds_at_quick_size(name, tmp_path):
    outcome = run_item(ITEMS[name], Settings(out=tmp_path, quick=True))
    assert outcome.verdict == "holds", outcome.checks
    assert all(path.is_file() for path in outcome.pictures.values())
    for check in outcome.checks:
        wrong = {**check, "measured": check["predicted"] + 1.0 + 2 * check["tolerance"]}
        assert not judge(wrong)["holds"], check["name"]


def test_every_essay_has_its_picture_in_the_gallery():
    page = (ROOT / "README.md").read_text()
    for name in ITEMS:
        assert f"essays/{name}.png" in page and (Path(ROOT) / "essays" / f"{name}.png").is_file()


def test_an_unknown_essay_is_named(capsys):
    assert main(["nothing"]) == 2
    assert "essays/nothing" in capsys.readouterr().err
