"""Checks of gradients, Hessians, retractions, projections, metrics and geodesics."""

from .curve import check_geodesic as check_geodesic, check_retraction as check_retraction
from .manifold import (
    chart_functions as chart_functions,
    manifold_functions as manifold_functions,
    ManifoldFunctions as ManifoldFunctions,
)
from .metric import check_metric as check_metric, check_projection as check_projection
from .objective import check_gradient as check_gradient, check_hessian as check_hessian
from .slope import Check as Check, SlopeLaw as SlopeLaw, ValueLaw as ValueLaw
