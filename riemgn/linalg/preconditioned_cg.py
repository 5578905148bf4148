"""A sequence of damped systems that change little: conjugate gradients preconditioned by the inverse of an earlier one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from .._types import Count, Flag, Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian
from .least_squares import damped_direction, smaller_gram

RESIDUAL = 1e-13  # of conjugate gradients, largest entry relative to that of the right-hand side
RENEWAL_STEPS = 8  # a new inverse takes about as long as one step of conjugate gradients for each of this many rows
UNKNOWN = -1


class Recycled(eqx.Module):
    """The inverse of an earlier system and what it has cost since.

    - `inverse`: `(c I + A A^T)^{-1}` of an earlier step, or of `A^T A` where that is smaller; at first the identity.
    - `fresh`: steps of conjugate gradients that the first later system took with it; `UNKNOWN` until then.
    - `excess`: steps since then beyond those.
    - `renewals`: inverses computed so far.
    """

    inverse: Float[Array, "k k"]
    fresh: Count
    excess: Count
    renewals: Count


def first_recycled(size: int, dtype: jnp.dtype) -> Recycled:
    """Before the first system of `size` equations in `dtype`: no preconditioner, and every step counts as excess."""
    return Recycled(jnp.eye(size, dtype=dtype), jnp.array(0), jnp.array(0), jnp.array(0))


def recycled_direction(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, damping: Scalar, before: Recycled
) -> tuple[Weights, Recycled]:
    """`-(rho I + J^T J)^{-1} J^T g` with the preconditioner of an earlier step, and what the next step may use.

    Conjugate gradients on the smaller side, to a residual of `RESIDUAL`. A new inverse is computed where they need more than `k / RENEWAL_STEPS`
    steps, `k` equations, or have needed so many more than with a new one in all since the last was: so at most about twice the time of the best
    choice of these moments is spent. What does not converge with a new inverse either is solved by `damped_direction`.

    Arguments:

    - `jac`, `loss_gradient`, `damping`: `J` (n, p), `g` (n,) and `rho > 0`, in float64.
    - `before`: from the step before, or `first_recycled`.

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., algorithm 11.5.1; preconditioners over a sequence of systems: Benzi, J. Comput. Phys.
    182 (2002) 418-477.
    """
    allowed = max(1, min(jac.shape) // RENEWAL_STEPS)
    nothing = jnp.zeros(jac.shape[1], jac.dtype), jnp.array(0), jnp.array(False)
    found = where_or_compute(
        before.excess > allowed, nothing, lambda: _preconditioned(jac, loss_gradient, damping, before.inverse, allowed)
    )
    w_dot, steps, converged = found
    fresh = jnp.where(before.fresh == UNKNOWN, steps, before.fresh)
    after = Recycled(before.inverse, fresh, before.excess + jnp.maximum(steps - fresh, 0), before.renewals)

    def renewed():
        inverse = _inverse(jac, damping)
        found, _, sound = _preconditioned(jac, loss_gradient, damping, inverse, allowed)
        found = where_or_compute(
            sound, found, lambda: damped_direction(jac, loss_gradient, damping, 1.0, min(jac.shape))
        )
        return found, Recycled(inverse, jnp.array(UNKNOWN), jnp.array(0), before.renewals + 1)

    return where_or_compute(converged, (w_dot, after), renewed)


def _inverse(jac: Jac | AbstractJacobian, damping: Scalar) -> Float[Array, "k k"]:
    """The inverse of the smaller Gram matrix plus the damping; the identity where its Cholesky factor breaks down."""
    gram = smaller_gram(jac)
    eye = jnp.eye(len(gram), dtype=gram.dtype)
    inverse = jsl.cho_solve((jnp.linalg.cholesky(gram + damping * eye), True), eye)
    return jnp.where(jnp.all(jnp.isfinite(inverse)), (inverse + inverse.T) / 2, eye)


def _preconditioned(
    jac: Jac | AbstractJacobian, g: Outputs, rho: Scalar, inverse: Float[Array, "k k"], most: int
) -> tuple[Weights, Count, Flag]:
    """The direction, the steps it took, and whether `most` were enough.

    Written out rather than by the general solver behind `MatrixFree`: of the few short steps here its overhead would be a third of the time.
    """
    dual = jac.shape[0] < jac.shape[1]
    right = -g if dual else -(g @ jac)
    target = RESIDUAL * jnp.max(jnp.abs(right))

    def goes_on(state):
        _, r, *_, steps = state
        return (jnp.max(jnp.abs(r)) > target) & (steps < most)

    def advance(state):
        w_dot, r, p, product, steps = state
        pushed = p @ jac if dual else p  # what a step along p adds to the direction
        image = jac @ pushed if dual else (jac @ p) @ jac
        length = product / (p @ (image + rho * p))
        r = r - length * (image + rho * p)
        z = inverse @ r
        after = r @ z
        return w_dot + length * pushed, r, z + after / product * p, after, steps + 1

    first = inverse @ right
    start = jnp.zeros(jac.shape[1], jac.dtype), right, first, right @ first, jnp.array(0)
    w_dot, r, _, _, steps = jax.lax.while_loop(goes_on, advance, start)
    return w_dot, steps, jnp.max(jnp.abs(r)) <= target
