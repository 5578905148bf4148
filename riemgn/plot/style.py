"""The style of all figures: sizes, and one colour, dash and marker per flow."""

from contextlib import AbstractContextManager
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, SubFigure

STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "axes.grid": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "riemgn",
    "text.usetex": False,
}

# colours of Okabe and Ito, whose luminance differs; dash and marker work without colour
FLOW_STYLES: dict[str, dict[str, Any]] = {
    "gf": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    "gn": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "lm": {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    "interpolated": {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "D"},
    "ggn": {"color": "#000000", "linestyle": ":", "marker": "v"},
    "ggn-score": {"color": "#56B4E9", "linestyle": (0, (6, 1.5, 1, 1.5)), "marker": "*"},
}
OTHER_FLOW: dict[str, Any] = {"color": "0.35", "linestyle": (0, (3, 1)), "marker": "x"}
BOUND: dict[str, Any] = {"color": "0.45", "linestyle": (0, (8, 2.5)), "linewidth": 1.2, "label": "bound"}
FLOW_TITLES: dict[str, str] = {
    "gf": "gradient flow",
    "gn": "Gauss-Newton flow",
    "lm": "Levenberg-Marquardt flow",
    "interpolated": "interpolated flow",
    "ggn": "generalised Gauss-Newton flow",
    "ggn-score": "GGN-SCORE flow",
}


def style(**settings: Any) -> AbstractContextManager[None]:
    """Apply the look inside a `with` block, where you make and save a figure.

    `settings` are further matplotlib settings, with `_` for `.`, such as `svg_fonttype="none"`.
    """
    others = {name.replace("_", ".", 1): value for name, value in settings.items()}
    # The type of the keys is newer than the oldest matplotlib that we support.
    return matplotlib.rc_context(cast(Any, {**STYLE, **others}))


def flow_style(name: str) -> dict[str, Any]:
    """Return keyword arguments of `ax.plot` for a flow's short `name` (grey for an unknown flow).

    >>> from riemgn.plot import flow_style
    >>> flow_style("gn")["marker"]
    'o'
    """
    return dict(FLOW_STYLES.get(name, OTHER_FLOW))


def figure(width: float = 7.0, height: float = 2.6) -> Figure:
    """Make an empty figure of `width` x `height` inches, without a window or pyplot's global state.

    Raises: `ValueError` unless both are positive.
    """
    if not (width > 0 and height > 0):
        raise ValueError(f"`width` and `height` must be positive (inches), got {width} and {height}.")
    with style():
        return Figure(figsize=(width, height), layout="constrained")


def axes_for(ax: Axes | None, points: Any = None) -> Any:
    """Return `ax`, or axes of a new figure: in space for `points` (..., 3), else in the plane."""
    if ax is not None:
        return ax
    with style():
        if np.ndim(points) and np.shape(points)[-1] == 3:
            return figure(6.4, 4.6).add_subplot(projection="3d", computed_zorder=False)
        return figure(4.8, 3.6).add_subplot()


def figure_for(fig: Figure | SubFigure | None, width: float, height: float) -> Any:
    """Return `fig`, or a new figure of `width` x `height` inches.

    Raises: `ValueError` if `fig` already has axes, which would be below the new ones.
    """
    if fig is None:
        return figure(width, height)
    if fig.axes:
        raise ValueError(
            f"`fig` must be an empty figure or subfigure, got one with {len(fig.axes)} axes; make one with "
            "`figure.subfigures`."
        )
    return fig


def width_of(fig: Figure | SubFigure) -> float:
    """Return the width of a figure or subfigure in inches."""
    return fig.bbox.width / fig.dpi


def fix_layout(fig: Figure) -> None:
    """Lay out the finished figure `fig` for SVG, so that saving it draws it only once more."""
    FigureCanvasSVG(fig)  # the widths of words are those of this format
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.execute(fig)
        fig.set_layout_engine(None)
