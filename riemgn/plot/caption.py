"""Captions with the setting of a figure, bands over seeds, and ticks of logarithmic axes."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

SETUP = ("data", "n", "p", "alpha", "rho", "seeds", "tolerance")
CAPTION_SIZE = 7.5


def checked_setup(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries of a figure's `"setup"` as text.

    Raises: `ValueError` that names the missing entries.
    """
    setup = data.get("setup", {})
    missing = [key for key in SETUP if key not in setup]
    if missing:
        raise ValueError(f"`setup` lacks {', '.join(missing)}; it needs {', '.join(SETUP)}.")
    return {key: f"{value:g}" if isinstance(value, int | float) else str(value) for key, value in setup.items()}


def caption(fig: Any, setup: Mapping[str, str], source: str) -> None:
    """Write the setting and the source below the figure."""
    parts = [setup["data"], *(f"{key} = {setup[key]}" for key in ("n", "p", "alpha", "rho"))]
    parts += [f"seeds: {setup['seeds']}", f"tolerance: {setup['tolerance']}", source]
    text = textwrap.fill("; ".join(parts) + ".", int(fig.get_figwidth() * 72 / (0.58 * CAPTION_SIZE)))
    fig.supxlabel(text, fontsize=CAPTION_SIZE, x=0.01, ha="left")


def band(ax: Any, x: Any, runs: Any, *, label: str | None = None, **line_options: Any) -> None:
    """Draw the median over seeds as a line, and the range as a band; `runs` is (seeds, x)."""
    runs = np.atleast_2d(np.asarray(runs, dtype=float))
    (line,) = ax.plot(x, np.nanmedian(runs, axis=0), label=label, **line_options)
    if len(runs) > 1:
        low, high = np.nanmin(runs, axis=0), np.nanmax(runs, axis=0)
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def tidy_ticks(fig: Any) -> None:
    """Label axes on a scale of base 10 at powers of ten, or at 1, 2, 5 if fewer than two show.

    Ticks that you set yourself are kept.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis, limits in ((a, m) for ax in fig.axes for a, m in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))):
        if axis.get_scale() != "log" or axis.get_transform().base != 10:
            continue
        if not isinstance(axis.get_major_locator(), LogLocator):
            continue
        low, high = np.log10(sorted(limits))
        if np.floor(high) - np.ceil(low) >= 1:
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
