"""The geometry of nonlinear least squares: flows, methods, output manifolds and certificates."""

import typing as _typing

from . import geometry as geometry, task as task
from ._types import enable_x64
from .data import conditioned_matrix, DataSet, load_data, near_duplicates, synthetic_inputs
from .flow import (
    ConstantDamping,
    ExponentialDamping,
    GaussNewtonFlow,
    GeneralizedGaussNewtonFlow,
    GGNScoreFlow,
    GradientDamping,
    GradientFlow,
    InterpolatedFlow,
    LevenbergMarquardtFlow,
    ResidualDamping,
    SpectralDamping,
)
from .geometry import (
    embedded_problem,
    from_geomstats,
    GeometryError,
    output_flow,
    OutputManifold,
    riemannian_flow,
    riemannian_gradient_descent,
    to_geomstats,
    to_pymanopt,
)
from .linalg import MatrixFree
from .loss import LogisticLoss, PoissonLoss, PseudoHuberLoss, SquaredLoss
from .method import (
    as_optax,
    GaussNewton,
    GGNScore,
    GradientDescent,
    GramGaussNewton,
    LevenbergMarquardt,
    OptaxMethod,
    OptimistixSolver,
    TrustRegion,
)
from .model import Centred, EquinoxModel, FunctionModel, LinearModel, MLP, Scaled
from .penalty import (
    BoxPenalty,
    ExponentialPenalty,
    OstrovskiiBachPenalty,
    PseudoHuberPenalty,
    SparseGroupPenalty,
    SquaredPenalty,
)
from .problem import Problem
from .result import RESULTS
from .solver import batch_key, iterate, shard, solve, solve_batch
from .task import teacher_student
from .theory import Certificate, certify, cite, claims, fit_rate
from .trajectory import SolveError, Trajectory

if _typing.TYPE_CHECKING:
    from .experiment import load_curves, load_runs, sweep

_LATE = ("load_curves", "load_runs", "sweep")  # these import pandas and xarray, so they are loaded on first use

__all__ = [
    "MLP",
    "RESULTS",
    "BoxPenalty",
    "Centred",
    "Certificate",
    "ConstantDamping",
    "DataSet",
    "EquinoxModel",
    "ExponentialDamping",
    "ExponentialPenalty",
    "FunctionModel",
    "GGNScore",
    "GGNScoreFlow",
    "GaussNewton",
    "GaussNewtonFlow",
    "GeneralizedGaussNewtonFlow",
    "GeometryError",
    "GradientDamping",
    "GradientDescent",
    "GradientFlow",
    "GramGaussNewton",
    "InterpolatedFlow",
    "LevenbergMarquardt",
    "LevenbergMarquardtFlow",
    "LinearModel",
    "LogisticLoss",
    "MatrixFree",
    "OptaxMethod",
    "OptimistixSolver",
    "OstrovskiiBachPenalty",
    "OutputManifold",
    "PoissonLoss",
    "Problem",
    "PseudoHuberLoss",
    "PseudoHuberPenalty",
    "ResidualDamping",
    "Scaled",
    "SolveError",
    "SparseGroupPenalty",
    "SpectralDamping",
    "SquaredLoss",
    "SquaredPenalty",
    "Trajectory",
    "TrustRegion",
    "as_optax",
    "batch_key",
    "certify",
    "cite",
    "claims",
    "conditioned_matrix",
    "embedded_problem",
    "enable_x64",
    "fit_rate",
    "from_geomstats",
    "iterate",
    "load_curves",
    "load_data",
    "load_runs",
    "near_duplicates",
    "output_flow",
    "riemannian_flow",
    "riemannian_gradient_descent",
    "shard",
    "solve",
    "solve_batch",
    "sweep",
    "synthetic_inputs",
    "teacher_student",
    "to_geomstats",
    "to_pymanopt",
]


def __getattr__(name: str) -> _typing.Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import experiment

    return getattr(experiment, name)


def __dir__() -> list[str]:
    return __all__
