"""Find the results below a folder: runs, items, certificates, benchmarks and sweeps."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..experiment.storage import SCHEMA

# A file belongs to the first kind whose keys it has.
KINDS = {
    "certificates": {"certificates"},
    "benchmarks": {"rows", "machine"},
    "items": {"paper", "item", "data"},
    "outcomes": {"items", "quick"},
    "runs": {"spec", "result"},
}


@dataclass(frozen=True)
class File:
    """A JSON file of riemgn. `name` is its path below the folder, and `cells` are of a sweep."""

    path: Path
    name: str
    value: dict[str, Any]
    cells: tuple["File", ...] = ()


@dataclass
class Folder:
    """The results in a folder: `files` by kind, and damaged files with a reason in `not_read`."""

    root: Path
    files: dict[str, list[File]] = field(default_factory=lambda: {kind: [] for kind in (*KINDS, "sweeps")})
    not_read: dict[str, str] = field(default_factory=dict)

    def name(self, path: Path) -> str:
        """The path below the folder, in characters that UTF-8 can encode."""
        return path.relative_to(self.root).as_posix().encode("utf-8", "replace").decode()

    def reject(self, name: str, reason: Any) -> None:
        """Report the file `name` as not read because of `reason`, a text or an exception."""
        text = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else reason
        self.not_read[name] = " ".join(text.split())[:200]

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return the object in a file of riemgn, or None. A damaged file is reported."""
        try:
            if not path.is_file():  # reading a named pipe would block
                raise ValueError("not a regular file")
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            return self.reject(self.name(path), error)
        if not isinstance(value, dict) or "schema" not in value:
            return None
        if value["schema"] != SCHEMA:
            reason = f"it has schema {value['schema']!r}, this version reads schema {SCHEMA}"
            return self.reject(self.name(path), reason)
        return value


def read_folder(root: Path) -> Folder:
    """Read every result below `root`. Hidden folders and links to folders are skipped.

    Raises: `ValueError` if `root` is not a folder or contains no results.
    """
    if not root.is_dir():
        raise ValueError(f"'{root}' is not a folder; pass the folder that you gave to `--out`.")
    folder = Folder(root)
    for place, inside, names in os.walk(root, onerror=lambda error: folder.reject(str(error.filename), error)):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        here = Path(place)
        if "sweep.json" in names:
            folder.files["sweeps"].append(_sweep(folder, here))
            inside[:] = [name for name in inside if name != "cells"]
        for path in (here / name for name in sorted(names) if name != "sweep.json"):
            if path.suffix == ".json" and not path.name.startswith(".") and (value := folder.read(path)):
                kind = next((kind for kind, keys in KINDS.items() if keys <= set(value)), None)
                if kind is not None:
                    folder.files[kind].append(File(path, folder.name(path), value))
    if not any(folder.files.values()) and not folder.not_read:
        raise ValueError(f"'{root}' contains no riemgn results; pass the folder that you gave to `--out`.")
    return folder


def _sweep(folder: Folder, place: Path) -> File:
    """The manifest, empty if damaged, with its finished cells: the others have hidden names."""
    manifest, cells = place / "sweep.json", []
    for path in sorted([*place.glob("cells/*.json"), *place.glob("cells/*/*.json")]):
        if not (path.name.startswith(".") or path.parent.name.startswith(".")) and (value := folder.read(path)):
            cells.append(File(path, folder.name(path), value))
    return File(manifest, folder.name(manifest), folder.read(manifest) or {}, tuple(cells))
