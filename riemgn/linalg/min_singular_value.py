"""The smallest singular values of many wide matrices, in one bisection over all of them.

A Householder reduction of each `K = J J^T` to a tridiagonal matrix takes a quarter of the time of
`eigvalsh`, because JAX's computes the vectors too. Bisection pays if many matrices share its loop.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float

from .._types import Flag, Jac, Scalar
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, kernel_of
from .svd import MAX_KERNEL_ERROR

MIN_ROWS = 32  # for smaller matrices `eigvalsh` is as quick
SAFETY = 10.0  # the rounding errors of `K` and of its reduction, in units of `eps |K|`
ITERATIONS = 2  # of inverse iteration, with a shift as near as rounding allows


def tridiagonal_of(jac: Jac | AbstractJacobian) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Reduce `jac jac^T` to a tridiagonal matrix, given by its diagonal and off-diagonal."""
    _, diagonal, off_diagonal, _ = jax.lax.linalg.tridiagonal(kernel_of(jac), lower=True)
    return diagonal, off_diagonal


def extreme_eigenvalues(
    diagonal: Float[Array, " n"], off_diagonal: Float[Array, " m"]
) -> tuple[Scalar, Scalar, Scalar]:
    """Compute the two smallest eigenvalues of a tridiagonal matrix, and a bound of the largest.

    The matrix has the `diagonal` (n,), n >= 2, and the `off_diagonal` (n - 1,) on both sides.
    """
    smallest, second = jsl.eigh_tridiagonal(diagonal, off_diagonal, eigvals_only=True, select="i", select_range=(0, 1))
    size = jnp.abs(off_diagonal)
    return smallest, second, jnp.max(diagonal + jnp.pad(size, (0, 1)) + jnp.pad(size, (1, 0)))  # Gershgorin's bound


def min_singular_value(
    eigenvalues: tuple[Scalar, ...], jac_at: Callable[[], Jac | AbstractJacobian], rows: int
) -> tuple[Scalar, Flag]:
    """Compute the smallest singular value of a wide `J`, and whether it is right to 1e-8.

    It is the root of the smallest of the `extreme_eigenvalues` of `K` (`rows`, `rows`) if that is
    accurate. Else it is `|J^T u|` with the eigenvector `u` by inverse iteration, where an error of
    `u` enters squared. `eigenvalues` are those extreme ones, and `jac_at` returns `J`.

    Reference: Parlett, The Symmetric Eigenvalue Problem, sections 4.6 and 4.7 (Rayleigh quotients).
    """
    smallest, second, largest = eigenvalues
    error, positive = jnp.finfo(smallest.dtype).eps * largest / smallest, smallest > 0
    by_root = positive & (error <= MAX_KERNEL_ERROR)
    by_vector = positive & ((SAFETY * error) ** 2 <= MAX_KERNEL_ERROR * (second / smallest - 1))
    root = jnp.sqrt(jnp.maximum(smallest, 0.0))

    def by_inverse_iteration():
        jac = jac_at()
        factors = jsl.lu_factor(kernel_of(jac) - smallest * jnp.eye(rows, dtype=root.dtype))
        u = jnp.asarray(np.random.default_rng(0).standard_normal(rows), root.dtype)
        for _ in range(ITERATIONS):
            u = jsl.lu_solve(factors, u / jnp.linalg.norm(u))
        return jnp.linalg.norm((u / jnp.linalg.norm(u)) @ jac)

    value = where_or_compute(by_root | ~by_vector, root, by_inverse_iteration)
    return value, (by_root | by_vector) & jnp.isfinite(value)
