"""Some cells of a sweep, solved in one process: those that can share a compiled program side by side, the failed ones recorded as such."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..flow import AbstractFlow
from ..problem import Problem
from ..solver.batch import batch_key, solve_batch
from ..trajectory import Trajectory
from .grid import Cell
from .run import told

LANE_ENTRIES = 2_000_000  # of all Jacobians of one program: beyond it, side by side gains nothing and takes memory
COMPILED_ARE_MANY = 200  # programs, after which those of earlier shapes are let go
KEEPS = ("curves", "all")
CURVES = ("ts", "losses", "grad_norms", "sigma_min", "error")


@dataclass(frozen=True)
class Built:
    """What a cell solves: problem, flow, and the keyword arguments of `solve`."""

    problem: Problem
    flow: AbstractFlow
    options: Mapping[str, Any]


@dataclass(frozen=True)
class CellRecord:
    """What is stored of a cell: arrays for the npz file, metadata for the JSON file."""

    name: str
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def solve_chunk(
    build: Callable[[Cell], Built], cells: Sequence[Cell], keep: str = "curves", threads: int | None = None
) -> list[CellRecord]:
    """The records of the cells, in their order.

    A cell that cannot be built or solved has the result `"error"` and says why; a flow in numerical trouble has its result code. `threads` as in
    `solve_batch`.
    """
    records: dict[int, CellRecord] = {}
    groups: dict[Any, list[tuple[Cell, Built]]] = {}
    for cell in cells:
        try:
            built = build(cell)
            key = batch_key(built.problem, built.flow), repr(sorted(built.options.items()))
        except Exception as trouble:
            records[cell.place] = _failed(cell, trouble)
        else:
            groups.setdefault(key, []).append((cell, built))
    for group in groups.values():
        for record, place in zip(_solved(group, keep, threads), (cell.place for cell, _ in group), strict=True):
            records[place] = record
    if _compiled.count > COMPILED_ARE_MANY:
        jax.clear_caches()
        _compiled.count = 0
    return [records[cell.place] for cell in cells]


def _solved(group: Sequence[tuple[Cell, Built]], keep: str, threads: int | None) -> list[CellRecord]:
    """The records of cells of one structure and the same options, `lanes` at a time in one program."""
    first = group[0][1]
    lanes = max(1, LANE_ENTRIES // (first.problem.n * first.problem.p))
    found: list[CellRecord] = []
    for start in range(0, len(group), lanes):
        found += _together(group[start : start + lanes], keep, threads)
    return found


def _together(group: Sequence[tuple[Cell, Built]], keep: str, threads: int | None) -> list[CellRecord]:
    """Side by side, or one by one where that fails, so that the one in trouble is known."""
    started, before = time.perf_counter(), _compiled.seconds
    problems, flows, options = (
        [built.problem for _, built in group],
        [built.flow for _, built in group],
        dict(group[0][1].options),
    )
    try:
        found = solve_batch(problems, flows, **options, threads=threads)
    except Exception as trouble:
        if len(group) == 1:
            return [_failed(group[0][0], trouble)]
        return [record for each in group for record in _together([each], keep, threads)]
    compiling = _compiled.seconds - before
    times = {
        "seconds": (time.perf_counter() - started - compiling) / len(group),
        "compile_seconds": compiling,
        "lanes": len(group),
    }
    return [_record(cell, trajectory, keep, times) for (cell, _), trajectory in zip(group, found, strict=True)]


def _record(cell: Cell, trajectory: Trajectory, keep: str, times: dict[str, Any]) -> CellRecord:
    arrays, metadata = trajectory.arrays(), {**_head(cell), **told(trajectory), **times}
    return CellRecord(cell.name, {name: arrays[name] for name in arrays if keep == "all" or name in CURVES}, metadata)


def _failed(cell: Cell, trouble: Exception) -> CellRecord:
    reason = (
        f"{type(trouble).__name__}: {str(trouble).strip().splitlines()[0] if str(trouble).strip() else 'no message'}"
    )
    return CellRecord(cell.name, {}, {**_head(cell), "result": "error", "message": reason})


def _head(cell: Cell) -> dict[str, Any]:
    return {"kind": "cell", "name": cell.name, "point": dict(cell.point), "flow": cell.flow, "seed": cell.seed}


class _Compiled:
    """What XLA's compilations of this process have taken."""

    def __init__(self):
        self.seconds, self.count = 0.0, 0
        jax.monitoring.register_event_duration_secs_listener(self.heard)

    def heard(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds, self.count = self.seconds + duration_secs, self.count + 1


_compiled = _Compiled()
