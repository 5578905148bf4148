"""sweep(make_problem, axes=..., flows=..., seeds=..., out=...): many runs into one folder, which can be interrupted and taken up again.

The folder holds `sweep.json`, which says what was asked for, and `cells/`, a folder for every chunk of cells. A chunk is written beside its place and
renamed when all its records are whole: what is there is finished, what is not is to be done.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from .chunk import Built, KEEPS, solve_chunk
from .grid import Cell, Grid
from .parallel import side_by_side, WorkerDiedError
from .provenance import package_sources, provenance, source_hash
from .records import load_runs
from .storage import as_json, prepare_folder, read_json, remove_parts, write_json, write_records

MANIFEST, CELLS, LOCK = "sweep.json", "cells", ".lock"
BATCH = 64


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do.

    - `grid`: its cells.
    - `build`: how a cell becomes a problem and a flow.
    - `identity`: plain values that tell this sweep from another; the grid, the chunks and what is kept are added to them.
    - `batch`: cells per chunk.
    - `keep`: what of a run to keep, one of `KEEPS`.

    Raises: `ValueError` for a batch that is no positive integer, or an unknown `keep`.
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
            raise ValueError(f"Unknown keep {self.keep!r}; known: {', '.join(KEEPS)}.")

    def manifest(self) -> dict[str, Any]:
        """What `sweep.json` says."""
        grid = {
            "axes": {name: list(values) for name, values in self.grid.axes.items()},
            "flows": list(self.grid.flows),
            "seeds": list(self.grid.seeds),
        }
        asked = as_json({**self.identity, **grid, "batch": self.batch, "keep": self.keep})
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        sources = source_hash(package_sources())
        return {
            "kind": "sweep",
            "hash": digest,
            "source_hash": sources,
            "cells": len(self.grid),
            **asked,
            **provenance(),
        }


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
    """Solve every flow on every problem, for all points of the axes and all seeds, and keep a record of each run in a folder.

    `make_problem(**point, seed=seed)` makes the problem of a cell (`seed` is passed where the function takes it). Cells are taken `batch` at a time;
    those of a batch whose problems have the same shapes share a compiled program (`solve_batch`), the batches go to parallel processes. A cell that
    fails is a record with the result `"error"`, and a flow in numerical trouble has its result code: neither ends the sweep. What is finished stays,
    whatever interrupts.

    Arguments:

    - `make_problem`: function of the axes' names, and of `seed`; with `jobs` or `scheduler` it is pickled by cloudpickle.
    - `axes`: name -> values; numbers, text or booleans.
    - `flows`: flows of different names, or a table label -> flow.
    - `seeds`: whole numbers.
    - `out`: the folder.
    - `jobs`: processes side by side; `scheduler`: address of a dask.distributed scheduler whose workers take their place.
    - `resume`: take up what the folder holds of the same sweep.
    - `batch`: cells per compiled program at most. The numbers of a cell depend on it at the level of rounding.
    - `keep`: `"curves"` (times, losses, gradient norms, singular values, errors) or `"all"` (parameters and outputs too).
    - `on_done`: called as `on_done(done, total)` with the cells finished so far, those found at the start included.
    - `options`: of `solve`, such as `t1`, `rtol`, `loss_tol`.

    Returns: the table of `load_runs`.

    Raises: `ValueError`, one sentence, for wrong arguments, a folder that holds a sweep (another one, or without `resume`), or is in use, or cannot
    be written, or where a worker process died. What is finished is kept.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = rg.sweep(rg.task.circle, axes={"angle": [0.5, 1.0]}, flows=[rg.GaussNewtonFlow()], t1=1.0, out=folder)
    >>> table["result"].tolist()
    ['successful', 'successful']
    """
    axes, seeds = dict(axes or {}), [int(seed) for seed in seeds]
    labelled = _labelled(flows)
    grid = Grid({name: list(values) for name, values in axes.items()}, list(labelled), seeds)
    takes_seed = _checked_maker(make_problem, axes, seeds)
    build = partial(_build, make_problem, labelled, takes_seed, options)
    identity = {
        "maker": _described(make_problem),
        "solves": {label: _values(flow) for label, flow in labelled.items()},
        "options": _plain(options),
    }
    run_plan(Plan(grid, build, identity, batch, keep), out, jobs, resume, scheduler, on_done)
    return load_runs(out)


def run_plan(
    plan: Plan,
    out: str | Path,
    jobs: int = 1,
    resume: bool = False,
    scheduler: str | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Do what of a `plan` is not done in the folder yet; all other arguments as in `sweep`.

    Raises: as in `sweep`.
    """
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1, got {jobs}.")
    folder, total = prepare_folder(out), len(plan.grid)
    cells = folder / CELLS
    with _alone_in(folder):
        manifest = _manifest_of(plan, folder, resume)
        remove_parts(cells)
        left = [chunk for chunk in plan.grid.chunks(plan.batch) if not (cells / _name(chunk)).is_dir()]
        done = total - sum(len(chunk) for chunk in left)
        if on_done is not None:
            on_done(done, total)
        common = {name: manifest[name] for name in ("versions", "python", "commit", "uncommitted_changes")}
        threads = None if jobs == 1 and scheduler is None else 1  # other processes take the other cores
        work = ((plan.build, [plan.grid.cell(place) for place in chunk], plan.keep, threads) for chunk in left)
        try:
            for records in side_by_side(solve_chunk, work, jobs, scheduler):
                write_records(
                    cells / f"{records[0].name}",
                    ((each.name, each.arrays, {**each.metadata, **common}) for each in records),
                )
                done += len(records)
                if on_done is not None:
                    on_done(done, total)
        except WorkerDiedError as trouble:
            raise ValueError(
                f"{trouble}: {done} of {total} cells are saved in '{folder}', resume goes on from there."
            ) from None


def _manifest_of(plan: Plan, folder: Path, resume: bool) -> dict[str, Any]:
    """The folder's manifest, written where there is none; raises where it is that of another sweep, or `resume` was not asked for."""
    asked, path = plan.manifest(), folder / MANIFEST
    if not path.exists():
        write_json(path, asked)
        return asked
    found = read_json(path)
    if found.get("hash") != asked["hash"]:
        raise ValueError(f"The folder '{folder}' holds another sweep: give another folder.")
    if not resume:
        raise ValueError(
            f"The folder '{folder}' holds this sweep already: resume it (`--resume`, `resume=True`), or give another folder."
        )
    if found.get("source_hash") != asked["source_hash"]:
        raise ValueError(
            f"The sweep in '{folder}' was begun by another version of riemgn: give another folder, so that its cells stay comparable."
        )
    return found


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of with the process, however that ends."""
    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(
            f"Another sweep is writing into '{folder}': wait for its end, or give another folder."
        ) from None


def _name(chunk: range) -> str:
    return Cell(chunk.start, {}, "", 0).name


def _build(
    make_problem: Callable[..., Problem],
    flows: Mapping[str, AbstractFlow],
    takes_seed: bool,
    options: Mapping[str, Any],
    cell: Cell,
) -> Built:
    seed = {"seed": cell.seed} if takes_seed else {}
    return Built(make_problem(**cell.point, **seed), flows[cell.flow], options)


def _labelled(flows: Sequence[AbstractFlow] | Mapping[str, AbstractFlow]) -> dict[str, AbstractFlow]:
    if isinstance(flows, Mapping):
        return dict(flows)
    named = {flow.name: flow for flow in flows}
    if len(named) < len(flows):
        raise ValueError("`flows` holds two flows of one name: give a table label -> flow.")
    return named


def _checked_maker(make_problem: Callable[..., Problem], axes: Mapping[str, Any], seeds: Sequence[int]) -> bool:
    """Whether `make_problem` takes a seed; raises where it does not take the axes, or several seeds would make one problem."""
    known = inspect.signature(make_problem).parameters
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in axes:
        if name not in known and not anything:
            raise ValueError(f"`make_problem` has no argument `{name}`, which is an axis.")
    takes_seed = "seed" in known or anything
    if not takes_seed and len(seeds) > 1:
        raise ValueError("`make_problem` takes no `seed`, so that several seeds would be the same run.")
    return takes_seed


def _described(function: Callable[..., Any]) -> dict[str, str]:
    """Name and source of a function, by which a later sweep knows it again."""
    inner = function.func if isinstance(function, partial) else function
    name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__name__)}"
    try:
        source = inspect.getsource(inner)
    except (OSError, TypeError):
        source = ""
    bound = repr((function.args, function.keywords)) if isinstance(function, partial) else ""
    return {"name": name, "source": hashlib.sha256((source + bound).encode()).hexdigest()[:16]}


def _values(flow: AbstractFlow) -> str:
    """What a flow is, with the values of its numbers."""
    leaves, structure = jax.tree.flatten(flow)
    return f"{structure} {[np.asarray(leaf).tolist() for leaf in leaves]}"


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float | str | None) else repr(value) for name, value in options.items()
    }
