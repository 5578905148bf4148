"""What a large array would take, asked before it is made."""

import os

import jax
import jax.numpy as jnp

# The array itself, the factorisation in place of it, and what the library works in.
COPIES = 3


def memory_limit() -> int:
    """Bytes of the first device where it tells, else of the machine."""
    told = jax.devices()[0].memory_stats() or {}
    return told.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_jacobian(shape: tuple[int, int]) -> None:
    """`check_memory` of a Jacobian."""
    check_memory("The Jacobian", shape, "use LevenbergMarquardt(rho, matrix_free=MatrixFree()) or its method, or take fewer samples")


def check_memory(name: str, shape: tuple[int, int], cure: str) -> None:
    """Raises `ValueError`, with the estimate, where `COPIES` copies of a matrix of the default float type do not fit into the memory."""
    itemsize = jnp.zeros((), float).dtype.itemsize
    needed, limit = COPIES * shape[0] * shape[1] * itemsize, memory_limit()
    if needed > limit:
        raise ValueError(
            f"{name} of shape {shape} takes {shape[0] * shape[1] * itemsize / 1e9:.1f} GB, {needed / 1e9:.1f} GB with its factorisation, "
            f"and there are {limit / 1e9:.1f} GB: {cure}."
        )
