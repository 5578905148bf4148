"""Checkpoints of an item: finished parts are stored, so that an interrupted run continues."""

import functools
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.parallel import get_active_backend

from .parallel import duration, map_unordered
from .storage import write_pickle

PARALLEL_FROM = 120.0  # seconds of remaining work; below it, starting processes costs more than it saves
TIMED_FIRST = 4  # parts computed here first, to estimate the time of the others; some of them compile
REPORT_EVERY = 20.0  # seconds between two lines of progress

logger = logging.getLogger("riemgn")
Store = tuple[Path, str]  # folder of the checkpoints, and hash of the sources that they come from
_current: ContextVar[Store | None] = ContextVar("checkpoints", default=None)


@contextmanager
def checkpoints_in(folder: Path, source_hash: str) -> Iterator[None]:
    """Store results of checkpointed functions in `folder`, which a successful block removes."""
    with _using((folder, source_hash)):
        yield
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _using(store: Store | None) -> Iterator[None]:
    token = _current.set(store)
    try:
        yield
    finally:
        _current.reset(token)


def checkpointed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function so that its results are stored, and loaded if a run continues.

    Arguments must be numbers, text, or tuples of them. Outside `checkpoints_in` nothing is stored.
    """

    @functools.wraps(function)
    def load_or_compute(*arguments: Any) -> Any:
        path = _path(load_or_compute, arguments)
        if path is not None and path.is_file():
            return joblib.load(path)
        result = function(*arguments)
        if path is not None:
            write_pickle(path, result)
        return result

    return load_or_compute


def has_checkpoint(function: Callable[..., Any], arguments: Sequence[Any]) -> bool:
    """Whether the result of a checkpointed function for these arguments is stored."""
    path = _path(function, tuple(arguments))
    return path is not None and path.is_file()


def _path(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Path | None:
    store = _current.get()
    if store is None:
        return None
    folder, source_hash = store
    return folder / f"{function.__name__}-{joblib.hash((source_hash, function.__module__, arguments))}.pickle"


def map_checkpointed(
    function: Callable[..., Any], arguments: Sequence[tuple], label: str, processes: int | None = None
) -> list[Any]:
    """Compute `[function(*a) for a in arguments]` for a checkpointed function in a module.

    Stored results are loaded. The others are computed in a shuffled order, so that the first ones
    estimate the remaining time. If that is long, the rest runs in parallel `processes` (default:
    one per core, none in a worker of `--jobs`). Progress is logged every 20 s under a `label`.
    """
    arguments = [tuple(each) for each in arguments]
    missing = [place for place, each in enumerate(arguments) if not has_checkpoint(function, each)]
    order = [missing[i] for i in np.random.default_rng(0).permutation(len(missing))]
    results: dict[int, Any] = {}
    if processes is None:
        in_worker = get_active_backend()[0].nesting_level > 0
        processes = 1 if in_worker else joblib.cpu_count()
    progress = _Progress(label, len(arguments), len(arguments) - len(missing))
    while order:
        timed = processes > 1 and len(results) >= TIMED_FIRST
        if timed and min(progress.seconds) * len(order) > PARALLEL_FROM:
            break
        place = order.pop(0)
        _, results[place], seconds = _timed(function, place, arguments[place])
        progress.add(seconds)
    if order:
        progress.processes = processes
        progress.log()
        work = functools.partial(_with_store, _current.get(), function)
        tasks = ((work, place, arguments[place]) for place in order)
        for place, result, seconds in map_unordered(_timed, tasks, processes):
            results[place] = result
            progress.add(seconds)
    return [results[i] if i in results else function(*each) for i, each in enumerate(arguments)]


def _with_store(store: Store | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function` in another process, which does not share this one's context."""
    with _using(store):
        return function(*arguments)


def _timed(function: Callable[..., Any], place: int, arguments: tuple) -> tuple[int, Any, float]:
    start = time.perf_counter()
    return place, function(*arguments), time.perf_counter() - start


class _Progress:
    """Lines of progress, with the remaining time."""

    def __init__(self, label: str, total: int, loaded: int):
        self.label, self.total, self.loaded, self.processes = label, total, loaded, 1
        self.seconds: list[float] = []
        self.start = self.last = time.perf_counter()

    def remaining(self, parts: int) -> float:
        """Seconds for `parts` more, by the mean of all but the two longest, which compile."""
        return float(np.mean(sorted(self.seconds)[: max(1, len(self.seconds) - 2)])) * parts / self.processes

    def add(self, seconds: float) -> None:
        self.seconds.append(seconds)
        now, done = time.perf_counter(), self.loaded + len(self.seconds)
        if now - self.start > REPORT_EVERY and (done == self.total or now - self.last > REPORT_EVERY):
            self.log()

    def log(self) -> None:
        self.last = time.perf_counter()
        done = self.loaded + len(self.seconds)
        loaded = f" ({self.loaded} loaded)" if self.loaded else ""
        left = f", about {duration(self.remaining(self.total - done))} left" if done < self.total else ""
        elapsed = duration(self.last - self.start)
        # a warning, as Python shows those without any configuration, also in worker processes
        logger.warning("%s: %d of %d parts%s, %s elapsed%s", self.label, done, self.total, loaded, elapsed, left)
