"""The least singular values of many wide matrices, where the eigenvalues of their kernels are searched for side by side.

A Householder reduction of each `K = J J^T` to a tridiagonal matrix takes a quarter of the time of `eigvalsh`, which in JAX computes the vectors too;
the bisection for the two least eigenvalues pays where many matrices share its loop.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float

from .._types import Flag, Jac, Scalar
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, kernel_of
from .svd import SOUND_KERNEL

FEWEST_ROWS = 32  # of a matrix: smaller ones are done with as soon by `eigvalsh`
SAFETY = 10.0  # the rounding errors of `K` and of its reduction, in units of `eps |K|`
ITERATIONS = 2  # of inverse iteration, with a shift as near as rounding allows


class Extremes(eqx.Module):
    """The two least eigenvalues of a kernel and a bound of the largest, at most three times too large."""

    least: Scalar
    second: Scalar
    largest: Scalar


def tridiagonal_of(jac: Jac | AbstractJacobian) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Diagonal (n,) and off-diagonal (n - 1,) of a tridiagonal matrix with the eigenvalues of `K = J J^T`, `J` the `jac`."""
    _, diagonal, beside, _ = jax.lax.linalg.tridiagonal(kernel_of(jac), lower=True)
    return diagonal, beside


def extremes(diagonal: Float[Array, " n"], beside: Float[Array, " m"]) -> Extremes:
    """The extreme eigenvalues of a tridiagonal matrix with n >= 2, right to `eps` times the largest; meant to be called under `vmap`.

    The matrix has `diagonal` (n,), and `beside` (n - 1,) above and below it.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., section 8.4.1 (bisection by Sturm sequences).
    """
    least, second = jsl.eigh_tridiagonal(diagonal, beside, eigvals_only=True, select="i", select_range=(0, 1))
    size = jnp.abs(beside)
    return Extremes(least, second, jnp.max(diagonal + jnp.pad(size, (0, 1)) + jnp.pad(size, (1, 0))))


def least_singular_value(
    found: Extremes, jac_at: Callable[[], Jac | AbstractJacobian], rows: int
) -> tuple[Scalar, Flag]:
    """The least singular value of a wide `J`, and whether it is right to a relative 1e-8.

    The root of the eigenvalue where `eps cond(K)` is small. Else `|J^T u|` with the eigenvector `u` by inverse iteration: an error `e` of `u` comes
    in as `e^2`, and `e` is at most `eps |K|` over the distance to the next eigenvalue, so that the relative error is the square of `eps cond(K)` over
    the relative gap.

    Arguments:

    - `found`: the extreme eigenvalues of `K`.
    - `jac_at`: makes `J` (n, p), called where the second way needs it.
    - `rows`: n.

    Reference: Parlett, The Symmetric Eigenvalue Problem, sections 4.6 and 4.7 (Rayleigh quotients).
    """
    error = jnp.finfo(found.least.dtype).eps * found.largest / found.least
    plain = (found.least > 0) & (error <= SOUND_KERNEL)
    by_vector = (found.least > 0) & ((SAFETY * error) ** 2 <= SOUND_KERNEL * (found.second / found.least - 1))
    root = jnp.sqrt(jnp.maximum(found.least, 0.0))

    def refined():
        jac = jac_at()
        factors = jsl.lu_factor(kernel_of(jac) - found.least * jnp.eye(rows, dtype=root.dtype))
        u = jnp.asarray(np.random.default_rng(0).standard_normal(rows), root.dtype)
        for _ in range(ITERATIONS):
            u = jsl.lu_solve(factors, u / jnp.linalg.norm(u))
        return jnp.linalg.norm((u / jnp.linalg.norm(u)) @ jac)

    least = where_or_compute(plain | ~by_vector, root, refined)
    return least, (plain | by_vector) & jnp.isfinite(least)
