"""The output manifold: retractions, geodesics, curvature, flows, checks and other packages."""

from .charts import Constrained as Constrained, embedded_problem as embedded_problem, from_geomstats as from_geomstats
from .checks import (
    chart_functions as chart_functions,
    Check as Check,
    check_geodesic as check_geodesic,
    check_gradient as check_gradient,
    check_hessian as check_hessian,
    check_metric as check_metric,
    check_projection as check_projection,
    check_retraction as check_retraction,
    manifold_functions as manifold_functions,
    ManifoldFunctions as ManifoldFunctions,
    SlopeLaw as SlopeLaw,
    ValueLaw as ValueLaw,
)
from .flow import output_flow as output_flow, riemannian_flow as riemannian_flow
from .gradient_descent import riemannian_gradient_descent as riemannian_gradient_descent
from .interop import score_space as score_space, to_geomstats as to_geomstats, to_pymanopt as to_pymanopt
from .output_manifold import GeometryError as GeometryError, OutputManifold as OutputManifold
from .rank import RankReport as RankReport
from .retraction import (
    AbstractRetraction as AbstractRetraction,
    ChartRetraction as ChartRetraction,
    CorrectedRetraction as CorrectedRetraction,
    ExponentialRetraction as ExponentialRetraction,
    ProjectionRetraction as ProjectionRetraction,
    RETRACTIONS as RETRACTIONS,
)
