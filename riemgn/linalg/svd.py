"""Thin SVD of the Jacobian and the spectral filter that every flow is an instance of."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, formed, kernel_of

# The eigenvalues of `K` give the smallest singular value of `J` to about `eps cond(K)`: below this condition number that is 1e-8 in float64.
SOUND_KERNEL = 5e-9


class ThinSVD(eqx.Module):
    """`J = U S V^T` with `k = min(n, p)`: `u` (n, k), `s` (k,) in descending order, `vt` (k, p), by definition of the thin one."""

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
    """Singular values of `jac` in descending order, shape (min(n, p),), without the singular vectors."""
    n, p = jac.shape
    r = jnp.linalg.qr(jac if n >= p else jac.T, mode="r")
    return jnp.linalg.svd(r, compute_uv=False)


def _kernel_spectrum(jac: Jac | AbstractJacobian) -> tuple[Float[Array, " n"], Flag]:
    """Square roots of the eigenvalues of `K = J J^T`, descending, and whether `eps cond(K)` is at most `SOUND_KERNEL`."""
    values = jnp.linalg.eigvalsh(kernel_of(jac))[::-1]
    sound = jnp.finfo(values.dtype).eps * values[0] <= SOUND_KERNEL * values[-1]
    return jnp.sqrt(jnp.maximum(values, 0.0)), sound


def spectrum(jac: Jac | AbstractJacobian) -> Float[Array, " k"]:
    """`singular_values` at the least cost: by the eigenvalues of `K` where n < p and `eps cond(K)` is at most `SOUND_KERNEL`.

    The smallest singular value is then right to a relative 1e-8, and full rank is certain; elsewhere it is that of `singular_values`.

    Arguments:

    - `jac`: Jacobian (n, p), an array or an operator; an operator is formed only where its kernel is too ill-conditioned.

    Reference: Weyl's bound `|dlambda| <= |dK|_2`, with `|dK|_2` a few `eps |K|_2`.
    """
    if jac.shape[0] >= jac.shape[1]:
        return singular_values(formed(jac))
    s, sound = _kernel_spectrum(jac)
    return where_or_compute(sound, s, lambda: singular_values(formed(jac)))


def range_norm_and_least(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, rank: Int[Array, ""] | int
) -> tuple[Scalar, Scalar]:
    """`|P g|`, with `P` the projector on the leading `rank` left singular vectors of `J`, and the last of their singular values.

    From one triangle: the QR of `[J, g]` holds `Q^T g` beside `R` (of `J^T`, where n < p, `R^T` alone holds both), and the SVD of `R` turns it.
    Where n < p, `rank = n` and the kernel allows it as in `spectrum`, `|P g| = |g|` and no QR is taken.

    Arguments:

    - `jac`: Jacobian (n, p), an array or an operator.
    - `loss_gradient`: `g`, shape (n,).
    - `rank`: how many singular values count as non-zero, at least 1.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., sections 5.3 and 8.6.
    """
    n, p = jac.shape

    def by_triangle():
        if n < p:
            triangle, seen = jnp.linalg.qr(formed(jac).T, mode="r").T, loss_gradient
        else:
            r = jnp.linalg.qr(jnp.concatenate([formed(jac), loss_gradient[:, None]], axis=1), mode="r")
            triangle, seen = r[:p, :p], r[:p, p]
        u, s, _ = jnp.linalg.svd(triangle)
        return jnp.linalg.norm(jnp.where(jnp.arange(s.size) < rank, seen @ u, 0.0)), s[rank - 1]

    if n >= p:
        return by_triangle()
    s, sound = _kernel_spectrum(jac)
    return where_or_compute(sound & (rank == n), (jnp.linalg.norm(loss_gradient), s[-1]), by_triangle)


def numerical_rank(s: Float[Array, " k"], shape: tuple[int, int]) -> Int[Array, ""]:
    """Number of singular values above `max(n, p) * eps * s_max`, the rounding error of the decomposition itself.

    Arguments:

    - `s`: singular values in descending order.
    - `shape`: the shape (n, p) of the matrix.
    """
    return jnp.sum(s > max(shape) * jnp.finfo(s.dtype).eps * s[0])


def spectral_direction(svd: ThinSVD, loss_gradient: Outputs, gain: Callable, rank: Int[Array, ""] | int) -> Weights:
    """The direction `-V phi(S^2) S^+ U^T g` of the flow with gain `phi`, kept to the leading `rank` singular values.

    Arguments:

    - `svd`: thin SVD of the Jacobian.
    - `loss_gradient`: `g = grad g(f)`, shape (n,).
    - `gain`: the function `phi` of the eigenvalues `s^2` of `K = J J^T`.
    - `rank`: how many singular values count as non-zero; the minimum-norm solution leaves the others alone.

    Returns: the velocity of the parameters, shape (p,).

    Reference: design.md section 1.
    """
    kept = (jnp.arange(svd.s.size) < rank) & (svd.s > 0)
    s = jnp.where(kept, svd.s, 1.0)
    coefficients = jnp.where(kept, gain(s**2) / s, 0.0) * (svd.u.T @ loss_gradient)
    return -(svd.vt.T @ coefficients)
