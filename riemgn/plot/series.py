"""Curves over time: loss, gradient norm, smallest singular value, a bound beside what was measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatterSciNotation

from ..result import result_name
from ..trajectory import Trajectory
from .style import axes_for, BOUND, figure_for, flow_style, FLOW_TITLES, style

TIME = "time $t$ (the flow's own)"
SERIES = ("ts", "losses", "grad_norms", "sigma_min")
MARKERS = 8  # markers per curve: enough to tell flows apart, few enough to see the line

Series = Float[Array, " t"] | Float[np.ndarray, " t"]


def loss_curve(
    ts: Series, losses: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """The loss `g(f(w_t))` over time, logarithmic scale.

    Arguments:

    - `ts`, `losses`: times and losses (t,).
    - `ax`: where to draw; by default the axes of a new figure.
    - `flow`: the short name of the flow, for its colour, dash and marker.
    - `label`: its entry in a legend; by default none.

    Returns: the axes; `ax.figure` is their figure.

    >>> from riemgn.plot import loss_curve
    >>> loss_curve([0.0, 1.0, 2.0], [1.0, 0.1, 0.01]).get_yscale()
    'log'
    """
    return _curve(ts, losses, ax, flow, label, "loss $g(f)$")


def gradient_curve(
    ts: Series, grad_norms: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """The norm of the Riemannian gradient `|P grad g(f(w_t))|` over time, `grad_norms` (t,); all else as in `loss_curve`."""
    return _curve(ts, grad_norms, ax, flow, label, r"gradient norm $\|P\,\nabla g(f)\|$")


def sigma_min_curve(
    ts: Series, sigma_min: Series, *, ax: Axes | None = None, flow: str = "gn", label: str | None = None
) -> Axes:
    """The smallest non-zero singular value of `J(w_t)` over time, `sigma_min` (t,); all else as in `loss_curve`."""
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
    """A bound, dashed and grey, beside what was measured if given: `bound` and `measured` (t,); all else as in `loss_curve`."""
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
    """Loss, gradient norm and smallest singular value of one trajectory, side by side; where it ended early, a line says why.

    Arguments:

    - `trajectory`: a `Trajectory`, of `solve` or of `iterate`.
    - `title`: said above, before the flow's name and the sizes.
    - `fig`: an empty figure or subfigure to draw in; by default a new figure, 9.0 x 2.9 inches.

    Returns: the figure, `fig` where it was given.

    Raises: `ValueError` where `fig` has axes already.

    >>> import riemgn as rg
    >>> from riemgn.plot import trajectory_figure
    >>> traj = rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=2.0)
    >>> len(trajectory_figure(traj).axes)
    3
    """
    problem = trajectory.problem
    series = {name: np.asarray(getattr(trajectory, name)) for name in SERIES}
    return series_figure(
        series,
        flow=trajectory.flow.name,
        result=result_name(trajectory.result),
        sizes=(problem.n, problem.p),
        title=title,
        fig=fig,
    )


def series_figure(
    series: Mapping[str, Any],
    *,
    flow: str = "gn",
    result: str = "successful",
    sizes: tuple[int, int] | None = None,
    title: str | None = None,
    fig: Figure | SubFigure | None = None,
) -> Any:
    """The picture of `trajectory_figure` from stored arrays.

    Arguments:

    - `series`: "ts", "losses", "grad_norms" and "sigma_min", each (t,), as in a record.
    - `flow`: its short name; `result`: short name of the result code; `sizes`: outputs n and parameters p.
    - `title`, `fig`: as in `trajectory_figure`.

    Returns: the figure, `fig` where it was given.

    Raises: `ValueError` that names the array that is missing, or where `fig` has axes already.
    """
    missing = [name for name in SERIES if name not in series]
    if missing:
        raise ValueError(f"`series` needs {', '.join(SERIES)}; missing: {', '.join(missing)}.")
    ts = np.asarray(series["ts"])
    with style():
        whole = figure_for(fig, 9.0, 2.9)
        axes = whole.subplots(1, 3)
        for ax, draw, name in zip(axes, (loss_curve, gradient_curve, sigma_min_curve), SERIES[1:], strict=True):
            draw(ts, series[name], ax=ax, flow=flow)
        if result != "successful":
            for ax in axes:
                ax.axvline(float(ts[-1]), color="0.45", linewidth=1.0, linestyle=":")
            when = f"{result.replace('_', ' ')} at t = {float(ts[-1]):.4g}"
            axes[0].annotate(when, (0.03, 0.05), xycoords="axes fraction", color="0.3")
        counts = "" if sizes is None else f"n = {sizes[0]} outputs, p = {sizes[1]} parameters"
        parts = [title, FLOW_TITLES.get(flow, flow), counts]
        whole.suptitle(", ".join(part for part in parts if part), fontsize=9.5)
    return whole


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
    """Plain numbers where the axis spans less than a decade: powers of ten would say nothing there."""
    low, high = ax.get_ylim()
    if 0 < low and high < 10 * low:
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    else:
        ax.yaxis.set_major_formatter(LogFormatterSciNotation())
        ax.yaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
