"""Sweeps: cells in any process are kept, an interruption costs those under way, what is done is not done again, the time left is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from riemgn.experiment import checkpoint
from riemgn.experiment.checkpoint import checkpointed, checkpoints_in, has_checkpoint
from tests.helpers import HEED_CTRL_C

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import sys, time
from pathlib import Path
from joblib import delayed, Parallel
from riemgn.experiment import checkpoint
from riemgn.experiment.checkpoint import checkpointed, checkpoints_in

HERE = Path(__file__).parent

@checkpointed
def cell(i, pause):
    with (HERE / "started").open("a") as log:
        log.write(f"{i}\\n")
    time.sleep(pause)
    return i * i

def main(pause):
    import swept_cells  # by this name the other processes know it
    checkpoint.PARALLEL_FROM, checkpoint.REPORT_EVERY = 0.0, 0.1
    with checkpoints_in(HERE / "cells", "stamp"):
        print(checkpoint.map_checkpointed(swept_cells.cell, [(i, pause) for i in range(10)], "ten", processes=2))

def nested():
    print(Parallel(2, backend="loky")(delayed(checkpoint._in_worker)() for _ in range(2)), checkpoint._in_worker())
"""


def start(folder: Path, call: str) -> subprocess.Popen:
    """A process group of its own, as a terminal gives a command."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-c", f"{HEED_CTRL_C}import swept_cells; swept_cells.{call}"]
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": environment,
        "start_new_session": True,
    }
    return subprocess.Popen(command, **options)


def lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.is_file() else []


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path):
    (tmp_path / "swept_cells.py").write_text(MODULE)
    started, cells = tmp_path / "started", tmp_path / "cells"
    first = start(tmp_path, "main(0.5)")
    deadline = time.monotonic() + 120
    while len(lines(started)) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=60)
    done = len(list(cells.glob("*.pickle")))
    assert first.returncode != 0 and out == "" and "of 10 parts" in err and "left" in err
    assert 4 <= done <= 8 and len(lines(started)) < 10
    before = len(lines(started))
    second = start(tmp_path, "main(0.5)")
    out, err = second.communicate(timeout=120)
    assert out.strip() == str([i * i for i in range(10)]), err
    assert len(lines(started)) - before == 10 - done  # none of those that were kept
    assert set(lines(started)) == set(range(10)) and not cells.exists() and f"({done} loaded)" in err


def test_a_process_of_jobs_knows_that_its_cores_are_taken(tmp_path):
    (tmp_path / "swept_cells.py").write_text(MODULE)
    out, err = start(tmp_path, "nested()").communicate(timeout=120)
    assert out.strip() == "[True, True] False", err


CALLS: list[int] = []


@checkpointed
def square(i):
    CALLS.append(i)
    if i < 0:
        raise KeyboardInterrupt
    return i * i


def test_cells_come_back_in_order_and_only_once(tmp_path):
    CALLS.clear()
    places = [(i,) for i in range(8)]
    with pytest.raises(KeyboardInterrupt), checkpoints_in(tmp_path / "cells", "a"):
        assert not has_checkpoint(square, (3,))
        assert square(3) == 9 and has_checkpoint(square, (3,)) and not has_checkpoint(square, (4,))
        assert checkpoint.map_checkpointed(square, places, "squares") == [i * i for i in range(8)]
        assert sorted(CALLS) == list(range(8)) and CALLS[1:] != sorted(
            CALLS[1:]
        )  # shuffled: the first tell the time of all
        assert checkpoint.map_checkpointed(square, places, "squares") == [i * i for i in range(8)] and len(CALLS) == 8
        square(-1)
    with checkpoints_in(tmp_path / "cells", "b"):  # of other sources
        assert not has_checkpoint(square, (3,))
    assert not has_checkpoint(square, (3,))


def test_remaining_time_leaves_out_compilation(monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "REPORT_EVERY", -1.0)
    progress = checkpoint._Progress("label", 10, 2)
    for seconds in (30.0, 100.0, 80.0):  # two of them compile
        progress.add(seconds)
    assert caplog.messages[-1] == "label: 5 of 10 parts (2 loaded), 0 s elapsed, about 2 min 30 s left"
    progress.processes = 2
    assert progress.remaining(4) == 60.0


def test_short_work_logs_no_progress(caplog):
    checkpoint.map_checkpointed(square, [(1,), (2,)], "short")
    assert caplog.messages == []
