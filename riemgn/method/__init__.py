"""Discrete methods: steps from `w_k` to `w_{k+1}`, on all samples or on mini-batches."""

from .base import AbstractMethod as AbstractMethod, check_use as check_use, MethodState as MethodState
from .batch import AbstractBatchMethod as AbstractBatchMethod
from .gauss_newton import GaussNewton as GaussNewton
from .ggn_score import GGNScore as GGNScore
from .gradient_descent import GradientDescent as GradientDescent
from .gram_gauss_newton import GramGaussNewton as GramGaussNewton
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .optax import as_optax as as_optax, OptaxMethod as OptaxMethod
from .optimistix import OptimistixSolver as OptimistixSolver
from .trust_region import TrustRegion as TrustRegion
