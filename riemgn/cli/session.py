"""What a command works in: float type and compiled programs, and the progress it shows."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def prepare_jax() -> None:
    """float64 and compiled programs kept on disk: RIEMGN_CACHE names the folder, "off" keeps none."""
    import jax

    from .._types import enable_x64

    enable_x64()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.environ.get("RIEMGN_CACHE") or os.path.join(base, "riemgn", "jax")
    if folder == "off":
        return
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # seventy small programs of 0.06 s each add up
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes of --jobs


@contextmanager
def progress(total: int) -> Iterator[tuple[Any, Any]]:
    """(started(item), advanced(line)): a bar on a terminal, lines on stderr where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield (lambda item: None), (lambda line: print(line, file=sys.stderr, flush=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def advanced(line: str) -> None:
            bar.console.print(line, markup=False, highlight=False)
            bar.advance(task)

        yield (lambda item: bar.update(task, description=item.name)), advanced


EVERY = 5.0  # seconds between two lines of progress where there is no terminal


@contextmanager
def countdown(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function of the number done and of all, which shows the time left: a bar on a terminal, a line now and then on stderr where there is none."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    from ..experiment.parallel import duration

    start = last = time.perf_counter()
    first: int | None = None

    def say(done: int, total: int) -> None:
        nonlocal last, first
        first, now = done if first is None else first, time.perf_counter()
        if now - last < EVERY and done < total:
            return
        last = now
        left = (
            f", about {duration((now - start) * (total - done) / (done - first))} left" if first < done < total else ""
        )
        print(f"{what}: {done} of {total} cells, {duration(now - start)} gone{left}", file=sys.stderr, flush=True)

    yield say
