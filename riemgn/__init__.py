"""Numerical analysis of Gauss-Newton flows of neural networks and other nonlinear least-squares models."""

import typing as _typing

from . import geometry as geometry, task as task
from ._settings import enable_x64 as enable_x64
from .data import (
    conditioned_matrix as conditioned_matrix,
    DataSet as DataSet,
    load_data as load_data,
    near_duplicates as near_duplicates,
    synthetic_inputs as synthetic_inputs,
)
from .flow import (
    ConstantDamping as ConstantDamping,
    ExponentialDamping as ExponentialDamping,
    GaussNewton as GaussNewton,
    GeneralizedGaussNewton as GeneralizedGaussNewton,
    GGNScoreFlow as GGNScoreFlow,
    GradientDamping as GradientDamping,
    GradientFlow as GradientFlow,
    Interpolated as Interpolated,
    LevenbergMarquardt as LevenbergMarquardt,
    ResidualDamping as ResidualDamping,
    SpectralDamping as SpectralDamping,
)
from .geometry import (
    embedded_problem as embedded_problem,
    from_geomstats as from_geomstats,
    GeometryError as GeometryError,
    output_flow as output_flow,
    OutputManifold as OutputManifold,
    riemannian_flow as riemannian_flow,
    riemannian_gradient_descent as riemannian_gradient_descent,
    to_geomstats as to_geomstats,
    to_pymanopt as to_pymanopt,
)
from .iterate import iterate as iterate
from .linalg import MatrixFree as MatrixFree
from .loss import (
    LogisticLoss as LogisticLoss,
    PoissonLoss as PoissonLoss,
    PseudoHuberLoss as PseudoHuberLoss,
    SquaredLoss as SquaredLoss,
)
from .method import (
    as_optax as as_optax,
    GaussNewtonMethod as GaussNewtonMethod,
    GGNScore as GGNScore,
    GradientDescent as GradientDescent,
    GramGaussNewton as GramGaussNewton,
    LevenbergMarquardtMethod as LevenbergMarquardtMethod,
    OptaxMethod as OptaxMethod,
    OptimistixSolver as OptimistixSolver,
    TrustRegionDamping as TrustRegionDamping,
)
from .model import (
    Centred as Centred,
    EquinoxModel as EquinoxModel,
    FunctionModel as FunctionModel,
    LinearModel as LinearModel,
    MLP as MLP,
    Scaled as Scaled,
)
from .problem import Problem as Problem
from .regularizer import (
    BoxPenalty as BoxPenalty,
    ExponentialPenalty as ExponentialPenalty,
    OstrovskiiBachPenalty as OstrovskiiBachPenalty,
    PseudoHuberPenalty as PseudoHuberPenalty,
    SparseGroupPenalty as SparseGroupPenalty,
    SquaredPenalty as SquaredPenalty,
)
from .result import result_name as result_name, RESULTS as RESULTS
from .sharding import shard as shard
from .solve import solve as solve, SolveError as SolveError
from .solve_batch import batch_key as batch_key, solve_batch as solve_batch
from .task import teacher_student as teacher_student
from .theory import Certificate as Certificate, certify as certify, cite as cite, claims as claims, fit_rate as fit_rate
from .trajectory import Trajectory as Trajectory

if _typing.TYPE_CHECKING:
    from .experiment import load_curves as load_curves, load_runs as load_runs, sweep as sweep

_LATE = ("load_curves", "load_runs", "sweep")


def __getattr__(name: str) -> _typing.Any:
    """Sweeps and their tables, with pandas and xarray behind them, are imported when they are first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import experiment

    return getattr(experiment, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATE])
