"""The page of a folder: what it shows, what it refuses to believe, what it never does. `test_report_browser` opens it."""

import json
import os
import re
import shlex
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import bs4
import numpy as np
import pytest

from riemgn import cli
from riemgn.experiment import run_spec, write_json, write_record
from riemgn.report import write_report
from riemgn.report.commands import run_command
from riemgn.report.verdicts import ORDER, SIGNS, tally, tone
from riemgn.result import NAMES
from riemgn.theory import Certificate, Conclusion, Hypothesis, Status
from tests.bench.row import Row, Timing

ROOT = Path(__file__).resolve().parents[2]
EVIL = """<script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7 * 7 }}"""
SOURCE = {
    "versions": {"riemgn": "0.1.0", "jax": "0.10.2"},
    "python": "3.11.7",
    "commit": "c0ffee" * 6 + "abcd",
    "uncommitted_changes": False,
}

SWEEP = {
    "name": "conditioning",
    "base": {"data": 'a "b".csv', "t1": 5.0, "bias": False},
    "axes": {"cond": {"start": 1.0, "stop": 1e6, "num": 4, "scale": "log"}, "width": [3, 4]},
    "flows": [{"flow": "gn"}, {"flow": "lm", "damping": 1e-7, "label": "weak lm"}],
    "seeds": 3,
}


def certified(claim: str, measured: float, subject: str = "a network", least: float = 1.0) -> Certificate:
    hypotheses = (Hypothesis("lambda_min(K)", least, "at_least", 0.5, "measured on the path", 1e-9),)
    conclusions = (
        Conclusion("rate", 1.0, measured, "at_least", 0.0, 0.01, "nu"),
        Conclusion("edge", 0.0, 0.0, "equal", 1.0, 0.0),
    )
    return Certificate(claim, subject, "It decays.", "arXiv:2412.14031v4, Theorem 1", "C5", hypotheses, conclusions)


def lay_certificates(path: Path, *certificates: Certificate, quick: bool = True, **head) -> None:
    entries = [
        {**cert.to_dict(), "problem": "tanh", "seed": seed, "seconds": 0.5} for seed, cert in enumerate(certificates)
    ]
    write_json(path, {"quick": quick, "rigorous": False, "rtol": None, **SOURCE, **head, "certificates": entries})


def lay_run(folder: Path, result: str = "successful", message: str = "", **fields) -> None:
    spec = run_spec(data="diabetes", width=3, t1=2.0, **fields)
    ts = np.linspace(0.0, 2.0, 40)
    arrays = {"ts": ts, "losses": 2 * np.exp(-2 * ts), "grad_norms": np.exp(-ts), "sigma_min": np.ones(40)}
    ends = {name: [float(arrays[name][0]), float(arrays[name][-1])] for name in ("losses", "grad_norms", "sigma_min")}
    about = {
        "spec": spec.model_dump(mode="json"),
        "hash": spec.hash,
        "result": result,
        "message": message,
        "n": 442,
        "p": 37,
        "seed": spec.seed,
    }
    rest = {
        "dtype": "float64",
        "device": "a processor",
        "seconds": 1.5,
        "summary": {"t_end": 2.0, **ends, "max_error": None},
        "stats": {},
    }
    write_record(folder, arrays, {**about, **rest, **SOURCE})


def lay_item(root: Path, name: str = "cai2019/overhead", **changes) -> dict:
    stored = {**json.loads((ROOT / "figures" / f"{name}.json").read_text()), **changes}
    write_json(root / f"{name}.json", stored)
    return stored


def lay_sweep(root: Path, conds=(1, 10), flows=("gn", "gf"), seeds=3, broken=()) -> None:
    count = 0
    for place, cond in enumerate(conds):
        for flow in flows:
            for seed in range(seeds):
                lost = (cond, flow, seed) in broken
                ts = np.linspace(0.0, 1.0, 5 if lost else 11)
                losses = (1.0 + seed) * (place + 1) * np.exp(-ts)
                ends = {"t_end": float(ts[-1]), "losses": [float(losses[0]), float(losses[-1])]}
                cell = {
                    "kind": "cell",
                    "name": f"{count:06d}",
                    "point": {"cond": cond},
                    "flow": flow,
                    "seed": seed,
                    "summary": ends,
                }
                code = {
                    "result": "non_finite" if lost else "successful",
                    "message": "It became infinite." if lost else "",
                    "seconds": 0.1,
                }
                write_record(
                    root / "cells" / f"{count // 4:06d}",
                    {"ts": ts, "losses": losses},
                    {**cell, **code, **SOURCE},
                    name=cell["name"],
                )
                count += 1
    axes = {"cond": list(conds)}
    total = len(conds) * len(flows) * seeds
    manifest = {"kind": "sweep", "axes": axes, "flows": list(flows), "seeds": list(range(seeds)), "cells": total + 1}
    write_json(root / "sweep.json", {**manifest, "spec": SWEEP, **SOURCE})


def lay_bench(path: Path) -> None:
    rows = [
        Row("stiff flow", Timing("riemgn", 0.5, 1e-7, 2.0), Timing("scipy", 5.0), 3.0),
        Row("stiff flow", Timing("riemgn", 0.5, 1e-7, 2.0), Timing("diffrax", 1.0), 3.0),
        Row("large", Timing("riemgn", note="ran out of memory")),
    ]
    entries = [{"benchmark": "stiff" if row.peer else "large", **row.to_dict()} for row in rows]
    write_json(path, {"quick": True, "machine": {"processor": "a processor", "cores": 2}, **SOURCE, "rows": entries})


def lay_all(root: Path) -> Path:
    """A folder with one of each kind, and two of what differs."""
    lay_item(root, **SOURCE)
    lay_item(root, "cai2019/quadratic", **SOURCE)
    lay_certificates(
        root / "certificates.json",
        certified("rate_identity", 2.0),
        certified("rate_identity", 0.5),
        certified("dissipation", 2.0, least=0.1),
    )
    lay_run(root / "first")
    lay_run(
        root / "second run", result="rank_lost", message="The flow ran into its singular set.", flow="lm", damping=0.1
    )
    lay_sweep(root / "sweep", broken=[(10, "gf", 2)])
    lay_bench(root / "bench.json")
    return root


def page_of(root: Path, **options) -> bs4.BeautifulSoup:
    report = write_report(root, root / "page.html", **options)
    assert report.size == os.path.getsize(report.path)
    return bs4.BeautifulSoup(report.path.read_text(encoding="utf-8"), "html.parser")


def words(tag) -> str:
    return " ".join(tag.get_text(" ").split())


def badges(tag) -> list[str]:
    """The words of the badges inside `tag`, without their signs."""
    return [words(badge).partition(" ")[2] for badge in tag.select(".badge")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(lay_all(tmp_path_factory.mktemp("results")))


# --- what is on the page ---------------------------------------------------------------------------------------------


def test_the_verdicts_are_counted_on_top(page):
    found = {words(line.a): badges(line) for line in page.select(".verdict")}
    assert found == {
        "2 reproduced items": ["2 holds"],
        "3 certificates": ["1 fails", "1 not applicable", "1 holds"],
        "2 runs": ["1 rank lost", "1 successful"],
        "13 sweep cells": ["1 non finite", "1 missing", "11 successful"],
        "3 benchmark rows": ["1 no time", "1 target missed", "1 target met"],
    }
    assert page.main.find("h2").get_text() == "Verdicts"
    troubles = [words(line) for line in page.select(".troubles li")]
    assert troubles == [
        "✗ fails rate_identity on a network",
        "✗ non finite 1 cells of the sweep conditioning",
        "≈ rank lost lm on diabetes, second run",
    ]


def test_every_figure_is_there_as_a_vector_with_words_beside_it(page):
    pictures = page.select("figure button.picture")
    assert len(pictures) == 5
    for picture in pictures:
        assert picture.svg.find("path") and not picture.svg.find("image") and "opens enlarged" in picture["aria-label"]
    drawn = [picture["data-name"] for picture in pictures]
    assert drawn[2:] == ["gn on diabetes, first", "lm on diabetes, second run", "conditioning"]


def test_no_identifier_is_given_twice_and_none_is_missing(page):
    given = Counter(tag["id"] for tag in page.find_all(id=True))
    assert [name for name, count in given.items() if count > 1] == []
    text = str(page)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    used |= {name for tag in page.select("[aria-labelledby]") for name in tag["aria-labelledby"].split()}
    assert used and used <= set(given)


def test_nothing_is_loaded_and_no_style_leaves_its_figure(page):
    for tag in page.find_all(True):
        for name in ("src", "srcset", "poster", "data", "action", "background"):
            assert name not in tag.attrs, (tag.name, name)
        if tag.name != "a" and ("href" in tag.attrs or "xlink:href" in tag.attrs):
            assert tag["href"].startswith(("#", "data:")), tag
    assert not re.search(r"url\((?!#)|@import", str(page))
    assert len(page.find_all("style")) == len(page.find_all("script")) == 1
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_each_result_names_the_command_that_makes_it_again(page):
    commands = [words(code) for code in page.select(".command code")]
    assert commands == [
        "riemgn reproduce cai2019/quadratic --full --out runs/again",
        "riemgn reproduce cai2019/overhead --full --out runs/again",
        "riemgn certify dissipation --quick",
        "riemgn certify rate_identity --quick --seeds 2",
        "riemgn run --data diabetes --width 3 --flow gn --t1 2",
        "riemgn run --data diabetes --width 3 --flow lm --damping 0.1 --t1 2",
        "riemgn sweep conditioning.toml --out runs/again",
        "riemgn bench stiff --quick",
        "riemgn bench large --quick",
        f"git checkout {SOURCE['commit']}",
    ]


def test_a_certificate_shows_its_numbers_and_what_decides_it(page):
    (article,) = [article for article in page.find_all("article") if article.h3.get_text() == "rate_identity "[:-1]]
    first, second = article.table.tbody.find_all("tr")
    assert [words(cell) for cell in first.find_all("td")] == [
        "✓ holds",
        ">= 1",
        "2",
        "1",
        "0.01",
        "arXiv:2412.14031v4, Theorem 1, C5",
    ]
    assert [words(cell) for cell in second.find_all("td")][:4] == ["✗ fails", ">= 1", "0.5", "-0.5"]
    parts = words(article.find_all("table")[1])
    assert "presupposes >= 0.5" in parts and "measured on the path" in parts and "within" in parts.lower()
    assert article.find("a", href="https://arxiv.org/abs/2412.14031v4")


def test_a_sweep_shows_the_file_that_it_read(page):
    assert tomllib.loads(page.pre.get_text()) == SWEEP


def test_a_sweep_asked_for_in_python_says_so(tmp_path):
    lay_sweep(tmp_path)
    manifest = json.loads((tmp_path / "sweep.json").read_text())
    write_json(tmp_path / "sweep.json", {**manifest, "spec": None, "maker": {"name": "riemgn.task.circle"}})
    page = page_of(tmp_path)
    assert not page.select(".command code")[:-1] and "rg.sweep with the problems of riemgn.task.circle" in words(page)


def test_the_environment_is_told(page):
    told = words(page.find(id="environment").parent)
    for word in (SOURCE["commit"], "3.11.7", "0.10.2", "a processor", "float64", "first/record.json"):
        assert word in told


def test_a_sweep_counts_seeds_that_did_not_succeed_and_leaves_them_out_of_the_median(page):
    (article,) = [article for article in page.find_all("article") if words(article.h3) == "conditioning"]
    rows = [[words(cell) for cell in row.find_all(["th", "td"])] for row in article.table.find_all("tr")]
    last = np.exp(-1.0)
    assert rows[0] == ["cond", "gn", "gf"]
    assert rows[1] == ["1", f"{2 * last:.4g}", f"{2 * last:.4g}"]
    assert rows[2] == ["10", f"{4 * last:.4g}", f"{3 * last:.4g} 1 of 3 seeds did not succeed"]
    assert "12 of 13 cells are done" in words(article) and badges(article)[:2] == ["1 non finite", "11 successful"]


def test_values_that_look_alike_stay_apart(tmp_path):
    lay_sweep(tmp_path, conds=(1.0, 1.0 + 1e-12), flows=("gn",), seeds=1)
    rows = [words(row) for row in page_of(tmp_path).article.table.tbody.find_all("tr")]
    assert [row.partition(" ")[0] for row in rows] == ["1", "1"] and rows[0] != rows[1]


def test_many_places_of_a_sweep_are_left_out_of_its_picture_by_number(tmp_path):
    lay_sweep(tmp_path, conds=range(1, 13), flows=("gn",), seeds=1)
    assert "Left out of the picture: 4 of 12 places." in words(page_of(tmp_path).figure)


def test_the_same_folder_gives_the_same_bytes_in_one_process_and_in_two(tmp_path, monkeypatch):
    monkeypatch.setattr("riemgn.report.drawing.FEW", 0)
    lay_run(tmp_path / "one")
    lay_sweep(tmp_path / "two")
    pages = [write_report(tmp_path, tmp_path / f"{jobs}.html", jobs).path.read_bytes() for jobs in (1, 2)]
    assert pages[0] == pages[1]


# --- what it does not believe, or cannot read ------------------------------------------------------------------------


def test_what_files_say_cannot_become_html(tmp_path):
    lay_item(tmp_path, title=EVIL, claim=EVIL, arxiv=EVIL, kind=EVIL, commit=EVIL, versions={EVIL: EVIL})
    lay_certificates(tmp_path / "c.json", certified(EVIL, 2.0, subject=EVIL), python=EVIL)
    lay_run(tmp_path / "<b>run", message=EVIL)
    lay_sweep(tmp_path / "sweep", conds=("<b>$x_{",), flows=(EVIL,), seeds=1)
    lay_bench(tmp_path / "bench.json")
    (tmp_path / "<i>half.json").write_text("{")
    page = page_of(tmp_path)
    assert len(page.find_all("script")) == 1 and not page.find_all(["img", "b", "i", "iframe"])
    assert not [tag for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]
    text = words(page)
    assert text.count("<script>alert(1)</script>") > 5 and "{{ 7 * 7 }}" in text
    assert len(page.select("button.picture")) == 3


def test_files_that_cannot_be_read_are_named_and_the_rest_is_shown(tmp_path):
    lay_run(tmp_path / "good")
    lay_run(tmp_path / "cut")
    (tmp_path / "cut" / "record.npz").write_bytes((tmp_path / "cut" / "record.npz").read_bytes()[:90])
    lay_sweep(tmp_path / "sweep", conds=(1,), flows=("gn",), seeds=2)
    (tmp_path / "sweep" / "cells" / "000000" / "half.json").write_text('{"schema": 1, "kind": "ce')
    unread = {
        "half.json": '{"schema": 1, "spec": ',
        "deep.json": "[" * 200_000,
        "newer.json": '{"schema": 2}',
        "wrong.json": '{"schema": 1, "certificates": [{"claim": {}}]}',
        "odd.json": '{"schema": 1, "paper": "a", "item": "b", "data": {"checks": 3}}',
        "huge.json": '{"schema": 1, "spec": {}, "result": "successful", "n": 1' + "0" * 5000 + "}",
    }
    ignored = {
        "package.json": '{"name": "x"}',
        "list.json": "[1, 2]",
        "other.json": '{"schema": 1, "x": 1}',
        "notes.txt": "{",
        ".hidden.json": "{",
    }
    for name, text in {**unread, **ignored}.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "latin.json").write_bytes(b'{"schema": 1, "\xe9')
    page = page_of(tmp_path)
    named = {words(line).partition(" ")[0].rstrip(":") for line in page.find(id="not-read").parent.find_all("li")}
    assert named == {*unread, "latin.json", "pipe.json", "link.json", "cut/record.npz", "sweep/cells/000000/half.json"}
    assert len(page.select("button.picture")) == 2  # the good run and the sweep
    cut = [words(figure) for figure in page.find_all("figure") if "cannot be drawn" in words(figure)]
    assert len(cut) == 1 and cut[0].count("No picture") == 1


def test_missing_fields_are_no_trouble(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "sweep.json").write_text('{"schema": 1}')
    (tmp_path / "cells" / "a.json").write_text('{"schema": 1}')
    (tmp_path / "run.json").write_text('{"schema": 1, "spec": {}, "result": "successful"}')
    (tmp_path / "item.json").write_text('{"schema": 1, "paper": "a", "item": "b", "data": {}}')
    (tmp_path / "c.json").write_text('{"schema": 1, "certificates": [{"claim": "x"}]}')
    (tmp_path / "b.json").write_text('{"schema": 1, "machine": null, "rows": [{"work": "w", "ours": {}}]}')
    (tmp_path / "o.json").write_text(
        '{"schema": 1, "quick": true, "items": [{"paper": "p", "id": "q", "verdict": "no data", "notes": ["no file"]}]}'
    )
    page = page_of(tmp_path)
    unread = {words(line) for line in page.find(id="not-read").parent.find_all("li")}
    assert unread == {"cells/a.npz : missing, or not whole", "run.npz : missing, or not whole"}
    assert {"nothing checked", "no data", "undecided", "no time"} <= set(badges(page))


def test_a_sweep_whose_manifest_is_cut_off_still_shows_its_cells(tmp_path):
    lay_sweep(tmp_path / "sweep", seeds=1)
    (tmp_path / "sweep" / "sweep.json").write_text('{"schema": 1, "kind')
    page = page_of(tmp_path)
    assert "4 of 4 cells are done" in words(page) and "sweep/sweep.json" in words(page.find(id="not-read").parent)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"conclusions": {"measured": 0.5}}, "fails"),
        ({"conclusions": {"measured": 1.005}}, "undecided"),
        ({"hypotheses": {"value": 0.1}}, "not applicable"),
        ({"hypotheses": {"error": 1.0}}, "undecided"),
    ],
)
def test_a_corrupted_certificate_is_not_believed(tmp_path, change, verdict):
    path = tmp_path / "c.json"
    lay_certificates(path, certified("rate_identity", 2.0))
    assert badges(page_of(tmp_path).select_one(".verdict")) == ["1 holds"]
    stored = json.loads(path.read_text())
    for part, numbers in change.items():
        stored["certificates"][0][part][0].update(numbers)
    path.write_text(json.dumps(stored))
    page = page_of(tmp_path)
    assert badges(page.select_one(".verdict")) == [f"1 {verdict}"]
    assert "the file says 'holds', its numbers do not" in words(page)


def test_a_verdict_without_finite_numbers_is_the_stored_one(tmp_path):
    conclusions = (Conclusion("bound", float("inf"), 2.0, "at_most", 0.0, 0.01),)
    certificate = Certificate("rate_identity", "x", "", "", "", (), conclusions)
    assert certificate.status == Status.HOLDS
    lay_certificates(tmp_path / "c.json", certificate)
    page = page_of(tmp_path)
    assert badges(page.select_one(".verdict")) == ["1 holds"] and "its numbers do not" not in words(page)


def test_a_corrupted_item_is_not_believed(tmp_path):
    stored = lay_item(tmp_path)
    stored["data"]["checks"][0]["measured"] = 9.0
    write_json(tmp_path / "cai2019" / "overhead.json", stored)
    page = page_of(tmp_path)
    assert badges(page.select_one(".verdict")) == ["1 fails"] and "the file says 'holds', its numbers do not" in words(
        page
    )


def test_an_item_that_cannot_be_drawn_shows_its_stored_picture(tmp_path):
    stored = lay_item(tmp_path)
    del stored["data"]["runs"]
    write_json(tmp_path / "cai2019" / "overhead.json", stored)
    shutil.copy(ROOT / "figures" / "cai2019" / "overhead.png", tmp_path / "cai2019")
    figure = page_of(tmp_path).figure
    assert figure.find("image")["href"].startswith("data:image/png;base64,iVBOR")
    assert "The stored picture: it cannot be drawn from the stored numbers (KeyError" in words(figure)


# --- words and commands ----------------------------------------------------------------------------------------------


def test_every_verdict_has_a_tone_and_the_worst_comes_first():
    assert {tone(word) for word in [*Status, *NAMES]} == set(SIGNS)
    assert set(map(str, [*Status, *NAMES])) <= set(ORDER)
    assert tally(["holds", "odd", "fails", "holds"]) == [("odd", 1), ("fails", 1), ("holds", 2)]


SPECS = [
    {},
    {"flow": "lm", "damping": 0.1, "rtol": 1e-9, "seed": 7, "error": True},
    {"bias": False, "centre": False, "data": "a table; rm -rf.csv", "cond": 10 / 3, "loss": "logistic"},
]


@pytest.mark.parametrize("fields", SPECS)
def test_the_command_of_a_run_gives_its_spec_again(monkeypatch, fields):
    asked = []
    monkeypatch.setattr("riemgn.cli.commands._run", lambda spec, *_: asked.append(spec) or 0)
    spec = run_spec(**fields)
    command = shlex.split(run_command(spec.model_dump(mode="json")))
    with pytest.raises(SystemExit):
        cli.main(command[1:])
    assert command[0] == "riemgn" and [again.hash for again in asked] == [spec.hash]


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_the_command_prints_one_line_and_leaves_the_folder_as_it_was(capsys, tmp_path):
    lay_run(tmp_path / "run")
    lay_certificates(tmp_path / "c.json", certified("rate_identity", 0.5))
    status, out, err = call(capsys, "report", str(tmp_path))
    assert (status, err) == (0, "") and out.count("\n") == 1
    assert f"{tmp_path}/report.html: 0." in out and out.endswith("MB; 1 certificates, 1 runs\n")
    assert sorted(os.listdir(tmp_path)) == ["c.json", "report.html", "run"]
    before = (tmp_path / "report.html").read_bytes()
    call(capsys, "report", str(tmp_path))
    assert (tmp_path / "report.html").read_bytes() == before
    assert call(capsys, "report", str(tmp_path), "--out", str(tmp_path / "deep" / "page.html"))[0] == 0
    assert (tmp_path / "deep" / "page.html").read_bytes() == before


def test_what_cannot_be_reported_is_one_sentence_and_status_2(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    lay_run(tmp_path / "run")
    cases = [
        (("report", str(tmp_path / "empty")), "holds no results"),
        (("report", str(tmp_path / "missing")), "is none"),
        (("report", str(tmp_path / "file")), "is none"),
        (("report", str(tmp_path / "run"), "--out", str(tmp_path / "file" / "page.html")), "cannot be written to"),
        (("report", str(tmp_path / "run"), "--out", str(tmp_path / "empty")), "is a folder"),
        (("report",), "DIR"),
    ]
    for arguments, said in cases:
        status, out, err = call(capsys, *arguments)
        assert (status, out) == (2, "") and err.count("\n") == 1 and said in err, (arguments, err)
    assert os.listdir(tmp_path / "empty") == []
