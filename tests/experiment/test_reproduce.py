"""Reproducing items, on a paper that is written here."""

import json
from pathlib import Path

import pytest

from riemgn import cli
from riemgn.experiment import reproduce as runner
from riemgn.experiment.verdict import departures, golden_entry, judge

CLAIMS = """
[[item]]
id = "line"
title = "a straight line"
claim = "the slope is two"
arxiv = "0000.00000v1"
theory = "C0"
quick_seconds = 0.1
full_seconds = 1.0

[[item]]
id = "other"
title = "another"
claim = "one is at most two"
arxiv = "0000.00000v1"
"""
MODULE = """
from pathlib import Path
import numpy as np

def data(quick, data_dir=None):
    count = Path(__file__).with_suffix(".count")
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    slope = SLOPE
    x = np.linspace(0, 1, 3 if quick else 5)
    return {"x": x, "y": slope * x, "word": "line", "gap": [1.0, float("nan")],
            "setup": dict.fromkeys(("data", "n", "p", "alpha", "rho", "seeds", "tolerance"), 1),
            "checks": [{"name": "slope", "predicted": 2.0, "measured": slope, "tolerance": 1e-3, "relation": "equal"}]}

def draw(data, fig):
    assert isinstance(data["x"], np.ndarray) and np.isnan(data["gap"][1]) and data["word"] == "line"
    fig.subplots().plot(data["x"], data["y"])
"""


def write_item(folder: Path, name: str, slope: str) -> None:
    (folder / f"{name}.py").write_text(MODULE.replace("SLOPE", slope))


@pytest.fixture
def papers(tmp_path, monkeypatch):
    folder = tmp_path / "papers" / "fake2000"
    folder.mkdir(parents=True)
    (folder / "claims.toml").write_text(CLAIMS)
    write_item(folder, "line", "2.0")
    write_item(folder, "other", "2.0005")
    monkeypatch.setattr(runner, "ROOT", tmp_path / "papers")
    monkeypatch.setattr(runner, "load_module", load_from_file)
    monkeypatch.setenv("RIEMGN_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    return folder


def load_from_file(item):
    space = {"__file__": str(item.folder / f"{item.id}.py"), "__name__": item.id}
    exec((item.folder / f"{item.id}.py").read_text(), space)
    return type("Module", (), {"data": staticmethod(space["data"]), "draw": staticmethod(space["draw"])})


def reproduce(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(["reproduce", *words])
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def runs(folder: Path, name: str = "line") -> int:
    return len((folder / f"{name}.count").read_text())


def test_item_writes_numbers_and_figures(papers, tmp_path, capsys):
    status, out, err = reproduce(capsys, "--quick", "--out", "here", "--json", "all.json")
    assert status == 0, out + err
    assert sorted(path.name for path in (tmp_path / "here" / "fake2000").iterdir()) == [
        f"{name}.{kind}" for name in ("line", "other") for kind in ("json", "pdf", "png")
    ]
    record = json.loads((tmp_path / "here" / "fake2000" / "line.json").read_text())
    assert record["schema"] == 1 and record["quick"] is True and record["data"]["x"] == [0.0, 0.5, 1.0]
    assert record["versions"]["jax"] and record["source_hash"] and record["data"]["checks"][0]["holds"] is True
    outcome = json.loads((tmp_path / "all.json").read_text())
    assert outcome["schema"] == 1 and [item["verdict"] for item in outcome["items"]] == ["holds", "holds"]
    assert "the slope is two" in out and "no golden numbers" in out
    assert max(map(len, out.splitlines())) <= 80 and not any(line.endswith(" ") for line in out.splitlines())


def test_default_folder_depends_on_the_checkout(papers, tmp_path):
    assert runner.default_out() == Path("riemgn-figures")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "riemgn"\n')
    assert runner.default_out() == Path("figures")


def test_stored_numbers_are_reused_for_the_same_sources_and_size(papers, tmp_path, capsys):
    words = ("fake2000/line", "--quick", "--out", "here")
    reproduce(capsys, *words)
    picture = tmp_path / "here" / "fake2000" / "line.png"
    before = picture.read_bytes()
    picture.unlink()  # it is drawn again from the stored numbers
    _, _, err = reproduce(capsys, *words)
    assert "already done" in err and runs(papers) == 1 and picture.read_bytes() == before
    reproduce(capsys, *words, "--force")
    assert runs(papers) == 2
    reproduce(capsys, "fake2000/line", "--full", "--out", "here")
    assert runs(papers) == 3
    write_item(papers, "line", "2.0 + 0.0")
    reproduce(capsys, "fake2000/line", "--full", "--out", "here")
    assert runs(papers) == 4


def test_failing_check_gives_status_1(papers, capsys):
    write_item(papers, "line", "2.5")
    status, out, _ = reproduce(capsys, "--quick", "--out", "here")
    assert status == 1 and "line: fails" in out and "other: holds" in out


def test_departure_from_golden_numbers_gives_status_1(papers, capsys):
    words = ("fake2000/line", "--quick", "--out", "here")
    assert reproduce(capsys, *words, "--update-golden")[0] == 0
    golden = papers / "golden" / "line.json"
    stored = json.loads(golden.read_text())
    assert stored == {"schema": 1, "quick": {"slope": {"measured": 2.0, "rtol": 0.01}}}
    assert reproduce(capsys, *words)[0] == 0
    stored["quick"]["slope"]["measured"] = 2.1
    golden.write_text(json.dumps(stored))
    status, out, _ = reproduce(capsys, *words)
    assert status == 1 and "departs from golden" in out and "golden 2.1" in out
    reproduce(capsys, "fake2000/line", "--full", "--out", "here", "--update-golden")
    assert set(json.loads(golden.read_text())) == {"schema", "quick", "full"}


@pytest.mark.parametrize("name", ["nobody", "fake2000/nothing", "nobody/line"])
def test_unknown_item_gives_status_2(papers, capsys, name):
    status, out, err = reproduce(capsys, name)
    assert status == 2 and out == ""
    assert err == f"riemgn: Unknown paper or item '{name}'; known are fake2000/line, fake2000/other.\n"


def test_interruption_keeps_finished_items(papers, tmp_path, capsys):
    (papers / "other.py").write_text(MODULE.replace("    slope = SLOPE", "    raise KeyboardInterrupt"))
    status, _, err = reproduce(capsys, "--quick", "--out", "here")
    assert status == 130 and "1 of 2 items are saved in 'here'" in err
    names = sorted(path.name for path in (tmp_path / "here" / "fake2000").iterdir())
    assert names == ["line.json", "line.pdf", "line.png"]


CHECKPOINTED = """
from pathlib import Path
from riemgn.experiment.checkpoint import checkpointed

@checkpointed
def square(i):
    with Path(__file__).with_suffix(".cells").open("a") as log:
        log.write(str(i))
    if i == STOP:
        raise KeyboardInterrupt
    return {"i": i, "square": float(i * i), "none": float("nan")}

def data(quick, data_dir=None):
    found = [square(i) for i in range(4)]
    setup = dict.fromkeys(("data", "n", "p", "alpha", "rho", "seeds", "tolerance"), 1)
    total = sum(c["square"] for c in found)
    check = {"name": "sum", "predicted": 14.0, "measured": total, "tolerance": 0.0, "relation": "equal"}
    return {"found": found, "setup": setup, "checks": [check]}

def draw(data, fig):
    fig.subplots()
"""


def test_interrupted_item_continues_from_its_checkpoints(papers, tmp_path, capsys):
    words, log, stop = ("fake2000/line", "--quick", "--out", "here"), papers / "line.cells", papers / "line.stop"
    stop.touch()  # while this file exists, the item is interrupted; its source does not change
    (papers / "line.py").write_text(
        CHECKPOINTED.replace("i == STOP", 'i == 2 and Path(__file__).with_suffix(".stop").exists()')
    )
    assert reproduce(capsys, *words)[0] == 130 and log.read_text() == "012"
    folder = tmp_path / "here" / "fake2000" / ".line.cells"
    assert len(list(folder.iterdir())) == 2
    stop.unlink()
    status, out, _ = reproduce(capsys, *words)
    assert status == 0 and log.read_text() == "01223" and "holds" in out and not folder.exists()


def test_item_without_data_does_not_stop_the_others(papers, capsys):
    (papers / "line.py").write_text(MODULE.replace("    slope = SLOPE", "    raise ValueError('no such data')"))
    status, out, _ = reproduce(capsys, "--quick", "--out", "here")
    assert status == 1 and "not run" in out and "no such data" in out and "holds" in out


def test_missing_setting_of_a_figure_is_reported(papers, capsys):
    (papers / "line.py").write_text(MODULE.replace("SLOPE", "2.0").replace('"alpha", "rho", ', ""))
    status, out, _ = reproduce(capsys, "--quick", "--out", "here")
    assert status == 1 and "not run" in out and "lacks alpha, rho" in out


def test_missing_data_set_gives_status_1_only_for_a_named_item(papers, capsys):
    (papers / "claims.toml").write_text(CLAIMS.replace('theory = "C0"', 'theory = "C0"\nneeds = ["mnist"]'))
    unavailable = (
        "    from riemgn.data import DataUnavailableError\n    raise DataUnavailableError('mnist is not at hand')"
    )
    (papers / "line.py").write_text(MODULE.replace("    slope = SLOPE", unavailable))
    status, out, _ = reproduce(capsys, "--quick", "--out", "here")
    assert status == 0 and "no data" in out and "mnist is not at hand" in out
    assert reproduce(capsys, "fake2000/line", "--quick", "--out", "here")[0] == 1


def test_invalid_claims_file_gives_status_2(papers, capsys):
    (papers / "claims.toml").write_text("[[item]]\nid = 'x'\n")
    status, _, err = reproduce(capsys)
    assert status == 2 and "is not a list of items" in err and "Traceback" not in err


@pytest.mark.slow
def test_items_run_in_parallel(papers, tmp_path, monkeypatch):
    monkeypatch.undo()  # other processes do not see a patch, and import by path
    items = runner.discover(tmp_path / "papers")
    outcomes = runner.reproduce(items, runner.Settings(tmp_path / "two", quick=True), jobs=2)
    assert [(outcome.item.id, outcome.verdict) for outcome in outcomes] == [("line", "holds"), ("other", "holds")]


CHECKS = [
    ("equal", 1.0, 1.05, 0.1, True),
    ("equal", 1.0, 0.8, 0.1, False),
    ("at_most", 1.0, 1.05, 0.1, True),
    ("at_most", 1.0, 1.2, 0.1, False),
    ("at_most", 1.0, -5.0, 0.0, True),
    ("at_least", 1.0, 0.95, 0.1, True),
    ("at_least", 1.0, 0.5, 0.1, False),
    ("equal", 1.0, float("nan"), 0.1, False),
    ("at_most", 1.0, float("inf"), 0.1, False),
    ("at_least", 1.0, None, 0.1, False),
]


def a_check(relation="equal", predicted=1.0, measured=1.0, tolerance=0.1, **more):
    check = {"name": "c", "relation": relation, "predicted": predicted, "measured": measured, "tolerance": tolerance}
    return check | more


@pytest.mark.parametrize(("relation", "predicted", "measured", "tolerance", "holds"), CHECKS)
def test_check_is_judged_by_its_signed_margin(relation, predicted, measured, tolerance, holds):
    judged = judge(a_check(relation, predicted, measured, tolerance))
    assert judged["holds"] is holds and (judged["margin"] >= 0) is holds


@pytest.mark.parametrize("wrong", [{"relation": "about"}, {"name": "c"}])
def test_invalid_check_raises(wrong):
    with pytest.raises(ValueError, match="check"):
        judge(wrong if "relation" not in wrong else a_check(**wrong))


def test_golden_numbers_allow_rounding_only():
    assert departures([a_check(measured=1.005)], golden_entry([a_check()])) == []
    assert departures([a_check(measured=1.05)], golden_entry([a_check()])) != []
    assert departures([a_check(measured=1.05)], golden_entry([a_check(golden_rtol=0.1)])) == []
    tiny = {"relation": "at_most", "predicted": 1e-8, "tolerance": 0.0}
    assert departures([a_check(measured=3e-11, **tiny)], golden_entry([a_check(measured=1e-12, **tiny)])) == []
    assert departures([], golden_entry([a_check()])) and departures([a_check()], {})


def test_every_item_of_the_papers_can_be_imported():
    for item in runner.discover():
        module = runner.load_module(item)
        assert callable(module.data) and callable(module.draw), item.name
        assert "v" in item.arxiv and item.claim and item.title, f"{item.name}: arxiv number with version"
