"""The environment of a command, such as float64 and cached programs, and its progress."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def prepare_jax() -> None:
    """Use float64, and cache compiled programs in the folder RIEMGN_CACHE ("off": no cache)."""
    import jax

    from .._types import enable_x64

    enable_x64()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.environ.get("RIEMGN_CACHE") or os.path.join(base, "riemgn", "jax")
    if folder == "off":
        return
    # cache small programs too, because many of them add up
    limits = {"min_compile_time_secs": 0.0, "min_entry_size_bytes": -1}
    settings = {f"jax_persistent_cache_{name}": value for name, value in limits.items()}
    for name, value in {"jax_compilation_cache_dir": folder, **settings}.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes of --jobs


@contextmanager
def progress(total: int) -> Iterator[tuple[Any, Any]]:
    """Yield `(start(item), advance(line))`: a bar on a terminal, otherwise lines on stderr."""
    if not sys.stderr.isatty():
        yield (lambda item: None), (lambda line: print(line, file=sys.stderr, flush=True))
        return
    with _bar() as bar:
        task = bar.add_task("starting", total=total)

        def advance(line: str) -> None:
            bar.console.print(line, markup=False, highlight=False)
            bar.advance(task)

        yield (lambda item: bar.update(task, description=item.name)), advance


EVERY = 5.0  # seconds between two lines of progress without a terminal


@contextmanager
def countdown(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `update(done, total)`, which shows the remaining time: a bar, or a line every 5 s."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    from ..experiment.parallel import duration

    start = last = time.perf_counter()
    first: int | None = None

    def update(done: int, total: int) -> None:
        nonlocal last, first
        first, now, left = done if first is None else first, time.perf_counter(), ""
        if now - last < EVERY and done < total:
            return
        last = now
        if first < done < total:
            left = f", about {duration((now - start) * (total - done) / (done - first))} left"
        print(f"{name}: {done} of {total} cells, {duration(now - start)} elapsed{left}", file=sys.stderr, flush=True)

    yield update


def _bar() -> Any:
    from rich import console, progress as bar

    columns = (bar.TextColumn("{task.description}"), bar.BarColumn(), bar.MofNCompleteColumn(), bar.TimeElapsedColumn())
    left = (bar.TextColumn("left"), bar.TimeRemainingColumn())
    return bar.Progress(*columns, *left, console=console.Console(stderr=True), transient=True)
