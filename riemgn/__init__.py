"""Numerical analysis of Gauss-Newton flows of neural networks and other nonlinear least-squares models."""

from . import task as task
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
    GradientDamping as GradientDamping,
    GradientFlow as GradientFlow,
    Interpolated as Interpolated,
    LevenbergMarquardt as LevenbergMarquardt,
    ResidualDamping as ResidualDamping,
    SpectralDamping as SpectralDamping,
)
from .geometry import GeometryError as GeometryError, OutputManifold as OutputManifold
from .loss import (
    LogisticLoss as LogisticLoss,
    PoissonLoss as PoissonLoss,
    PseudoHuberLoss as PseudoHuberLoss,
    SquaredLoss as SquaredLoss,
)
from .model import (
    Centred as Centred,
    EquinoxModel as EquinoxModel,
    LinearModel as LinearModel,
    MLP as MLP,
    Scaled as Scaled,
)
from .problem import Problem as Problem
from .result import result_name as result_name, RESULTS as RESULTS
from .solve import solve as solve, SolveError as SolveError
from .task import teacher_student as teacher_student
from .trajectory import Trajectory as Trajectory
