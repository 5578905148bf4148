"""Checkpoints: finished parts survive an interruption, in this process and in others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from riemgn.experiment import checkpoint
from riemgn.experiment.checkpoint import checkpointed, checkpoints_in, has_checkpoint, map_checkpointed
from tests.helpers import RESTORE_CTRL_C

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import sys, time
from pathlib import Path
from riemgn.experiment import checkpoint

HERE = Path(__file__).parent

@checkpoint.checkpointed
def square(i):
    with (HERE / "started").open("a") as log:
        log.write(f"{i}\\n")
    time.sleep(0.5)
    return i * i

def main():
    import squares  # the name under which other processes can import it
    checkpoint.PARALLEL_FROM, checkpoint.REPORT_EVERY = 0.0, 0.1
    with checkpoint.checkpoints_in(HERE / "checkpoints", "hash"):
        print(checkpoint.map_checkpointed(squares.square, [(i,) for i in range(10)], "ten", processes=2))
"""


@pytest.mark.slow
def test_interrupted_processes_continue(tmp_path):
    (tmp_path / "squares.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", f"{RESTORE_CTRL_C}import squares; squares.main()"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def start():
        """Start a process group, as a terminal does."""
        return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

    def started():
        path = tmp_path / "started"
        return path.read_text().split() if path.is_file() else []

    first = start()
    deadline = time.monotonic() + 120
    while len(started()) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=60)
    before, done = len(started()), len(list((tmp_path / "checkpoints").glob("*.pickle")))
    assert first.returncode != 0 and out == "" and "of 10 parts" in err and "left" in err
    assert 4 <= done <= 8 and before < 10
    out, err = start().communicate(timeout=120)
    assert out.strip() == str([i * i for i in range(10)]), err
    assert len(started()) - before == 10 - done and f"({done} loaded)" in err
    assert set(started()) == {str(i) for i in range(10)} and not (tmp_path / "checkpoints").exists()


CALLS: list[int] = []


@checkpointed
def square(i):
    CALLS.append(i)
    if i < 0:
        raise KeyboardInterrupt
    return i * i


def test_finished_parts_are_loaded(tmp_path):
    CALLS.clear()
    arguments = [(i,) for i in range(8)]
    with pytest.raises(KeyboardInterrupt), checkpoints_in(tmp_path / "checkpoints", "a"):
        assert square(3) == 9 and has_checkpoint(square, (3,)) and not has_checkpoint(square, (4,))
        assert map_checkpointed(square, arguments, "squares") == [i * i for i in range(8)]
        square(-1)
    assert sorted(CALLS) == [-1, *range(8)] and CALLS[1:-1] != sorted(CALLS[1:-1])  # shuffled
    with checkpoints_in(tmp_path / "checkpoints", "a"):
        assert map_checkpointed(square, arguments, "squares") == [i * i for i in range(8)] and len(CALLS) == 9
    assert not (tmp_path / "checkpoints").exists()


def test_other_sources_compute_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), checkpoints_in(tmp_path / "checkpoints", "a"):
        square(3)
        square(-1)
    with checkpoints_in(tmp_path / "checkpoints", "b"):
        assert not has_checkpoint(square, (3,))


def test_nothing_is_stored_outside_a_run():
    CALLS.clear()
    assert square(3) == square(3) == 9 and CALLS == [3, 3] and not has_checkpoint(square, (3,))


def test_remaining_time_leaves_out_compilation(monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "REPORT_EVERY", -1.0)
    progress = checkpoint._Progress("label", 10, 2)
    for seconds in (30.0, 100.0, 80.0):  # two of them compile
        progress.add(seconds)
    assert caplog.messages[-1] == "label: 5 of 10 parts (2 loaded), 0 s elapsed, about 2 min 30 s left"
    progress.processes = 2
    assert progress.remaining(4) == 60.0


def test_short_work_logs_no_progress(caplog):
    map_checkpointed(square, [(1,), (2,)], "short")
    assert caplog.messages == []
