"""Folders of records as one table (pandas), and their curves as one data set (xarray)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..trajectory import CURVES, labels, TIME
from .storage import read_json, read_record

RUN = "record"
FEW_SPEC = ("data", "width", "depth", "alpha", "cond", "loss", "damping", "t1")


def load_runs(folder: str | Path) -> pd.DataFrame:
    """One row for every finished run below a `folder`: cells of sweeps and records of `riemgn run`.

    Columns: the axes (of a run of its own, its data, width, alpha and so on), `flow`, `seed`, `result` and `message`; `t_end`; first and last loss,
    gradient norm and least singular value; `max_error`; `num_steps`, `n`, `p`; `dtype`, `device`; `seconds` without compilation, `compile_seconds`
    of the program it shared, `lanes` of that program; `commit`; `path` of the record without its ending. What a record lacks is missing (NaN).
    `seconds`, `compile_seconds` and `path` apart, a sweep that was interrupted and resumed has the table of one that was not, bit for bit.

    Raises: `ValueError`, one sentence, for a folder without records or a record that cannot be read.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = rg.sweep(rg.task.circle, axes={"angle": [0.5, 1.0]}, flows=[rg.GaussNewtonFlow()], t1=1.0, out=folder)
    ...     rg.load_runs(folder)["angle"].tolist()
    [0.5, 1.0]
    """
    return pd.DataFrame([_row(path, metadata) for path, metadata in _records(folder)])


def load_curves(folder: str | Path) -> xr.Dataset:
    """The curves of every finished run below a `folder`, over `run` and `time`: `ts`, `losses`, `grad_norms`, `sigma_min`, `error`.

    Names, `long_name` and `units` are those of `Trajectory.to_xarray`, but each run has times of its own, `ts`. Shorter runs are filled with NaN.
    The columns of `load_runs` are coordinates along `run`; `to_netcdf` writes all of it.

    Raises: as `load_runs`.

    >>> import tempfile, riemgn as rg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = rg.sweep(rg.task.circle, axes={"angle": [0.5, 1.0]}, flows=[rg.GaussNewtonFlow()], t1=1.0, out=folder)
    ...     rg.load_curves(folder)["losses"].dims
    ('run', 'time')
    """
    found = list(_records(folder))
    table = pd.DataFrame([_row(path, metadata) for path, metadata in found])
    arrays = [read_record(path.parent, path.name)[0] for path, _ in found]
    longest = max((each["ts"].size for each in arrays if "ts" in each), default=0)
    curves = {}
    for name, words in {"ts": TIME, **CURVES}.items():
        if any(name in each for each in arrays):
            padded = [
                np.pad(
                    each.get(name, np.zeros(0)).astype(float),
                    (0, longest - each.get(name, np.zeros(0)).size),
                    constant_values=np.nan,
                )
                for each in arrays
            ]
            curves[name] = (("run", "time"), np.stack(padded), labels(*words))
    return xr.Dataset(curves, coords={str(name): ("run", column.to_numpy()) for name, column in table.items()})


def _records(folder: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The path, without its ending, and the metadata of every record, in the order of the paths."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"There is no folder '{folder}'.")
    paths = sorted(
        [
            *folder.rglob(f"{RUN}.json"),
            *(path for path in folder.rglob("cells/*/*.json") if not path.parent.name.startswith(".")),
        ]
    )
    if not paths:
        raise ValueError(f"The folder '{folder}' holds no records.")
    for path in paths:
        yield path.with_suffix(""), read_json(path)


def _row(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    spec, summary, stats = (metadata.get(name) or {} for name in ("spec", "summary", "stats"))
    ends = {
        f"{short}_{end}": summary[name][i]
        for name, short in _ENDS.items()
        if name in summary
        for i, end in enumerate(("start", "end"))
    }
    return {
        **(metadata["point"] if "point" in metadata else {name: spec[name] for name in FEW_SPEC if name in spec}),
        "flow": metadata.get("flow", spec.get("flow")),
        "seed": metadata.get("seed"),
        **{name: metadata.get(name) for name in ("result", "message")},
        "t_end": summary.get("t_end"),
        **ends,
        "max_error": summary.get("max_error"),
        "num_steps": stats.get("num_steps"),
        **{
            name: metadata.get(name)
            for name in ("n", "p", "dtype", "device", "seconds", "compile_seconds", "lanes", "commit")
        },
        "path": str(path),
    }


_ENDS = {"losses": "loss", "grad_norms": "grad_norm", "sigma_min": "sigma_min"}
