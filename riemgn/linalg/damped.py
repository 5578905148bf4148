"""Damped least-squares directions: Cholesky on the smaller side where that is sound, the SVD where it is not."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Int

from .._types import Jac, Outputs, Scalar, Weights
from .spectrum import spectral_direction, thin_svd


def damped_direction(jac: Jac, cotangent: Outputs, damping: Scalar, share: Scalar | float, rank: Int[jax.Array, ""] | int) -> Weights:
    """`-(c G + rho I)^{-1} J^T g = -J^T (c K + rho I)^{-1} g`, with `G = J^T J`, `K = J J^T`, `c = share`.

    The smaller of the two systems is factorised by Cholesky when its condition number, at most `1 + c |J|_F^2 / rho`, leaves 11 digits
    (`eps * cond <= 1e-11`: up to 4.5e4 in float64, never in float32); otherwise the singular values are filtered, which costs a few
    times more and squares nothing.

    Arguments:

    - `jac`: Jacobian (n, p).
    - `cotangent`: `g`, shape (n,).
    - `damping`: `rho >= 0`.
    - `share`: the factor `c` of the Gram matrix, 1 for Levenberg-Marquardt.
    - `rank`: how many singular values count as non-zero; used by the filtered branch only.

    Returns: the velocity of the parameters, shape (p,).

    Reference: push-through identity, theory.md section 1.
    """
    n, p = jac.shape
    largest_sound = 1e-11 / jnp.finfo(jac.dtype).eps

    def factorised():
        small = share * (jac @ jac.T if n < p else jac.T @ jac) + damping * jnp.eye(min(n, p), dtype=jac.dtype)
        factor = jsl.cho_factor(small)
        if n < p:
            return -(jac.T @ jsl.cho_solve(factor, cotangent))
        return -jsl.cho_solve(factor, jac.T @ cotangent)

    def filtered():
        return spectral_direction(thin_svd(jac), cotangent, lambda x: x / (share * x + damping), rank)

    return jax.lax.cond(share * jnp.sum(jac**2) <= largest_sound * damping, factorised, filtered)
