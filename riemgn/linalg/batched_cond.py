"""Conditionals under `vmap`, where `lax.cond` would compute both branches for every member."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from .._types import Flag

Value = TypeVar("Value")


@jax.custom_batching.custom_vmap
def any_in_batch(flag: Flag) -> Flag:
    """Return `flag`, or under `vmap` whether it is true for any member, which keeps `cond` lazy."""
    return flag


@any_in_batch.def_vmap
def _(axis_size, in_batched, flag):
    return any_in_batch(jnp.any(flag, axis=0)), False


def where_or_compute(done: Flag, value: Value, compute: Callable[[], Value]) -> Value:
    """Return `value` where `done`, else `compute()`.

    `value` and the result of `compute` are PyTrees of the same structure, `done` is a flag without
    a derivative. Under `vmap`, `compute` runs only if some member needs it. You can differentiate
    this in both modes.

    >>> import jax, jax.numpy as jnp
    >>> from riemgn.linalg import where_or_compute
    >>> jax.vmap(lambda x: where_or_compute(x > 0, x, lambda: -x))(jnp.array([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    computed = jax.lax.cond(~any_in_batch(~done), lambda: value, compute)
    return jax.tree.map(lambda old, new: jnp.where(done, old, new), value, computed)
