"""The linear system of GGN-SCORE: a Gram matrix of low rank plus a positive diagonal."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from .._types import Jac, Outputs, Scalar, Weights
from .spectrum import thin_svd


def score_direction(jac: Jac, cotangent: Outputs, pull: Weights, metric: Weights, damping: Scalar | float) -> Weights:
    """`d = -(c D + J^T J)^{-1} (J^T e + tau h')`.

    With `A = J D^{-1/2}` and `b = D^{-1/2} tau h'`, `d = D^{-1/2} z` and

        z = -(c I + A^T A)^{-1} (A^T e + b) = -A^T (c I + A A^T)^{-1} (e - A b / c) - b / c

    the smaller system by Cholesky (the low-rank form where `n + 1 <= p`), where its condition number `1 + |A|_F^2 / c` leaves 11 digits, as in
    `damped_direction`; elsewhere by the singular values of `A`, which squares nothing.

    Arguments:

    - `jac`: Jacobian (n, p), whitened: `Q^{1/2} J`.
    - `cotangent`: `e`, shape (n,), whitened: `Q^{-1/2} grad g`.
    - `pull`: `tau h'`, shape (p,).
    - `metric`: the diagonal of `D > 0`, shape (p,).
    - `damping`: `c > 0`.

    Returns: the direction `d`, shape (p,).

    Reference: push-through identity; ggn_score.md 3.2.
    """
    n, p = jac.shape
    root = jnp.sqrt(metric)
    a, b = jac / root, pull / root
    largest_sound = 1e-11 / jnp.finfo(jac.dtype).eps

    def factorised():
        if n + 1 <= p:
            factor = jsl.cho_factor(a @ a.T + damping * jnp.eye(n, dtype=a.dtype))
            return -(a.T @ jsl.cho_solve(factor, cotangent - a @ b / damping)) - b / damping
        factor = jsl.cho_factor(a.T @ a + damping * jnp.eye(p, dtype=a.dtype))
        return -jsl.cho_solve(factor, a.T @ cotangent + b)

    def filtered():
        svd = thin_svd(a)
        inside = svd.vt @ b
        z = -(svd.vt.T @ ((svd.s * (svd.u.T @ cotangent) + inside) / (svd.s**2 + damping)))
        return z if n >= p else z - (b - svd.vt.T @ inside) / damping

    return jax.lax.cond(jnp.sum(a**2) <= largest_sound * damping, factorised, filtered) / root
