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
    """Return `value` where `done`, else `compute()`, a PyTree of the same structure.

    Under `vmap`, `compute` runs only if some member needs it. You can differentiate in both modes.
    """
    computed = jax.lax.cond(~any_in_batch(~done), lambda: value, compute)
    return jax.tree.map(lambda old, new: jnp.where(done, old, new), value, computed)
