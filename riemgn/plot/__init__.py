"""Figures of trajectories, manifolds, checks and sweeps, drawn with matplotlib."""

from .checks import slope_curve as slope_curve, slope_figure as slope_figure
from .manifold import (
    curve as curve,
    manifold_figure as manifold_figure,
    normal_residual as normal_residual,
    path as path,
    surface as surface,
    tangent_plane as tangent_plane,
)
from .series import (
    bound_curve as bound_curve,
    gradient_curve as gradient_curve,
    loss_curve as loss_curve,
    series_figure as series_figure,
    sigma_min_curve as sigma_min_curve,
    trajectory_figure as trajectory_figure,
)
from .spread import Spread as Spread, spread_figure as spread_figure
from .style import (
    figure as figure,
    fix_layout as fix_layout,
    flow_style as flow_style,
    FLOW_TITLES as FLOW_TITLES,
    style as style,
)
