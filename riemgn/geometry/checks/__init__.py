"""Checks of gradients, Hessians, retractions, projections, metrics and geodesics on any manifold, each measured as the slope of an error."""

from .laws import (
    check_geodesic as check_geodesic,
    check_gradient as check_gradient,
    check_hessian as check_hessian,
    check_metric as check_metric,
    check_projection as check_projection,
    check_retraction as check_retraction,
)
from .manifold_view import chart_view as chart_view, manifold_view as manifold_view, ManifoldView as ManifoldView
from .slope import Check as Check, SlopeLaw as SlopeLaw, ValueLaw as ValueLaw
