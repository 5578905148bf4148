"""Slope plots of checks: errors over steps, the fitted slope on its window, the expected slope, and the rounding level."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ..geometry.checks import Check, SlopeLaw
from .style import axes_for, figure_for, style

COLUMNS = 3
PANEL = (3.1, 2.9)  # inches
MEASURED = {"color": "#0072B2", "linestyle": "none", "marker": "o", "markersize": 3.2}
FITTED = {"color": "#000000", "linestyle": "-", "linewidth": 2.2, "zorder": 4}
EXPECTED = {"color": "#E69F00", "linestyle": "--", "linewidth": 1.4, "zorder": 3}
ROUNDING = {"color": "0.45", "linestyle": ":", "linewidth": 1.2}
WINDOW = {"color": "0.9", "linewidth": 0.0, "zorder": 0}


def slope_curve(law: SlopeLaw, *, ax: Axes | None = None, check: str | None = None) -> Axes:
    """One law of a check: measured errors, rounding level, fit on the shaded window, and a line of the expected slope through the window's end.

    Arguments:

    - `law`: a `SlopeLaw`, of `check.slopes`.
    - `ax`: where to draw; by default the axes of a new figure.
    - `check`: the name of its check, said in the title.

    Returns: the axes.
    """
    axes = axes_for(ax)
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="mask")
    axes.plot(law.steps, law.errors, label="measured", **MEASURED)
    axes.plot(law.steps, law.floor, label="rounding level", **ROUNDING)
    low, high = _limits(law)
    if law.window is not None:
        inside = np.array(law.window)
        axes.axvspan(*inside, label="window", **WINDOW)
        axes.plot(inside, law.constant * inside**law.order, label=f"fit, slope {law.order:.2f}", **FITTED)
        anchor = law.constant * inside[1] ** law.order
        axes.plot(
            law.steps, anchor * (law.steps / inside[1]) ** law.expected, label=f"slope {law.expected:g}", **EXPECTED
        )
    axes.set_ylim(low, high)
    axes.set_xlim(law.steps[0] / 1.5, law.steps[-1] * 1.5)
    axes.set_xlabel("step $t$ (times the direction)")
    axes.set_ylabel("error")
    axes.set_title(f"{'' if check is None else f'{check}:'}\n{_wrapped(law.name)}\n{_verdict(law)}".lstrip())
    axes.legend(loc="upper left", handlelength=2.4, fontsize=7.0)
    return axes


def slope_figure(
    checks: Check | SlopeLaw | Sequence[Check | SlopeLaw],
    title: str | None = None,
    *,
    fig: Figure | SubFigure | None = None,
) -> Any:
    """Every slope of one or several `checks`, a panel each, under a `title`.

    Arguments:

    - `fig`: an empty figure or subfigure to draw in; by default a new figure, 3.1 x 2.9 inches a panel, three panels a row.

    Returns: the figure, `fig` where it was given.

    Raises: `ValueError` where there is no slope to draw, or where `fig` has axes already.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_gradient
    >>> from riemgn.plot import slope_figure
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> len(slope_figure(check_gradient(M, M.problem.params)).axes)
    1
    """
    given = [checks] if isinstance(checks, Check | SlopeLaw) else list(checks)
    laws = [(law, check.name) for check in given if isinstance(check, Check) for law in check.slopes]
    laws += [(law, None) for law in given if isinstance(law, SlopeLaw)]
    if not laws:
        raise ValueError(f"`checks` must hold at least one slope, got {[check.name for check in given]}.")
    columns = min(COLUMNS, len(laws))
    rows = -(-len(laws) // columns)
    with style():
        whole = figure_for(fig, PANEL[0] * columns, PANEL[1] * rows + (0.3 if title else 0.0))
        axes = whole.subplots(rows, columns, squeeze=False).ravel()
        for ax, (law, name) in zip(axes, laws, strict=False):
            slope_curve(law, ax=ax, check=name)
        for ax in axes[len(laws) :]:
            ax.remove()
        if title:
            whole.suptitle(title, fontsize=9.5)
    return whole


def _limits(law):
    """Room for what was measured, whatever the reference line does."""
    seen = np.concatenate([law.errors[np.isfinite(law.errors)], law.floor[np.isfinite(law.floor) & (law.floor > 0)]])
    seen = seen[seen > 1e-300] if np.any(seen > 1e-300) else np.array([1e-16, 1.0])
    return float(seen.min()) / 10, float(seen.max()) * 1e3  # three decades above for the legend


def _verdict(law):
    if law.exact:
        return "holds: exact to rounding"
    if law.window is None:
        return "fails: no slope can be read"
    return f"{'holds' if law.passed else 'fails'}: slope {law.order:.2f}, at least {law.expected:g} expected"


def _wrapped(text, width=44):
    """The text on lines of at most `width` characters."""
    lines = [""]
    for word in text.split():
        lines = (
            [*lines, word]
            if lines[-1] and len(lines[-1]) + len(word) >= width
            else [*lines[:-1], f"{lines[-1]} {word}".strip()]
        )
    return "\n".join(lines)
