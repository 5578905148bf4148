"""Sweep GGN-SCORE over a grid of the smoothing `mu` or of the weight `tau` of the penalty.

The items `smoothing` and `weight` share this module. A sweep has both presets and several seeds.
"""

from typing import NamedTuple

import numpy as np

from riemgn.experiment.checkpoint import map_checkpointed
from riemgn.plot.caption import band

from .measures import zeros
from .network import PRESETS
from .synthetic import drawn, run, setup, stacked
from .variants import S2, Setting, SMALL, Variant

ZEROS = {
    "color": "#D55E00",
    "marker": "s",
    "markersize": 4,
    "linestyle": "--",
    "fillstyle": "none",
    "label": "# zeros (right)",
}
FLOOR = 1e-6  # smaller values are drawn here, because the weights of a collapsed run are zero
MIDDLE = 400  # number of steps of the checks, at both sizes


class Grid(NamedTuple):
    """The setting, the grid, the seeds and the steps of one size."""

    setting: Setting
    points: tuple[float, ...]
    seeds: int
    steps: tuple[int, ...]


def grid(quick: bool, few: tuple[float, ...], low: float, high: float) -> Grid:
    """The sizes of a sweep.

    At full size it has the paper's 41 points from `10^low` to `10^high`, 10 seeds and 1600 steps.
    At quick size it has a few points of a small network.
    """
    if quick:
        return Grid(SMALL, few, 2, (MIDDLE,))
    return Grid(S2, tuple(float(10**k) for k in np.linspace(low, high, 41).round(10)), 10, (MIDDLE, 1600))


def swept_grid(sizes: Grid, name: str, places, fixed: str) -> dict:
    """Run all cells of a sweep, where `places(point)` is `(mu, tau)`.

    Returns: a record for each preset with arrays (points, seeds, steps), and values at the start.
    """
    cases = [(Variant("GGN", preset, "c = 1"), point) for preset in PRESETS for point in sizes.points]
    arguments = [
        (sizes.setting, variant, seed, sizes.steps, *places(point), True)
        for variant, point in cases
        for seed in range(sizes.seeds)
    ]
    cells = map_checkpointed(run, arguments, f"adeoye2024/{name}")
    rows = [stacked(cells[place : place + sizes.seeds]) for place in range(0, len(cells), sizes.seeds)]
    by_preset = zip(PRESETS, (rows[: len(sizes.points)], rows[len(sizes.points) :]), strict=True)
    runs = [
        {"preset": preset, **{key: np.stack([row[key] for row in mine]) for key in mine[0]}}
        for preset, mine in by_preset
    ]
    starts = [drawn(sizes.setting, seed) for seed in range(sizes.seeds)]
    half = [float(np.mean(np.asarray(data.y_test) ** 2)) / 2 for _, _, data in starts]
    first = [
        zeros(np.concatenate([np.asarray(layer["weight"]).ravel() for layer in params])) for _, params, _ in starts
    ]
    words = setup(
        sizes.setting,
        sizes.seeds,
        "float64",
        data=f"{sizes.setting.words}, {sizes.steps[-1]} full-batch steps, {fixed}",
    )
    return {
        "points": sizes.points,
        "steps": sizes.steps,
        "runs": runs,
        "half_square": half,
        "start_zeros": first,
        "setup": words,
    }


def value(result, preset, point, key="test", step=MIDDLE):
    """The values of all seeds at a point of the grid after `step` steps (`"zeros"`: at the end)."""
    mine = next(record for record in result["runs"] if record["preset"] == preset)
    place = int(np.flatnonzero(np.isclose(result["points"], point, rtol=1e-6, atol=0.0))[0])
    values = np.asarray(mine[key], dtype=float)[place]
    return values if key == "zeros" else values[:, list(result["steps"]).index(step)]


def draw_grid(data, fig, symbol, below, ylabel):
    """Draw, for each preset, final test loss and # zeros (top) and `below` (bottom)."""
    fig.set_size_inches(9.6, 6.2)
    axes = fig.subplots(2, len(data["runs"]), sharex=True, sharey="row", height_ratios=(3, 2))
    twins = []
    for top, bottom, record in zip(*axes, data["runs"], strict=True):
        band(
            top,
            data["points"],
            record["test"][:, :, -1].T,
            color="#0072B2",
            marker="o",
            markersize=4,
            label="test loss (left)",
        )
        top.axhline(np.median(data["half_square"]), color="0.45", linestyle=":", label="loss of f = 0 (left)")
        twins.append(top.twinx())
        band(twins[-1], data["points"], record["zeros"].T, **ZEROS)
        twins[-1].axhline(
            np.median(data["start_zeros"]),
            color="#D55E00",
            linestyle=":",
            linewidth=1,
            label="# zeros at the start (right)",
        )
        top.set(xscale="log", yscale="log", title=f"GGN, {record['preset']}, c = 1")
        band(
            bottom,
            data["points"],
            np.maximum(record[below][:, :, -1].T, FLOOR),
            color="black",
            marker="d",
            markersize=4,
            linestyle="-.",
        )
        bottom.set(xscale="log", yscale="log", xlabel=symbol)
    for twin in twins:
        twin.set_ylim(0, 1.15 * max(np.nanmax(record["zeros"]) for record in data["runs"]))
        twin.grid(False)
    twins[-1].set_ylabel("# zeros")
    axes[0, 0].set_ylabel(f"test loss after {data['steps'][-1]} steps")
    axes[1, 0].set_ylabel(ylabel)
    (lines, names), (more, others) = (ax.get_legend_handles_labels() for ax in (axes[0, 0], twins[0]))
    fig.legend([*lines, *more], [*names, *others], loc="outside upper center", ncols=4)
