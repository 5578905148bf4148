"""Array types of all signatures: n outputs, p parameters, t times, k rank, d features."""

from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Params = Any
Scalar = Float[Array, ""]
Count = Int[Array, ""]
Flag = Bool[Array, ""]
Weights = Float[Array, " p"]
Outputs = Float[Array, " n"]
Jac = Float[Array, "n p"]
Inputs = Float[Array, "n d"]
Times = Float[Array, " t"]
Key = PRNGKeyArray


def enable_x64() -> None:
    """Switch JAX to float64. Call it before you make any array.

    Importing riemgn does not change JAX's precision.

    >>> import riemgn as rg
    >>> rg.enable_x64()
    """
    jax.config.update("jax_enable_x64", True)
