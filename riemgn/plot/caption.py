"""What every picture has: a caption with the setting, and bands over seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SETUP = ("data", "n", "p", "alpha", "rho", "seeds", "tolerance")
CAPTION_SIZE = 7.5


def checked_setup(data: Mapping[str, Any]) -> dict[str, str]:
    """The `"setup"` of an item's data as words: data set, n, p, alpha, rho, seeds and tolerance, each a number or text.

    Raises: `ValueError` that names what is missing: a picture without its setting cannot be read.
    """
    setup = data.get("setup", {})
    missing = [key for key in SETUP if key not in setup]
    if missing:
        raise ValueError(f"The `setup` of an item needs {', '.join(SETUP)}; missing: {', '.join(missing)}.")
    return {key: f"{value:g}" if isinstance(value, int | float) else str(value) for key, value in setup.items()}


def caption(fig: Any, setup: Mapping[str, str], source: str) -> None:
    """The setting and the source, below the figure."""
    words = [
        setup["data"],
        *(f"{key} = {setup[key]}" for key in ("n", "p", "alpha", "rho")),
        f"seeds: {setup['seeds']}",
    ]
    words += [f"tolerance: {setup['tolerance']}", source]
    fig.supxlabel(wrapped("; ".join(words) + ".", fig.get_figwidth()), fontsize=CAPTION_SIZE, x=0.01, ha="left")


def wrapped(text: str, width: float) -> str:
    """`text` in lines of `width` inches at the size of the caption."""
    import textwrap

    return "\n".join(textwrap.wrap(text, int(width * 72 / (0.58 * CAPTION_SIZE))))


def band(ax: Any, x: Any, runs: Any, *, label: str | None = None, **look: Any) -> None:
    """Median over seeds as a line, least to largest as a band; `runs` is (seeds, x), `look` is for `ax.plot`."""
    runs = np.atleast_2d(np.asarray(runs, dtype=float))
    (line,) = ax.plot(x, np.nanmedian(runs, axis=0), label=label, **look)
    if len(runs) > 1:
        ax.fill_between(
            x, np.nanmin(runs, axis=0), np.nanmax(runs, axis=0), color=line.get_color(), alpha=0.2, linewidth=0
        )


def tidy_ticks(fig: Any) -> None:
    """On logarithmic axes to base 10: powers of ten where two or more are in sight, else plain 1, 2, 5. Ticks set by hand stay."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for ax in fig.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if (
                axis.get_scale() != "log"
                or axis.get_transform().base != 10
                or not isinstance(axis.get_major_locator(), LogLocator)
            ):
                continue
            low, high = np.log10(sorted(limits))
            if np.floor(high) - np.ceil(low) >= 1:
                axis.set_minor_formatter(NullFormatter())
            else:
                axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("{x:g}")
