"""What a large array would take, asked before it is made, and loops that keep what is made on the way small."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

# The array itself, the factorisation in place of it, and what the library works in.
COPIES = 3

# Bytes that forming a Jacobian may take beside the Jacobian, where the problem does not say.
WORKING_MEMORY = 2**30


def memory_limit() -> int:
    """Bytes of the first device where it tells, else of the machine."""
    told = jax.devices()[0].memory_stats() or {}
    return told.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_jacobian(shape: tuple[int, int]) -> None:
    """`check_memory` of a Jacobian."""
    check_memory(
        "The Jacobian",
        shape,
        "use LevenbergMarquardtFlow(rho, matrix_free=MatrixFree()) or its method, or take fewer samples",
    )


def check_memory(name: str, shape: tuple[int, int], cure: str) -> None:
    """Raises `ValueError`, with the estimate, where `COPIES` copies of a matrix of the default float type do not fit into the memory."""
    itemsize = jnp.zeros((), float).dtype.itemsize
    needed, limit = COPIES * shape[0] * shape[1] * itemsize, memory_limit()
    if needed > limit:
        raise ValueError(
            f"{name} of shape {shape} takes {shape[0] * shape[1] * itemsize / 1e9:.1f} GB, {needed / 1e9:.1f} GB with its factorisation, "
            f"and there are {limit / 1e9:.1f} GB: {cure}."
        )


def stacked(
    prepare: Callable[[], Callable[[Array], Array]], count: int, bound: int, axis: int, whole: Callable[[], Array]
) -> Array:
    """`one(0), ..., one(count - 1)` side by side along `axis`, where `one = prepare()`, with at most about `bound` bytes on the way.

    By `whole()`, which makes all of them at once, where that stays within the bound; else in a loop over chunks of equal size, at least one each.
    The last chunk overlaps the one before, so that nothing is copied in the end. What `prepare` computes, once, is not counted.
    """
    each, row = working_bytes(lambda i: prepare()(i), jax.ShapeDtypeStruct((), int))
    if count * (each - _bytes(row)) <= bound:
        return whole()
    one = prepare()
    chunks = -(-count // max(1, min(count, bound // each)))
    size = -(-count // chunks)

    def write(i, made):
        start = jnp.minimum(i * size, count - size)
        block = jax.vmap(one, out_axes=axis)(start + jnp.arange(size))
        return jax.lax.dynamic_update_slice_in_dim(made, block, start, axis)

    shape = (*row.shape[:axis], count, *row.shape[axis:])
    return jax.lax.fori_loop(0, chunks, write, jnp.zeros(shape, row.dtype))


def working_bytes(function: Callable, *arguments) -> tuple[int, Any]:
    """Bytes of the values that depend on the arguments and are alive at once in a call of `function`, at the worst moment, and its results' shapes.

    Counted in the order in which the function computes them, results included, without the fusions of the compiler, which save some.
    """
    traced, results = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return _most_alive(traced.jaxpr), results


def _most_alive(jaxpr: core.Jaxpr) -> int:
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, core.Var)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, core.Var)}
    sizes = dict.fromkeys(jaxpr.invars, 0)  # of what depends on the arguments
    alive = most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        read = {v for v in eqn.invars if isinstance(v, core.Var) and v in sizes}
        if not read:
            continue
        made = {v: _bytes(v.aval) for v in eqn.outvars}
        inside = max(map(_most_alive, core.jaxprs_in_params(eqn.params)), default=0)
        most = max(most, alive + max(sum(made.values()), inside))
        sizes |= made
        alive += sum(made.values()) - sum(sizes[v] for v in {*read, *made} if last.get(v, i) == i)
    return most


def _bytes(array: Any) -> int:
    return array.size * array.dtype.itemsize
