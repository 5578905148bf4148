"""Tests of curves over time and of bands over seeds."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import riemgn as rg
from riemgn.experiment import FLOW_FORMULAS
from riemgn.plot import (
    bound_curve,
    figure,
    flow_style,
    loss_curve,
    series_figure,
    sigma_min_curve,
    Spread,
    spread_figure,
    style,
    trajectory_figure,
)
from riemgn.plot.style import FLOW_STYLES


@pytest.fixture(scope="module")
def trajectory():
    return rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewtonFlow(), t1=2.0)


def test_every_flow_has_its_own_style():
    assert set(FLOW_STYLES) == {*FLOW_FORMULAS, "ggn-score"}  # which the command line does not offer
    for key in ("color", "linestyle", "marker"):
        assert len({str(flow_style(name)[key]) for name in FLOW_STYLES}) == len(FLOW_STYLES)


def test_an_unknown_flow_has_a_style_and_styles_are_copies():
    assert flow_style("mine")["marker"] == "x"
    flow_style("gn")["color"] = "red"
    assert to_rgb(flow_style("gn")["color"]) != to_rgb("red")


def test_a_trajectory_has_three_panels(trajectory):
    fig = trajectory_figure(trajectory, "circle")
    panels = [trajectory.losses, trajectory.grad_norms, trajectory.sigma_min]
    assert len(fig.axes) == 3
    for ax, values in zip(fig.axes, panels, strict=True):
        assert np.array_equal(ax.lines[0].get_ydata(), np.asarray(values))
        assert ax.get_yscale() == "log" and "time" in ax.get_xlabel() and ax.get_ylabel()


def test_an_early_end_is_annotated():
    ended = rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewtonFlow(), t1=9.0, ball_radius=0.1)
    texts = [text.get_text() for text in trajectory_figure(ended).axes[0].texts]
    assert texts and texts[0].startswith("ball left at t = ")


def test_a_bound_is_dashed_grey_and_labelled():
    ax = figure(3, 2).subplots()
    ts = np.linspace(0, 1, 9)
    bound_curve(ts, np.exp(-ts), np.exp(-2 * ts), ax=ax)
    assert [line.get_label() for line in ax.lines] == ["measured", "bound"]
    assert ax.lines[1].get_linestyle() == "--" and len(set(to_rgb(ax.lines[1].get_color()))) == 1


def test_zeros_and_nans_are_left_out():
    fig = figure(3, 2)
    ax = fig.subplots()
    loss_curve(np.arange(4.0), np.array([1.0, 0.1, 0.0, np.nan]), ax=ax)
    sigma_min_curve(np.arange(1.0), np.array([1.0]), ax=ax, label="one point")
    fig.draw_without_rendering()
    assert ax.get_ylim()[0] > 1e-3


def test_matplotlib_settings_are_restored():
    before = dict(matplotlib.rcParams)
    with style():
        figure(2, 2)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("size", [(0, 2), (2, -1), (float("nan"), 1)])
def test_a_figure_needs_a_positive_size(size):
    with pytest.raises(ValueError, match="must be positive"):
        figure(*size)


def test_missing_arrays_are_named():
    with pytest.raises(ValueError, match="lacks sigma_min; it needs ts"):
        series_figure({"ts": [0.0], "losses": [1.0], "grad_norms": [1.0]})


def test_stored_arrays_give_the_same_figure(trajectory):
    stored = {name: trajectory.arrays()[name] for name in ("ts", "losses", "grad_norms", "sigma_min")}
    sizes = (trajectory.problem.n, trajectory.problem.p)
    one, other = trajectory_figure(trajectory, "a"), series_figure(stored, flow="gn", sizes=sizes, title="a")
    assert one.get_suptitle() == other.get_suptitle()
    for left, right in zip(one.axes, other.axes, strict=True):
        assert np.array_equal(left.lines[0].get_xydata(), right.lines[0].get_xydata())


def test_lines_of_a_spread_differ_without_colour():
    lines = [Spread(f"a$b = {k}", [0.0, 1.0], [1.0 + k, 1.0], [0.5, 0.5], [2.0, np.nan]) for k in range(8)]
    fig = spread_figure({"gn": lines, "odd flow": lines[:1]})
    first, second = fig.axes
    looks = {(line.get_linestyle(), line.get_marker()) for line in first.lines}
    assert len(first.lines) == 8 and len({marker for _, marker in looks}) == 8 and len(second.lines) == 1
    assert first.get_title() == "Gauss-Newton flow" and second.get_title() == "odd flow" and first.get_yscale() == "log"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [rf"a\$b = {k}" for k in range(8)]
    with pytest.raises(ValueError, match="one flow or more"):
        spread_figure({})
