"""Least-squares and minimum-norm solutions by one Householder QR whose orthogonal factor is never formed, and condition estimates."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float

from .._types import Scalar

# Rounds of the power iteration: with a random start in dimension k the estimate of a condition number is too small by more than ten with a
# probability below 2 sqrt(k) 10^-(2 ROUNDS) (Dixon 1983, squared singular values).
ROUNDS = 3


def least_squares(
    tall: Float[Array, "m k"], target: Float[Array, " m"]
) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
    """`argmin_x |A x - b|` and the triangle `R` of `A = Q R`, `A` (`tall`) of full column rank, `b` the `target`.

    The QR of `[A, b]` has `Q^T b` in its last column: Householder's backward stable solution at the price of the triangle alone.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., section 5.3.
    """
    k = tall.shape[1]
    r = jnp.linalg.qr(jnp.concatenate([tall, target[:, None]], axis=1), mode="r")
    return jsl.solve_triangular(r[:k, :k], r[:k, k]), r[:k, :k]


def minimum_norm(
    tall: Float[Array, "m k"], target: Float[Array, " k"]
) -> tuple[Float[Array, " m"], Float[Array, "k k"]]:
    """The shortest `x` with `A^T x = b` and the triangle `R` of `A = Q R`: `x = Q R^{-T} b`, with `Q` applied as reflections.

    `A` is `tall`, `b` the `target`.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., section 5.6.
    """
    m, k = tall.shape
    transposed, scales = jnp.linalg.qr(tall, mode="raw")
    reflections = transposed.mT
    r = jnp.triu(reflections[:k])
    y = jsl.solve_triangular(r, target, trans=1)
    padded = jnp.concatenate([y, jnp.zeros(m - k, y.dtype)])
    return jax.lax.linalg.ormqr(reflections, scales, padded[:, None])[:, 0], r


def condition_estimate(triangle: Float[Array, "k k"]) -> Scalar:
    """Estimate of `cond(R)`, `R` the `triangle`, from below, by power iterations on `R^T R` and on its inverse from a fixed random start.

    NaN where `R` is singular.     `O(k^2)`. Too small by more than a factor ten with probability below `2 sqrt(k) 10^{-6}`.

    Reference: Dixon, SIAM J. Numer. Anal. 20 (1983) 812-814.
    """
    start = jnp.asarray(np.random.default_rng(0).standard_normal(triangle.shape[0]), triangle.dtype)

    def stretched(_, pair):
        x, y = (v / jnp.linalg.norm(v) for v in pair)
        return (triangle @ x) @ triangle, jsl.solve_triangular(triangle, jsl.solve_triangular(triangle, y, trans=1))

    largest, inverse = (jnp.linalg.norm(v) for v in jax.lax.fori_loop(0, ROUNDS, stretched, (start, start)))
    return jnp.sqrt(largest * inverse)
