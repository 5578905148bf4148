"""Losses over seeds: a median line with a band for each value of a sweep, one panel per flow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from .series import MARKERS, TIME
from .style import figure_for, FLOW_TITLES, style, width_of

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (1, 1)))
SHAPES = ("o", "s", "^", "D", "v", "*", "x", "P")
PANEL = (4.6, 3.3)  # inches; the legend is below


@dataclass(frozen=True, eq=False)
class Spread:
    """One line of a panel, `label`: `middle` over `ts` between `low` and `high`, (t,) each."""

    label: str
    ts: Any
    middle: Any
    low: Any
    high: Any


def spread_figure(
    panels: Mapping[str, Sequence[Spread]], ylabel: str = "loss $g(f)$", *, fig: Figure | SubFigure | None = None
) -> Any:
    """Draw panels side by side on one logarithmic scale, one for each flow. Labels are plain text.

    Arguments:

    - `panels`: the lines of each panel, under the short name of the flow.
    - `ylabel`: what the lines are, with its unit.
    - `fig`: an empty figure or subfigure to draw in. Defaults to a new one.

    Returns: the figure.

    Raises: `ValueError` if there are no panels, or if `fig` already has axes.

    >>> from riemgn.plot import spread_figure, Spread
    >>> line = Spread("cond = 10", [0.0, 1.0], [2.0, 1.0], [1.5, 0.5], [3.0, 1.5])
    >>> len(spread_figure({"gn": [line], "lm": [line]}).axes)
    2
    """
    if not panels:
        raise ValueError("`panels` must hold one flow or more, got none.")
    with style():
        figure = figure_for(fig, PANEL[0] * len(panels), PANEL[1])
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (flow, lines) in zip(axes, panels.items(), strict=True):
            for index, line in enumerate(lines):
                _band(ax, line, index, len(lines))
            ax.set_yscale("log", nonpositive="mask")
            ax.set_xlabel(TIME)
            ax.xaxis.set_major_locator(MaxNLocator(6))
            ax.set_title(_plain(FLOW_TITLES.get(flow, flow)))
        axes[0].set_ylabel(ylabel)
        handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        widest = max((len(label) for label in handles), default=1)
        columns = max(1, min(4, int(width_of(figure) * 72 / (5.0 * widest + 36))))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
    return figure


def _band(ax: Any, line: Spread, index: int, count: int) -> None:
    """Draw a line whose colour, dash and marker depend on its index."""
    color = colormaps["viridis"](0.85 * index / max(1, count - 1))
    ts = np.asarray(line.ts, float)
    options = {"color": color, "linestyle": DASHES[index % len(DASHES)], "marker": SHAPES[index % len(SHAPES)]}
    every = (index * ts.size // (MARKERS * max(1, count)), max(1, ts.size // MARKERS))
    ax.plot(ts, np.asarray(line.middle, float), label=_plain(line.label), markevery=every, **options)
    ax.fill_between(ts, np.asarray(line.low, float), np.asarray(line.high, float), color=color, alpha=0.18, linewidth=0)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
