"""Curves over time: loss, gradient norm, smallest singular value, a bound beside what was measured."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

from ..result import result_name
from ..trajectory import Trajectory
from .style import BOUND, figure, flow_style, FLOW_TITLES, style

TIME = "time $t$ (the flow's own)"
MARKERS = 8  # markers per curve: enough to tell flows apart, few enough to see the line

Series = Float[Array, " t"] | Float[np.ndarray, " t"]


def loss_curve(ts: Series, losses: Series, *, ax: Axes, flow: str = "gn", label: str | None = None) -> None:
    """The loss `g(f(w_t))` over time, logarithmic scale."""
    _curve(ts, losses, ax, flow, label, "loss $g(f)$")


def gradient_curve(ts: Series, grad_norms: Series, *, ax: Axes, flow: str = "gn", label: str | None = None) -> None:
    """The norm of the Riemannian gradient `|P grad g(f(w_t))|` over time, logarithmic scale."""
    _curve(ts, grad_norms, ax, flow, label, r"gradient norm $\|P\,\nabla g(f)\|$")


def sigma_min_curve(ts: Series, sigma_min: Series, *, ax: Axes, flow: str = "gn", label: str | None = None) -> None:
    """The smallest non-zero singular value of `J(w_t)` over time, logarithmic scale."""
    _curve(ts, sigma_min, ax, flow, label, r"smallest singular value $\sigma_{\min}(J)$")


def bound_curve(ts: Series, bound: Series, measured: Series | None = None, *, ax: Axes, flow: str = "gn", label: str = "measured") -> None:
    """A bound, dashed and grey, beside what was measured if given."""
    if measured is not None:
        _curve(ts, measured, ax, flow, label, None)
    ax.plot(np.asarray(ts), np.asarray(bound), **BOUND)
    ax.set_yscale("log", nonpositive="mask")
    ax.legend()


def trajectory_figure(trajectory: Trajectory, title: str | None = None) -> Figure:
    """Loss, gradient norm and smallest singular value of one trajectory, side by side; where it ended early, a line says why.

    >>> import riemgn as rg
    >>> from riemgn.plot import trajectory_figure
    >>> traj = rg.solve(rg.task.circle(), rg.GaussNewton(), t1=2.0)
    >>> len(trajectory_figure(traj).axes)
    3
    """
    name = trajectory.flow.name
    with style():
        fig = figure(9.0, 2.9)
        axes = fig.subplots(1, 3)
        drawn = (
            (loss_curve, trajectory.losses),
            (gradient_curve, trajectory.grad_norms),
            (sigma_min_curve, trajectory.sigma_min),
        )
        for ax, (draw, values) in zip(axes, drawn, strict=True):
            draw(trajectory.ts, values, ax=ax, flow=name)
        ended = result_name(trajectory.result)
        if ended != "successful":
            for ax in axes:
                ax.axvline(float(trajectory.ts[-1]), color="0.45", linewidth=1.0, linestyle=":")
            when = f"{ended.replace('_', ' ')} at t = {float(trajectory.ts[-1]):.4g}"
            axes[0].annotate(when, (0.03, 0.05), xycoords="axes fraction", color="0.3")
        problem = trajectory.problem
        parts = [title, FLOW_TITLES.get(name, name), f"n = {problem.n} outputs, p = {problem.p} parameters"]
        fig.suptitle(", ".join(part for part in parts if part), fontsize=9.5)
    return fig


def _curve(ts: Any, values: Any, ax: Axes, flow: str, label: str | None, ylabel: str | None) -> None:
    ts, values = np.asarray(ts), np.asarray(values)
    ax.plot(ts, values, markevery=max(1, ts.size // MARKERS), label=label, **flow_style(flow))
    ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel(TIME)
    if ylabel is not None:
        ax.set_ylabel(ylabel)
    _label_ticks(ax)
    if label is not None:
        ax.legend()


def _label_ticks(ax: Axes) -> None:
    """Plain numbers where the axis spans less than a decade: powers of ten would say nothing there."""
    low, high = ax.get_ylim()
    if 0 < low and high < 10 * low:
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    else:
        ax.yaxis.set_major_formatter(LogFormatterSciNotation())
        ax.yaxis.set_minor_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
