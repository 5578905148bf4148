"""Sweeps as the page shows them: result codes counted, medians over seeds, and one picture of losses over time."""

import math
import statistics
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..result import EXPECTED
from .commands import sweep_command, toml_text
from .drawing import Picture
from .folder import Folder, Found, Sweep
from .shapes import CellFile, numbers_of, SweepFile

LINES = 8  # lines of one panel
PANELS = 4
ROWS = 200  # places of the table
Place = tuple[tuple[str, str], ...]  # axis and value in words that no other value has


@dataclass
class Entry:
    """What one flow came to at one place: median final loss over the `count` seeds that succeeded, of `count + failed`."""

    median: float | None
    failed: int
    count: int


@dataclass
class SweepResult:
    """A sweep for the page: `rows` pairs a place with the entry of each flow, None where nothing ran."""

    found: Found
    name: str
    total: int
    cells: int
    codes: list[tuple[str, int]]
    axes: list[str]
    flows: list[str]
    rows: list[tuple[list[str], list[Entry | None]]]
    rows_left_out: int
    seconds: float | None
    compile_seconds: float | None
    spec: str
    command: str
    maker: str
    messages: list[tuple[str, str, str]]
    picture: Picture


def sweeps_of(folder: Folder) -> list[SweepResult]:
    """The sweeps, in the order of their paths."""
    return [_result(sweep, folder) for sweep in folder.sweeps]


def _result(sweep: Sweep, folder: Folder) -> SweepResult:
    manifest: SweepFile = sweep.manifest.content
    groups = _groups(sweep)
    axes = list(dict.fromkeys([*manifest.axes, *(axis for cell in sweep.cells for axis in cell.content.point)]))
    flows = list(dict.fromkeys([*manifest.flows, *(flow for _, flow in groups)]))
    places = _ordered(manifest, {place for place, _ in groups})
    rows = [
        ([_short(dict(place).get(axis, "–")) for axis in axes], [_entry(groups.get((place, flow))) for flow in flows])
        for place in places[:ROWS]
    ]
    codes = sorted(Counter(cell.content.result for cell in sweep.cells).items())
    failed = [cell for cell in sweep.cells if cell.content.result not in EXPECTED]
    name = str(manifest.name or manifest.spec.get("name") or sweep.manifest.path.parent.name or "sweep")
    compiling = [
        cell.content.compile_seconds / max(1, cell.content.lanes)
        for cell in sweep.cells
        if cell.content.compile_seconds is not None
    ]
    lasting = [cell.content.seconds for cell in sweep.cells if cell.content.seconds is not None]
    return SweepResult(
        found=sweep.manifest,
        name=name,
        total=max(manifest.cells or 0, len(sweep.cells)),
        cells=len(sweep.cells),
        codes=codes,
        axes=axes,
        flows=flows,
        rows=rows,
        rows_left_out=max(0, len(places) - ROWS),
        seconds=sum(lasting) if lasting else None,
        compile_seconds=sum(compiling) if compiling else None,
        spec=toml_text(manifest.spec) if manifest.spec else "",
        command=sweep_command(name) if manifest.spec else "",
        maker=str(manifest.maker.get("name", "")),
        messages=list(dict.fromkeys((cell.name, cell.content.result, cell.content.message) for cell in failed[:20])),
        picture=_picture(name, groups, places, flows, folder),
    )


def _groups(sweep: Sweep) -> dict[tuple[Place, str], list[Found]]:
    groups: dict[tuple[Place, str], list[Found]] = {}
    for found in sweep.cells:
        cell: CellFile = found.content
        place = tuple((axis, _word(value)) for axis, value in cell.point.items())
        groups.setdefault((place, cell.flow or "?"), []).append(found)
    return groups


def _ordered(manifest: SweepFile, places: set[Place]) -> list[Place]:
    """Places in the order of the manifest's axes, then of their values in words."""
    orders = {
        axis: {_word(value): place for place, value in enumerate(values)} for axis, values in manifest.axes.items()
    }

    def key(place: Place) -> list[Any]:
        return [
            (orders.get(axis, {}).get(word, len(orders.get(axis, {}))), _numeric(word), word) for axis, word in place
        ]

    return sorted(places, key=key)


def _entry(cells: list[Found] | None) -> Entry | None:
    if cells is None:
        return None
    succeeded = [cell.content for cell in cells if cell.content.result in EXPECTED]
    last = [values[-1] for cell in succeeded if (values := numbers_of(cell.summary, "losses"))]
    finite = [value for value in last if value is not None and math.isfinite(value)]
    return Entry(statistics.median(finite) if finite else None, len(cells) - len(succeeded), len(succeeded))


def _picture(
    name: str, groups: dict[tuple[Place, str], list[Found]], places: list[Place], flows: list[str], folder: Folder
) -> Picture:
    from ..plot import spread_figure

    shown = (
        places if len(places) <= LINES else [places[round(k * (len(places) - 1) / (LINES - 1))] for k in range(LINES)]
    )
    panels = {}
    for flow in flows[:PANELS]:
        spreads = [_spread(place, groups[place, flow], folder) for place in shown if (place, flow) in groups]
        lines = [spread for spread in spreads if spread is not None]
        if lines:
            panels[flow] = lines
    left_out = [f"{len(places) - len(shown)} of {len(places)} places"] if len(shown) < len(places) else []
    left_out += [f"{len(flows) - PANELS} of {len(flows)} flows"] if len(flows) > PANELS else []
    if not panels:
        return Picture(f"Losses of {name}", "no cell has its losses over time stored")
    alt = f"Loss over time of the sweep {name}, median over seeds with a band from least to largest, for {', '.join(panels)}"
    return Picture(
        alt,
        partial(spread_figure, panels),
        note=f"Left out of the picture: {' and '.join(left_out)}." if left_out else "",
    )


def _spread(place: Place, cells: list[Found], folder: Folder) -> Any:
    """Median, least and largest loss of the cells at one place; a run that ended early counts as long as it lasted. None without any numbers."""
    from ..plot import Spread

    curves = [curve for cell in cells if (curve := _curve(cell, folder)) is not None]
    if not curves:
        return None
    ts = max((ts for ts, _ in curves), key=lambda ts: (ts[-1], ts.size))
    losses = np.array([_on(ts, *curve) for curve in curves])
    alive = np.isfinite(losses).any(axis=0)
    middle, low, high = (np.full(ts.size, np.nan) for _ in range(3))
    if alive.any():
        middle[alive], low[alive], high[alive] = (
            take(losses[:, alive], axis=0) for take in (np.nanmedian, np.nanmin, np.nanmax)
        )
    label = ", ".join(f"{axis} = {_short(word)}" for axis, word in place) or "all"
    return Spread(label, ts, middle, low, high)


def _curve(cell: Found, folder: Folder) -> tuple[np.ndarray, np.ndarray] | None:
    from ..experiment import read_record

    try:
        arrays, _ = read_record(cell.path.parent, cell.path.stem)
        ts, losses = (np.asarray(arrays.get(name, ()), float) for name in ("ts", "losses"))
    except (TypeError, ValueError):
        folder.not_read.append((cell.name.removesuffix(".json") + ".npz", "missing, or not whole"))
        return None
    whole = ts.ndim == 1 and ts.shape == losses.shape and ts.size > 0 and bool(np.all(np.isfinite(ts)))
    return (ts, np.where(np.isfinite(losses), losses, np.nan)) if whole else None


def _on(times: np.ndarray, ts: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The losses at `times`, linear between their own, NaN after their end."""
    return np.interp(times, ts, losses, right=np.nan) if not np.array_equal(times, ts) else losses


def _word(value: Any) -> str:
    return repr(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _short(word: str) -> str:
    return f"{_numeric(word):g}" if math.isfinite(_numeric(word)) else word


def _numeric(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.inf
