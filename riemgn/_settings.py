"""The one global setting a caller may change on purpose: the default floating-point type."""

import jax


def enable_x64() -> None:
    """Switch JAX to float64, for verification. Call it first, before any array is made; importing riemgn never does it.

    >>> import riemgn as rg
    >>> rg.enable_x64()
    """
    jax.config.update("jax_enable_x64", True)
