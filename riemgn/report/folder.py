"""Finds what a folder holds: records, items, certificates, benchmarks, sweeps; names what cannot be read, and passes over all else."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..experiment.storage import SCHEMA
from .shapes import BenchFile, CellFile, complaint, ItemFile, LedgerFile, OutcomesFile, RunFile, SweepFile


@dataclass(frozen=True)
class Found:
    """A file that was understood: `path`, the same from the folder on as `name`, and its content."""

    path: Path
    name: str
    content: Any


@dataclass(frozen=True)
class Sweep:
    """A sweep: its manifest (empty where it cannot be read) and its cells."""

    manifest: Found
    cells: list[Found]


@dataclass
class Folder:
    """What a folder holds, each list in the order of the paths; `not_read` gives path and reason."""

    root: Path
    runs: list[Found] = field(default_factory=list)
    items: list[Found] = field(default_factory=list)
    ledgers: list[Found] = field(default_factory=list)
    benches: list[Found] = field(default_factory=list)
    outcomes: list[Found] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    not_read: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (
            self.runs or self.items or self.ledgers or self.benches or self.outcomes or self.sweeps or self.not_read
        )


def read_folder(root: Path) -> Folder:
    """Everything below `root` that this package wrote; hidden folders and links to folders are left out.

    Raises: `ValueError`, one sentence, where `root` is no folder or holds nothing to report.
    """
    if not root.is_dir():
        raise ValueError(f"A report is of a folder of results, and '{root}' is none.")
    folder = Folder(root)
    for place, inside, files in os.walk(root, onerror=lambda trouble: _unreadable(folder, trouble)):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        here = Path(place)
        if "sweep.json" in files:
            folder.sweeps.append(_sweep(folder, here))
            inside[:] = [name for name in inside if name != "cells"]
        for name in sorted(files):
            if name.endswith(".json") and not name.startswith(".") and name != "sweep.json":
                _sort(folder, here / name)
    if folder.is_empty:
        raise ValueError(
            f"The folder '{root}' holds no results of `riemgn run`, `reproduce`, `certify`, `bench` or `sweep`."
        )
    return folder


def _sort(folder: Folder, path: Path) -> None:
    """Put the file at `path` where it belongs, if anywhere."""
    value = _json(folder, path)
    if value is None:
        return
    keys = set(value)
    kinds = (
        ({"certificates"}, LedgerFile, folder.ledgers),
        ({"rows", "machine"}, BenchFile, folder.benches),
        ({"paper", "item", "data"}, ItemFile, folder.items),
        ({"items", "quick"}, OutcomesFile, folder.outcomes),
        ({"spec", "result"}, RunFile, folder.runs),
    )
    for wanted, shape, found in kinds:
        if wanted <= keys:
            content = _shaped(folder, path, value, shape)
            if content is not None:
                found.append(content)
            return


def _sweep(folder: Folder, place: Path) -> Sweep:
    path = place / "sweep.json"
    value = _json(folder, path)
    manifest = None if value is None else _shaped(folder, path, value, SweepFile)
    cells = [cell for file in _cell_files(place / "cells") if (cell := _cell(folder, file)) is not None]
    return Sweep(manifest or Found(path, _name(folder, path), SweepFile()), cells)


def _cell_files(place: Path) -> Iterator[Path]:
    """Records in the folder and in those of its chunks; hidden ones are not finished."""
    found = [*place.glob("*.json"), *place.glob("*/*.json")]
    yield from sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(place).parts))


def _cell(folder: Folder, path: Path) -> Found | None:
    value = _json(folder, path)
    return None if value is None else _shaped(folder, path, value, CellFile)


def _json(folder: Folder, path: Path) -> dict[str, Any] | None:
    """The object in a file of ours; None for any other, which is named where it looks like ours and is not whole."""
    if not path.is_file():  # to read a pipe would wait
        folder.not_read.append((_name(folder, path), "no file, or a link to none"))
        return None
    try:
        value = json.loads(path.read_bytes())
    except OSError as trouble:
        folder.not_read.append((_name(folder, path), (trouble.strerror or type(trouble).__name__).lower()))
        return None
    except (ValueError, RecursionError):
        folder.not_read.append((_name(folder, path), "no JSON, or not whole"))
        return None
    if not isinstance(value, dict) or "schema" not in value:
        return None
    if value["schema"] != SCHEMA:
        folder.not_read.append((_name(folder, path), f"schema {value['schema']!r}, this version reads {SCHEMA}"))
        return None
    return value


def _shaped(folder: Folder, path: Path, value: dict[str, Any], shape: type[BaseModel]) -> Found | None:
    try:
        return Found(path, _name(folder, path), shape.model_validate(value))
    except ValidationError as trouble:
        folder.not_read.append((_name(folder, path), complaint(trouble)))
        return None


def _unreadable(folder: Folder, trouble: OSError) -> None:
    name = os.fspath(trouble.filename or folder.root)
    folder.not_read.append((_name(folder, Path(name)), (trouble.strerror or type(trouble).__name__).lower()))


def _name(folder: Folder, path: Path) -> str:
    """The path from the folder on, in characters that a page can hold."""
    return path.relative_to(folder.root).as_posix().encode("utf-8", "replace").decode()
