"""Sweep: solve many runs, the cells, into one folder, such that you can interrupt and resume it.

The folder contains `sweep.json`, which describes the sweep, and `cells/` with one folder for each
chunk of cells. A chunk is written under a temporary name and renamed, so that it is complete.
"""

import hashlib
import inspect
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
import pandas as pd

from ..flow import AbstractFlow
from ..problem import Problem
from ..solver.batch import batch_key, solve_batch
from .parallel import map_unordered, WorkerDiedError
from .provenance import package_sources, provenance, source_hash
from .run import run_metadata
from .storage import as_json, load_runs, prepare_folder, read_json, remove_parts, write_json, write_records

MANIFEST, CELLS, LOCK = "sweep.json", "cells", ".lock"
BATCH = 64
MAX_CELLS = 1_000_000
# total entries of the Jacobians in one program; a larger batch needs more memory and is not faster
BATCH_ENTRIES = 2_000_000
MAX_PROGRAMS = 200  # compiled programs of a process, after which JAX's caches are cleared
KEEPS = ("curves", "all")
CellRecord = tuple[str, dict[str, np.ndarray], dict[str, Any]]  # name, arrays, metadata
Built = tuple[Problem, AbstractFlow, Mapping[str, Any]]  # what a cell solves, and the options of `solve`
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
        """Return the places, `size` at a time, such that a resumed sweep has the same chunks."""
        return (range(start, min(start + size, len(self))) for start in range(0, len(self), size))


def solve_chunk(
    build: Callable[[Cell], Built], cells: Sequence[Cell], keep: str = "curves", threads: int | None = None
) -> list[CellRecord]:
    """Solve the cells, in one program if they have the same shapes, and return their records.

    A cell that cannot be built or solved has the result `"error"` and a message.
    """
    records: dict[int, CellRecord] = {}
    groups: dict[Any, list[tuple[Cell, Built]]] = {}
    for cell in cells:
        try:
            problem, flow, options = built = build(cell)
            key = batch_key(problem, flow), repr(sorted(options.items()))
        except Exception as error:
            records[cell.place] = _error_record(cell, error)
        else:
            groups.setdefault(key, []).append((cell, built))
    for group in groups.values():
        problem = group[0][1][0]
        size = max(1, BATCH_ENTRIES // (problem.n * problem.p))
        for start in range(0, len(group), size):
            batch = group[start : start + size]
            records |= zip((cell.place for cell, _ in batch), _solve_batch(batch, keep, threads), strict=True)
    if _compiled["programs"] > MAX_PROGRAMS:
        jax.clear_caches()
        _compiled["programs"] = 0
    return [records[cell.place] for cell in cells]


def _solve_batch(batch: Sequence[tuple[Cell, Built]], keep: str, threads: int | None) -> list[CellRecord]:
    """Solve cells in one program, or one by one if that raises, to find the cell that fails."""
    start, before = time.perf_counter(), _compiled["seconds"]
    problems, flows, options = zip(*(built for _, built in batch), strict=True)
    try:
        trajectories = solve_batch(problems, flows, throw=False, threads=threads, **options[0])
    except Exception as error:
        if len(batch) == 1:
            return [_error_record(batch[0][0], error)]
        return [record for each in batch for record in _solve_batch([each], keep, threads)]
    compiling = _compiled["seconds"] - before
    seconds = (time.perf_counter() - start - compiling) / len(batch)
    times = {"seconds": seconds, "compile_seconds": compiling, "batch_size": len(batch)}
    records = []
    for (cell, _), trajectory in zip(batch, trajectories, strict=True):
        arrays = {name: value for name, value in trajectory.arrays().items() if keep == "all" or name in CURVES}
        records.append(_record(cell, arrays, {**run_metadata(trajectory), **times}))
    return records


def _record(cell: Cell, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> CellRecord:
    described = {"kind": "cell", "name": cell.name, "point": dict(cell.point), "flow": cell.flow, "seed": cell.seed}
    return cell.name, arrays, {**described, **metadata}


def _error_record(cell: Cell, error: Exception) -> CellRecord:
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return _record(cell, {}, {"result": "error", "message": f"{type(error).__name__}: {first_line}"})


_compiled = {"seconds": 0.0, "programs": 0}  # by XLA in this process


def _count_compilation(event: str, duration_secs: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled["seconds"] += duration_secs
        _compiled["programs"] += 1


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep computes: its `grid` of cells, and how to `build` and solve each.

    - `identity`: plain values that distinguish this sweep from others with the same grid.
    - `batch`, `keep`: as in `sweep`.

    Raises: `ValueError` for a batch that is not a positive integer, or an unknown `keep`.
    """

    grid: Grid
    build: Callable[[Cell], Built]
    identity: Mapping[str, Any]
    batch: int = BATCH
    keep: str = "curves"

    def __post_init__(self):
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise ValueError(f"`batch` must be a positive integer, got {self.batch!r}.")
        if self.keep not in KEEPS:
            raise ValueError(f"Unknown keep {self.keep!r}; known are {', '.join(KEEPS)}.")

    def manifest(self) -> dict[str, Any]:
        """Return the content of `sweep.json`."""
        content = as_json({**self.identity, **vars(self.grid), "batch": self.batch, "keep": self.keep})
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        hashes = {"hash": digest, "source_hash": source_hash(package_sources())}
        return {"kind": "sweep", **hashes, "cells": len(self.grid), **content, **provenance()}


def sweep(
    make_problem: Callable[..., Problem],
    *,
    axes: Mapping[str, Sequence[Any]] | None = None,
    flows: Sequence[AbstractFlow] | Mapping[str, AbstractFlow],
    seeds: Sequence[int] = (0,),
    out: str | Path,
    jobs: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    batch: int = BATCH,
    keep: str = "curves",
    on_done: Callable[[int, int], None] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Solve every flow at every point of the axes for every seed, and store a record of each run.

    You can interrupt a sweep at any time: finished runs stay in the folder, and `resume=True`
    continues. If building or solving a run raises, its result is `"error"` and the sweep goes on.

    Arguments:

    - `make_problem`: called as `make_problem(**point, seed=seed)`, or without `seed` if it takes
      none. With `jobs` or `scheduler` cloudpickle must be able to pickle it.
    - `axes`: name -> values (numbers, text or booleans).
    - `flows`: flows with different names, or a mapping label -> flow.
    - `seeds`: integers (default: only 0).
    - `out`, `resume`: folder for the records, and whether to continue the same sweep in it.
    - `jobs`: number of parallel processes (default 1).
    - `scheduler`: address of a dask.distributed scheduler, whose workers replace the processes.
    - `batch`: maximum number of runs in a compiled program (default 64), which changes rounding.
    - `keep`: `"curves"` (default) or `"all"`, which also stores parameters and outputs.
    - `on_done`: called as `on_done(done, total)` at the start and after each batch.
    - `options`: options of `solve`, such as `t1`, `rtol`, `loss_tol`.

    Returns: the table of `load_runs`, one row for each run.

    Raises: `ValueError` for wrong arguments, if a worker process died, or if `out` cannot be used:
    it contains this sweep and you did not pass `resume`, contains another one, or is in use.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     axes, flows = {"angle": [0.5, 1.0]}, [rg.GaussNewtonFlow()]
    ...     table = rg.sweep(rg.task.circle, axes=axes, flows=flows, t1=1.0, out=folder)
    >>> table["result"].tolist()
    ['successful', 'successful']
    """
    axes, seeds = dict(axes or {}), [int(seed) for seed in seeds]
    by_label = dict(flows) if isinstance(flows, Mapping) else {flow.name: flow for flow in flows}
    if len(by_label) < len(flows):
        raise ValueError("`flows` contains two flows with one name: pass a mapping label -> flow.")
    grid = Grid({name: list(values) for name, values in axes.items()}, list(by_label), seeds)
    build = partial(_build, make_problem, by_label, _takes_seed(make_problem, axes, seeds), options)
    plain = (int, float, str, type(None))
    identity = {
        "maker": _describe_function(make_problem),
        "solves": {label: _describe_flow(flow) for label, flow in by_label.items()},
        "options": {name: value if isinstance(value, plain) else repr(value) for name, value in options.items()},
    }
    run_plan(SweepPlan(grid, build, identity, batch, keep), out, jobs, resume, scheduler, on_done)
    return load_runs(out)


def run_plan(
    plan: SweepPlan,
    out: str | Path,
    jobs: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Compute the cells of a `plan` that are not in `out` yet. Arguments are as in `sweep`.

    Raises: `ValueError` as `sweep` does.
    """
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1, got {jobs}.")
    folder, total = prepare_folder(out), len(plan.grid)
    cells = folder / CELLS
    try:
        lock = filelock.FileLock(folder / LOCK).acquire(timeout=0)
    except filelock.Timeout:
        message = f"Another sweep is writing to '{folder}': wait until it ends, or pass another folder."
        raise ValueError(message) from None
    with lock:  # the system releases it when the process ends
        manifest = _read_or_write_manifest(plan, folder, resume)
        remove_parts(cells)
        missing = [
            chunk for chunk in plan.grid.chunks(plan.batch) if not (cells / plan.grid.cell(chunk.start).name).is_dir()
        ]
        done = total - sum(len(chunk) for chunk in missing)
        if on_done is not None:
            on_done(done, total)
        common = {name: manifest[name] for name in ("versions", "python", "commit", "uncommitted_changes")}
        threads = None if jobs == 1 and scheduler is None else 1  # the other processes use the other cores
        tasks = ((plan.build, [plan.grid.cell(place) for place in chunk], plan.keep, threads) for chunk in missing)
        try:
            for records in map_unordered(solve_chunk, tasks, jobs, scheduler):
                contents = ((name, arrays, {**metadata, **common}) for name, arrays, metadata in records)
                write_records(cells / records[0][0], contents)
                done += len(records)
                if on_done is not None:
                    on_done(done, total)
        except WorkerDiedError as error:
            raise ValueError(f"{error}: {done} of {total} cells are saved in '{folder}', resume to continue.") from None


def _read_or_write_manifest(plan: SweepPlan, folder: Path, resume: bool) -> dict[str, Any]:
    """Write the manifest to a new folder, or check that a stored one belongs to this sweep."""
    manifest, path = plan.manifest(), folder / MANIFEST
    if not path.exists():
        write_json(path, manifest)
        return manifest
    stored = read_json(path)
    if stored.get("hash") != manifest["hash"]:
        raise ValueError(f"The folder '{folder}' contains another sweep: pass another folder.")
    if not resume:
        raise ValueError(
            f"The folder '{folder}' contains this sweep already: resume it (`--resume`, `resume=True`), "
            "or pass another folder."
        )
    if stored.get("source_hash") != manifest["source_hash"]:
        raise ValueError(f"The sweep in '{folder}' comes from another version of riemgn: pass another folder.")
    return stored


def _build(
    make_problem: Callable[..., Problem],
    flows: Mapping[str, AbstractFlow],
    takes_seed: bool,
    options: Mapping[str, Any],
    cell: Cell,
) -> Built:
    seed = {"seed": cell.seed} if takes_seed else {}
    return make_problem(**cell.point, **seed), flows[cell.flow], options


def _takes_seed(make_problem: Callable[..., Problem], axes: Mapping[str, Any], seeds: Sequence[int]) -> bool:
    """Whether `make_problem` takes a seed. It must take the axes."""
    parameters = inspect.signature(make_problem).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in axes:
        if name not in parameters and not takes_any:
            raise ValueError(f"`make_problem` has no argument `{name}`, which is an axis.")
    takes_seed = "seed" in parameters or takes_any
    if not takes_seed and len(seeds) > 1:
        raise ValueError("`make_problem` has no argument `seed`, so that all seeds would give the same run.")
    return takes_seed


def _describe_function(function: Callable[..., Any]) -> dict[str, str]:
    """Return name and source hash of a function, to recognise it when a sweep is resumed."""
    inner = function.func if isinstance(function, partial) else function
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__name__)}"
    try:
        source = inspect.getsource(inner)
    except (OSError, TypeError):
        source = ""
    bound = repr((function.args, function.keywords)) if isinstance(function, partial) else ""
    return {"name": name, "source": hashlib.sha256((source + bound).encode()).hexdigest()[:16]}


def _describe_flow(flow: AbstractFlow) -> str:
    """Return the structure of a flow and the values of its numbers."""
    leaves, structure = jax.tree.flatten(flow)
    return f"{structure} {[np.asarray(leaf).tolist() for leaf in leaves]}"
