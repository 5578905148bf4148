"""The cells (runs) of a sweep: their order, and how some of them are solved in one process."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..flow import AbstractFlow
from ..problem import Problem
from ..solver.batch import batch_key, solve_batch
from ..trajectory import Trajectory
from .run import run_metadata

MAX_CELLS = 1_000_000
# total entries of the Jacobians in one program; a larger batch needs more memory and is not faster
BATCH_ENTRIES = 2_000_000
MAX_PROGRAMS = 200  # compiled programs of a process, after which JAX's caches are cleared
KEEPS = ("curves", "all")
CellRecord = tuple[str, dict[str, np.ndarray], dict[str, Any]]  # name, arrays, metadata
CURVES = ("ts", "losses", "grad_norms", "sigma_min", "error")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: place in the grid, point on the axes, label of the flow, and seed."""

    place: int
    point: Mapping[str, Any]
    flow: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.place:06d}"


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep. The seed varies fastest, then the last axis, and the flow slowest.

    Raises: `ValueError` for an empty axis, no flow, no seed, or more than `MAX_CELLS` cells.
    """

    axes: Mapping[str, Sequence[Any]]
    flows: Sequence[str]
    seeds: Sequence[int]

    def __post_init__(self):
        for name, values in (*self.axes.items(), ("flows", self.flows), ("seeds", self.seeds)):
            if not len(values):
                raise ValueError(f"`{name}` must contain at least one value, got none.")
        if len(self) > MAX_CELLS:
            raise ValueError(f"A sweep has at most {MAX_CELLS} cells, got {len(self):.3g} from axes, flows and seeds.")

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values()) * len(self.flows) * len(self.seeds)

    def cell(self, place: int) -> Cell:
        """Return the cell at a place from 0 to `len(grid) - 1`."""
        rest, seed = divmod(place, len(self.seeds))
        point: dict[str, Any] = {}
        for name in reversed(list(self.axes)):
            rest, index = divmod(rest, len(self.axes[name]))
            point[name] = self.axes[name][index]
        return Cell(place, {name: point[name] for name in self.axes}, self.flows[rest], self.seeds[seed])

    def chunks(self, size: int) -> Iterator[range]:
        """Yield the places, `size` at a time, such that a resumed sweep has the same chunks."""
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))


@dataclass(frozen=True)
class Built:
    """What a cell solves: problem, flow, and the keyword arguments of `solve`."""

    problem: Problem
    flow: AbstractFlow
    options: Mapping[str, Any]


def solve_chunk(
    build: Callable[[Cell], Built], cells: Sequence[Cell], keep: str = "curves", threads: int | None = None
) -> list[CellRecord]:
    """Solve the cells and return their records in the same order.

    Cells with the same shapes and options share a compiled program. A cell that cannot be built or
    solved has the result `"error"` and a message. `threads` is that of `solve_batch`.
    """
    records: dict[int, CellRecord] = {}
    groups: dict[Any, list[tuple[Cell, Built]]] = {}
    for cell in cells:
        try:
            built = build(cell)
            key = batch_key(built.problem, built.flow), repr(sorted(built.options.items()))
        except Exception as error:
            records[cell.place] = _error_record(cell, error)
        else:
            groups.setdefault(key, []).append((cell, built))
    for group in groups.values():
        problem = group[0][1].problem
        size = max(1, BATCH_ENTRIES // (problem.n * problem.p))
        for start in range(0, len(group), size):
            batch = group[start : start + size]
            records |= zip((cell.place for cell, _ in batch), _solve_batch(batch, keep, threads), strict=True)
    if _compilation.count > MAX_PROGRAMS:
        jax.clear_caches()
        _compilation.count = 0
    return [records[cell.place] for cell in cells]


def _solve_batch(batch: Sequence[tuple[Cell, Built]], keep: str, threads: int | None) -> list[CellRecord]:
    """Solve cells in one program, or one by one if that raises, to find the cell that fails."""
    start, before = time.perf_counter(), _compilation.seconds
    problems, flows = [built.problem for _, built in batch], [built.flow for _, built in batch]
    try:
        trajectories = solve_batch(problems, flows, throw=False, threads=threads, **batch[0][1].options)
    except Exception as error:
        if len(batch) == 1:
            return [_error_record(batch[0][0], error)]
        return [record for each in batch for record in _solve_batch([each], keep, threads)]
    compiling = _compilation.seconds - before
    seconds = (time.perf_counter() - start - compiling) / len(batch)
    times = {"seconds": seconds, "compile_seconds": compiling, "batch_size": len(batch)}
    return [_record(cell, each, keep, times) for (cell, _), each in zip(batch, trajectories, strict=True)]


def _record(cell: Cell, trajectory: Trajectory, keep: str, times: dict[str, Any]) -> CellRecord:
    arrays = {name: value for name, value in trajectory.arrays().items() if keep == "all" or name in CURVES}
    return cell.name, arrays, {**_cell_metadata(cell), **run_metadata(trajectory), **times}


def _error_record(cell: Cell, error: Exception) -> CellRecord:
    first_line = (str(error).strip() or "no message").splitlines()[0]
    message = f"{type(error).__name__}: {first_line}"
    return cell.name, {}, {**_cell_metadata(cell), "result": "error", "message": message}


def _cell_metadata(cell: Cell) -> dict[str, Any]:
    return {"kind": "cell", "name": cell.name, "point": dict(cell.point), "flow": cell.flow, "seed": cell.seed}


class _Compilation:
    """Seconds and number of XLA's compilations in this process."""

    def __init__(self):
        self.seconds, self.count = 0.0, 0
        jax.monitoring.register_event_duration_secs_listener(self.add)

    def add(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds, self.count = self.seconds + duration_secs, self.count + 1


_compilation = _Compilation()
