"""Each benchmark runs in a process of its own, watched: one that hangs or dies costs the row it was at, and the others go on.

The child writes one JSON object a line: `{"call": row so far, "limit": seconds}` before it calls a contender, `{"row": row}` when one is done.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.row import quickest as quickest, Row, row_from, Timing

ROOT = Path(__file__).resolve().parents[2]
BY_DEFAULT = ("stiff", "flow", "direction", "kernel", "training", "geometry", "solve", "batch", "score")
BENCHMARKS = (*BY_DEFAULT, "stiff-large", "direction-all", "large", "sweep")
STARTING = 120.0  # seconds for imports and for building the problem
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}


def measure(names: Sequence[str], quick: bool) -> Iterator[tuple[str, Row]]:
    """The rows of the benchmarks named, each with the benchmark's name, as they come."""
    for name in names:
        command = [sys.executable, "-m", "tests.bench.child", name, "quick" if quick else "full"]
        for row in supervised(command):
            yield name, row


def machine() -> dict[str, Any]:
    """What `tests.bench.machine` says of this machine, in the environment of the benchmarks."""
    command = [sys.executable, "-m", "tests.bench.machine"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """BLAS and XLA on one thread unless the caller says otherwise; no programs compiled before."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE"))
    }
    return {**ONE_THREAD, **own}


def supervised(command: Sequence[str], starting: float = STARTING) -> Iterator[Row]:
    """The rows of a child; after one that hangs or dies, those of another that leaves out what was done."""
    done: list[tuple[str, str]] = []
    while True:
        lost = yield from _rows_of_child([*command, json.dumps(done)], done, starting)
        if lost is None:
            return
        yield lost
        if lost.work == _NOWHERE:
            return
        done.append(_key(lost))


_NOWHERE = "the benchmark"


def _key(row: Row) -> tuple[str, str]:
    return row.work, row.ours.name if row.peer is None else row.peer.name


def _rows_of_child(command: Sequence[str], done: list[tuple[str, str]], starting: float):
    """Yield the child's rows; return the row that was under way where the child did not end well, None where it did."""
    under_way, limit = Row(_NOWHERE, Timing("riemgn")), starting
    lines: queue.Queue[str | None] = queue.Queue()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=said, text=True
    ) as child:  # fmt: skip
        threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True).start()
        try:
            while (line := lines.get(timeout=limit)) is not None:
                message = json.loads(line)
                if "row" in message:
                    row = row_from(message["row"])
                    done.append(_key(row))
                    under_way, limit = Row(_NOWHERE, Timing("riemgn")), starting
                    yield row
                else:
                    under_way, limit = row_from(message["call"]), message["limit"]
            status = child.wait()
        except queue.Empty:
            return _with_note(under_way, f"over {limit:g} s", limit)
        finally:
            child.kill()
        said.seek(0)
        last = ([line.strip() for line in said if line.strip()] or ["no word"])[-1]
    return None if status == 0 else _with_note(under_way, f"ended with status {status}: {last}"[:120], None)


def _with_note(row: Row, note: str, limit: float | None) -> Row:
    if row.peer is None:
        return replace(row, ours=replace(row.ours, note=note))
    return replace(row, peer=replace(row.peer, note=note, seconds=limit, over=limit is not None))


def _pump(stream: Any, lines: "queue.Queue[str | None]") -> None:
    """Hand on the lines of the protocol; a library's own words are none."""
    for line in stream:
        if line.startswith(('{"call"', '{"row"')):
            lines.put(line)
    lines.put(None)
