"""The linear system of GGN-SCORE: a Gram matrix of low rank plus a positive diagonal."""

import jax.numpy as jnp

from .._types import Jac, Outputs, Scalar, Weights
from .damped import damped_direction
from .mixed import mixed_direction_and_branch
from .operator import AbstractJacobian, scale_columns

MIXED_PAYS = 256  # rows of the smaller system from which on its float32 factor and the refinement are quicker


def score_direction(jac: Jac | AbstractJacobian, cotangent: Outputs, pull: Weights, metric: Weights, damping: Scalar | float) -> Weights:
    """`d = -(c D + J^T J)^{-1} (J^T e + tau h')`.

    With `A = J D^{-1/2}` and `b = D^{-1/2} tau h'`, `d = D^{-1/2} z` and

        z = -(c I + A^T A)^{-1} (A^T e + b) = -A^T (c I + A A^T)^{-1} (e - A b / c) - b / c

    so that `z + b / c` is the Levenberg-Marquardt direction of `A` for the cotangent `e - A b / c`, found as those are: the smaller Gram matrix by
    Cholesky where its conditioning allows, from `MIXED_PAYS` rows on with the factor in float32 and refined in float64. Of a network the Jacobian
    and the kernel `J D^{-1} J^T` are kept by layers.

    Arguments:

    - `jac`: Jacobian (n, p), whitened: `Q^{1/2} J`; an array or an operator.
    - `cotangent`: `e`, shape (n,), whitened: `Q^{-1/2} grad g`.
    - `pull`: `tau h'`, shape (p,).
    - `metric`: the diagonal of `D > 0`, shape (p,).
    - `damping`: `c > 0`.

    Returns: the direction `d`, shape (p,).

    Reference: push-through identity; ggn_score.md 3.2.
    """
    smaller, c = min(jac.shape), jnp.asarray(damping, jac.dtype)
    root = jnp.sqrt(metric)
    a, b = scale_columns(jac, 1 / root), pull / root
    shifted = cotangent - a @ b / c
    if smaller >= MIXED_PAYS and jac.dtype == jnp.float64:
        pulled = mixed_direction_and_branch(a, shifted, c, smaller)[0]
    else:
        pulled = damped_direction(a, shifted, c, 1.0, smaller)
    return (pulled - b / c) / root
