"""Memory of large arrays: checks before they are made, and loops over chunks that bound it."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

COPIES = 3  # the array itself, its factorisation, and the workspace of the library
WORKING_MEMORY = 2**30  # bytes that one Jacobian may take for intermediate values, if the problem does not say


def memory_limit() -> int:
    """Return the bytes of the first device, or of the machine if the device does not say."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_jacobian(shape: tuple[int, int]) -> None:
    """Apply `check_memory` to a Jacobian."""
    advice = "use LevenbergMarquardtFlow(rho, matrix_free=MatrixFree()) or its method, or use fewer samples"
    check_memory("The Jacobian", shape, advice)


def check_memory(name: str, shape: tuple[int, int], advice: str) -> None:
    """Raise a `ValueError` if `COPIES` copies of a matrix of default floats exceed the memory."""
    size = shape[0] * shape[1] * jnp.zeros((), float).dtype.itemsize
    if COPIES * size > (limit := memory_limit()):
        raise ValueError(
            f"{name} of shape {shape} takes {size / 1e9:.1f} GB, {COPIES * size / 1e9:.1f} GB with its factorisation, "
            f"and there are {limit / 1e9:.1f} GB: {advice}."
        )


def map_in_chunks(
    prepare: Callable[[], Callable[[Array], Array]], count: int, bound: int, axis: int, at_once: Callable[[], Array]
) -> Array:
    """Stack `one(0), ..., one(count - 1)` along `axis`, `one = prepare()`, within `bound` bytes.

    If all of them fit, `at_once()` computes them. Else a loop computes chunks of equal size. The
    last chunk overlaps the one before, so nothing is copied at the end. The results and what
    `prepare` computes do not count.
    """
    each, row = working_bytes(lambda i: prepare()(i), jax.ShapeDtypeStruct((), int))
    if count * (each - _bytes(row)) <= bound:
        return at_once()
    one = prepare()
    chunks = -(-count // max(1, min(count, bound // each)))
    size = -(-count // chunks)

    def write(i, result):
        start = jnp.minimum(i * size, count - size)
        block = jax.vmap(one, out_axes=axis)(start + jnp.arange(size))
        return jax.lax.dynamic_update_slice_in_dim(result, block, start, axis)

    shape = (*row.shape[:axis], count, *row.shape[axis:])
    return jax.lax.fori_loop(0, chunks, write, jnp.zeros(shape, row.dtype))


def working_bytes(function: Callable, *arguments) -> tuple[int, Any]:
    """Return the peak bytes of a call of `function`, and the shapes of its results.

    All values that depend on the arguments count while they are needed, results included, in the
    order of the code. The compiler may fuse some of them away.
    """
    traced, results = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return _peak_bytes(traced.jaxpr), results


def _peak_bytes(jaxpr: core.Jaxpr) -> int:
    last_use = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, core.Var)}
    last_use |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, core.Var)}
    sizes = dict.fromkeys(jaxpr.invars, 0)  # of what depends on the arguments
    alive = peak = 0
    for i, eqn in enumerate(jaxpr.eqns):
        read = {v for v in eqn.invars if isinstance(v, core.Var) and v in sizes}
        if not read:
            continue
        results = {v: _bytes(v.aval) for v in eqn.outvars}
        inside = max(map(_peak_bytes, core.jaxprs_in_params(eqn.params)), default=0)
        peak = max(peak, alive + max(sum(results.values()), inside))
        sizes |= results
        alive += sum(results.values()) - sum(sizes[v] for v in {*read, *results} if last_use.get(v, i) == i)
    return peak


def _bytes(array: Any) -> int:
    return array.size * array.dtype.itemsize
