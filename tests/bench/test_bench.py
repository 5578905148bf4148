"""Benchmarks: rows, contenders that fail, and the printed table. No test asserts a time."""

import importlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from riemgn import cli
from tests.bench import large, supervisor
from tests.bench.__main__ import main as bench_main
from tests.bench.compare import Contender, Protocol, Runner
from tests.bench.row import COLUMNS, quickest, Row, row_from, Timing

pytestmark = pytest.mark.slow
OURS = Timing("riemgn", 0.5, 1e-7, 2.0)
RIEMGN = Contender("riemgn", lambda: lambda tolerance: tolerance)
MACHINE = {
    "processor": "one of two cores", "cores": 2, "load": 0.5, "gflops_numpy": 50.0, "gflops_jax": 40.0,
    "python": "3", "versions": {"jax": "0.10"},
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


def test_quickest_peer_is_within_its_limit():
    over, absent = Timing("over", 1.0, over=True), Timing("absent", note="not installed")
    works = {"a": [Timing("slow", 9.0), over, Timing("quick", 2.0), absent], "b": [over, absent], "c": [None]}
    rows = [Row(work, OURS, peer) for work, peers in works.items() for peer in peers]
    names = [(row.work, row.peer and row.peer.name) for row in quickest(rows)]
    assert names == [("a", "quick"), ("b", "over"), ("c", None)]


def raising(error):
    def run(_):
        raise error

    return run


def test_contenders_are_timed_at_equal_error_and_failures_are_rows():
    tried = []

    def coarse(tolerance):
        tried.append(tolerance)
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
    protocol = Protocol(lambda value: value, (1e-2, 1e-3, 1e-4), 1e-2, timeout=2.0)
    rows = {row.peer.name: row for row in Runner(False).compare("work", RIEMGN, peers, protocol)}
    assert [row.ours.note for row in rows.values()] == ["rtol 0.01"] * len(peers)
    assert rows["coarse"].peer.note == "rtol 0.001" and rows["coarse"].met and tried == [1e-2, 1e-3] + 5 * [1e-3]
    assert rows["never"].peer.note.startswith("reaches no error below")
    assert rows["absent"].peer.note == "not installed: no_such_module.at_all"
    assert rows["broken"].peer.note == "fails: RuntimeError: it broke"
    assert rows["unbuilt"].peer.note.startswith("fails: ZeroDivisionError")
    assert rows["slow"].peer.over and rows["slow"].peer.seconds == 2.0
    assert rows["elsewhere"].peer.seconds == 3.0


def test_finished_rows_are_not_timed_again():
    peers = [Contender(name, lambda: lambda t: t) for name in "ab"]
    rows = Runner(False, [["work", "a"]]).compare("work", RIEMGN, peers, Protocol())
    assert [row.peer.name for row in rows] == ["b"]


CHILD = """
import json, sys, time
done = json.loads(sys.argv[-1])
def row(peer, **options):
    return dict(work="w", ours=dict(name="riemgn", seconds=1.0), peer=dict(name=peer, **options), at_least=None)
def send(**message):
    print(json.dumps(message), flush=True)
print("a library says hello", flush=True)
for peer in ("good", "hangs", "dies", "last"):
    if ["w", peer] in done:
        continue
    send(call=row(peer), limit=0.5 if peer == "hangs" else 20.0)
    if peer == "hangs":
        time.sleep(60)
    if peer == "dies":
        sys.exit("out of memory")
    send(row=row(peer, seconds=2.0))
"""


def test_hanging_or_dying_peer_loses_only_its_row():
    start = time.perf_counter()
    rows = list(supervisor.supervised([sys.executable, "-c", CHILD]))
    assert [(row.peer.name, row.peer.seconds, row.peer.over) for row in rows] == [
        ("good", 2.0, False), ("hangs", 0.5, True), ("dies", None, False), ("last", 2.0, False),
    ]  # fmt: skip
    assert rows[2].peer.note == "ended with status 1: out of memory" and time.perf_counter() - start < 30


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Replace the benchmarks by two rows; the list holds the names and sizes of each call."""
    calls = []

    def measure(names, quick):
        calls.append((tuple(names), quick))
        yield "stiff", Row("stiff work", OURS, Timing("scipy", 5.0, 2e-7, 0.1), 3.0)
        yield "stiff", Row("stiff work", OURS, Timing("jaxopt", note="not installed: jaxopt"), 3.0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "run_module", lambda *arguments: MACHINE)
    monkeypatch.setattr(supervisor, "measure", measure)
    return calls


def run_bench(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_info:
        bench_main(arguments)
    printed = capsys.readouterr()
    return exit_info.value.code, printed.out, printed.err


@pytest.mark.checkout
def test_bench_prints_machine_and_table(capsys, calls):
    status, out, _ = run_bench(capsys, "stiff", "--quick", "--json", "out.json")
    assert status == 0 and calls == [(("stiff",), True)]
    assert out.splitlines()[0].startswith("one of two cores") and "50 (numpy)" in out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert table[0] == [title for title, _ in COLUMNS]
    assert table[1] == ["stiff work", "0.5", "1e-07", "2", "scipy", "5", "2e-07", "0.1", "10", "3", "yes"]
    assert table[2][4] == "jaxopt (not installed: jaxopt)" and table[2][-1] == "-"
    assert "2 rows; 1 of 1 targets met" in out and table[3:] == table[:2]
    record = json.loads(Path("out.json").read_text())
    assert record["schema"] == 1 and record["quick"] is True and "versions" in record
    assert record["machine"]["gflops_jax"] == 40.0
    rows = [(row["benchmark"], row["ratio"], row["met"]) for row in record["rows"]]
    assert rows == [("stiff", 10.0, True), ("stiff", None, None)]


def test_large_case_reports_memory_rate_and_error():
    case = large.Case((3, 4, 1), 10, large.DAMPED, 1, count_flops=True)
    assert case.step_flops() == 2 * 100 * (7 + 5) + 1000 / 3
    timing = large.measure(case)
    assert timing.seconds > 0 and timing.error is None
    assert (
        timing.note.startswith("peak ") and "GFLOP/s" in timing.note and timing.note.endswith("of a matrix product's")
    )
    flow = large.Case((3, 16, 1), 10, large.GN, 2.0, reference="law")
    problem, horizon = flow.problem()
    traj = flow.run(problem, horizon)
    assert large.error_of(flow, problem, horizon, traj) < 1e-5 < large.error_of(flow, problem, 1.1 * horizon, traj)


def test_large_case_that_dies_is_a_row(monkeypatch):
    done = subprocess.CompletedProcess([], -9, "", "out of memory\n")
    monkeypatch.setattr(supervisor.subprocess, "run", lambda *arguments, **options: done)
    assert large.measure_in_process("step", "quick") == Timing("riemgn", note="ended with status -9: out of memory")


@pytest.mark.checkout
def test_interrupted_bench_keeps_finished_rows(capsys, calls, monkeypatch):
    measure = supervisor.measure

    def interrupted(names, quick):
        yield next(measure(names, quick))
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor, "measure", interrupted)
    status, out, err = run_bench(capsys, "--json", "out.json")
    assert status == 130 and "stiff work" in out and "1 rows are done" in err
    assert len(json.loads(Path("out.json").read_text())["rows"]) == 1


def test_bench_needs_a_checkout(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("riemgn.experiment.provenance"), "PACKAGE", tmp_path / "riemgn")
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench"])
    err = capsys.readouterr().err
    assert exit_info.value.code == 2 and err.count("\n") == 1 and "clone the repository" in err and str(tmp_path) in err


@pytest.mark.checkout
def test_riemgn_bench_starts_the_benchmarks(capfd):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["bench", "stif"])
    err = capfd.readouterr().err
    assert exit_info.value.code == 2 and "Unknown benchmark 'stif'" in err
