"""The linear system of GGN-SCORE: a Gram matrix of low rank plus a positive diagonal."""

import jax.numpy as jnp

from .._types import Jac, Outputs, Scalar, Weights
from .batched_cond import where_or_compute
from .jacobian_operator import AbstractJacobian, scale_columns, squared_norm
from .least_squares import damped_direction
from .matrix_free import MatrixFree
from .preconditioned_cg import Recycled, recycled_direction, RESIDUAL

LARGE = 256  # rows of the smaller system from which on products are quicker than Cholesky
EASY = 100.0  # bound of the condition number, 1 + |A|_F^2 / c, below which conjugate gradients need few steps
ROWS_PER_STEP = 16  # a step of conjugate gradients takes about as long as this many rows of the factorisation


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
