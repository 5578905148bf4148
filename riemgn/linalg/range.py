"""Range factorisation of a matrix of known rank, with derivatives that stay finite where those of the SVD do not."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Jac
from .svd import thin_svd


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def range_factors(jac: Jac, rank: int) -> tuple[Float[Array, "n k"], Float[Array, "k k"], Float[Array, "k p"]]:
    """`J = B R V^T` with orthonormal columns of `B` (range) and `V` (row space): the leading `rank` singular triplets.

    The derivative is that of a matrix that keeps its rank, in the gauge `B^T dB = 0`, `V^T dV = 0`:

        dB = (I - B B^T) dJ V R^-1      dV^T = R^-1 B^T dJ (I - V V^T)      dR = B^T dJ V

    Singular vectors have no derivative where singular values meet; their span has. `R` is diagonal, its derivative is not.

    Arguments:

    - `jac`: matrix (n, p) of rank at least `rank`.
    - `rank`: `k`, at most `min(n, p)`.

    Returns: `B` (n, k), `R` (k, k), `V^T` (k, p).

    Reference: derived, by differentiating `J = B R V^T`; compare Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973).
    """
    svd = thin_svd(jac)
    return svd.u[:, :rank], jnp.diag(svd.s[:rank]), svd.vt[:rank]


@range_factors.defjvp
def _range_factors_jvp(rank, primals, tangents):
    (jac,), (d_jac,) = primals, tangents
    b, r, vt = range_factors(jac, rank)
    by_rows, by_columns = d_jac @ vt.T, b.T @ d_jac
    d_r = b.T @ by_rows
    d_b = jnp.linalg.solve(r.T, (by_rows - b @ d_r).T).T
    d_vt = jnp.linalg.solve(r, by_columns - d_r @ vt)
    return (b, r, vt), (d_b, d_r, d_vt)
