"""Thin SVD of the Jacobian and the spectral filter that every flow is an instance of."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Jac, Outputs, Weights


class ThinSVD(eqx.Module):
    """`J = U S V^T` with `k = min(n, p)`: `u` (n, k), `s` (k,) in descending order, `vt` (k, p)."""

    u: Float[Array, "n k"]
    s: Float[Array, " k"]
    vt: Float[Array, "k p"]


def thin_svd(jac: Jac) -> ThinSVD:
    """Thin SVD by a QR of the tall orientation and an SVD of its k x k triangle.

    `J = Q R,  R = U' S V^T,  U = Q U'` (for a wide `J` the same with `J^T`). `J^T J` is never formed, so singular values down to
    `eps * s_max` are seen; the normal equations lose everything below `sqrt(eps) * s_max`.

    Arguments:

    - `jac`: Jacobian (n, p), any shape and rank.

    Returns: a `ThinSVD`.

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
    """Singular values in descending order, shape (min(n, p),), without the singular vectors."""
    n, p = jac.shape
    r = jnp.linalg.qr(jac if n >= p else jac.T, mode="r")
    return jnp.linalg.svd(r, compute_uv=False)


def numerical_rank(s: Float[Array, " k"], shape: tuple[int, int]) -> Int[Array, ""]:
    """Number of singular values above `max(n, p) * eps * s_max`, the rounding error of the decomposition itself.

    Arguments:

    - `s`: singular values in descending order.
    - `shape`: the shape (n, p) of the matrix.
    """
    return jnp.sum(s > max(shape) * jnp.finfo(s.dtype).eps * s[0])


def spectral_direction(svd: ThinSVD, cotangent: Outputs, gain: Callable, rank: Int[Array, ""] | int) -> Weights:
    """The direction `-V phi(S^2) S^+ U^T g` of the flow with gain `phi`, kept to the leading `rank` singular values.

    Arguments:

    - `svd`: thin SVD of the Jacobian.
    - `cotangent`: `g = grad g(f)`, shape (n,).
    - `gain`: the function `phi` of the eigenvalues `s^2` of `K = J J^T`.
    - `rank`: how many singular values count as non-zero; the minimum-norm solution leaves the others alone.

    Returns: the velocity of the parameters, shape (p,).

    Reference: design.md section 1.
    """
    kept = jnp.arange(svd.s.size) < rank
    s = jnp.where(kept, svd.s, 1.0)
    coefficients = jnp.where(kept, gain(s**2) / s, 0.0) * (svd.u.T @ cotangent)
    return -(svd.vt.T @ coefficients)
