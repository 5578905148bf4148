"""Read and write all files, each under a temporary name that is changed when it is complete."""

import io
import json
import logging
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np
import pandas as pd
import xarray as xr

from ..trajectory import CURVES, labels, TIME

SCHEMA = 1
RUN_COLUMNS = ("data", "width", "depth", "alpha", "cond", "loss", "damping", "t1")
END_COLUMNS = {"losses": "loss", "grad_norms": "grad_norm", "sigma_min": "sigma_min"}


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Create `folder` if it is missing.

    Raises: `ValueError` if it cannot be created or written to.
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"The folder '{folder}' cannot be written to: no permission.")
    return folder


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Check, before long work, that `folder` can be created and written to, and leave nothing."""
    folder = Path(folder).expanduser()
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        prepare_folder(folder)
    finally:
        for path in missing:
            if os.path.isdir(path):
                path.rmdir()


def write_record(
    folder: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], name: str = "record"
) -> tuple[Path, Path]:
    """Write `arrays` to `folder/<name>.npz` and `metadata` to `folder/<name>.json`."""
    folder = prepare_folder(folder)
    npz = _write(folder / f"{name}.npz", lambda stream: np.savez_compressed(stream, **cast(Any, arrays)))
    return npz, write_json(folder / f"{name}.json", metadata)


def write_records(
    folder: str | os.PathLike[str], records: Iterable[tuple[str, Mapping[str, np.ndarray], Mapping[str, Any]]]
) -> Path:
    """Write records `(name, arrays, metadata)` to a new folder, all of them or none."""
    folder = Path(folder).expanduser()
    prepare_folder(folder.parent)
    part = _part(folder)
    try:
        part.mkdir()
        for name, arrays, metadata in records:
            np.savez(part / f"{name}.npz", **cast(Any, arrays))
            (part / f"{name}.json").write_text(_as_text(metadata), encoding="utf-8")
        os.rename(part, folder)
    except OSError as error:
        raise _unwritable(folder.parent, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def remove_parts(folder: Path) -> None:
    """Remove what an interrupted `write_records` left in `folder`, to which nobody writes."""
    for part in folder.glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)


def read_record(folder: str | os.PathLike[str], name: str = "record") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the metadata that `write_record` wrote to `folder` under `name`.

    Raises: `ValueError` if there is no such record or it cannot be read.
    """
    path = Path(folder).expanduser() / f"{name}.npz"
    metadata = read_json(path.with_suffix(".json"))
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return dict(stored), metadata
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"The record '{path}' cannot be read: {type(error).__name__}.") from None


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> Path:
    """Write `value` to `path` as one JSON object, with null for NaN and infinity."""
    return write_page(path, _as_text(value))


def write_page(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` to the file `path` in UTF-8."""
    return write_picture(path, text.encode())


def write_picture(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write the bytes of a picture, for example an animation, to the file `path`."""
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    return _write(path, lambda stream: stream.write(content))


def write_pickle(path: Path, value: Any) -> Path:
    """Write `value` such that `joblib.load` reads it."""
    prepare_folder(path.parent)
    return _write(path, lambda stream: joblib.dump(value, stream))


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the object in the JSON file `path` of this package.

    Raises: `ValueError` if the file is missing, is not JSON, or has another schema.
    """
    path = Path(path).expanduser()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"The file '{path}' cannot be read: {_reason(error)}.") from None
    except ValueError:
        raise ValueError(f"The file '{path}' is not JSON.") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"The file '{path}' has the schema {schema!r}, this version reads {SCHEMA}.")
    return value


def write_figure(figure: Any, path: str | os.PathLike[str]) -> dict[str, Path]:
    """Write a matplotlib `figure` to `<path>.pdf` and `<path>.png`, and return both by suffix."""
    path = Path(path).expanduser()
    prepare_folder(path.parent)
    paths = {}
    fonts = logging.getLogger("fontTools")
    level = fonts.level
    fonts.setLevel(logging.ERROR)  # it warns about the dates in the fonts that matplotlib ships
    try:
        for kind, date in {"pdf": {"CreationDate": None}, "png": {"Software": None}}.items():
            save = partial(figure.savefig, format=kind, metadata=date)
            paths[kind] = _write(path.with_name(f"{path.name}.{kind}"), save)
    finally:
        fonts.setLevel(level)
    return paths


def svg_text(figure: Any) -> str:
    """Return a matplotlib `figure` as one SVG document without a date."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return stream.getvalue().decode()


def load_runs(folder: str | Path) -> pd.DataFrame:
    """Load every finished run in `folder`, from sweeps and from `riemgn run`, one row each.

    The columns are the axes (for a single run: data, width, alpha and others), `flow`, `seed`,
    `result`, `message`, `t_end`, the first and last loss, gradient norm and smallest singular
    value, `max_error`, `num_steps`, `n`, `p`, `dtype`, `device`, `seconds` without compilation,
    `compile_seconds`, `batch_size` (runs in the same compiled program), `commit`, and `path` of the
    record without its suffix. Missing values are NaN.

    Raises: `ValueError` if the folder contains no records or a record cannot be read.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     axes, flows = {"angle": [0.5, 1.0]}, [rg.GaussNewtonFlow()]
    ...     _ = rg.sweep(rg.task.circle, axes=axes, flows=flows, t1=1.0, out=folder)
    ...     rg.load_runs(folder)["angle"].tolist()
    [0.5, 1.0]
    """
    return pd.DataFrame([_row(path, metadata) for path, metadata in _records(folder)])


def load_curves(folder: str | Path) -> xr.Dataset:
    """Load the curves of every finished run in `folder`, over the dimensions `run` and `time`.

    The variables are `ts`, `losses`, `grad_norms`, `sigma_min` and `error`. Shorter runs end with
    NaN. The columns of `load_runs` are coordinates along `run`. Errors are as in `load_runs`.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     axes, flows = {"angle": [0.5, 1.0]}, [rg.GaussNewtonFlow()]
    ...     _ = rg.sweep(rg.task.circle, axes=axes, flows=flows, t1=1.0, out=folder)
    ...     rg.load_curves(folder)["losses"].dims
    ('run', 'time')
    """
    records = list(_records(folder))
    arrays = [read_record(path.parent, path.name)[0] for path, _ in records]
    longest = max((each["ts"].size for each in arrays if "ts" in each), default=0)
    curves = {}
    for name, words in {"ts": TIME, **CURVES}.items():
        if any(name in each for each in arrays):
            values = np.full((len(arrays), longest), np.nan)
            for row, each in zip(values, arrays, strict=True):
                if name in each:
                    row[: each[name].size] = each[name]
            curves[name] = (("run", "time"), values, labels(*words))
    table = pd.DataFrame([_row(path, metadata) for path, metadata in records])
    return xr.Dataset(curves, coords={str(name): ("run", column.to_numpy()) for name, column in table.items()})


def _records(folder: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the path without suffix and the metadata of every record, sorted by path."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"There is no folder '{folder}'.")
    cells = (path for path in folder.rglob("cells/*/*.json") if not path.parent.name.startswith("."))
    paths = sorted([*folder.rglob("record.json"), *cells])
    if not paths:
        raise ValueError(f"The folder '{folder}' contains no records.")
    for path in paths:
        yield path.with_suffix(""), read_json(path)


def _row(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    spec, summary, stats = (metadata.get(name) or {} for name in ("spec", "summary", "stats"))
    row = dict(metadata.get("point", {name: spec[name] for name in RUN_COLUMNS if name in spec}))
    row["flow"] = metadata.get("flow", spec.get("flow"))
    row |= {name: metadata.get(name) for name in ("seed", "result", "message")} | {"t_end": summary.get("t_end")}
    for name, short in END_COLUMNS.items():
        if name in summary:
            row |= zip((f"{short}_start", f"{short}_end"), summary[name], strict=True)
    row |= {"max_error": summary.get("max_error"), "num_steps": stats.get("num_steps")}
    last = ("n", "p", "dtype", "device", "seconds", "compile_seconds", "batch_size", "commit")
    return row | {name: metadata.get(name) for name in last} | {"path": str(path)}


def as_json(value: Any) -> Any:
    """Convert arrays to nested lists, paths to text, and NaN and infinities to None."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biufU":
        raise ValueError(f"A record contains numbers, text, lists and tables, got {type(value).__name__}.")
    return as_json(array.tolist())


def as_arrays(value: Any) -> Any:
    """Convert rectangular lists of numbers to NumPy arrays (null becomes NaN) and keep the rest."""
    if isinstance(value, dict):
        return {key: as_arrays(entry) for key, entry in value.items()}
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
        array = array.astype(float) if array.dtype == object else array
    except (TypeError, ValueError):
        return [as_arrays(entry) for entry in value]
    return array if array.size and array.dtype.kind in "bif" else [as_arrays(entry) for entry in value]


def _as_text(value: Mapping[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **as_json(value)}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _write(path: Path, fill: Callable[[Any], Any]) -> Path:
    """Fill a temporary file next to `path`, then rename it, or remove it if filling fails."""
    part = _part(path)
    try:
        with open(part, "wb") as stream:
            fill(stream)
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    finally:
        part.unlink(missing_ok=True)
    return path


def _unwritable(folder: Path, error: OSError) -> ValueError:
    return ValueError(f"The folder '{folder}' cannot be written to: {_reason(error)}.")


def _reason(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return reason[:1].lower() + reason[1:]
