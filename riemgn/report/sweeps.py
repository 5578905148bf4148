"""Describe a sweep: counts of result codes, medians over seeds, and one picture of the losses."""

import json
import statistics
from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np

from ..experiment import read_record
from ..plot import Spread, spread_figure
from ..result import EXPECTED
from .article import Article, as_text, Table, Verdict
from .commands import AGAIN, command, toml_text
from .folder import File, Folder

MAX_LINES, MAX_PANELS, MAX_ROWS = 8, 4, 200  # of the picture and the table
Groups = dict[str, dict[str, list[File]]]  # point of the axes as JSON -> flow -> cells


def sweep_articles(file: File, folder: Folder) -> Iterator[Article]:
    """Describe one sweep. A damaged cell is reported and left out."""
    stored, groups = file.value, _groups(file, folder)
    cells = [cell for found in groups.values() for group in found.values() for cell in group]
    missing = max(0, (stored.get("cells") or 0) - len(cells))
    axes = list(dict.fromkeys(axis for point in groups for axis in json.loads(point)))
    flows = list(dict.fromkeys(flow for found in groups.values() for flow in found))
    rows = [
        [*(f"{json.loads(point).get(axis)}" for axis in axes), *(_median(found.get(flow, [])) for flow in flows)]
        for point, found in list(groups.items())[:MAX_ROWS]
    ]
    failed = [cell for cell in cells if cell.value["result"] not in EXPECTED][:MAX_ROWS]
    messages = [(cell.name, Verdict(cell.value["result"]), cell.value.get("message")) for cell in failed]
    spec, maker = stored.get("spec"), (stored.get("maker") or {}).get("name")
    name = str(stored.get("name") or (spec or {}).get("name") or file.path.parent.name)
    text = [f"{len(cells)} of {len(cells) + missing} cells are done. The table shows at most {MAX_ROWS} points."]
    text += [f"`rg.sweep` made it in Python from {maker}; no command repeats it."] if maker else []
    text += [f"To repeat the sweep, save the text below as {name}.toml."] if spec else []
    panels = _panels(groups, flows, folder)
    limits = ((MAX_LINES, len(groups), "points"), (MAX_PANELS, len(flows), "flows"))
    shown = " ".join(f"It shows {most} of {count} {word}." for most, count, word in limits if count > most)
    title = "Median final loss over the seeds that succeeded"
    yield Article(
        name,
        file,
        Counter(missing=missing) + Counter(cell.value["result"] for cell in cells),
        text,
        [Table(title, (*axes, *flows), rows), Table("Failed cells", ("Cell", "Result", "Message"), messages, True)],
        [command("sweep", f"{name}.toml", *AGAIN)] if spec else [],
        toml_text(spec) if spec else "",
        f"Loss over time, median over seeds with a band from the smallest to the largest. {shown}",
        partial(spread_figure, panels) if panels else "no cell has its losses over time stored",
    )


def _groups(file: File, folder: Folder) -> Groups:
    groups: Groups = {}
    for cell in file.cells:
        point, flow, result = (cell.value.get(name) for name in ("point", "flow", "result"))
        if isinstance(point, dict) and isinstance(flow, str) and isinstance(result, str):
            groups.setdefault(json.dumps(point), {}).setdefault(flow, []).append(cell)
        else:
            folder.reject(cell.name, "it has no point, flow or result")
    return groups


def _median(cells: list[File]) -> str:
    """The median final loss over seeds, and how many seeds did not succeed."""
    losses = [cell.value["summary"]["losses"][-1] for cell in cells if cell.value["result"] in EXPECTED]
    finite = [float(loss) for loss in losses if loss is not None]
    text = as_text(statistics.median(finite) if finite else None)
    failed = len(cells) - len(losses)
    return f"{text} ({failed} of {len(cells)} seeds did not succeed)" if failed else text


def _panels(groups: Groups, flows: list[str], folder: Folder) -> dict[str, list[Spread]]:
    points, panels = list(groups), {}
    if len(points) > MAX_LINES:
        points = [points[round(k * (len(points) - 1) / (MAX_LINES - 1))] for k in range(MAX_LINES)]
    for flow in flows[:MAX_PANELS]:
        spreads = [_spread(point, groups[point][flow], folder) for point in points if flow in groups[point]]
        if any(spreads):
            panels[flow] = [spread for spread in spreads if spread is not None]
    return panels


def _spread(point: str, cells: list[File], folder: Folder) -> Spread | None:
    """Median, smallest and largest loss over the runs that have not ended at each time."""
    curves = []
    for cell in cells:
        try:
            arrays, _ = read_record(cell.path.parent, cell.path.stem)
            curves.append((np.asarray(arrays["ts"], float), np.asarray(arrays["losses"], float)))
        except (KeyError, TypeError, ValueError) as error:
            folder.reject(cell.name.removesuffix(".json") + ".npz", error)
    if not curves:
        return None
    ts = max((ts for ts, _ in curves), key=lambda ts: (ts[-1], ts.size))
    losses = np.array([np.interp(ts, own, values, right=np.nan) for own, values in curves])
    losses = np.where(np.isfinite(losses), losses, np.nan)
    alive = np.isfinite(losses).any(axis=0)
    label = ", ".join(f"{axis} = {as_text(value)}" for axis, value in json.loads(point).items()) or "all"
    low, middle, high = (take(losses[:, alive], axis=0) for take in (np.nanmin, np.nanmedian, np.nanmax))
    return Spread(label, ts[alive], middle, low, high)
