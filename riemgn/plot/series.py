"""Curves over time: loss, gradient norm, smallest singular value, and bounds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatterSciNotation

from ..trajectory import Trajectory
from .style import axes_for, BOUND, figure_for, flow_style, FLOW_TITLES, style

TIME = "time $t$ (the flow's own)"
SERIES = ("ts", "losses", "grad_norms", "sigma_min")
MARKERS = 8  # markers per curve

Series = Float[Array, " t"] | Float[np.ndarray, " t"]


def loss_curve(
    ts: Series, losses: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """Plot the loss `g(f(w_t))` over time on a logarithmic scale.

    Arguments:

    - `ts`, `losses`: times and losses (t,).
    - `ax`: axes to draw in. Defaults to those of a new figure.
    - `flow`: short name of the flow, for its colour, dash and marker.
    - `label`: entry in a legend. Defaults to none.

    Returns: the axes.

    >>> from riemgn.plot import loss_curve
    >>> loss_curve([0.0, 1.0, 2.0], [1.0, 0.1, 0.01]).get_yscale()
    'log'
    """
    return _curve(ts, losses, ax, flow, label, "loss $g(f)$")


def gradient_curve(
    ts: Series, grad_norms: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """Plot the norm `grad_norms` of the Riemannian gradient over time, as in `loss_curve`."""
    return _curve(ts, grad_norms, ax, flow, label, r"gradient norm $\|P\,\nabla g(f)\|$")


def sigma_min_curve(
    ts: Series, sigma_min: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """Plot `sigma_min`, the smallest non-zero singular value of `J`, as in `loss_curve`."""
    return _curve(ts, sigma_min, ax, flow, label, r"smallest singular value $\sigma_{\min}(J)$")


def bound_curve(
    ts: Series,
    bound: Series,
    measured: Series | None = None,
    *,
    ax: Axes | None = None,
    flow: str = "gn",
    label: str = "measured",
) -> Axes:
    """Plot a `bound` (t,), dashed and grey, and `measured` values (t,), as in `loss_curve`."""
    axes = axes_for(ax)
    if measured is not None:
        _curve(ts, measured, axes, flow, label, None)
    axes.plot(np.asarray(ts), np.asarray(bound), **BOUND)
    axes.set_yscale("log", nonpositive="mask")
    axes.legend()
    return axes


def trajectory_figure(
    trajectory: Trajectory, title: str | None = None, *, fig: Figure | SubFigure | None = None
) -> Any:
    """Plot loss, gradient norm and smallest singular value of a trajectory side by side.

    If the run ended early, a line and its status say so.

    Arguments:

    - `trajectory`: a `Trajectory` of `solve` or `iterate`.
    - `title`: text before the flow's name and the sizes.
    - `fig`: an empty figure or subfigure to draw in. Defaults to a new one of 9.0 x 2.9 inches.

    Returns: the figure.

    Raises: `ValueError` if `fig` already has axes.

    >>> import riemgn as rg
    >>> from riemgn.plot import trajectory_figure
    >>> traj = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=2.0)
    >>> len(trajectory_figure(traj).axes)
    3
    """
    problem, name = trajectory.problem, trajectory.flow.name
    series = {key: np.asarray(getattr(trajectory, key)) for key in SERIES}
    sizes = (problem.n, problem.p)
    return series_figure(series, flow=name, status=trajectory.status, sizes=sizes, title=title, fig=fig)


def series_figure(
    series: Mapping[str, Any],
    *,
    flow: str = "gn",
    status: str = "successful",
    sizes: tuple[int, int] | None = None,
    title: str | None = None,
    fig: Figure | SubFigure | None = None,
) -> Any:
    """Draw the figure of `trajectory_figure` from stored arrays.

    Arguments:

    - `series`: "ts", "losses", "grad_norms" and "sigma_min", each (t,).
    - `flow`, `status`: short names of the flow and of the result, such as "rank_lost".
    - `sizes`: number of outputs n and of parameters p.
    - `title`, `fig`: as in `trajectory_figure`.

    Returns: the figure.

    Raises: `ValueError` that names the missing arrays, or if `fig` already has axes.
    """
    missing = [name for name in SERIES if name not in series]
    if missing:
        raise ValueError(f"`series` lacks {', '.join(missing)}; it needs {', '.join(SERIES)}.")
    ts = np.asarray(series["ts"])
    with style():
        figure = figure_for(fig, 9.0, 2.9)
        axes = figure.subplots(1, 3)
        for ax, draw, name in zip(axes, (loss_curve, gradient_curve, sigma_min_curve), SERIES[1:], strict=True):
            draw(ts, series[name], ax=ax, flow=flow)
        if status != "successful":
            for ax in axes:
                ax.axvline(float(ts[-1]), color="0.45", linewidth=1.0, linestyle=":")
            when = f"{status.replace('_', ' ')} at t = {float(ts[-1]):.4g}"
            axes[0].annotate(when, (0.03, 0.05), xycoords="axes fraction", color="0.3")
        counts = "" if sizes is None else f"n = {sizes[0]} outputs, p = {sizes[1]} parameters"
        parts = [title, FLOW_TITLES.get(flow, flow), counts]
        figure.suptitle(", ".join(part for part in parts if part), fontsize=9.5)
    return figure


def _curve(ts: Any, values: Any, ax: Axes | None, flow: str, label: str | None, ylabel: str | None) -> Axes:
    axes = axes_for(ax)
    ts, values = np.asarray(ts), np.asarray(values)
    axes.plot(ts, values, markevery=max(1, ts.size // MARKERS), label=label, **flow_style(flow))
    axes.set_yscale("log", nonpositive="mask")
    axes.set_xlabel(TIME)
    if ylabel is not None:
        axes.set_ylabel(ylabel)
    _label_ticks(axes)
    if label is not None:
        axes.legend()
    return axes


def _label_ticks(ax: Axes) -> None:
    """Use plain numbers if the axis spans less than a decade, else powers of ten."""
    low, high = ax.get_ylim()
    if 0 < low and high < 10 * low:
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    else:
        ax.yaxis.set_major_formatter(LogFormatterSciNotation())
        ax.yaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
