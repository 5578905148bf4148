"""Tests of pictures of manifolds and of slope plots."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from riemgn.geometry.checks.slope import Check, measure_slope, step_grid, ValueLaw
from riemgn.plot import (
    curve,
    figure,
    manifold_figure,
    normal_residual,
    path,
    slope_curve,
    slope_figure,
    style,
    surface,
    tangent_plane,
)
from riemgn.plot.manifold import PATH_STYLES, PATH_TITLES

U, V = np.meshgrid(np.linspace(0, 2 * np.pi, 19), np.linspace(0, 2 * np.pi, 13), indexing="ij")
TORUS = np.stack([(2 + 0.7 * np.cos(V)) * np.cos(U), (2 + 0.7 * np.cos(V)) * np.sin(U), 0.7 * np.sin(V)], axis=-1)
CURVATURE = np.cos(V) / (0.7 * (2 + 0.7 * np.cos(V)))
ANGLES = np.linspace(0, 2 * np.pi, 50)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
TARGET = np.array([0.5, 0.0])


def plane():
    return figure(3, 3).add_subplot()


def space():
    return figure(4, 3).add_subplot(projection="3d", computed_zorder=False)


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_a_path_has_an_open_start_and_a_full_end():
    for ax, points in ((plane(), CIRCLE[:9]), (space(), TORUS[:9, 3])):
        path(points, ax=ax, kind="gn")
        line, start, end = ax.lines
        drawn = np.stack(line.get_data_3d() if ax.name == "3d" else line.get_data(), axis=1)
        assert np.array_equal(drawn, points)
        assert to_rgb(start.get_markerfacecolor()) == (1, 1, 1) and to_rgb(end.get_markerfacecolor()) == to_rgb(
            line.get_color()
        )
        assert line.get_label() == "Gauss-Newton flow"


def test_kinds_of_path_differ_without_colour():
    looks = {(str(look["linestyle"]), look["marker"]) for look in PATH_STYLES.values()}
    assert len(looks) == len(PATH_STYLES) and set(PATH_TITLES) == set(PATH_STYLES)


def test_markers_are_spaced_in_arc_length():
    slowing = np.stack([1 - np.exp(-np.linspace(0, 20, 400)), np.zeros(400)], axis=1)
    ax = plane()
    path(slowing, ax=ax)
    marked = slowing[ax.lines[0].get_markevery(), 0]
    assert len(marked) >= 4 and np.min(np.diff(marked)) > 0.1


def test_a_surface_is_coloured_by_its_curvature():
    ax = space()
    surface(TORUS, CURVATURE, ax=ax)
    bar = ax.figure.axes[1]
    assert "curvature" in bar.get_ylabel() and "length" in bar.get_ylabel()
    assert bar.get_ylim() == pytest.approx((CURVATURE.min(), CURVATURE.max()))
    patches = next(c for c in ax.collections if isinstance(c, Poly3DCollection))
    luminance = patches._facecolor3d[:, :3] @ [0.299, 0.587, 0.114]
    means = (CURVATURE[1:, 1:] + CURVATURE[1:, :-1] + CURVATURE[:-1, 1:] + CURVATURE[:-1, :-1]) / 4
    assert np.corrcoef(luminance, means.ravel())[0, 1] > 0.99  # read in grey, brighter is more curved
    assert labels(ax) == ["$K = 0$"]


def test_a_constant_curvature_has_one_colour():
    ax = space()
    surface(TORUS, np.ones(U.shape) + 1e-15 * U, ax=ax)
    assert np.ptp(next(c for c in ax.collections).get_facecolor(), axis=0).max() == 0 and labels(ax) == []
    plain = space()
    surface(TORUS, ax=plain)
    assert len(plain.figure.axes) == 1


def test_a_tangent_plane_is_a_square_or_a_line():
    ax = space()
    tangent_plane([2.7, 0, 0], [[0, 1, 0], [0, 0, 1]], ax=ax, size=0.5)
    corners = np.array(ax.collections[0]._faces)[0]
    assert np.allclose(corners.mean(axis=0), [2.7, 0, 0]) and np.allclose(np.ptp(corners, axis=0), [0, 1, 1])
    flat = plane()
    tangent_plane([1, 0], [[0, 1]], ax=flat, size=2)
    assert np.allclose(np.stack(flat.lines[0].get_data(), axis=1), [[1, -2], [1, 2]])


def test_a_residual_points_from_the_manifold_to_the_target():
    ax = plane()
    normal_residual(CIRCLE[0], TARGET, ax=ax)
    arrow = ax.texts[0]
    assert np.allclose(arrow.xyann, CIRCLE[0]) and np.allclose(arrow.xy, TARGET)
    assert labels(ax) == ["residual $y - f$", "target $y$"]
    solid = space()
    normal_residual(TORUS[0, 0], [4, 0, 0], ax=solid)
    assert any(isinstance(c, Line3DCollection) for c in solid.collections) and labels(solid) == labels(ax)


def test_all_axes_have_one_scale():
    flat = manifold_figure(CIRCLE, paths={"gn": CIRCLE[:9]}).axes[0]
    assert flat.get_aspect() == 1.0
    ax = manifold_figure(TORUS, tangent=([2.7, 0, 0], [[0, 1, 0], [0, 0, 1]], 0.5)).axes[0]
    sizes = np.array([np.ptp(limits) for limits in (ax.get_xlim3d(), ax.get_ylim3d(), ax.get_zlim3d())])
    assert np.ptp(sizes / np.asarray(ax._box_aspect)) < 1e-12


def test_axis_labels_have_a_unit():
    for points in (CIRCLE, TORUS, TORUS[:, 0]):
        ax = manifold_figure(points).axes[0]
        assert "output $f_1$ (unit" in ax.get_xlabel() and "output $f_2$ (unit" in ax.get_ylabel()


def test_nothing_is_cut_off():
    with style():
        paths = {kind: TORUS[:9, 3] for kind in PATH_STYLES}
        fig = manifold_figure(TORUS, curvature=CURVATURE, paths=paths, residual=(TORUS[0, 0], [4, 0, 0]), title="Torus")
        fig.savefig(io.BytesIO(), format="png")
        whole = fig.bbox
        for artist in [*fig.texts, *fig.legends, *fig.axes[1:]]:
            box = artist.get_tightbbox()
            assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1
            assert box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1
    shown = [text.get_text() for text in fig.legends[0].get_texts()]
    assert {"$K = 0$", "geodesic", "Gauss-Newton flow", "target $y$", "start", "end"} <= set(shown)


BAD = {
    "path in space": (lambda: path(TORUS[:3, 0], ax=plane()), "`points` must have shape"),
    "unknown kind": (lambda: path(CIRCLE, ax=plane(), kind="line"), "`kind` must be one of .* got 'line'"),
    "surface of points": (lambda: surface(CIRCLE, ax=space()), "got .50, 2."),
    "curvature": (lambda: surface(TORUS, CURVATURE[1:]), "`curvature` must have shape .19, 13., got .18, 13."),
    "two tangents in the plane": (lambda: tangent_plane([0, 0], np.eye(2), ax=plane()), "`basis` must have 1 row"),
    "size": (lambda: tangent_plane([0, 0], [[1, 0]], ax=plane(), size=0), "`size` must be positive, got 0"),
    "target elsewhere": (lambda: normal_residual([0, 0], [0, 0, 0], ax=plane()), "`target` must have shape"),
    "empty": (lambda: curve(np.zeros((0, 2)), ax=plane()), "got .0, 2."),
    "four dimensions": (lambda: manifold_figure(np.zeros((5, 4))), "`points` must be"),
    "curvature of a curve": (lambda: manifold_figure(CIRCLE, curvature=np.ones(50)), "a curve has none"),
    "no slope": (lambda: slope_figure(Check("mine", (ValueLaw("small", 0.0, 1.0),))), r"one slope, got \['mine'\]"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


GOOD = measure_slope("sine", lambda t: (np.sin(t) - t, 1.0, t), 3, step_grid())
WRONG = measure_slope("sine", lambda t: (np.sin(t) - 0.9 * t, 1.0, t), 3, step_grid())
EXACT = measure_slope("zero", lambda t: (0.0, 1.0, t), 3, step_grid())
NONE = measure_slope("nothing", lambda t: (np.nan, 1.0, t), 3, step_grid())


def test_a_slope_plot_has_all_its_lines():
    ax = slope_figure(GOOD).axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["measured", "rounding level", "fit, slope 3.00", "slope 3"] and "window" in labels(ax)
    assert np.array_equal(lines["measured"].get_ydata(), GOOD.errors) and np.array_equal(
        lines["rounding level"].get_ydata(), GOOD.floor
    )
    x, y = lines["fit, slope 3.00"].get_data()
    assert tuple(x) == GOOD.window and np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(GOOD.order)
    x, y = lines["slope 3"].get_data()
    assert np.log(y[-1] / y[0]) / np.log(x[-1] / x[0]) == pytest.approx(3)
    assert ax.get_xscale() == ax.get_yscale() == "log" and "step" in ax.get_xlabel() and ax.get_ylabel() == "error"
    assert len({line.get_linestyle() for line in ax.lines}) == 4


@pytest.mark.parametrize(
    ("law", "verdict"),
    [(GOOD, "holds: slope 3.00"), (WRONG, "fails: slope 1.00"), (EXACT, "holds: exact"), (NONE, "fails: no slope")],
)
def test_the_title_states_the_verdict(law, verdict):
    with style():
        fig = figure(3, 3)
        ax = fig.add_subplot()
        slope_curve(law, ax=ax)
        fig.draw_without_rendering()
    assert verdict in ax.get_title() and np.all(np.isfinite(ax.get_ylim()))


def test_every_slope_of_every_check_has_a_panel():
    check = Check("mine", (GOOD, ValueLaw("small", 0.0, 1.0), EXACT))
    fig = slope_figure([check, WRONG, check], "all")
    assert len(fig.axes) == 5 and fig.axes[0].get_title().startswith("mine:\nsine") and fig.get_suptitle() == "all"
