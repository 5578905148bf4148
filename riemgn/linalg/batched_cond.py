"""Choices between ways to compute that stay choices under `vmap`, where `lax.cond` would run every way for every member of the batch."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from .._types import Flag

Found = TypeVar("Found")


@jax.custom_batching.custom_vmap
def any_in_batch(flag: Flag) -> Flag:
    """`flag`; under `vmap` whether it is true in any member of the batch, one value for all of them, so that a `cond` on it remains one."""
    return flag


@any_in_batch.def_vmap
def _(axis_size, in_batched, flag):
    return any_in_batch(jnp.any(flag, axis=0)), False


def where_or_compute(done: Flag, found: Found, way: Callable[[], Found]) -> Found:
    """`found` where `done`, else `way()`, which under `vmap` runs where some member of the batch needs it and changes nothing for the others.

    Arguments:

    - `done`: a flag; its derivative is none, so that this may be differentiated in both modes.
    - `found`: a PyTree of arrays.
    - `way`: makes one like it.

    >>> import jax, jax.numpy as jnp
    >>> from riemgn.linalg import where_or_compute
    >>> jax.vmap(lambda x: where_or_compute(x > 0, x, lambda: -x))(jnp.array([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    made = jax.lax.cond(~any_in_batch(~done), lambda: found, way)
    return jax.tree.map(lambda old, new: jnp.where(done, old, new), found, made)
