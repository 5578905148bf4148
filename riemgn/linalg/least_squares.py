"""Damped and undamped least-squares directions: the cheapest factorisation that the conditioning allows, never a silent cut-off.

The rule, for the matrix `A = c G + rho I` (or `c K + rho I`, the smaller) with `cond(A)` the square of the condition number of the stacked matrix
`S = [J; sqrt(rho / c) I]`:

- `"Cholesky"` of `A`: the bound `1 + c |J|_F^2 / rho` of `cond(A)` leaves 11 digits, `eps * cond <= 1e-11` (4.5e4 in float64), or is at
  most 100 (in float32, where that leaves 5).
- `"corrected Cholesky"`: `J` has its full rank, one side is at least twice the other, and the estimated `cond(A)` is at most `0.1 eps^{-2/3}`
  (2.7e9 in float64, 4e3 in float32). Two corrections by residuals with `J` itself bring the error from `eps cond(A)` to `eps sqrt(cond(A))`.
- `"QR"` of `S`: `J` has its full rank and the estimated `cond(S)` is at most `0.01 / (max(n, p) eps)`. Householder's, error `eps cond(S)`.
- `"SVD"`: all else. The singular values beyond `rank` are left out, those within are filtered.

`"product"` is the way of the gradient flow, which solves nothing;
`"weighted"` that of GGN-SCORE's flow, see `weighted.py`.

Under `vmap` a way runs for all members of the batch where one of them needs it, and not at all where none does.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, Int

from .._types import Count, Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, formed, kernel_of, squared_norm
from .svd import numerical_rank, spectral_direction, thin_svd
from .triangle import condition_estimate, least_squares, minimum_norm

BRANCHES = ("Cholesky", "corrected Cholesky", "QR", "SVD", "product", "weighted")
CORRECTIONS = 2
SURELY_SOUND = 1e2  # a condition number that costs two digits in any precision


def damped_direction(
    jac: Jac | AbstractJacobian,
    loss_gradient: Outputs,
    damping: Scalar,
    share: Scalar | float,
    rank: Int[Array, ""] | int,
) -> Weights:
    """`-(c G + rho I)^{-1} J^T g = -J^T (c K + rho I)^{-1} g`, with `G = J^T J`, `K = J J^T`, `c = share`, by the rule above.

    Arguments:

    - `jac`: Jacobian (n, p), an array or an operator; of an operator the two Cholesky branches use products alone, the others form it.
    - `loss_gradient`: `g`, shape (n,).
    - `damping`: `rho >= 0`.
    - `share`: the factor `c` of the Gram matrix, 1 for Levenberg-Marquardt.
    - `rank`: how many singular values count as non-zero; below `min(n, p)` it takes the SVD, which leaves the others out.

    Returns: the velocity of the parameters, shape (p,).

    Reference: push-through identity, theory.md section 1; corrections: Björck, Linear Algebra Appl. 88 (1987) 31-48.
    """
    return damped_direction_and_branch(jac, loss_gradient, damping, share, rank)[0]


def pseudo_inverse_direction(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, rank: Int[Array, ""] | int
) -> Weights:
    """`-J^+ g`, the undamped `damped_direction`, of minimum norm.

    Arguments: as in `damped_direction`.

    Returns: the velocity of the parameters, shape (p,).
    """
    return pseudo_inverse_direction_and_branch(jac, loss_gradient, rank)[0]


def damped_direction_and_branch(
    jac: Jac | AbstractJacobian,
    loss_gradient: Outputs,
    damping: Scalar,
    share: Scalar | float,
    rank: Int[Array, ""] | int,
) -> tuple[Weights, Count]:
    """`damped_direction` and the place in `BRANCHES` of the way it took; arguments as in `damped_direction`."""
    return _damped(jac, loss_gradient, damping, share, jnp.asarray(rank))[:2]


def pseudo_inverse_direction_and_branch(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, rank: Int[Array, ""] | int
) -> tuple[Weights, Count]:
    """`pseudo_inverse_direction` and the place in `BRANCHES` of the way it took; arguments as in `damped_direction`."""
    return _careful(False, jac, loss_gradient, jnp.zeros((), jac.dtype), jnp.asarray(rank))[:2]


def direction_and_rank(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, damping: Scalar | None
) -> tuple[Weights, Count]:
    """`damped_direction`, or for None `pseudo_inverse_direction`, of a Jacobian whose rank nobody knows yet, and how many singular values it kept.

    All of them where a triangle gives the direction; where it comes to the SVD, those above its rounding error (`numerical_rank`).
    Arguments as in `damped_direction`.
    """
    if damping is None:
        w_dot, _, kept = _careful(False, jac, loss_gradient, jnp.zeros((), jac.dtype), None)
    else:
        w_dot, _, kept = _damped(jac, loss_gradient, damping, 1.0, None)
    return w_dot, kept


def _damped(
    jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, share: Scalar | float, rank: Count | None
) -> tuple[Weights, Count, Count]:
    """Direction, branch and how many singular values were kept; a rank of None is decided where it comes to the SVD."""
    n, p = jac.shape
    largest_sound = max(1e-11 / float(jnp.finfo(jac.dtype).eps), SURELY_SOUND)

    def factorised():
        small = share * smaller_gram(jac) + rho * jnp.eye(min(n, p), dtype=jac.dtype)
        factor = jsl.cho_factor(small)
        w_dot = -(jsl.cho_solve(factor, g) @ jac) if n < p else -jsl.cho_solve(factor, g @ jac)
        return w_dot, jnp.array(0), jnp.array(min(n, p))

    def careful():
        scale = jnp.where(share > 0, share, 1.0)
        w_dot, branch, kept = _careful(True, jac, g, jnp.asarray(rho, jac.dtype) / scale, rank)
        return w_dot / scale, branch, kept

    sound = share * squared_norm(jac) <= largest_sound * rho
    nothing = jnp.zeros(p, jac.dtype), jnp.array(0), jnp.array(min(n, p))
    return where_or_compute(sound, where_or_compute(~sound, nothing, factorised), careful)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _careful(
    damped: bool, jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, rank: Count | None
) -> tuple[Weights, Count, Count]:
    """`-(G + rho I)^+ J^T g` without the first of the `BRANCHES`; `damped` says whether `rho` may be other than 0."""
    n, p = jac.shape
    well_posed = 0.01 / (max(n, p) * jnp.finfo(jac.dtype).eps)

    of_full_rank = jnp.array(True) if rank is None else rank >= min(n, p)

    def corrected():
        return *_by_corrections(jac, g, rho), jnp.array(1)

    def triangular():
        w_dot, r = _by_triangle(formed(jac), g, rho if damped else None)
        return w_dot, condition_estimate(r) <= well_posed, jnp.array(2)

    def filtered():
        svd = thin_svd(formed(jac))
        kept = jnp.asarray(numerical_rank(svd.s, (n, p)) if rank is None else rank, int)
        return spectral_direction(svd, g, lambda x: x / (x + rho), kept), jnp.array(3), kept

    # one after the other, not one inside the other: each is compiled once
    found = jnp.zeros(p, jac.dtype), jnp.array(False), jnp.array(3)
    for way in (corrected, triangular) if max(n, p) >= 2 * min(n, p) else (triangular,):
        found = where_or_compute(~of_full_rank | found[1], found, way)
    return where_or_compute(found[1], (found[0], found[2], jnp.array(min(n, p))), filtered)


@_careful.defjvp
def _careful_jvp(damped, primals, tangents):
    w_dot, branch, kept = _careful(damped, *primals)
    jac, g, rho, _ = primals
    nothing = jnp.zeros((), jax.dtypes.float0)
    return (w_dot, branch, kept), (direction_tangent(w_dot, (jac, g, rho, kept), tangents), nothing, nothing)


def direction_tangent(w_dot: Weights, primals: tuple, tangents: tuple) -> Weights:
    """The derivative of `w_dot = -(G + rho I)^+ J^T g` by `(J, g, rho)`, for `J` of constant rank; `primals` are `(J, g, rho, rank)`.

    `dw' = -(G + rho)^+ (dJ^T y + J^T (dg + dJ w') + drho w') - (I - V V^T) dJ^T z`, with `y = g + J w'`, `z = (K + rho)^+ g` and `V` the leading
    singular space, on which the inverses are taken.

    Reference: Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973), for `rho = 0`.
    """
    (jac, g, rho, rank), (d_jac, d_g, d_rho, _) = primals, tangents
    if isinstance(jac, AbstractJacobian):
        jac, d_jac = jax.jvp(formed, (jac,), (d_jac,))
    svd = thin_svd(jac)
    kept = jnp.arange(svd.s.size) < rank
    inverse = jnp.where(kept, 1 / (jnp.where(kept, svd.s, 1.0) ** 2 + rho), 0.0)
    z = svd.u @ (inverse * (g @ svd.u))
    pulled = (g + jac @ w_dot) @ d_jac + d_rho * w_dot
    inside = inverse * (svd.vt @ pulled + svd.s * ((d_g + d_jac @ w_dot) @ svd.u))
    outside = z @ d_jac
    d_w_dot = -(inside - jnp.where(kept, svd.vt @ outside, 0.0)) @ svd.vt - outside
    if jac.shape[0] < jac.shape[1]:
        return d_w_dot
    # the kept space is all of R^p unless the rank is deficient; there the difference would be rounding over the damping
    return jnp.where(rank >= jac.shape[1], -inside @ svd.vt, d_w_dot)


def smaller_gram(jac: Jac | AbstractJacobian) -> Float[Array, "k k"]:
    """`K = J J^T` where n < p, else `G = J^T J`."""
    return kernel_of(jac) if jac.shape[0] < jac.shape[1] else formed(jac).T @ formed(jac)


def _by_corrections(jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar) -> tuple[Weights, Flag]:
    """Cholesky of the smaller side, corrected by residuals with `J`, and whether its condition estimate allows that."""
    n, p = jac.shape
    lower = jnp.linalg.cholesky(smaller_gram(jac) + rho * jnp.eye(min(n, p), dtype=jac.dtype))
    sound = condition_estimate(lower.T) ** 2 <= 0.1 * jnp.finfo(jac.dtype).eps ** (-2 / 3)

    def correct(_, solution):
        x, w_dot = solution
        missed = g + jac @ w_dot
        x_step = -jsl.cho_solve((lower, True), (missed if n < p else missed @ jac) + rho * x)
        # w' = J^T x is added up, not formed at the end: where |x| is large its rounding would stay in the outputs
        return x + x_step, w_dot + (x_step @ jac if n < p else x_step)

    x = -jsl.cho_solve((lower, True), g if n < p else g @ jac)
    start = x, (x @ jac if n < p else x)
    return jax.lax.fori_loop(0, CORRECTIONS, correct, start)[1], sound


def _by_triangle(jac: Jac, g: Outputs, rho: Scalar | None) -> tuple[Weights, Float[Array, "k k"]]:
    """One QR of `S`, the smaller side stacked on `sqrt(rho) I`, or of `J` alone where `rho` is None."""
    n, p = jac.shape
    k = min(n, p)
    tall = jac.T if n < p else jac
    if rho is not None:
        tall = jnp.concatenate([tall, jnp.sqrt(rho) * jnp.eye(k, dtype=jac.dtype)])
    if n < p:
        x, r = minimum_norm(tall, -g)
        return x[:p], r
    return least_squares(tall, -g if rho is None else jnp.concatenate([-g, jnp.zeros(k, g.dtype)]))
