"""The linear system of GGN-SCORE: a Gram matrix of low rank plus a positive diagonal."""

import jax.numpy as jnp

from .._types import Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, scale_columns, squared_norm
from .least_squares import damped_direction
from .matrix_free import MatrixFree
from .preconditioned_cg import Recycled, recycled_direction, RESIDUAL

LARGE = 256  # rows of the smaller system from which on products, are quicker than Cholesky
EASY = 100.0  # bound of the condition number, 1 + |A|_F^2 / c, below which conjugate gradients need few steps
STEPS_PAY = 16  # a step of conjugate gradients takes about as long as this many rows of the factorisation


def score_direction(
    jac: Jac | AbstractJacobian, loss_gradient: Outputs, pull: Weights, metric: Weights, damping: Scalar | float
) -> Weights:
    """`d = -(c D + J^T J)^{-1} (J^T e + tau h')`.

    With `A = J D^{-1/2}` and `b = D^{-1/2} tau h'`, `d = D^{-1/2} z` and

        z = -(c I + A^T A)^{-1} (A^T e + b) = -A^T (c I + A A^T)^{-1} (e - A b / c) - b / c

    so that `z + b / c` is the Levenberg-Marquardt direction of `A` for the loss_gradient `e - A b / c`. It is found as those are, the smaller Gram matrix
    by Cholesky where its conditioning allows. From `LARGE` rows on, in float64:

    - where the damping leads, `|A|_F^2 <= EASY c` (the rule for `c = 1` and a smoothing that is not small): conjugate gradients by products with `A`
      to a residual of `RESIDUAL`, no matrix formed;
    - else, and where those need more steps than pay, a factorisation as in `damped_direction`.

    Of a network the products and the kernel `J D^{-1} J^T` are by layers.

    Arguments:

    - `jac`: Jacobian (n, p), whitened: `Q^{1/2} J`; an array or an operator.
    - `loss_gradient`: `e`, shape (n,), whitened: `Q^{-1/2} grad g`.
    - `pull`: `tau h'`, shape (p,).
    - `metric`: the diagonal of `D > 0`, shape (p,).
    - `damping`: `c > 0`.

    Returns: the direction `d`, shape (p,).

    Reference: push-through identity; ggn_score.md 3.2.
    """
    a, b, c, root = _scaled(jac, pull, metric, damping)
    shifted, smaller = loss_gradient - a @ b / c, min(jac.shape)
    if smaller < LARGE or jac.dtype != jnp.float64:
        pulled = damped_direction(a, shifted, c, 1.0, smaller)
    else:
        pulled = _large(a, shifted, c)
    return (pulled - b / c) / root


def recycled_score_direction(
    jac: Jac | AbstractJacobian,
    loss_gradient: Outputs,
    pull: Weights,
    metric: Weights,
    damping: Scalar | float,
    before: Recycled,
) -> tuple[Weights, Recycled]:
    """`score_direction` by conjugate gradients with the preconditioner of an earlier step, and what the next step may use.

    Arguments: `jac`, `loss_gradient`, `pull`, `metric`, `damping` as in `score_direction`, in float64; `before` as in `recycled_direction`.

    Reference: ggn_score.md 3.2; see `recycled_direction`.
    """
    a, b, c, root = _scaled(jac, pull, metric, damping)
    pulled, after = recycled_direction(a, loss_gradient - a @ b / c, c, before)
    return (pulled - b / c) / root, after


def _scaled(
    jac, pull: Weights, metric: Weights, damping: Scalar | float
) -> tuple[Jac | AbstractJacobian, Weights, Scalar, Weights]:
    """`A`, `b`, `c` and `D^{1/2}`."""
    root = jnp.sqrt(metric)
    return scale_columns(jac, 1 / root), pull / root, jnp.asarray(damping, jac.dtype), root


def _large(a: Jac | AbstractJacobian, loss_gradient: Outputs, damping: Scalar) -> Weights:
    """`-A^T (c I + A A^T)^{-1} e` of many rows, by products where few are enough."""
    n, p = a.shape

    def by_products():
        found = MatrixFree(RESIDUAL, min(n, p) // STEPS_PAY).direction(
            lambda v: a @ v, lambda u: u @ a, jnp.zeros(p, a.dtype), loss_gradient, damping
        )
        return found.w_dot, found.converged

    w_dot, done = where_or_compute(
        squared_norm(a) > EASY * damping, (jnp.zeros(p, a.dtype), jnp.array(False)), by_products
    )
    return where_or_compute(done, w_dot, lambda: damped_direction(a, loss_gradient, damping, 1.0, min(n, p)))
