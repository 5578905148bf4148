"""Run each benchmark in a process of its own, with a time limit for each call.

A contender that hangs or dies loses its own row, and the benchmark goes on in a new process. The
child prints one JSON object per line: `{"call": row so far, "limit": seconds}` before it calls a
contender, and `{"row": row}` when a row is done.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.row import Row, row_from, Timing

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_BENCHMARKS = ("stiff", "flow", "direction", "kernel", "training", "geometry", "solve", "batch", "score")
BENCHMARKS = (*DEFAULT_BENCHMARKS, "stiff-large", "direction-all", "large", "sweep")
START_LIMIT = 120.0  # seconds for imports and for building the problem
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
_NO_CALL = Row("the benchmark", Timing("riemgn"))  # the row of a child that fails between two calls


def measure(names: Sequence[str], quick: bool) -> Iterator[tuple[str, Row]]:
    """Yield the name of each benchmark with each of its rows, when the row is done."""
    for name in names:
        command = [sys.executable, "-m", "tests.bench.child", name, "quick" if quick else "full"]
        for row in supervised(command):
            yield name, row


def run_module(name: str, *arguments: str, **variables: str) -> Any:
    """Run `python -m tests.bench.NAME` and return the JSON value that it prints last.

    It has the environment of the benchmarks with the `variables` added.
    """
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment() | variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(_exit_note(done.returncode, done.stderr.splitlines()))
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Return the environment with one thread for BLAS and XLA and without a compilation cache.

    Variables that are already set take precedence.
    """
    caches = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    return ONE_THREAD | {name: value for name, value in os.environ.items() if not name.startswith(caches)}


def supervised(command: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a child. If it hangs or dies, start another that skips what is done."""
    done: list[tuple[str, str]] = []
    while True:
        lost = yield from _rows_of_child([*command, json.dumps(done)], done)
        if lost is None:
            return
        yield lost
        if lost.work == _NO_CALL.work:
            return
        done.append(_key(lost))


def _key(row: Row) -> tuple[str, str]:
    return row.work, row.ours.name if row.peer is None else row.peer.name


def _rows_of_child(command: Sequence[str], done: list[tuple[str, str]]):
    """Yield the child's rows. Return the unfinished row of a child that failed, else None."""
    pending, limit = _NO_CALL, START_LIMIT
    lines: queue.Queue[str | None] = queue.Queue()
    with tempfile.TemporaryFile("w+") as stderr, subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as child:  # fmt: skip
        threading.Thread(target=_forward, args=(child.stdout, lines), daemon=True).start()
        try:
            while (line := lines.get(timeout=limit)) is not None:
                message = json.loads(line)
                if "row" in message:
                    row = row_from(message["row"])
                    done.append(_key(row))
                    pending, limit = _NO_CALL, START_LIMIT
                    yield row
                else:
                    pending, limit = row_from(message["call"]), message["limit"]
            status = child.wait()
        except queue.Empty:
            return _with_note(pending, f"over {limit:g} s", limit)
        finally:
            child.kill()
        stderr.seek(0)
        return None if status == 0 else _with_note(pending, _exit_note(status, stderr), None)


def _exit_note(status: int, stderr: Iterable[str]) -> str:
    last = ([line.strip() for line in stderr if line.strip()] or ["no output"])[-1]
    return f"ended with status {status}: {last}"[:120]


def _with_note(row: Row, note: str, limit: float | None) -> Row:
    if row.peer is None:
        return replace(row, ours=replace(row.ours, note=note))
    return replace(row, peer=replace(row.peer, note=note, seconds=limit, over=limit is not None))


def _forward(stream: Any, lines: "queue.Queue[str | None]") -> None:
    """Put the child's messages into the queue, without other output of its libraries."""
    for line in stream:
        if line.startswith(('{"call"', '{"row"')):
            lines.put(line)
    lines.put(None)
