"""Least-squares directions, damped or not, by the cheapest factorisation that is accurate enough.

The matrix is `A = c G + rho I`, or `c K + rho I` if that is smaller. Its condition number is the
square of that of the stacked matrix `S = [J; sqrt(rho / c) I]`. The branches, in order:

- `"Cholesky"` of `A`: the bound `1 + c |J|_F^2 / rho` of `cond(A)` leaves 11 digits,
  `eps cond <= 1e-11` (4.5e4 in float64), or is at most 100 (in float32, which leaves 5 digits).
- `"corrected Cholesky"`: `J` has full rank, one side is at least twice the other, and the estimated
  `cond(A)` is at most `0.1 eps^{-2/3}` (2.7e9 in float64, 4e3 in float32). Two corrections by
  residuals with `J` itself reduce the error from `eps cond(A)` to `eps sqrt(cond(A))`.
- `"QR"` of `S`: `J` has full rank and the estimated `cond(S)` is at most `0.01 / (max(n, p) eps)`.
- `"SVD"`: all other cases. Singular values beyond the rank are left out.

`"product"` is the branch of the gradient flow, and `"weighted"` that of `GGNScoreFlow`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Float, Int

from .._types import Count, Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, formed, kernel_of, squared_norm
from .svd import numerical_rank, spectral_direction, thin_svd

BRANCHES = ("Cholesky", "corrected Cholesky", "QR", "SVD", "product", "weighted")
CORRECTIONS = 2
SAFE_CONDITION = 1e2  # a condition number that costs two digits in any precision
POWER_STEPS = 3  # of the condition estimate


class Direction(NamedTuple):
    """A direction `w_dot` (p,), the index of its `branch` in `BRANCHES`, and the `rank` it used."""

    w_dot: Weights
    branch: Count
    rank: Count


def damped_direction(
    jac: Jac | AbstractJacobian,
    loss_gradient: Outputs,
    damping: Scalar | float | None,
    share: Scalar | float = 1.0,
    rank: Int[Array, ""] | int | None = None,
) -> Direction:
    """Solve for `-(c G + rho I)^{-1} J^T g = -J^T (c K + rho I)^{-1} g`.

    `G = J^T J`, `K = J J^T`. See the module's docstring for the branches.

    Arguments:

    - `jac`, `loss_gradient`: `J` (n, p), an array or an operator, and `g` (n,). Branches without
      Cholesky form the operator.
    - `damping`, `share`: `rho >= 0`, and the factor `c` of the Gram matrix (default 1).
    - `rank`: number of singular values that count as non-zero. A rank below `min(n, p)` takes the
      SVD. Defaults to `numerical_rank` if the SVD is needed, else to `min(n, p)`.

    Reference: push-through identity. Corrections: Björck, Linear Algebra Appl. 88 (1987) 31-48.
    """
    if damping is None:
        return pseudo_inverse_direction(jac, loss_gradient, rank)
    size, rho = min(jac.shape), damping
    rank = None if rank is None else jnp.asarray(rank)
    max_condition = max(1e-11 / float(jnp.finfo(jac.dtype).eps), SAFE_CONDITION)

    def by_cholesky():
        small = share * smaller_gram(jac) + rho * jnp.eye(size, dtype=jac.dtype)
        factor = jsl.cho_factor(small)
        wide = jac.shape[0] < jac.shape[1]
        w_dot = -(jsl.cho_solve(factor, loss_gradient) @ jac if wide else jsl.cho_solve(factor, loss_gradient @ jac))
        return Direction(w_dot, jnp.array(0), jnp.array(size))

    def ill_conditioned():
        scale = jnp.where(share > 0, share, 1.0)
        direction = _ill_conditioned(True, jac, loss_gradient, jnp.asarray(rho, jac.dtype) / scale, rank)
        return direction._replace(w_dot=direction.w_dot / scale)

    safe = share * squared_norm(jac) <= max_condition * rho
    nothing = Direction(jnp.zeros(jac.shape[1], jac.dtype), jnp.array(0), jnp.array(size))
    return where_or_compute(safe, where_or_compute(~safe, nothing, by_cholesky), ill_conditioned)


def pseudo_inverse_direction(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, rank: Int[Array, ""] | int | None = None
) -> Direction:
    """Solve for `-J^+ g`, of minimum norm, with arguments as in `damped_direction`."""
    rank = None if rank is None else jnp.asarray(rank)
    return _ill_conditioned(False, jac, loss_gradient, jnp.zeros((), jac.dtype), rank)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _ill_conditioned(
    damped: bool, jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, rank: Count | None
) -> Direction:
    """`-(G + rho I)^+ J^T g` by any branch but the first. If not `damped`, `rho` is zero."""
    n, p = jac.shape
    max_condition = 0.01 / (max(n, p) * jnp.finfo(jac.dtype).eps)
    full_rank = jnp.array(True) if rank is None else rank >= min(n, p)

    def corrected():
        return *_by_corrections(jac, g, rho), jnp.array(1)

    def triangular():
        w_dot, r = _by_qr(formed(jac), g, rho if damped else None)
        return w_dot, condition_estimate(r) <= max_condition, jnp.array(2)

    def filtered():
        svd = thin_svd(formed(jac))
        used = jnp.asarray(numerical_rank(svd.s, (n, p)) if rank is None else rank, int)
        return Direction(spectral_direction(svd, g, lambda x: x / (x + rho), used), jnp.array(3), used)

    # one after the other, not one inside the other: each is compiled once
    w_dot, done, branch = jnp.zeros(p, jac.dtype), jnp.array(False), jnp.array(3)
    for attempt in (corrected, triangular) if max(n, p) >= 2 * min(n, p) else (triangular,):
        w_dot, done, branch = where_or_compute(~full_rank | done, (w_dot, done, branch), attempt)
    return where_or_compute(done, Direction(w_dot, branch, jnp.array(min(n, p))), filtered)


@_ill_conditioned.defjvp
def _ill_conditioned_jvp(damped, primals, tangents):
    """Differentiate for `J` of constant rank, as Golub and Pereyra (1973) do for `rho = 0`.

    `dw' = -(G + rho)^+ (dJ^T y + J^T (dg + dJ w') + drho w') - (I - V V^T) dJ^T z` with
    `y = g + J w'`, `z = (K + rho)^+ g` and `V` the leading singular space that the inverses use.
    """
    direction = _ill_conditioned(damped, *primals)
    w_dot, _, rank = direction
    (jac, g, rho, _), (d_jac, d_g, d_rho, _) = primals, tangents
    if isinstance(jac, AbstractJacobian):
        jac, d_jac = jax.jvp(formed, (jac,), (d_jac,))
    svd = thin_svd(jac)
    leading = jnp.arange(svd.s.size) < rank
    inverse = jnp.where(leading, 1 / (jnp.where(leading, svd.s, 1.0) ** 2 + rho), 0.0)
    z = svd.u @ (inverse * (g @ svd.u))
    pulled = (g + jac @ w_dot) @ d_jac + d_rho * w_dot
    inside = inverse * (svd.vt @ pulled + svd.s * ((d_g + d_jac @ w_dot) @ svd.u))
    outside = z @ d_jac
    d_w_dot = -(inside - jnp.where(leading, svd.vt @ outside, 0.0)) @ svd.vt - outside
    if jac.shape[0] >= jac.shape[1]:
        # V spans R^p at full rank: there the difference would be rounding over the damping
        d_w_dot = jnp.where(rank >= jac.shape[1], -inside @ svd.vt, d_w_dot)
    nothing = jnp.zeros((), jax.dtypes.float0)
    return direction, Direction(d_w_dot, nothing, nothing)


def smaller_gram(jac: Jac | AbstractJacobian) -> Float[Array, "k k"]:
    """Compute `K = J J^T` if n < p, else `G = J^T J`."""
    return kernel_of(jac) if jac.shape[0] < jac.shape[1] else formed(jac).T @ formed(jac)


def _by_corrections(jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar) -> tuple[Weights, Flag]:
    """Cholesky corrected by residuals, and whether its condition number allows that."""
    n, p = jac.shape
    lower = jnp.linalg.cholesky(smaller_gram(jac) + rho * jnp.eye(min(n, p), dtype=jac.dtype))
    accurate = condition_estimate(lower.T) ** 2 <= 0.1 * jnp.finfo(jac.dtype).eps ** (-2 / 3)

    def correct(_, solution):
        x, w_dot = solution
        residual = g + jac @ w_dot
        x_step = -jsl.cho_solve((lower, True), (residual if n < p else residual @ jac) + rho * x)
        # w' = J^T x is added up, because the rounding of a large x would stay in the outputs
        return x + x_step, w_dot + (x_step @ jac if n < p else x_step)

    x = -jsl.cho_solve((lower, True), g if n < p else g @ jac)
    start = x, (x @ jac if n < p else x)
    return jax.lax.fori_loop(0, CORRECTIONS, correct, start)[1], accurate


def _by_qr(jac: Jac, g: Outputs, rho: Scalar | None) -> tuple[Weights, Float[Array, "k k"]]:
    """One Householder QR of `S`, or of `J` alone without damping, and its triangle."""
    n, p = jac.shape
    k = min(n, p)
    tall = jac.T if n < p else jac
    if rho is not None:
        tall = jnp.concatenate([tall, jnp.sqrt(rho) * jnp.eye(k, dtype=jac.dtype)])
    if n < p:
        # the shortest x with S^T x = -g is -Q R^{-T} g (Golub and Van Loan, section 5.6)
        transposed, scales = jnp.linalg.qr(tall, mode="raw")
        reflections = transposed.mT
        r = jnp.triu(reflections[:k])
        y = jnp.pad(jsl.solve_triangular(r, -g, trans=1), (0, len(tall) - k))
        return jax.lax.linalg.ormqr(reflections, scales, y[:, None])[:p, 0], r
    # the QR of [S, b] has Q^T b in its last column (Golub and Van Loan, section 5.3)
    target = jnp.pad(-g, (0, len(tall) - n))
    r = jnp.linalg.qr(jnp.concatenate([tall, target[:, None]], axis=1), mode="r")
    return jsl.solve_triangular(r[:k, :k], r[:k, k]), r[:k, :k]


def condition_estimate(triangle: Float[Array, "k k"]) -> Scalar:
    """Estimate `cond(R)`, `R = triangle`, from below by power iterations.

    It is NaN if `R` is singular, and too small by more than a factor of ten with a probability
    below `2 sqrt(k) 10^{-2 POWER_STEPS}`.

    Reference: Dixon, SIAM J. Numer. Anal. 20 (1983) 812-814.
    """
    start = jnp.asarray(np.random.default_rng(0).standard_normal(triangle.shape[0]), triangle.dtype)

    def multiply(_, pair):
        x, y = (v / jnp.linalg.norm(v) for v in pair)
        return (triangle @ x) @ triangle, jsl.solve_triangular(triangle, jsl.solve_triangular(triangle, y, trans=1))

    largest, inverse = (jnp.linalg.norm(v) for v in jax.lax.fori_loop(0, POWER_STEPS, multiply, (start, start)))
    return jnp.sqrt(largest * inverse)
