"""The page of a folder: content, recomputed verdicts, hostile text and damaged files."""

import base64
import json
import os
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import bs4
import numpy as np
import pytest

from riemgn import cli
from riemgn.experiment import run_spec, write_json, write_record
from riemgn.report import write_report
from riemgn.report.commands import run_command
from riemgn.theory import Certificate, Conclusion, Hypothesis
from tests.bench.row import Row, Timing

ROOT = Path(__file__).resolve().parents[2]
EVIL = """<script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7 * 7 }}"""
SOURCE = {"versions": {"riemgn": "0.1.0", "jax": "0.10.2"}, "python": "3.11.7", "commit": "c0ffee" * 6 + "abcd"}
SWEEP = {
    "name": "conditioning",
    "base": {"data": 'a "b".csv', "t1": 5.0, "bias": False},
    "axes": {"cond": {"start": 1.0, "stop": 1e6, "num": 4, "scale": "log"}, "width": [3, 4]},
    "flows": [{"flow": "gn"}, {"flow": "lm", "damping": 1e-7, "label": "weak lm"}],
    "seeds": 3,
}


def certified(claim: str, measured: float, subject: str = "a network", smallest: float = 1.0) -> Certificate:
    hypotheses = (Hypothesis("lambda_min(K)", smallest, "at_least", 0.5, "measured on the path", 1e-9),)
    conclusions = (
        Conclusion("rate", 1.0, measured, "at_least", 0.0, 0.01, "nu"),
        Conclusion("edge", 0.0, 0.0, "equal", 1.0, 0.0),
    )
    return Certificate(claim, subject, "It decays.", "arXiv:2412.14031v4, Theorem 1", "C5", hypotheses, conclusions)


def write_certificates(path: Path, *certificates: Certificate, **head) -> None:
    entries = [{**cert.to_dict(), "problem": "tanh", "seed": seed} for seed, cert in enumerate(certificates)]
    write_json(path, {"quick": True, "rigorous": False, "rtol": None, **SOURCE, **head, "certificates": entries})


def write_run(folder: Path, result: str = "successful", message: str = "", **fields) -> None:
    spec = run_spec(data="diabetes", width=3, t1=2.0, **fields)
    ts = np.linspace(0.0, 2.0, 40)
    arrays = {"ts": ts, "losses": 2 * np.exp(-2 * ts), "grad_norms": np.exp(-ts), "sigma_min": np.ones(40)}
    about = {"spec": spec.model_dump(mode="json"), "result": result, "message": message, "n": 442, "p": 37, "seed": 0}
    summary = {"t_end": 2.0, "losses": [2.0, float(arrays["losses"][-1])], "max_error": None}
    write_record(folder, arrays, {**about, "dtype": "float64", "seconds": 1.5, "summary": summary, **SOURCE})


def write_item(root: Path, name: str = "cai2019/overhead", **changes) -> dict:
    stored = {**json.loads((ROOT / "figures" / f"{name}.json").read_text()), **changes}
    write_json(root / f"{name}.json", stored)
    return stored


def write_sweep(root: Path, conds=(1, 10), flows=("gn", "gf"), seeds=3, broken=()) -> None:
    keys = [(cond, flow, seed) for cond in conds for flow in flows for seed in range(seeds)]
    for place, (cond, flow, seed) in enumerate(keys):
        lost = (cond, flow, seed) in broken
        ts = np.linspace(0.0, 1.0, 5 if lost else 11)
        losses = (1.0 + seed) * (1 + conds.index(cond)) * np.exp(-ts)
        cell = {"point": {"cond": cond}, "flow": flow, "seed": seed, "result": "non_finite" if lost else "successful"}
        cell |= {"message": "It became infinite." if lost else "", "seconds": 0.1}
        cell["summary"] = {"losses": [float(losses[0]), float(losses[-1])]}
        folder = root / "cells" / f"{place // 4:06d}"
        write_record(folder, {"ts": ts, "losses": losses}, {**cell, **SOURCE}, name=f"{place:06d}")
    write_json(root / "sweep.json", {"kind": "sweep", "cells": len(keys) + 1, "spec": SWEEP, **SOURCE})


def write_bench(path: Path) -> None:
    rows = [
        Row("stiff flow", Timing("riemgn", 0.5, 1e-7, 2.0), Timing("scipy", 5.0), 3.0),
        Row("stiff flow", Timing("riemgn", 0.5, 1e-7, 2.0), Timing("diffrax", 1.0), 3.0),
        Row("large", Timing("riemgn", note="ran out of memory")),
    ]
    entries = [{"benchmark": "stiff" if row.peer else "large", **row.to_dict()} for row in rows]
    write_json(path, {"quick": True, "machine": {"processor": "a processor"}, **SOURCE, "rows": entries})


def write_all(root: Path) -> Path:
    """A folder with results of every kind."""
    write_item(root, **SOURCE)
    certificates = (certified("rate_identity", 2.0), certified("rate_identity", 0.5))
    write_certificates(root / "c.json", *certificates, certified("dissipation", 2.0, smallest=0.1))
    write_run(root / "first")
    write_run(root / "second run", "rank_lost", "The flow reached its singular set.", flow="lm", damping=0.1)
    write_sweep(root / "sweep", broken=[(10, "gf", 2)])
    write_bench(root / "bench.json")
    return root


def page_of(root: Path) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(write_report(root, root / "page.html").path.read_text(encoding="utf-8"), "html.parser")


def words(tag) -> str:
    return " ".join(tag.get_text(" ").split())


def badges(tag) -> list[str]:
    """The badges in `tag`, without their signs."""
    return [words(badge).partition(" ")[2] for badge in tag.select(".badge")]


def verdicts(page) -> dict[str, list[str]]:
    return {words(line).partition(":")[0]: badges(line) for line in page.select(".verdict summary")}


def not_read(page) -> set[str]:
    return {words(line.code) for line in page.select(".not-read li")}


def article_of(page, title: str):
    (article,) = [each for each in page.find_all("article") if words(each.h3).startswith(title)]
    return article


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(write_all(tmp_path_factory.mktemp("results")))


def test_verdicts_are_counted_on_top(page):
    assert verdicts(page) == {
        "Figures": ["holds"],
        "Certificates": ["fails", "not applicable", "holds"],
        "Runs": ["rank lost", "successful"],
        "Sweeps": ["non finite", "missing", "11 successful"],
        "Benchmarks": ["no time", "target missed", "target met"],
    }
    assert page.find("h2").get_text() == "Verdicts"


def test_figures_are_vector_images_with_text(page):
    images = page.find_all("img")
    assert len(images) == 4 and all(image["alt"] for image in images)
    for image in images:
        kind, _, content = image["src"].partition(";base64,")
        svg = base64.b64decode(content).decode()
        assert kind == "data:image/svg+xml" and svg.startswith("<?xml") and "<text" in svg


def test_page_loads_nothing(page):
    for tag in page.find_all(True):
        for name in ("src", "href", "srcset", "poster", "data", "action", "xlink:href"):
            assert tag.get(name, "#").startswith(("#", "data:")), tag
    assert not re.search(r"url\(|@import", str(page.style)) and not page.find("script")
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_each_result_names_its_command(page):
    assert [words(code) for code in page.select("code.command")] == [
        "riemgn reproduce cai2019/overhead --full --out runs/again",
        "riemgn certify rate_identity --quick --seeds 2",
        "riemgn certify dissipation --quick",
        "riemgn run --data diabetes --width 3 --flow gn --t1 2.0",
        "riemgn run --data diabetes --width 3 --flow lm --damping 0.1 --t1 2.0",
        "riemgn sweep conditioning.toml --out runs/again",
        "riemgn bench stiff --quick",
        "riemgn bench large --quick",
    ]
    assert tomllib.loads(page.pre.get_text()) == SWEEP


def test_certificate_shows_numbers_and_hypotheses(page):
    summary, parts = article_of(page, "rate_identity").find_all("table")
    rows = [[words(cell) for cell in row.find_all("td")] for row in summary.tbody.find_all("tr")]
    assert rows[0] == ["a network", "✓ holds", ">=", "1", "2", "1", "0.01", "nu"]
    assert rows[1][1:6] == ["✗ fails", ">=", "1", "0.5", "-0.5"]
    assert "hypothesis: lambda_min(K) ✓ holds >= 0.5 1" in words(parts)


def test_sweep_median_leaves_out_failed_seeds(page):
    article = article_of(page, "conditioning")
    rows = [[words(cell) for cell in row.find_all(["th", "td"])] for row in article.table.find_all("tr")]
    last = np.exp(-1.0)
    assert rows[0] == ["cond", "gn", "gf"] and rows[1] == ["1", f"{2 * last:.4g}", f"{2 * last:.4g}"]
    assert rows[2] == ["10", f"{4 * last:.4g}", f"{3 * last:.4g} (1 of 3 seeds did not succeed)"]
    assert "python: 3.11.7" in words(article) and SOURCE["commit"] in words(article)
    assert "12 of 13 cells are done" in words(article) and "It became infinite." in words(article)


def test_sweep_of_python_has_no_command(tmp_path):
    write_sweep(tmp_path, conds=range(1, 11), flows=("gn",), seeds=1)
    manifest = json.loads((tmp_path / "sweep.json").read_text())
    write_json(tmp_path / "sweep.json", {**manifest, "spec": None, "maker": {"name": "riemgn.task.circle"}})
    page = page_of(tmp_path)
    assert not page.select("code.command") and "from riemgn.task.circle; no command" in words(page)
    assert "It shows 8 of 10 points." in words(page)


def test_same_folder_gives_the_same_bytes(tmp_path):
    write_run(tmp_path / "one")
    write_sweep(tmp_path / "two")
    pages = [write_report(tmp_path, tmp_path / f"{name}.html", jobs=1).path.read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_hostile_text_cannot_become_html(tmp_path):
    write_item(tmp_path, title=EVIL, claim=EVIL, arxiv=EVIL, kind=EVIL, commit=EVIL, versions={EVIL: EVIL})
    write_certificates(tmp_path / "c.json", certified(EVIL, 2.0, subject=EVIL), python=EVIL)
    write_run(tmp_path / "<b>run", message=EVIL)
    write_sweep(tmp_path / "sweep", conds=("<b>$x_{",), flows=(EVIL,), seeds=1)
    write_bench(tmp_path / "bench.json")
    (tmp_path / "<i>half.json").write_text("{")
    page = page_of(tmp_path)
    assert not page.find_all(["script", "b", "i", "iframe"]) and len(page.find_all("img")) == 3
    assert not [tag for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert words(page).count("<script>alert(1)</script>") > 5 and "{{ 7 * 7 }}" in words(page)


def test_damaged_files_are_named_and_left_out(tmp_path):
    write_run(tmp_path / "good")
    write_run(tmp_path / "cut")
    (tmp_path / "cut" / "record.npz").write_bytes((tmp_path / "cut" / "record.npz").read_bytes()[:90])
    write_sweep(tmp_path / "sweep", conds=(1,), flows=("gn",), seeds=2)
    (tmp_path / "sweep" / "cells" / "000000" / "half.json").write_text('{"schema": 1, "kind": "ce')
    (tmp_path / "sweep" / "cells" / "000000" / "odd.json").write_text('{"schema": 1, "point": 3}')
    unread = {
        "half.json": '{"schema": 1, "spec": ',
        "deep.json": "[" * 200_000,
        "newer.json": '{"schema": 2}',
        "odd.json": '{"schema": 1, "paper": "a", "item": "b", "data": {"checks": 3}}',
        "rows.json": '{"schema": 1, "machine": {}, "rows": [{"work": "w", "ours": 3}]}',
        "spec.json": '{"schema": 1, "spec": [], "result": "successful"}',
        "huge.json": '{"schema": 1, "spec": {}, "result": "successful", "n": 1' + "0" * 5000 + "}",
    }
    ignored = {
        "package.json": '{"name": "x"}',
        "list.json": "[1, 2]",
        "other.json": '{"schema": 1}',
        ".hidden.json": "{",
    }
    for name, text in {**unread, **ignored, "wrong.json": '{"schema": 1, "certificates": [{"claim": {}}]}'}.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "latin.json").write_bytes(b'{"schema": 1, "\xe9')
    page = page_of(tmp_path)
    cells = {f"sweep/cells/000000/{name}.json" for name in ("half", "odd")}
    others = {"latin.json", "pipe.json", "link.json", "cut/record.npz", "wrong.json, certificate 0"}
    assert not_read(page) == {*unread, *cells, *others}
    assert len(page.find_all("img")) == 2 and "the arrays cannot be read" in words(
        article_of(page, "gn on diabetes, cut")
    )


def test_missing_fields_are_shown_as_missing(tmp_path):
    (tmp_path / "sweep.json").write_text('{"schema": 1}')
    (tmp_path / "run.json").write_text('{"schema": 1, "spec": {}, "result": "successful"}')
    (tmp_path / "item.json").write_text('{"schema": 1, "paper": "a", "item": "b", "data": {}}')
    (tmp_path / "b.json").write_text('{"schema": 1, "machine": null, "rows": [{"work": "w", "ours": {}}]}')
    entry = {"paper": "p", "id": "q", "verdict": "no data", "notes": ["no file"]}
    write_json(tmp_path / "o.json", {"quick": True, "items": [entry]})
    page = page_of(tmp_path)
    assert not_read(page) == {"run.npz"}
    assert {"nothing checked", "no data", "no time", "successful"} <= set(badges(page))


def test_sweep_with_a_damaged_manifest_shows_its_cells(tmp_path):
    write_sweep(tmp_path / "sweep", seeds=1)
    (tmp_path / "sweep" / "sweep.json").write_text('{"schema": 1, "kind')
    page = page_of(tmp_path)
    assert "4 of 4 cells are done" in words(page) and not_read(page) == {"sweep/sweep.json"}


@pytest.mark.parametrize(
    ("part", "change", "verdict"),
    [
        ("conclusions", {"measured": 0.5}, "fails"),
        ("conclusions", {"measured": 1.005}, "undecided"),
        ("hypotheses", {"value": 0.1}, "not applicable"),
    ],
)
def test_edited_certificate_gets_its_recomputed_verdict(tmp_path, part, change, verdict):
    path = tmp_path / "c.json"
    write_certificates(path, certified("rate_identity", 2.0))
    stored = json.loads(path.read_text())
    stored["certificates"][0][part][0].update(change)
    path.write_text(json.dumps(stored))
    page = page_of(tmp_path)
    assert verdicts(page) == {"Certificates": [verdict]}
    assert f"the file says 'holds', its numbers say '{verdict}'" in words(page)


def test_edited_item_gets_its_recomputed_verdict(tmp_path):
    stored = write_item(tmp_path)
    stored["data"]["checks"][0]["measured"] = 9.0
    del stored["data"]["runs"]
    write_json(tmp_path / "cai2019" / "overhead.json", stored)
    shutil.copy(ROOT / "figures" / "cai2019" / "overhead.png", tmp_path / "cai2019")
    page = page_of(tmp_path)
    assert verdicts(page) == {"Figures": ["fails"]} and "the file says 'holds', its numbers say 'fails'" in words(page)
    # Without its runs it cannot be drawn.
    assert page.img["src"].startswith("data:image/png;base64,iVBOR") and "The stored picture." in words(page)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"flow": "lm", "damping": 0.1, "rtol": 1e-9, "seed": 7, "error": True},
        {"bias": False, "data": "a table; rm -rf.csv", "cond": 10 / 3, "loss": "logistic"},
    ],
)
def test_run_command_gives_the_same_spec(monkeypatch, fields):
    specs = []
    monkeypatch.setattr("riemgn.cli.commands._run", lambda spec, *_: specs.append(spec) or 0)
    spec = run_spec(**fields)
    with pytest.raises(SystemExit):
        cli.main(shlex.split(run_command(spec.model_dump(mode="json")))[1:])
    assert [again.hash for again in specs] == [spec.hash]


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_command_prints_one_line_and_writes_one_file(capsys, tmp_path):
    write_certificates(tmp_path / "c.json", certified("rate_identity", 0.5))
    status, out, err = call(capsys, "report", str(tmp_path))
    assert (status, err) == (0, "") and out.count("\n") == 1
    assert f"{tmp_path}/report.html: 0." in out and "1 certificates" in out
    assert sorted(os.listdir(tmp_path)) == ["c.json", "report.html"]
    assert call(capsys, "report", str(tmp_path), "--out", str(tmp_path / "deep" / "page.html"))[0] == 0
    assert (tmp_path / "deep" / "page.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_bad_folder_is_one_sentence_and_status_2(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_run(tmp_path / "run")
    cases = [
        (("report", str(tmp_path / "empty")), "contains no riemgn results"),
        (("report", str(tmp_path / "file")), "is not a folder"),
        (("report", str(tmp_path / "run"), "--out", str(tmp_path / "file" / "page.html")), "cannot be written"),
        (("report", str(tmp_path / "run"), "--out", str(tmp_path / "empty")), "is a folder"),
    ]
    for arguments, message in cases:
        status, out, err = call(capsys, *arguments)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err, (arguments, err)
