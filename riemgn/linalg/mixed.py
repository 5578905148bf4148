"""Directions in mixed precision: the Gram matrix and its Cholesky factor in float32, refined by residuals with the Jacobian itself in float64.

Let `A = G + rho I` (or `K + rho I`, the smaller). Each round solves with the float32 factor for what the equation `J^T (g + J w') + rho w' = 0` (or
its dual) still misses and costs one `J v` and one `J^T u`; its error contracts by about `0.1 eps32 cond(A)`. Refinement ends where the next
round could add nothing to the error `eps cond(J)` of float64.

The ordinary rule of `damped.py` takes over, at the price of the float32 attempt, where the rank is not full, the float32 Cholesky breaks down, the
condition number estimated from its factor is over `1 / eps32` (8e6), or the rounds do not come to that error. The branch says which it was.

Relative error of a damped direction, n = 500, p = 10 000, singular values from 1 to 1e-8, against the decomposition that the matrix is made of;
"plain" is Cholesky of `A` in float64, "single" the ordinary rule in float32 (`enable_x64()` not called):

| cond(A) | mixed | full | plain | single |
| --- | --- | --- | --- | --- |
| 1e2 | 8e-15 | 9e-15 | 9e-15 | 2e-6 |
| 1e4 | 8e-14 | 8e-14 | 5e-13 | 2e-4 |
| 1e6 | 8e-13 | 8e-13 | 5e-11 | 2e-3 |
| 1e8 | 6e-12, as full | 6e-12 | 4e-9 | 2e-2 |
| 1e10 | 5e-11, as full | 5e-11 | 3e-7 | 1e-1 |

Time of plain and of full over that of mixed, one thread of a busy machine (`tests/bench/direction.py`): n = 500, p = 10 000: 1.1 to 1.4 and 1.3 to
1.5 up to cond(A) = 1e6, 0.8 for full where it has to take over; n = 2000, p = 20 000: 1.9 and 1.8 at 1e4, 1.3 and 1.7 at 1e6. Of a Jacobian kept by
layers the products of the Gram matrix are few, and there is little to gain; nor is there for n and p of a hundred.

Preconditioned conjugate gradients with the same factor took as many rounds up to cond(A) = 1e6, and 11 where refinement takes 16 at 1e7.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from .._types import Count, Flag, Jac, Outputs, Scalar, Weights
from .damped import BRANCHES, damped_direction_and_branch, direction_tangent, pseudo_inverse_direction_and_branch, smaller_gram
from .krylov import MatrixFree
from .lanes import unless
from .operator import AbstractJacobian, scale_rows, squared_norm
from .triangle import condition_estimate

PRECISIONS = ("full", "mixed")
MIXED = BRANCHES.index("mixed Cholesky")
ROUNDS = 20


def checked_precision(value: Any, matrix_free: MatrixFree | None = None) -> str:
    """The precision `value` as it is, beside a `matrix_free`.

    Raises: `ValueError` unless it is one of `PRECISIONS` and, for `"mixed"`, float64 is enabled and a Jacobian formed.
    """
    if value not in PRECISIONS:
        raise ValueError(f"Unknown precision {value!r}; known: {', '.join(PRECISIONS)}.")
    if value == "mixed" and jnp.result_type(float) != jnp.float64:
        raise ValueError('`precision="mixed"` refines in float64: call riemgn.enable_x64() first.')
    if value == "mixed" and matrix_free is not None:
        raise ValueError('`precision="mixed"` factorises the Gram matrix that `matrix_free` never forms: give one of the two.')
    return value


def mixed_direction_and_branch(
    jac: Jac | AbstractJacobian, cotangent: Outputs, damping: Scalar | float | None, rank: Count | int
) -> tuple[Weights, Count]:
    """`-(G + rho I)^{-1} J^T g`, or `-J^+ g` where `damping` is None, in mixed precision, and the place in `BRANCHES` of the way it took.

    Arguments: as in `damped_direction`; `jac` and `cotangent` in float64. Of an operator with n < p products and the kernel alone are used.

    Raises: `ValueError` for a Jacobian that is not in float64.

    Reference: Higham and Mary, Acta Numerica 31 (2022) 347-414, sections 5 and 8.
    """
    if jac.dtype != jnp.float64:
        raise ValueError(f"Mixed precision refines in float64, got a Jacobian in {jac.dtype}.")
    rho = jnp.zeros((), jac.dtype) if damping is None else jnp.asarray(damping, jac.dtype)
    return _mixed(damping is not None, jac, cotangent, rho, jnp.asarray(rank))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mixed(damped: bool, jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, rank: Count) -> tuple[Weights, Count]:
    def ordinary():
        return damped_direction_and_branch(jac, g, rho, 1.0, rank) if damped else pseudo_inverse_direction_and_branch(jac, g, rank)

    def attempt():
        lower, norm = _single_factor(jac, rho)
        cond = condition_estimate(lower.T).astype(jac.dtype) ** 2
        allowed = cond * jnp.finfo(jnp.float32).eps <= 1
        return unless(~allowed, nothing, lambda: _refined(jac, g, rho, lower, norm, cond))

    nothing = jnp.zeros(jac.shape[1], jac.dtype), jnp.array(False)
    w_dot, sound = unless(rank < min(jac.shape), nothing, attempt)
    return unless(sound, (w_dot, jnp.array(MIXED)), ordinary)


@_mixed.defjvp
def _mixed_jvp(damped, primals, tangents):
    w_dot, branch = _mixed(damped, *primals)
    return (w_dot, branch), (direction_tangent(w_dot, primals, tangents), jnp.zeros(branch.shape, jax.dtypes.float0))


def _single_factor(jac: Jac | AbstractJacobian, rho: Scalar) -> tuple[Float[Array, "k k"], Scalar]:
    """The lower Cholesky factor of `A / |J|_F^2` in float32, NaN where that breaks down, and `|J|_F`; divided so that no square overflows."""
    norm = jnp.sqrt(squared_norm(jac))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), scale_rows(jnp.full(jac.shape[0], 1 / norm), jac))
    # not the shorter mantissa that some devices take for products in float32
    with jax.default_matmul_precision("highest"):
        gram = smaller_gram(single)
    return jnp.linalg.cholesky(gram + (rho / norm**2).astype(jnp.float32) * jnp.eye(len(gram), dtype=jnp.float32)), norm


def _refined(jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, lower: Float[Array, "k k"], norm: Scalar, cond: Scalar) -> tuple[Weights, Flag]:
    """The direction by refinement and whether its error came to the float64 level, `10 eps cond(J)` and what a large residual adds to it."""
    n, p = jac.shape
    eps = jnp.finfo(jac.dtype).eps

    def solve(missed):
        size = jnp.max(jnp.abs(missed))
        scaled = (missed / jnp.where(size > 0, size, 1.0)).astype(jnp.float32)
        return size / norm**2 * jsl.cho_solve((lower, True), scaled).astype(jac.dtype)

    def correct(state):
        x, w_dot, rounds, last, *_ = state
        missed = g + jac @ w_dot
        x_step = -solve((missed if n < p else missed @ jac) + rho * x)
        step = x_step @ jac if n < p else x_step
        w_dot = w_dot + step
        length = jnp.linalg.norm(step)
        ratio = length / last
        level = jnp.sqrt(cond) * jnp.linalg.norm(w_dot) + (0.0 if n < p else cond * jnp.linalg.norm(missed) / norm)
        # a correction is the error of the round before; the next one would be smaller by their ratio
        return x + x_step, w_dot, rounds + 1, length, ratio, length * jnp.minimum(ratio, 1.0) / (eps * level)

    def goes_on(state):
        _, _, rounds, _, ratio, error = state
        return (rounds < 2) | ((error > 0.1) & (ratio < 0.5) & (rounds < ROUNDS))

    zero = jnp.zeros((), jac.dtype)
    start = jnp.zeros(min(n, p), jac.dtype), jnp.zeros(p, jac.dtype), jnp.array(0), jnp.full((), jnp.inf, jac.dtype), zero, zero
    _, w_dot, _, length, _, error = jax.lax.while_loop(goes_on, correct, start)
    return w_dot, (error <= 10) | (length == 0)
