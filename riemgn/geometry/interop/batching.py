"""The border between geomstats' arrays and JAX: what comes in as numpy goes out as numpy, what comes in as JAX goes out as JAX."""

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def call(function: Callable, manifold: Any, *arrays: Any, ndims: Sequence[int]) -> Any:
    """`function(manifold, *arrays)` over any leading batch axes of the arrays.

    `out[b] = function(manifold, arrays[0][b], arrays[1][b], ...)`, the leading axes broadcast: one base point against many vectors, or the reverse.

    A batch is flattened, filled up to a power of two with copies of its last member and run through one `jit(vmap)` per function and size, so that
    batches of 5, 6, 7 and 8 share one compilation.

    Arguments:

    - `function`: a module-level function of the manifold and single, unbatched arrays; it returns an array or a tuple of arrays.
    - `manifold`: any PyTree; its arrays are arguments of the compiled function, so an equal copy compiles nothing.
    - `arrays`: numbers in any form, of shape (..., *shape).
    - `ndims`: for each array the number of axes that are not batch axes.

    Returns: writable float64 numpy arrays (numbers where there is no axis), or JAX arrays as soon as one array is a JAX array or a tracer.

    Raises: `ValueError` for too few axes or batch axes that do not broadcast.

    >>> import numpy as np
    >>> call(lambda scale, x: scale * x.sum(), 2.0, np.ones((4, 3)), ndims=(1,))
    array([6., 6., 6., 6.])

    Reference: derived, geomstats.md section 6.
    """
    to_jax = is_jax(*arrays)
    traced = not is_concrete(*arrays)
    blocks = [jnp.asarray(array, dtype=float) if to_jax else np.asarray(array, dtype=float) for array in arrays]
    for block, ndim in zip(blocks, ndims, strict=True):
        if block.ndim < ndim:
            raise ValueError(f"An array of shape (..., {', '.join(['n'] * ndim)}) is needed, got shape {block.shape}.")
    batch = batch_shape(*blocks, ndims=ndims)
    size = math.prod(batch)
    room = size if traced else power_of_two(size)
    out = _mapped(
        function, manifold, *(_flatten(block, batch, ndim, room) for block, ndim in zip(blocks, ndims, strict=True))
    )
    return jax.tree.map(lambda leaf: _unflatten(leaf, batch, size, to_jax), out)


def is_jax(*arrays: Any) -> bool:
    """Whether one of the arrays is a JAX array or a tracer."""
    return any(isinstance(array, jax.Array) for array in arrays)


def is_concrete(*arrays: Any) -> bool:
    """Whether no array is a tracer: their values can be looked at."""
    return not any(isinstance(array, Tracer) for array in arrays)


def namespace(*arrays: Any) -> ModuleType:
    """`jax.numpy` if one of the arrays is JAX's, else `numpy`."""
    return jnp if is_jax(*arrays) else np


def batch_shape(*arrays: Any, ndims: Sequence[int]) -> tuple[int, ...]:
    """The common shape of the leading axes, all but the last `ndims` of each array."""
    leading = [np.shape(array)[: len(np.shape(array)) - ndim] for array, ndim in zip(arrays, ndims, strict=True)]
    try:
        return np.broadcast_shapes(*leading)
    except ValueError:
        raise ValueError(f"The leading axes must broadcast, got {' and '.join(map(str, leading))}.") from None


def power_of_two(size: int) -> int:
    """The smallest power of two that is at least `size`."""
    return 1 << max(size - 1, 0).bit_length()


@eqx.filter_jit
def _mapped(function, manifold, *blocks):
    return jax.vmap(lambda *members: function(manifold, *members))(*blocks)


def _flatten(block, batch: tuple[int, ...], ndim: int, room: int):
    """Shape (*batch', *shape) to (room, *shape): broadcast, flattened, filled up with copies of the last member (zeros if there is none)."""
    xp = namespace(block)
    shape = block.shape[block.ndim - ndim :]
    rows = xp.broadcast_to(block, batch + shape).reshape((-1, *shape)) if math.prod(batch) else xp.zeros((0, *shape))
    if rows.shape[0] < room:
        filling = rows[-1:] if rows.shape[0] else xp.zeros((1, *shape))
        rows = xp.concatenate([rows, xp.repeat(filling, room - rows.shape[0], axis=0)])
    return rows


def _unflatten(leaf, batch: tuple[int, ...], size: int, to_jax: bool):
    if to_jax:
        return leaf[:size].reshape(batch + leaf.shape[1:])
    out = np.array(leaf[:size]).reshape(batch + leaf.shape[1:])
    return out if out.ndim else out[()]
