"""Checks of gradients, Hessians, retractions, projections, metrics and geodesics."""

from .checks import (
    check_geodesic as check_geodesic,
    check_gradient as check_gradient,
    check_hessian as check_hessian,
    check_metric as check_metric,
    check_projection as check_projection,
    check_retraction as check_retraction,
)
from .manifold import (
    chart_functions as chart_functions,
    manifold_functions as manifold_functions,
    ManifoldFunctions as ManifoldFunctions,
)
from .slope import Check as Check, SlopeLaw as SlopeLaw, ValueLaw as ValueLaw
