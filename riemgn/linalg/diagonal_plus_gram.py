"""The system of GGN-SCORE, a Gram matrix plus a diagonal, and CG for systems that change slowly."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from .._types import Count, Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, scale_columns, squared_norm
from .least_squares import damped_direction, smaller_gram
from .matrix_free import MatrixFree

LARGE = 256  # rows of the smaller system from which on products are quicker than Cholesky
EASY = 100.0  # bound of the condition number, 1 + |A|_F^2 / c, below which conjugate gradients need few steps
ROWS_PER_STEP = 16  # a step of conjugate gradients takes about as long as this many rows of the factorisation
RESIDUAL = 1e-13  # of conjugate gradients, largest entry relative to that of the right-hand side
ROWS_PER_RECYCLED_STEP = 8  # the same for a step with a preconditioner, in rows of a new inverse
UNKNOWN = -1


class Recycled(eqx.Module):
    """An `inverse` of an earlier system as a preconditioner, and what it has cost since.

    It counts the steps of the first later system (`fresh`, `UNKNOWN` until then), those of the
    systems since then beyond that (`excess`), and the computed inverses (`renewals`).
    """

    inverse: Float[Array, "k k"]
    fresh: Count
    excess: Count
    renewals: Count

    @classmethod
    def start(cls, size: int, dtype: jnp.dtype) -> "Recycled":
        """Start a sequence of systems of `size` equations without a preconditioner."""
        return cls(jnp.eye(size, dtype=dtype), jnp.array(0), jnp.array(0), jnp.array(0))


def score_direction(
    jac: Jac | AbstractJacobian,
    loss_gradient: Outputs,
    pull: Weights,
    metric: Weights,
    damping: Scalar | float,
    recycled: Recycled | None = None,
) -> tuple[Weights, Recycled | None]:
    """Solve for `d = -(c D + J^T J)^{-1} (J^T e + tau h')`.

    With `A = J D^{-1/2}` and `b = D^{-1/2} tau h'`, `d = D^{-1/2} z` and

        z = -(c I + A^T A)^{-1} (A^T e + b) = -A^T (c I + A A^T)^{-1} (e - A b / c) - b / c

    so that `z + b / c` is the Levenberg-Marquardt direction of `A` for `e - A b / c`. For `LARGE`
    easy systems in float64, conjugate gradients replace `damped_direction`.

    Arguments:

    - `jac`, `loss_gradient`: whitened, `Q^{1/2} J` (n, p) and `e = Q^{-1/2} grad g` (n,).
    - `pull`, `metric`, `damping`: `tau h'` (p,), the diagonal (p,) of `D > 0`, and `c > 0`.
    - `recycled`: preconditioner of an earlier step, for `recycled_direction` (in float64).

    Returns: the direction `d` (p,), and the preconditioner for the next step (None if none came).

    Reference: push-through identity. The method is that of Adeoye et al., arXiv:2404.14875.
    """
    root, c = jnp.sqrt(metric), jnp.asarray(damping, jac.dtype)
    a, b = scale_columns(jac, 1 / root), pull / root
    shifted, size = loss_gradient - a @ b / c, min(jac.shape)
    if recycled is not None:
        pulled, recycled = recycled_direction(a, shifted, c, recycled)
    elif size < LARGE or jac.dtype != jnp.float64:
        pulled = damped_direction(a, shifted, c, rank=size).w_dot
    else:
        pulled = _large_direction(a, shifted, c)
    return (pulled - b / c) / root, recycled


def _large_direction(a: Jac | AbstractJacobian, loss_gradient: Outputs, damping: Scalar) -> Weights:
    """Solve for `-A^T (c I + A A^T)^{-1} e`, by conjugate gradients if few steps are enough."""
    size, p = min(a.shape), a.shape[1]

    def by_products():
        solution = MatrixFree(RESIDUAL, size // ROWS_PER_STEP).direction(
            lambda v: a @ v, lambda u: u @ a, jnp.zeros(p, a.dtype), loss_gradient, damping
        )
        return solution.w_dot, solution.converged

    nothing = jnp.zeros(p, a.dtype), jnp.array(False)
    w_dot, done = where_or_compute(squared_norm(a) > EASY * damping, nothing, by_products)
    return where_or_compute(done, w_dot, lambda: damped_direction(a, loss_gradient, damping, rank=size).w_dot)


def recycled_direction(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, damping: Scalar, before: Recycled
) -> tuple[Weights, Recycled]:
    """Solve for `-(rho I + J^T J)^{-1} J^T g` with the preconditioner of an earlier step.

    Conjugate gradients run on the smaller side. A new inverse is computed if they need more than
    `k / 8` steps for `k` equations, or if the excess steps since the last inverse add
    up to that. If a new inverse does not help either, `damped_direction` solves the system.

    `jac` (n, p), `loss_gradient` (n,) and `damping > 0` are in float64. `before` comes from the
    step before, or from `Recycled.start`. The result is the direction and the next `before`.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., algorithm 11.5.1. Sequences of
    systems: Benzi, J. Comput. Phys. 182 (2002) 418-477.
    """
    size = min(jac.shape)
    max_steps = max(1, size // ROWS_PER_RECYCLED_STEP)
    nothing = jnp.zeros(jac.shape[1], jac.dtype), jnp.array(0), jnp.array(False)
    solve = partial(_preconditioned, jac, loss_gradient, damping)
    w_dot, steps, converged = where_or_compute(
        before.excess > max_steps, nothing, lambda: solve(before.inverse, max_steps)
    )
    fresh = jnp.where(before.fresh == UNKNOWN, steps, before.fresh)
    after = Recycled(before.inverse, fresh, before.excess + jnp.maximum(steps - fresh, 0), before.renewals)

    def factorised():
        return damped_direction(jac, loss_gradient, damping, rank=size).w_dot

    def renewed():
        inverse = _inverse(jac, damping)
        w_dot, _, converged = solve(inverse, max_steps)
        w_dot = where_or_compute(converged, w_dot, factorised)
        return w_dot, Recycled(inverse, jnp.array(UNKNOWN), jnp.array(0), before.renewals + 1)

    return where_or_compute(converged, (w_dot, after), renewed)


def _inverse(jac: Jac | AbstractJacobian, damping: Scalar) -> Float[Array, "k k"]:
    """The inverse of the damped smaller Gram matrix, or the identity if Cholesky breaks down."""
    gram = smaller_gram(jac)
    eye = jnp.eye(len(gram), dtype=gram.dtype)
    inverse = jsl.cho_solve((jnp.linalg.cholesky(gram + damping * eye), True), eye)
    return jnp.where(jnp.all(jnp.isfinite(inverse)), (inverse + inverse.T) / 2, eye)


def _preconditioned(
    jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, inverse: Float[Array, "k k"], max_steps: int
) -> tuple[Weights, Count, Flag]:
    """The direction, the steps it took, and whether `max_steps` were enough."""
    # not by lineax as in `MatrixFree`, whose overhead is a third of the time of a few short steps
    dual = jac.shape[0] < jac.shape[1]
    right = -g if dual else -(g @ jac)
    target = RESIDUAL * jnp.max(jnp.abs(right))

    def unfinished(state):
        _, r, *_, steps = state
        return (jnp.max(jnp.abs(r)) > target) & (steps < max_steps)

    def advance(state):
        w_dot, r, p, product, steps = state
        w_step = p @ jac if dual else p  # what a step along p adds to the direction
        image = jac @ w_step if dual else (jac @ p) @ jac
        length = product / (p @ (image + rho * p))
        r = r - length * (image + rho * p)
        z = inverse @ r
        after = r @ z
        return w_dot + length * w_step, r, z + after / product * p, after, steps + 1

    first = inverse @ right
    start = jnp.zeros(jac.shape[1], jac.dtype), right, first, right @ first, jnp.array(0)
    w_dot, r, _, _, steps = jax.lax.while_loop(unfinished, advance, start)
    return w_dot, steps, jnp.max(jnp.abs(r)) <= target
