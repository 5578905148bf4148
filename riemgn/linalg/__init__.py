"""Linear algebra of the flows: thin SVD, damped solves and Krylov solvers for plain matrices."""

from .batched_cond import any_in_batch as any_in_batch, where_or_compute as where_or_compute
from .diagonal_plus_gram import (
    Recycled as Recycled,
    recycled_direction as recycled_direction,
    score_direction as score_direction,
)
from .jacobian_operator import (
    AbstractJacobian as AbstractJacobian,
    FilledJacobian as FilledJacobian,
    formed as formed,
    kernel_of as kernel_of,
    outer_gram as outer_gram,
    scale_columns as scale_columns,
    scale_rows as scale_rows,
    squared_norm as squared_norm,
)
from .least_squares import (
    BRANCHES as BRANCHES,
    damped_direction as damped_direction,
    pseudo_inverse_direction as pseudo_inverse_direction,
)
from .matrix_free import (
    AbstractProducts as AbstractProducts,
    checked_matrix_free as checked_matrix_free,
    GradientProduct as GradientProduct,
    largest_eigenvalue as largest_eigenvalue,
    MatrixFree as MatrixFree,
)
from .svd import (
    extreme_eigenvalues as extreme_eigenvalues,
    MIN_ROWS as MIN_ROWS,
    min_singular_value as min_singular_value,
    numerical_rank as numerical_rank,
    range_factors as range_factors,
    range_norm_and_min as range_norm_and_min,
    singular_values as singular_values,
    spectral_direction as spectral_direction,
    spectrum as spectrum,
    thin_svd as thin_svd,
    ThinSVD as ThinSVD,
    tridiagonal_of as tridiagonal_of,
)
