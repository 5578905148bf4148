"""The output manifold and its geometry: tangent spaces, retractions, geodesics, curvature; and its door to geomstats."""

from .rank import RankReport as RankReport
from .retraction import (
    AbstractRetraction as AbstractRetraction,
    ChartRetraction as ChartRetraction,
    CorrectedRetraction as CorrectedRetraction,
    ExponentialRetraction as ExponentialRetraction,
    ProjectionRetraction as ProjectionRetraction,
    RETRACTIONS as RETRACTIONS,
)
from .submanifold import GeometryError as GeometryError, OutputManifold as OutputManifold
