"""What an item stores: how numbers come back from disk, and cells, the pieces of its work that are kept as soon as each is done."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np


@dataclass(frozen=True)
class _Shelf:
    """Where the cells of the item under way lie, and the stamp of the sources they come from."""

    folder: Path
    stamp: str


_SHELF: ContextVar[_Shelf | None] = ContextVar("shelf", default=None)


@contextmanager
def cells_kept_in(folder: Path, stamp: str) -> Iterator[None]:
    """Cells computed inside are kept in `folder`; it goes when all went well, as the item's own record then holds them."""
    with _shelf(_Shelf(folder, stamp)):
        yield
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _shelf(shelf: _Shelf | None) -> Iterator[None]:
    token = _SHELF.set(shelf)
    try:
        yield
    finally:
        _SHELF.reset(token)


def kept(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a function whose results are cells: what an interrupted run of the item has done is read, not done again.

    Arguments are numbers, text, and tuples of them. Outside a run nothing is kept. `is_kept(cell, arguments)` says whether a cell is at hand,
    `kept_elsewhere(cell)` is the same function for other processes.
    """

    @functools.wraps(compute)
    def computed_or_read(*arguments: Any) -> Any:
        path = _place(computed_or_read, arguments)
        if path is None:
            return compute(*arguments)
        if not path.is_file():
            found = compute(*arguments)
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(f".{os.getpid()}.part")
            joblib.dump(found, beside)
            os.replace(beside, path)
            return found
        return joblib.load(path)

    return computed_or_read


def is_kept(cell: Callable[..., Any], arguments: Sequence[Any]) -> bool:
    """Whether the cell of these arguments is done and at hand."""
    path = _place(cell, tuple(arguments))
    return path is not None and path.is_file()


def kept_elsewhere(cell: Callable[..., Any]) -> Callable[..., Any]:
    """The cell for a process that knows nothing of this run: what it computes lands on the shelf of this one."""
    return functools.partial(_on_shelf, _SHELF.get(), cell)


def _on_shelf(shelf: _Shelf | None, cell: Callable[..., Any], *arguments: Any) -> Any:
    with _shelf(shelf):
        return cell(*arguments)


def _place(cell: Callable[..., Any], arguments: tuple[Any, ...]) -> Path | None:
    shelf = _SHELF.get()
    if shelf is None:
        return None
    return shelf.folder / f"{cell.__name__}-{joblib.hash((shelf.stamp, cell.__module__, arguments))}.pickle"


def as_arrays(value: Any) -> Any:
    """Stored data as `draw` gets it: rectangular lists of numbers become NumPy arrays (null is NaN), all else stays."""
    if isinstance(value, dict):
        return {key: as_arrays(entry) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return [as_arrays(entry) for entry in value]
    return array if array.size and array.dtype.kind in "bif" else [as_arrays(entry) for entry in value]
