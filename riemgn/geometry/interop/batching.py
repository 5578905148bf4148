"""Conversion between geomstats' arrays and JAX: NumPy in, NumPy out; JAX in, JAX out."""

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
    """Evaluate `function(manifold, *arrays)` over the leading batch axes, which broadcast.

        out[b] = function(manifold, arrays[0][b], arrays[1][b], ...)

    The batch is flattened and padded to a power of two with copies of its last member, so that
    batches of 5, 6, 7 and 8 share one compiled program.

    Arguments:

    - `function`: a module-level function of the manifold and single arrays that returns arrays.
    - `manifold`: any PyTree. Its arrays are arguments of the compiled function.
    - `arrays`: numbers in any form, of shape (..., *shape).
    - `ndims`: for each array the number of axes that are not batch axes.

    Returns: JAX arrays if one array is a JAX array or a tracer, else writable float64 NumPy arrays.

    Raises: `ValueError` for too few axes, or batch axes that do not broadcast.

    >>> import numpy as np
    >>> call(lambda scale, x: scale * x.sum(), 2.0, np.ones((4, 3)), ndims=(1,))
    array([6., 6., 6., 6.])
    """
    to_jax, xp = is_jax(*arrays), namespace(*arrays)
    blocks = [xp.asarray(array, dtype=float) for array in arrays]
    for block, ndim in zip(blocks, ndims, strict=True):
        if block.ndim < ndim:
            raise ValueError(f"Got shape {block.shape}, expected an array with at least {ndim} axes.")
    batch = batch_shape(*blocks, ndims=ndims)
    size = math.prod(batch)
    padded_size = 1 << max(size - 1, 0).bit_length() if is_concrete(*arrays) else size
    rows = (_padded(block, batch, ndim, padded_size) for block, ndim in zip(blocks, ndims, strict=True))
    out = _mapped(function, manifold, *rows)
    return jax.tree.map(lambda leaf: _unflatten(leaf, batch, size, to_jax), out)


def is_jax(*arrays: Any) -> bool:
    """Whether one of the arrays is a JAX array or a tracer."""
    return any(isinstance(array, jax.Array) for array in arrays)


def is_concrete(*arrays: Any) -> bool:
    """Whether no array is a tracer."""
    return not any(isinstance(array, Tracer) for array in arrays)


def namespace(*arrays: Any) -> ModuleType:
    """Return `jax.numpy` if one of the arrays is JAX's, else `numpy`."""
    return jnp if is_jax(*arrays) else np


def batch_shape(*arrays: Any, ndims: Sequence[int]) -> tuple[int, ...]:
    """Return the common shape of the leading axes, all but the last `ndims` of each array."""
    leading = [np.shape(array)[: len(np.shape(array)) - ndim] for array, ndim in zip(arrays, ndims, strict=True)]
    try:
        return np.broadcast_shapes(*leading)
    except ValueError:
        raise ValueError(f"The leading axes must broadcast, got {' and '.join(map(str, leading))}.") from None


@eqx.filter_jit
def _mapped(function, manifold, *blocks):
    return jax.vmap(lambda *members: function(manifold, *members))(*blocks)


def _padded(block, batch: tuple[int, ...], ndim: int, padded_size: int):
    """Broadcast to (*batch, *shape), flatten the batch and pad it with its last member."""
    xp = namespace(block)
    shape = block.shape[block.ndim - ndim :]
    rows = xp.broadcast_to(block, batch + shape).reshape((-1, *shape)) if math.prod(batch) else xp.zeros((0, *shape))
    if rows.shape[0] < padded_size:
        last = rows[-1:] if rows.shape[0] else xp.zeros((1, *shape))
        rows = xp.concatenate([rows, xp.repeat(last, padded_size - rows.shape[0], axis=0)])
    return rows


def _unflatten(leaf, batch: tuple[int, ...], size: int, to_jax: bool):
    if to_jax:
        return leaf[:size].reshape(batch + leaf.shape[1:])
    out = np.array(leaf[:size]).reshape(batch + leaf.shape[1:])
    return out if out.ndim else out[()]
