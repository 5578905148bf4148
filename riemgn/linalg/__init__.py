"""Linear algebra of the flows: thin SVD of the Jacobian, spectral filter, damped solves. Knows matrices, not models."""

from .batched_cond import any_in_batch as any_in_batch, where_or_compute as where_or_compute
from .diagonal_plus_gram import recycled_score_direction as recycled_score_direction, score_direction as score_direction
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
    damped_direction_and_branch as damped_direction_and_branch,
    direction_and_rank as direction_and_rank,
    pseudo_inverse_direction as pseudo_inverse_direction,
    pseudo_inverse_direction_and_branch as pseudo_inverse_direction_and_branch,
)
from .matrix_free import (
    AbstractProducts as AbstractProducts,
    checked_matrix_free as checked_matrix_free,
    GradientProduct as GradientProduct,
    KrylovSolution as KrylovSolution,
    largest_eigenvalue as largest_eigenvalue,
    MatrixFree as MatrixFree,
)
from .min_singular_value import (
    extremes as extremes,
    FEWEST_ROWS as FEWEST_ROWS,
    least_singular_value as least_singular_value,
    tridiagonal_of as tridiagonal_of,
)
from .preconditioned_cg import (
    first_recycled as first_recycled,
    Recycled as Recycled,
    recycled_direction as recycled_direction,
)
from .range import range_factors as range_factors
from .svd import (
    numerical_rank as numerical_rank,
    range_norm_and_least as range_norm_and_least,
    singular_values as singular_values,
    spectral_direction as spectral_direction,
    spectrum as spectrum,
    thin_svd as thin_svd,
    ThinSVD as ThinSVD,
)
from .triangle import (
    condition_estimate as condition_estimate,
    least_squares as least_squares,
    minimum_norm as minimum_norm,
)
