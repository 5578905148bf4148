"""Pictures of manifolds: curves, surfaces, and paths and tangent planes on them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from .style import axes_for, figure_for, FLOW_STYLES, FLOW_TITLES, style, width_of

# every kind of path has its own dash and marker as well as colour
PATH_STYLES: dict[str, dict[str, Any]] = {
    "geodesic": {"color": "#000000", "linestyle": "-", "marker": "D"},
    "chart": {"color": "#CC79A7", "linestyle": (0, (4, 1.5)), "marker": "P"},
    "path": {"color": "0.25", "linestyle": (0, (1, 1)), "marker": "x"},
    **FLOW_STYLES,
}
PATH_TITLES: dict[str, str] = {
    "geodesic": "geodesic",
    "chart": "straight line of parameters",
    "path": "path",
    **FLOW_TITLES,
}
ENDS = {"marker": "o", "linestyle": "none", "markersize": 6.0, "markeredgewidth": 1.4}
MARKERS = 5  # markers per path
ARROW = 0.86  # an arrow in space ends at this part of the residual, before the target's star
SURFACE_ALPHA = 0.75
COLOURS = "cividis"  # its luminance increases with the number, so that it works in grey
MIN_SPREAD = 0.2  # of a colour scale, relative to its largest number: a constant has one colour
FLAT = {"color": "#000000", "linestyle": (0, (1, 1.2)), "linewidth": 1.1}
PLAIN = "#B8C7D6"
MANIFOLD = {"color": "0.55", "linestyle": "-", "linewidth": 3.0, "solid_capstyle": "round", "alpha": 0.6}
PLANE = {"facecolor": (0.90, 0.62, 0.0, 0.30), "edgecolor": "#8A5F00", "linewidth": 1.2}
TANGENT_LINE = {"color": "#8A5F00", "linestyle": (0, (6, 2)), "linewidth": 1.3}
RESIDUAL = {"color": "#B2182B", "linewidth": 1.6}
TARGET = {"color": "#B2182B", "marker": "*", "markersize": 10.0, "linestyle": "none", "zorder": 12}
LETTER, HANDLE = 0.053, 0.55  # widths of a letter and of the handle of a legend entry, inches
ZOOM = 1.1  # because a box in space leaves its axes half empty
AXIS_LABEL = "output $f_{}$ (unit of $y$)"


def surface(
    points: ArrayLike,
    curvature: ArrayLike | None = None,
    *,
    ax: Any = None,
    label: str = "Gauss curvature $K$ (1/length$^2$)",
) -> Any:
    """Draw a surface in R^3 over a grid of parameters, coloured by its Gauss curvature.

    If the curvature has both signs, a dotted line marks `K = 0`. Lines that you draw later are in
    front of the surface, even where they pass behind it, so turn the axes accordingly.

    Arguments:

    - `points`: (a, b, 3), the image of a grid of parameters.
    - `curvature`: (a, b), or None for a plain surface.
    - `ax`: 3-D axes with `computed_zorder=False`. Defaults to those of a new figure.
    - `label`: label of the colour bar, with its unit.

    Returns: the axes.

    Raises: `ValueError` for other shapes.
    """
    points = _checked("points", points, (None, None, 3))
    ax = axes_for(ax, points)
    mesh = {"rstride": 1, "cstride": 1, "linewidth": 0.2, "edgecolor": (1, 1, 1, 0.35), "zorder": 1}
    if curvature is None:
        ax.plot_surface(*np.moveaxis(points, -1, 0), color=PLAIN, alpha=SURFACE_ALPHA, **mesh)
    else:
        curvature = _checked("curvature", curvature, points.shape[:2])
        low, high = float(np.nanmin(curvature)), float(np.nanmax(curvature))
        margin = max(0.0, MIN_SPREAD * (max(abs(low), abs(high)) or 1.0) - (high - low)) / 2
        # 1.02: a constant curvature is off the middle of the scale, where two colours meet
        mappable = ScalarMappable(Normalize(low - margin, high + 1.02 * margin), COLOURS)
        patches = (curvature[1:, 1:] + curvature[1:, :-1] + curvature[:-1, 1:] + curvature[:-1, :-1]) / 4
        ax.plot_surface(
            *np.moveaxis(points, -1, 0), facecolors=mappable.to_rgba(patches, alpha=SURFACE_ALPHA), shade=False, **mesh
        )
        bar = ax.figure.colorbar(mappable, ax=ax, shrink=0.7, pad=0.1, label=label, alpha=SURFACE_ALPHA)
        bar.ax.grid(False)
        bar.ax.ticklabel_format(useOffset=False)
        if low < 0 < high:
            bar.ax.axhline(0.0, **FLAT)
            for index, line in enumerate(Figure().subplots().contour(curvature, [0.0]).allsegs[0]):
                ax.plot(*_on_grid(points, line).T, zorder=3, label="$K = 0$" if index == 0 else None, **FLAT)
    return _finish_axes(ax, 3)


def curve(points: ArrayLike, *, ax: Any = None, label: str | None = "output manifold") -> Any:
    """Draw a one-dimensional manifold, `points` (a, 2) or (a, 3), as a broad grey line.

    `ax` defaults to the axes of a new figure, and `label` names the line in the legend. Raises
    `ValueError` if the shape does not fit `ax`.
    """
    ax = axes_for(ax, points)
    points = _checked("points", points, (None, ax_dimension(ax)))
    ax.plot(*points.T, label=label, zorder=2, **MANIFOLD)
    return _finish_axes(ax, points.shape[1])


def path(points: ArrayLike, *, ax: Any = None, label: str | None = None, kind: str = "path") -> Any:
    """Draw a path on the manifold, with an open circle at its start and a full one at its end.

    Arguments:

    - `points`: (t, 2) or (t, 3), outputs in the order of time.
    - `ax`: axes in the plane or in space. Defaults to those of a new figure.
    - `label`: entry in a legend. Defaults to the name of the kind.
    - `kind`: "geodesic", "chart", "path", or a flow's short name such as "gn".

    Returns: the axes.

    Raises: `ValueError` for another shape or kind.
    """
    ax = axes_for(ax, points)
    points = _checked("points", points, (None, ax_dimension(ax)))
    if kind not in PATH_STYLES:
        raise ValueError(f"`kind` must be one of {', '.join(PATH_STYLES)}, got {kind!r}.")
    style_of_kind = PATH_STYLES[kind]
    every = _evenly_spaced(points, MARKERS, list(PATH_STYLES).index(kind) / len(PATH_STYLES))
    ax.plot(*points.T, label=PATH_TITLES[kind] if label is None else label, markevery=every, zorder=10, **style_of_kind)
    ends = {"markeredgecolor": style_of_kind["color"], "zorder": 11, **ENDS}
    ax.plot(*points[:1].T, markerfacecolor="white", **ends)
    ax.plot(*points[-1:].T, markerfacecolor=style_of_kind["color"], **ends)
    return _finish_axes(ax, points.shape[1])


def tangent_plane(
    point: ArrayLike, basis: ArrayLike, *, ax: Any = None, size: float = 1.0, label: str | None = "tangent space"
) -> Any:
    """Draw the tangent plane of a surface as a square with sides 2 `size`, or the tangent line.

    Arguments:

    - `point`: (2,) or (3,).
    - `basis`: orthonormal rows (1, m) or (2, m), such as left singular vectors of the Jacobian.
    - `ax`: axes in the plane or in space. Defaults to those of a new figure.
    - `size`: half the side, in the unit of the outputs.
    - `label`: entry in a legend.

    Returns: the axes.

    Raises: `ValueError` for other shapes, or a size that is not positive.
    """
    ax = axes_for(ax, point)
    m = ax_dimension(ax)
    point = _checked("point", point, (m,))
    basis = _checked("basis", basis, (None, m))
    if not size > 0:
        raise ValueError(f"`size` must be positive, got {size}.")
    if len(basis) == 1:
        ends = np.stack([point - size * basis[0], point + size * basis[0]])
        ax.plot(*ends.T, label=label, zorder=6, **TANGENT_LINE)
    elif len(basis) == 2 and m == 3:
        corners = [point + size * (a * basis[0] + b * basis[1]) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        ax.add_collection3d(Poly3DCollection([np.array(corners)], label=label, zorder=6, **PLANE))
        ax.auto_scale_xyz(*np.array(corners).T, had_data=True)
    else:
        raise ValueError(f"`basis` must have 1 row, or 2 in space, got {len(basis)} in R^{m}.")
    return _finish_axes(ax, m)


def normal_residual(
    point: ArrayLike, target: ArrayLike, *, ax: Any = None, label: str | None = "residual $y - f$"
) -> Any:
    """Draw the arrow from a `point` (2,) or (3,) of the manifold to the `target` (a star).

    At a stationary point of the loss it is normal to the manifold. `ax` defaults to the axes of a
    new figure, and `label` is the arrow's entry in a legend. Raises `ValueError` for other shapes.
    """
    ax = axes_for(ax, point)
    m = ax_dimension(ax)
    point, target = _checked("point", point, (m,)), _checked("target", target, (m,))
    if m == 2:
        arrow = {"arrowstyle": "-|>", "shrinkA": 0.0, "shrinkB": 4.0, **RESIDUAL}
        ax.annotate("", target, point, arrowprops=arrow, zorder=11)
        ax.plot([], [], label=label, **RESIDUAL)
    else:
        ax.quiver(*point, *(ARROW * (target - point)), arrow_length_ratio=0.25, label=label, zorder=11, **RESIDUAL)
    ax.plot(*target[:, None], label="target $y$", **TARGET)
    return _finish_axes(ax, m)


def manifold_figure(
    points: ArrayLike,
    *,
    curvature: ArrayLike | None = None,
    paths: Mapping[str, ArrayLike] | None = None,
    tangent: tuple[ArrayLike, ArrayLike, float] | None = None,
    residual: tuple[ArrayLike, ArrayLike] | None = None,
    title: str | None = None,
    view: tuple[float, float] = (28.0, -50.0),
    fig: Figure | SubFigure | None = None,
) -> Any:
    """Draw a manifold with paths, a tangent plane and a residual on it.

    Arguments:

    - `points`: (a, b, 3) for a surface, (a, 2) or (a, 3) for a curve.
    - `curvature`: (a, b), the colour of a surface.
    - `paths`: outputs (t, m) under their kind, as in `path`.
    - `tangent`: point, basis and size, as in `tangent_plane`.
    - `residual`: point and target, as in `normal_residual`.
    - `title`: text above the picture.
    - `view`: elevation and azimuth in degrees, for pictures in space.
    - `fig`: an empty figure or subfigure to draw in. Defaults to a new one, 4.6 inches high.

    Returns: the figure.

    Raises: `ValueError` for other shapes, or if `fig` already has axes.

    >>> import numpy as np
    >>> from riemgn.plot import manifold_figure
    >>> angles = np.linspace(0, 2 * np.pi, 60)
    >>> circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> fig = manifold_figure(circle, paths={"gn": circle[:12]})
    >>> fig.axes[0].get_aspect()
    1.0
    """
    shape = np.shape(points)
    if len(shape) not in (2, 3) or shape[-1] not in (2, 3) or (len(shape) == 3 and shape[-1] == 2):
        raise ValueError(f"`points` must be (a, 2), (a, 3) or (a, b, 3), got {shape}.")
    with style():
        figure = figure_for(fig, 6.4 if shape[-1] == 3 else 4.8, 4.6)
        ax: Any = figure.add_subplot(projection="3d", computed_zorder=False) if shape[-1] == 3 else figure.add_subplot()
        if len(shape) == 3:
            surface(points, curvature, ax=ax)
        elif curvature is None:
            curve(points, ax=ax)
        else:
            raise ValueError("`curvature` colours a surface, (a, b, 3); a curve has none of its own.")
        if tangent is not None:
            tangent_plane(tangent[0], tangent[1], ax=ax, size=tangent[2])
        for kind, outputs in (paths or {}).items():
            path(outputs, ax=ax, kind=kind)
        if residual is not None:
            normal_residual(*residual, ax=ax)
        if shape[-1] == 3:
            ax.view_init(*view)
        handles = ax.get_legend_handles_labels()[0]
        if paths:
            handles += [
                Line2D([], [], color="0.3", markerfacecolor=fill, label=name, **ENDS)
                for fill, name in (("white", "start"), ("0.3", "end"))
            ]
        if handles:
            widest = LETTER * max(len(handle.get_label()) for handle in handles) + HANDLE
            figure.legend(
                handles=handles, loc="outside lower center", ncols=min(4, max(1, int(width_of(figure) / widest)))
            )
        if title is not None:
            figure.suptitle(title, fontsize=9.5)
    return figure


def ax_dimension(ax: Any) -> int:
    """Return 2 for axes in the plane, 3 for axes in space."""
    return 3 if ax.name == "3d" else 2


def _on_grid(points, line):
    """Interpolate a surface at fractional (column, row) indices of its grid."""
    column, row = line.T
    i, j = np.minimum(row.astype(int), points.shape[0] - 2), np.minimum(column.astype(int), points.shape[1] - 2)
    s, t = (row - i)[:, None], (column - j)[:, None]
    return (1 - s) * ((1 - t) * points[i, j] + t * points[i, j + 1]) + s * (
        (1 - t) * points[i + 1, j] + t * points[i + 1, j + 1]
    )


def _evenly_spaced(points, count, shift):
    """Return indices of about `count` points evenly spaced in arc length, not in time.

    The `shift`, a part of the spacing, separates the markers of paths that coincide.
    """
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    lengths = arc[-1] * (np.arange(count) + 0.3 + 0.7 * shift) / count
    return sorted({int(i) for i in np.searchsorted(arc, lengths) if 0 < i < len(points) - 1})


def _finish_axes(ax, m):
    """Label the axes and give all of them one scale. Returns the axes."""
    for axis, index in zip("xyz"[:m], (1, 2, 3), strict=False):
        getattr(ax, f"set_{axis}label")(AXIS_LABEL.format(index))
    if m == 2:
        ax.set_aspect("equal", adjustable="box")
        return ax
    ax.set_box_aspect([np.ptp(limits) for limits in (ax.get_xlim3d(), ax.get_ylim3d(), ax.get_zlim3d())], zoom=ZOOM)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.get_major_locator().set_params(nbins=5)
    return ax


def _checked(name, value, shape):
    value = np.asarray(value, float)
    fits = value.ndim == len(shape) and all(
        size is None or size == length for size, length in zip(shape, value.shape, strict=True)
    )
    if not fits or 0 in value.shape:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"`{name}` must have shape ({expected}), got {value.shape}.")
    return value
