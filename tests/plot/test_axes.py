"""Tests that public plot functions draw in the axes or figure they are given, and return it."""

import inspect

import numpy as np
import pytest
from matplotlib.figure import SubFigure

import riemgn as rg
from riemgn import plot
from riemgn.geometry.checks.slope import measure_slope, step_grid

TS = np.linspace(0.0, 1.0, 5)
CIRCLE = np.stack([np.cos(TS), np.sin(TS)], axis=1)
ARC = np.concatenate([CIRCLE, np.zeros((5, 1))], axis=1)
U, V = np.meshgrid(TS, TS, indexing="ij")
SHEET = np.stack([U, V, U * V], axis=-1)
LAW = measure_slope("sine", lambda t: (np.sin(t) - t, 1.0, t), 3, step_grid())
SERIES = {"ts": TS, "losses": np.exp(-TS), "grad_norms": np.exp(-TS), "sigma_min": 1 + TS}

ONE_AXES = {
    "loss_curve": [(TS, np.exp(-TS))],
    "gradient_curve": [(TS, np.exp(-TS))],
    "sigma_min_curve": [(TS, np.exp(-TS))],
    "bound_curve": [(TS, np.exp(-TS), np.exp(-2 * TS)), (TS, np.exp(-TS))],
    "slope_curve": [(LAW,)],
    "surface": [(SHEET, U), (SHEET,)],
    "curve": [(CIRCLE,), (ARC,)],
    "path": [(CIRCLE,), (ARC,)],
    "tangent_plane": [(CIRCLE[0], [[0, 1]]), (ARC[0], [[0, 1, 0], [0, 0, 1]])],
    "normal_residual": [(CIRCLE[0], [0.5, 0.0]), (ARC[0], [0.5, 0.0, 0.0])],
}
WHOLE_FIGURE = {
    "series_figure": (SERIES,),
    "trajectory_figure": None,  # a trajectory, which is solved where it is needed
    "spread_figure": ({"gn": [plot.Spread("one", TS, 1 + TS, 0.5 + TS, 2 + TS)]},),
    "slope_figure": (LAW,),
    "manifold_figure": (CIRCLE,),
}
NO_DRAWING = {"figure", "flow_style", "fix_layout", "style"}


def test_public_functions_take_ax_or_fig():
    public = {name for name, value in vars(plot).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert public == {*ONE_AXES, *WHOLE_FIGURE, *NO_DRAWING}
    for name in public - NO_DRAWING:
        chosen = inspect.signature(getattr(plot, name)).parameters["fig" if name in WHOLE_FIGURE else "ax"]
        assert (chosen.kind, chosen.default) == (inspect.Parameter.KEYWORD_ONLY, None), name


@pytest.mark.parametrize("name", ONE_AXES)
def test_axes_are_used_and_returned(name):
    draw = getattr(plot, name)
    for arguments in ONE_AXES[name]:
        in_space = np.ndim(arguments[0]) > 0 and np.shape(arguments[0])[-1] == 3
        ax = plot.figure(3, 3).add_subplot(projection="3d" if in_space else None)
        assert draw(*arguments, ax=ax) is ax and ax.has_data()
        own = draw(*arguments)
        assert own.has_data() and own.figure is not ax.figure and own.name == ax.name


@pytest.mark.parametrize("name", WHOLE_FIGURE)
def test_a_figure_is_used_and_returned(name):
    draw, arguments = getattr(plot, name), WHOLE_FIGURE[name]
    if arguments is None:
        arguments = (rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=1.0, ts=[0.0, 1.0]),)
    whole = plot.figure(6, 6)
    upper, lower = whole.subfigures(2, 1)
    assert isinstance(upper, SubFigure) and draw(*arguments, fig=upper) is upper
    given = plot.figure(9, 4)
    assert draw(*arguments, fig=given) is given
    own = draw(*arguments)
    assert len(upper.axes) == len(given.axes) == len(own.axes) > 0 and not lower.axes
    whole.draw_without_rendering()
    with pytest.raises(ValueError, match="must be an empty figure or subfigure, got one with"):
        draw(*arguments, fig=upper)
