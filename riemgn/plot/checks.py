"""Plots of the errors of checks over the step, with fitted and expected slopes."""

import textwrap
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
    """Draw one law of a check: errors, rounding level, fit on its window, and the expected slope.

    Arguments:

    - `law`: a `SlopeLaw`, one of `check.slopes`.
    - `ax`: axes to draw in. Defaults to those of a new figure.
    - `check`: name of the check, for the title.

    Returns: the axes.
    """
    axes = axes_for(ax)
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="mask")
    axes.plot(law.steps, law.errors, label="measured", **MEASURED)
    axes.plot(law.steps, law.floor, label="rounding level", **ROUNDING)
    if law.window is not None:
        inside = np.array(law.window)
        axes.axvspan(*inside, label="window", **WINDOW)
        axes.plot(inside, law.constant * inside**law.order, label=f"fit, slope {law.order:.2f}", **FITTED)
        anchor = law.constant * inside[1] ** law.order
        axes.plot(
            law.steps, anchor * (law.steps / inside[1]) ** law.expected, label=f"slope {law.expected:g}", **EXPECTED
        )
    axes.set_ylim(*_limits(law))
    axes.set_xlim(law.steps[0] / 1.5, law.steps[-1] * 1.5)
    axes.set_xlabel("step $t$ (times the direction)")
    axes.set_ylabel("error")
    axes.set_title(f"{'' if check is None else f'{check}:'}\n{textwrap.fill(law.name, 44)}\n{_verdict(law)}".lstrip())
    axes.legend(loc="upper left", handlelength=2.4, fontsize=7.0)
    return axes


def slope_figure(
    checks: Check | SlopeLaw | Sequence[Check | SlopeLaw],
    title: str | None = None,
    *,
    fig: Figure | SubFigure | None = None,
) -> Any:
    """Draw every slope of one or several `checks`, one panel each, under a `title`.

    Arguments:

    - `fig`: an empty figure or subfigure to draw in. Defaults to a new one.

    Returns: the figure.

    Raises: `ValueError` if there is no slope to draw, or if `fig` already has axes.

    >>> import riemgn as rg
    >>> from riemgn.geometry import check_gradient
    >>> from riemgn.plot import slope_figure
    >>> M = rg.OutputManifold(rg.task.sphere())
    >>> len(slope_figure(check_gradient(M, M.problem.params)).axes)
    1
    """
    items = [checks] if isinstance(checks, Check | SlopeLaw) else list(checks)
    laws = [(law, check.name) for check in items if isinstance(check, Check) for law in check.slopes]
    laws += [(law, None) for law in items if isinstance(law, SlopeLaw)]
    if not laws:
        raise ValueError(f"`checks` must hold at least one slope, got {[check.name for check in items]}.")
    columns = min(COLUMNS, len(laws))
    rows = -(-len(laws) // columns)
    with style():
        figure = figure_for(fig, PANEL[0] * columns, PANEL[1] * rows + (0.3 if title else 0.0))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (law, name) in zip(axes, laws, strict=False):
            slope_curve(law, ax=ax, check=name)
        for ax in axes[len(laws) :]:
            ax.remove()
        if title:
            figure.suptitle(title, fontsize=9.5)
    return figure


def _limits(law):
    """Return limits for the measured errors and the legend."""
    values = np.concatenate([law.errors, law.floor])
    values = values[np.isfinite(values) & (values > 1e-300)]
    values = values if values.size else np.array([1e-16, 1.0])
    return float(values.min()) / 10, float(values.max()) * 1e3


def _verdict(law):
    if law.exact:
        return "holds: exact to rounding"
    if law.window is None:
        return "fails: no slope can be read"
    return f"{'holds' if law.passed else 'fails'}: slope {law.order:.2f}, at least {law.expected:g} expected"
