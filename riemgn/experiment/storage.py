"""The only file that writes: records, JSON, pages and pictures, each written beside its place and renamed, so that no half file is ever seen."""

import io
import json
import logging
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """`folder`, made if need be. Call it before long work: a folder that cannot be written to should cost no solve.

    Raises: `ValueError`, one sentence, where it cannot be made or written to.
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as trouble:
        raise _unwritable(folder, trouble) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"The folder '{folder}' cannot be written to: no permission.")
    return folder


def write_record(
    folder: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], name: str = "record"
) -> tuple[Path, Path]:
    """`arrays` as `<name>.npz` and `metadata` as `<name>.json` (`"schema": 1`) in `folder`; the JSON comes last: the record is whole.

    Returns: the paths of the two files.

    Raises: `ValueError`, one sentence, for a folder that cannot be written to.
    """
    folder = prepare_folder(folder)
    values = {key: np.asarray(value) for key, value in arrays.items()}
    npz = _write(folder / f"{name}.npz", lambda stream: np.savez_compressed(stream, **values))  # pyright: ignore[reportArgumentType]
    return npz, write_json(folder / f"{name}.json", metadata)


def write_records(
    folder: str | os.PathLike[str], records: Iterable[tuple[str, Mapping[str, np.ndarray], Mapping[str, Any]]]
) -> Path:
    """Records `(name, arrays, metadata)` as a folder of their own, filled beside its place and renamed: they are there all or not at all.

    Raises: `ValueError`, one sentence, where it cannot be written, or is there already.
    """
    folder = Path(folder).expanduser()
    prepare_folder(folder.parent)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        beside.mkdir()
        for name, arrays, metadata in records:
            with open(beside / f"{name}.npz", "wb") as stream:
                np.savez(stream, **{key: np.asarray(value) for key, value in arrays.items()})  # pyright: ignore[reportArgumentType]
            (beside / f"{name}.json").write_text(_as_text(metadata), encoding="utf-8")
        os.rename(beside, folder)
    except OSError as trouble:
        raise _unwritable(folder.parent, trouble) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def remove_parts(folder: Path) -> None:
    """Remove what an interrupted `write_records` has left below a folder that no one writes to."""
    for beside in folder.glob(".*.part"):
        shutil.rmtree(beside, ignore_errors=True)


def read_record(folder: str | os.PathLike[str], name: str = "record") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the metadata that `write_record` wrote in `folder` under `name`.

    Raises: `ValueError`, one sentence, where there is no such record or it cannot be read.
    """
    path = Path(folder).expanduser() / f"{name}.npz"
    metadata = read_json(path.with_suffix(".json"))
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return dict(stored), metadata
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as trouble:
        raise ValueError(f"The record '{path}' cannot be read: {type(trouble).__name__}.") from None


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> Path:
    """`value` as one JSON object in the file `path`, `"schema": 1` first; NumPy and JAX values become plain ones, NaN and infinity null."""
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    text = _as_text(value)
    return _write(path, lambda stream: stream.write(text.encode()))


def _as_text(value: Mapping[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **as_json(value)}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_page(path: str | os.PathLike[str], text: str) -> Path:
    """The `text` of a page as the file `path`, in UTF-8.

    Raises: `ValueError`, one sentence, for a folder that cannot be written to.
    """
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    return _write(path, lambda stream: stream.write(text.encode()))


def write_picture(path: str | os.PathLike[str], content: bytes) -> Path:
    """The bytes of a picture that was drawn elsewhere, an animation say, under its full name.

    Raises: `ValueError`, one sentence, for a folder that cannot be written to.
    """
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    return _write(path, lambda stream: stream.write(content))


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in the JSON file `path` of this package.

    Raises: `ValueError`, one sentence, where the file is missing, is no JSON, or has another schema.
    """
    path = Path(path).expanduser()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as trouble:
        raise ValueError(f"The file '{path}' cannot be read: {_reason(trouble)}.") from None
    except ValueError:
        raise ValueError(f"The file '{path}' is not JSON.") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"The file '{path}' has the schema {schema!r}, this version reads {SCHEMA}.")
    return value


def write_figure(figure: Any, path: str | os.PathLike[str]) -> dict[str, Path]:
    """A matplotlib `figure` as `<path>.pdf` and `<path>.png`, without dates, so that the same numbers give the same bytes.

    Returns: `{"pdf": path, "png": path}`.
    """
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    fixed = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    fonts = logging.getLogger("fontTools")
    level = fonts.level
    fonts.setLevel(logging.ERROR)  # it warns of the dates in the fonts that matplotlib ships
    try:
        return {
            kind: _write(
                path.with_name(f"{path.name}.{kind}"),
                lambda stream, kind=kind: figure.savefig(stream, format=kind, metadata=fixed[kind]),
            )
            for kind in fixed
        }
    finally:
        fonts.setLevel(level)


def svg_text(figure: Any) -> str:
    """A matplotlib `figure` as one SVG document, without date; nothing is written."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return stream.getvalue().decode()


def as_json(value: Any) -> Any:
    """`value` with NumPy and JAX arrays as nested lists, paths as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biufU":
        raise ValueError(f"A record holds numbers, text, lists and tables, got {type(value).__name__}.")
    return as_json(array.tolist())


def _write(path: Path, fill: Callable[[Any], Any]) -> Path:
    """Fill a file beside `path`, then rename it there; whatever stops the filling, the file beside is removed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as stream:
            fill(stream)
        os.replace(beside, path)
    except OSError as trouble:
        raise _unwritable(path.parent, trouble) from None
    finally:
        beside.unlink(missing_ok=True)
    return path


def _unwritable(folder: Path, trouble: OSError) -> ValueError:
    return ValueError(f"The folder '{folder}' cannot be written to: {_reason(trouble)}.")


def _reason(trouble: OSError) -> str:
    reason = trouble.strerror or type(trouble).__name__
    return reason[:1].lower() + reason[1:]
