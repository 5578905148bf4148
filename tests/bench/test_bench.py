"""The benchmarks: rows, failing contenders, and what the command prints. No time is asserted."""

import importlib
import json
import math
import sys
import time
from pathlib import Path

import pytest

from riemgn import cli
from tests.bench import large, supervisor
from tests.bench.__main__ import main as bench_main
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import quickest, Row, row_from, Timing

pytestmark = pytest.mark.slow
OURS = Timing("riemgn", 0.5, 1e-7, 2.0)
MACHINE = {
    "processor": "one of two cores", "cores": 2, "load": 0.5, "gflops_numpy": 50.0, "gflops_jax": 40.0, "python": "3", "versions": {"jax": "0.10"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "at_least", "ratio", "met"),
    [
        (Timing("peer", 5.0), 3.0, 10.0, True),
        (Timing("peer", 1.0), 3.0, 2.0, False),
        (Timing("peer", 1.0), None, 2.0, None),
        (Timing("peer", 20.0, over=True), 30.0, 40.0, True),
        (Timing("peer", 20.0, over=True), 50.0, 40.0, None),
        (Timing("peer", note="not installed: peer"), 3.0, None, None),
        (None, None, None, None),
    ],
)
def test_ratio_is_peer_seconds_over_ours(peer, at_least, ratio, met):
    row = Row("work", OURS, peer, at_least)
    assert (row.ratio, row.met) == (ratio, met)
    assert row_from(json.loads(json.dumps(row.to_dict()))) == row


def test_quickest_peer_finished():
    peers = [
        Timing("slow", 9.0),
        Timing("over", 1.0, over=True),
        Timing("quick", 2.0),
        Timing("absent", note="not installed"),
    ]
    works = [("a", peers), ("b", peers[1:2] + peers[3:]), ("c", [None])]
    rows = [Row(work, OURS, peer) for work, group in works for peer in group]
    assert [(row.work, row.peer and row.peer.name) for row in quickest(rows)] == [
        ("a", "quick"),
        ("b", "over"),
        ("c", None),
    ]


def raising(trouble):
    def run(_):
        raise trouble

    return run


def test_contenders_reach_equal_error_and_failures_are_rows():
    asked = []

    def coarse(tolerance):
        asked.append(tolerance)
        return 10 * tolerance

    peers = [
        Contender("coarse", lambda: coarse, at_least=0.0),
        Contender("never", lambda: lambda tolerance: math.nan),
        Contender("absent", lambda: coarse, needs=("no_such_module.at_all",)),
        Contender("broken", lambda: raising(RuntimeError("it broke\nbadly"))),
        Contender("unbuilt", lambda: 1 / 0),
        Contender("slow", lambda: raising(TimeoutError())),
        Contender("elsewhere", lambda: Timing("elsewhere", 3.0)),
    ]
    protocol = Protocol(lambda value: value, (1e-2, 1e-3, 1e-4), 1e-2, patience=2.0)
    rows = {
        row.peer.name: row
        for row in Contest(False).compare("work", Contender("riemgn", lambda: lambda t: t), peers, protocol)
    }
    assert [row.ours.note for row in rows.values()] == ["rtol 0.01"] * len(peers)
    assert rows["coarse"].peer.note == "rtol 0.001" and rows["coarse"].met and asked == [1e-2, 1e-3] + 5 * [1e-3]
    assert rows["never"].peer.note.startswith("comes to no error below")
    assert rows["absent"].peer.note == "not installed: no_such_module.at_all"
    assert rows["broken"].peer.note == "fails: RuntimeError: it broke"
    assert rows["unbuilt"].peer.note.startswith("fails: ZeroDivisionError")
    assert rows["slow"].peer.over and rows["slow"].peer.seconds == 2.0
    assert rows["elsewhere"].peer.seconds == 3.0


def test_finished_rows_are_not_measured_again():
    peers = [Contender(name, lambda: lambda t: t) for name in "ab"]
    compared = Contest(False, [["work", "a"]]).compare(
        "work", Contender("riemgn", lambda: lambda t: t), peers, Protocol()
    )
    assert [row.peer.name for row in compared] == ["b"]


CHILD = """
import json, sys, time
done = json.loads(sys.argv[-1])
def row(peer, **rest):
    timing = dict(name=peer, seconds=None, error=None, first_call=None, note="", over=False) | rest
    return dict(work="w", ours=dict(name="riemgn", seconds=1.0, error=None, first_call=None, note="", over=False), peer=timing, at_least=None)
def say(**message):
    print(json.dumps(message), flush=True)
print("a library says hello", flush=True)
for peer in ("good", "hangs", "dies", "last"):
    if ["w", peer] in done:
        continue
    say(call=row(peer), limit=0.5 if peer == "hangs" else 20.0)
    if peer == "hangs":
        time.sleep(60)
    if peer == "dies":
        sys.exit("out of memory")
    say(row=row(peer, seconds=2.0))
"""


def test_peer_that_hangs_or_dies_costs_only_its_row():
    start = time.perf_counter()
    rows = list(supervisor.supervised([sys.executable, "-c", CHILD]))
    assert [(row.peer.name, row.peer.seconds, row.peer.over) for row in rows] == [
        ("good", 2.0, False), ("hangs", 0.5, True), ("dies", None, False), ("last", 2.0, False),
    ]  # fmt: skip
    assert rows[2].peer.note == "ended with status 1: out of memory" and time.perf_counter() - start < 30


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A benchmark of two rows; the list holds what was asked."""
    asked = []

    def measure(names, quick):
        asked.append((tuple(names), quick))
        yield "stiff", Row("stiff work", OURS, Timing("scipy", 5.0, 2e-7, 0.1), 3.0)
        yield "stiff", Row("stiff work", OURS, Timing("jaxopt", note="not installed: jaxopt"), 3.0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.bench.supervisor.machine", lambda: MACHINE)
    monkeypatch.setattr("tests.bench.supervisor.measure", measure)
    return asked


def call(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        bench_main(words)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


@pytest.mark.checkout
def test_bench_prints_the_machine_and_one_table(capsys, fake):
    status, out, _ = call(capsys, "stiff", "--quick", "--json", "out.json")
    assert status == 0 and fake == [(("stiff",), True)]
    assert out.splitlines()[0].startswith("one of two cores") and "50 (numpy)" in out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert table[0] == [
        "work",
        "ours [s]",
        "error",
        "first [s]",
        "peer",
        "peer [s]",
        "error",
        "first [s]",
        "ratio",
        "at least",
        "met",
    ]
    assert table[1] == ["stiff work", "0.5", "1e-07", "2", "scipy", "5", "2e-07", "0.1", "10", "3", "yes"]
    assert table[2][4] == "jaxopt (not installed: jaxopt)" and table[2][-1] == "-"
    assert "2 rows; 1 of 1 targets met" in out and table[3:] == table[:2]
    record = json.loads(Path("out.json").read_text())
    assert (
        record["schema"] == 1
        and record["quick"] is True
        and record["machine"]["gflops_jax"] == 40.0
        and "versions" in record
    )
    assert [(row["benchmark"], row["ratio"], row["met"]) for row in record["rows"]] == [
        ("stiff", 10.0, True),
        ("stiff", None, None),
    ]


def test_large_work_reports_memory_and_rate(monkeypatch):
    work = large.Work((3, 4, 1), 10, large.DAMPED, 1, counted=True)
    assert work.multiplications() == 2 * 100 * (7 + 5) + 1000 / 3
    timing = large.measured("step", work)
    assert timing.seconds > 0 and timing.error is None
    assert timing.note.startswith("peak ") and "GFLOP/s" in timing.note and timing.note.endswith("of a product's")
    flow = large.Work((3, 16, 1), 10, large.GN, 2.0, reference="law")
    problem, horizon = flow.problem()
    found = flow.run(problem, horizon)
    assert large.error_of(flow, problem, horizon, found) < 1e-5 < large.error_of(flow, problem, 1.1 * horizon, found)
    monkeypatch.setattr(
        large.subprocess, "run", lambda *a, **k: large.subprocess.CompletedProcess(a, -9, "", "out of memory\n")
    )
    assert large.in_child("step", "quick") == Timing("riemgn", note="ended with status -9: out of memory")


@pytest.mark.checkout
def test_interrupted_bench_keeps_finished_rows(capsys, fake, monkeypatch):
    measure = supervisor.measure

    def interrupted(names, quick):
        yield next(measure(names, quick))
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "measure", interrupted)
    status, out, err = call(capsys, "--json", "out.json")
    assert status == 130 and "stiff work" in out and "1 rows are done" in err
    assert len(json.loads(Path("out.json").read_text())["rows"]) == 1


@pytest.mark.checkout
def test_unknown_benchmark_is_one_sentence(capsys):
    status, out, err = call(capsys, "stif")
    assert (
        status == 2
        and out == ""
        and err.count("\n") == 1
        and "'stif'" in err
        and ", ".join(supervisor.BENCHMARKS) in err
    )


def test_bench_needs_a_checkout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("riemgn.experiment.provenance"), "PACKAGE", tmp_path / "riemgn")
    with pytest.raises(SystemExit) as left:
        cli.main(["bench"])
    err = capsys.readouterr().err
    assert left.value.code == 2 and err.count("\n") == 1 and "clone the repository" in err and str(tmp_path) in err


@pytest.mark.checkout
def test_riemgn_bench_starts_the_benchmarks(capfd):
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", "stif"])
    err = capfd.readouterr().err
    assert left.value.code == 2 and "Unknown benchmark 'stif'" in err
