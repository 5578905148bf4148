"""Flows: most are a gain `phi` in `df/dt = -U phi(S^2) U^T grad g(f)`, with the quickest sound way to its direction. Knows no integrator."""

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
from .generalized import GeneralizedGaussNewtonFlow as GeneralizedGaussNewtonFlow
from .ggn_score import GGNScoreFlow as GGNScoreFlow
from .spectral import (
    GaussNewtonFlow as GaussNewtonFlow,
    GradientFlow as GradientFlow,
    InterpolatedFlow as InterpolatedFlow,
    LevenbergMarquardtFlow as LevenbergMarquardtFlow,
)
