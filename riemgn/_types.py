"""Array names used in every signature: one letter per axis (n outputs, p parameters, t times, k rank, d features)."""

from typing import Any

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
