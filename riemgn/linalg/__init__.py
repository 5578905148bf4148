"""Linear algebra of the flows: thin SVD of the Jacobian, spectral filter, damped solves. Knows matrices, not models."""

from .damped import damped_direction as damped_direction
from .range import range_factors as range_factors
from .spectrum import (
    numerical_rank as numerical_rank,
    singular_values as singular_values,
    spectral_direction as spectral_direction,
    thin_svd as thin_svd,
    ThinSVD as ThinSVD,
)
