"""Many cells of one item: side by side where there are cores for it, each kept as soon as it is done, with the time left on stderr."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .cells import is_kept, kept_elsewhere
from .parallel import duration, side_by_side

WORTH_PROCESSES = 120.0  # seconds of work left from which on it pays to start processes, which import and compile anew
FIRST = 4  # cells done before, some of which compile
EVERY = 20.0  # seconds between two lines of progress


def swept(cell: Callable[..., Any], arguments: Sequence[tuple], label: str, processes: int | None = None) -> list[Any]:
    """`[cell(*a) for a in arguments]` for a cell that is `@kept`, a function of a module that can be imported.

    Cells at hand are read. The others are done in a shuffled order, so that the seconds of the first ones tell those of the rest: some here, then, if
    what is left is long, in `processes` (as many as there are cores by default). In a process of `--jobs`, whose cores are taken, all are done here.
    An interruption costs the cells under way.
    """
    arguments = [tuple(each) for each in arguments]
    missing = [place for place, each in enumerate(arguments) if not is_kept(cell, each)]
    order = [missing[i] for i in np.random.default_rng(0).permutation(len(missing))]
    found: dict[int, Any] = {}
    processes = (1 if _in_worker() else _cores()) if processes is None else processes
    report = _Report(label, len(arguments), len(arguments) - len(missing))
    while order:
        if processes > 1 and len(found) >= FIRST and min(report.seconds) * len(order) > WORTH_PROCESSES:
            break
        place = order.pop(0)
        started = time.perf_counter()
        found[place] = cell(*arguments[place])
        report.done(time.perf_counter() - started)
    if order:
        report.processes = processes
        report.say()
        elsewhere = kept_elsewhere(cell)
        for place, result, seconds in side_by_side(_timed, ((elsewhere, at, arguments[at]) for at in order), processes):
            found[place] = result
            report.done(seconds)
    return [found[place] if place in found else cell(*each) for place, each in enumerate(arguments)]


def _timed(cell: Callable[..., Any], place: int, arguments: tuple) -> tuple[int, Any, float]:
    started = time.perf_counter()
    return place, cell(*arguments), time.perf_counter() - started


class _Report:
    """Lines on stderr: cells done, time gone, time left by the mean of all cells but the two longest, which compile."""

    def __init__(self, label: str, total: int, before: int):
        self.label, self.total, self.before, self.processes = label, total, before, 1
        self.seconds: list[float] = []
        self.start = self.last = time.perf_counter()

    def left(self, cells: int) -> float:
        return float(np.mean(sorted(self.seconds)[: max(1, len(self.seconds) - 2)])) * cells / self.processes

    def done(self, seconds: float) -> None:
        self.seconds.append(seconds)
        now, finished = time.perf_counter(), self.before + len(self.seconds) == self.total
        if now - self.start > EVERY and (finished or now - self.last > EVERY):  # a short sweep says nothing
            self.say()

    def say(self) -> None:
        self.last = time.perf_counter()
        cells = self.before + len(self.seconds)
        again = f" ({self.before} of them before)" if self.before else ""
        rest = f"about {duration(self.left(self.total - cells))} left" if cells < self.total else "done"
        print(
            f"{self.label}: {cells} of {self.total} cells{again}, {duration(self.last - self.start)} gone, {rest}",
            file=sys.stderr,
            flush=True,
        )


def _in_worker() -> bool:
    from joblib.parallel import get_active_backend

    return get_active_backend()[0].nesting_level > 0


def _cores() -> int:
    from joblib import cpu_count

    return cpu_count()
