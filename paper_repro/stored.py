"""What an item stores: how numbers come back from disk, and cells, the pieces of its work that are kept as soon as each is done."""

import shutil
from collections.abc import Callable, Iterable, Iterator
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
    token = _SHELF.set(_Shelf(folder, stamp))
    try:
        yield
    finally:
        _SHELF.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


def cells(compute: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
    """`[compute(a) for a in arguments]`, a tuple being several arguments; what an interrupted run has done is read, not done again.

    A cell is what a record can hold (numbers, text, arrays, lists and tables of them) and comes back as `draw` gets it. Arguments are numbers, text
    and tuples of them.
    """
    return [_cell(compute, argument) for argument in arguments]


def _cell(compute: Callable[..., Any], argument: Any) -> Any:
    from riemgn.experiment import read_json, write_json
    from riemgn.experiment.store import as_json

    words = argument if isinstance(argument, tuple) else (argument,)
    shelf = _SHELF.get()
    if shelf is None:
        return as_arrays(as_json(compute(*words)))
    name = f"{compute.__name__}-{joblib.hash((shelf.stamp, compute.__module__, words))}.json"
    path = shelf.folder / name
    if not path.is_file():
        write_json(path, {"value": compute(*words)})
    return as_arrays(read_json(path)["value"])


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
