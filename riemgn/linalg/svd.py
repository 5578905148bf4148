"""Thin SVD of the Jacobian, its spectrum and rank, and the spectral filter behind every flow."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float, Int

from .._types import Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, formed, kernel_of

# The eigenvalues of `K` give the smallest singular value of `J` to about `eps cond(K)`: below this
# bound that is a relative 1e-8 in float64.
MAX_KERNEL_ERROR = 5e-9

# The smallest singular values of many wide matrices come from one bisection over all of them: the
# reduction of each `K` to a tridiagonal matrix takes a quarter of the time of JAX's `eigvalsh`.
MIN_ROWS = 32  # for smaller matrices `eigvalsh` is as quick
SAFETY = 10.0  # the rounding errors of `K` and of its reduction, in units of `eps |K|`
ITERATIONS = 2  # of inverse iteration, with a shift as near as rounding allows


class ThinSVD(eqx.Module):
    """`J = U S V^T`: `u` (n, k), `s` (k,) in descending order, and `vt` (k, p), k = min(n, p)."""

    u: Float[Array, "n k"]
    s: Float[Array, " k"]
    vt: Float[Array, "k p"]


def thin_svd(jac: Jac) -> ThinSVD:
    """Compute the thin SVD of `jac`, of any shape, by a QR and an SVD of its k x k triangle.

    It resolves singular values down to `eps * s_max`, `J^T J` only to `sqrt(eps) * s_max`.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., section 8.6 (R-SVD).
    """
    n, p = jac.shape
    if n < p:
        transposed = thin_svd(jac.T)
        return ThinSVD(transposed.vt.T, transposed.s, transposed.u.T)
    q, r = jnp.linalg.qr(jac)
    u, s, vt = jnp.linalg.svd(r, full_matrices=False)
    return ThinSVD(q @ u, s, vt)


def singular_values(jac: Jac) -> Float[Array, " k"]:
    """Compute the singular values of `jac` in descending order, shape (min(n, p),)."""
    n, p = jac.shape
    r = jnp.linalg.qr(jac if n >= p else jac.T, mode="r")
    return jnp.linalg.svd(r, compute_uv=False)


def _kernel_spectrum(jac: Jac | AbstractJacobian) -> tuple[Float[Array, " n"], Flag]:
    """Square roots of the eigenvalues of `K`, descending, and whether the smallest is accurate."""
    values = jnp.linalg.eigvalsh(kernel_of(jac))[::-1]
    accurate = jnp.finfo(values.dtype).eps * values[0] <= MAX_KERNEL_ERROR * values[-1]
    return jnp.sqrt(jnp.maximum(values, 0.0)), accurate


def spectrum(jac: Jac | AbstractJacobian) -> Float[Array, " k"]:
    """Compute the singular values as quickly as possible, the smallest to a relative 1e-8.

    If `jac` is wide and `eps cond(K)` at most `MAX_KERNEL_ERROR`, it uses the eigenvalues of `K`,
    else `singular_values`.
    """
    if jac.shape[0] >= jac.shape[1]:
        return singular_values(formed(jac))
    s, accurate = _kernel_spectrum(jac)
    return where_or_compute(accurate, s, lambda: singular_values(formed(jac)))


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

    It is the root of the smallest of the extreme `eigenvalues` of `K` (`rows`, `rows`) if that is
    accurate. Else it is `|J^T u|`, `J = jac_at()`, with the eigenvector `u` by inverse iteration.

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


def range_norm_and_min(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, rank: Int[Array, ""] | int
) -> tuple[Scalar, Scalar]:
    """Compute `|P g|` and the smallest singular value, of the leading `rank` singular triplets.

    `P` is the projector on their left singular vectors, `g` the `loss_gradient` (n,), and `jac`
    (n, p) an array or an operator. If `rank = n` and `spectrum` would use `K`, then `|P g| = |g|`
    needs no factorisation.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., sections 5.3 and 8.6.
    """
    n, p = jac.shape

    def by_triangle():
        if n < p:
            triangle, rotated = jnp.linalg.qr(formed(jac).T, mode="r").T, loss_gradient
        else:  # the QR of [J, g] contains Q^T g and R
            r = jnp.linalg.qr(jnp.concatenate([formed(jac), loss_gradient[:, None]], axis=1), mode="r")
            triangle, rotated = r[:p, :p], r[:p, p]
        u, s, _ = jnp.linalg.svd(triangle)
        return jnp.linalg.norm(jnp.where(jnp.arange(s.size) < rank, rotated @ u, 0.0)), s[rank - 1]

    if n >= p:
        return by_triangle()
    s, accurate = _kernel_spectrum(jac)
    return where_or_compute(accurate & (rank == n), (jnp.linalg.norm(loss_gradient), s[-1]), by_triangle)


def numerical_rank(s: Float[Array, " k"], shape: tuple[int, int]) -> Int[Array, ""]:
    """Count the singular values `s`, in descending order, above `max(shape) * eps * s_max`."""
    return jnp.sum(s > max(shape) * jnp.finfo(s.dtype).eps * s[0])


def spectral_direction(svd: ThinSVD, loss_gradient: Outputs, gain: Callable, rank: Int[Array, ""] | int) -> Weights:
    """Compute the direction `-V phi(S^2) S^+ U^T g` (p,) from the leading `rank` singular values.

    `svd` is that of the Jacobian, `gain` is `phi`, and `g` the `loss_gradient` (n,).

    Reference: Statements, definitions.
    """
    used = (jnp.arange(svd.s.size) < rank) & (svd.s > 0)
    s = jnp.where(used, svd.s, 1.0)
    coefficients = jnp.where(used, gain(s**2) / s, 0.0) * (svd.u.T @ loss_gradient)
    return -(svd.vt.T @ coefficients)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def range_factors(jac: Jac, rank: int) -> tuple[Float[Array, "n k"], Float[Array, "k k"], Float[Array, "k p"]]:
    """Factorise `J = B R V^T`, with orthonormal columns of `B` (range) and `V` (row space).

    It returns `B` (n, k), `R` (k, k), `V^T` (k, p): the leading k = `rank` singular triplets of
    `jac`. Singular vectors have no derivative where singular values meet, but their span has. So
    the derivative is that of a matrix of constant rank, in the gauge `B^T dB = 0`, `V^T dV = 0`:

        dB = (I - B B^T) dJ V R^-1      dV^T = R^-1 B^T dJ (I - V V^T)      dR = B^T dJ V

    Reference: derived. Compare Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973).
    """
    svd = thin_svd(jac)
    return svd.u[:, :rank], jnp.diag(svd.s[:rank]), svd.vt[:rank]


@range_factors.defjvp
def _range_factors_jvp(rank, primals, tangents):
    (jac,), (d_jac,) = primals, tangents
    b, r, vt = range_factors(jac, rank)
    by_rows, by_columns = d_jac @ vt.T, b.T @ d_jac
    d_r = b.T @ by_rows
    d_b = jnp.linalg.solve(r.T, (by_rows - b @ d_r).T).T
    d_vt = jnp.linalg.solve(r, by_columns - d_r @ vt)
    return (b, r, vt), (d_b, d_r, d_vt)
