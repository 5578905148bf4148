"""Flows in parameter space and their damping schedules."""

from .base import (
    AbstractFlow as AbstractFlow,
    AbstractSpectralFlow as AbstractSpectralFlow,
    InitialRates as InitialRates,
)
from .damping import (
    AbstractDamping as AbstractDamping,
    ConstantDamping as ConstantDamping,
    ExponentialDamping as ExponentialDamping,
    GradientDamping as GradientDamping,
    ResidualDamping as ResidualDamping,
    SpectralDamping as SpectralDamping,
)
from .ggn_score import GGNScoreFlow as GGNScoreFlow
from .spectral import (
    GaussNewtonFlow as GaussNewtonFlow,
    GeneralizedGaussNewtonFlow as GeneralizedGaussNewtonFlow,
    GradientFlow as GradientFlow,
    InterpolatedFlow as InterpolatedFlow,
    LevenbergMarquardtFlow as LevenbergMarquardtFlow,
)
