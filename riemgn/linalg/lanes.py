"""Choices between ways to compute that stay choices under `vmap`, where `lax.cond` would run every way for every member of the batch."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from .._types import Flag

Found = TypeVar("Found")


@jax.custom_batching.custom_vmap
def some_lane(flag: Flag) -> Flag:
    """`flag`; under `vmap` whether it is true in any member of the batch, one value for all of them, so that a `cond` on it remains one."""
    return flag


@some_lane.def_vmap
def _(axis_size, in_batched, flag):
    return some_lane(jnp.any(flag, axis=0)), False


def unless(done: Flag, found: Found, way: Callable[[], Found]) -> Found:
    """`found` where `done`, else `way()`, which under `vmap` runs where some member of the batch needs it and changes nothing for the others.

    Arguments:

    - `done`: a flag; its derivative is none, so that this may be differentiated in both modes.
    - `found`: a PyTree of arrays.
    - `way`: makes one like it.

    >>> import jax, jax.numpy as jnp
    >>> from riemgn.linalg import unless
    >>> jax.vmap(lambda x: unless(x > 0, x, lambda: -x))(jnp.array([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    made = jax.lax.cond(~some_lane(~done), lambda: found, way)
    return jax.tree.map(lambda old, new: jnp.where(done, old, new), found, made)
