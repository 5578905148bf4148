"""One problem over several devices: where its arrays lie. The rest is the compiler's work."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..problem import Problem

AXIS = "data"


def shard(problem: Problem, devices: Sequence[Any] | None = None) -> Problem:
    """The same problem with its samples dealt to several devices, in equal blocks of rows, and everything else on each of them.

    `x` and `y` are sharded along the mesh axis `"data"`; parameters, and arrays that the model holds, are replicated. No other code here moves data:
    XLA sees where the arrays lie and gives each device the outputs, the residual and the rows of `J` of its own samples; where a product `J^T u` or a
    loss sums over all of them, it adds the devices' parts. Matrix-free flows and methods never gather what has n entries until they return. Ways that
    factorise `J` give the same results, but each device then holds the whole of it.

    Arguments:

    - `problem`: its model must be row-wise, as networks, the linear model and equinox modules are.
    - `devices`: JAX devices, by default all of `jax.devices()`; one will do.

    Returns: a `Problem`. Sums over samples are taken in another order than on one device, so results agree to rounding.

    Raises: `ValueError` for a model that is not row-wise, no devices or one named twice, a number of samples that the number of devices does not
    divide.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> whole = rg.Problem(rg.LinearModel(), jnp.zeros(2), jnp.eye(4, 2), jnp.ones(4))
    >>> rg.shard(whole, jax.devices()[:1]).y.sharding.shard_shape((4,))
    (4,)

    Reference: Xu et al., GSPMD, arXiv:2105.04663.
    """
    devices = _checked_devices(jax.devices() if devices is None else devices)
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")
    if not problem.model.rowwise:
        raise ValueError(
            f"`shard` deals out samples and needs a model whose outputs of a sample depend on that sample alone; {type(problem.model).__name__} does "
            "not say so: wrap a plain function that does as riemgn.model.FunctionModel(function, rowwise=True)."
        )
    samples = problem.x.shape[0]
    if samples % len(devices):
        raise ValueError(
            f"The number of samples must be a multiple of the number of devices, got {samples} and {len(devices)}: "
            f"leave out {samples % len(devices)} samples or name {_largest_divisor(samples, len(devices))} of the devices."
        )
    mesh = Mesh(np.array(devices), (AXIS,))
    by_rows, everywhere = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())

    rest, static = eqx.partition(eqx.tree_at(lambda whole: (whole.x, whole.y), problem, (None, None)), eqx.is_array)
    rest = eqx.combine(jax.device_put(rest, everywhere), static)
    placed = jax.device_put((problem.x, problem.y), by_rows)
    return eqx.tree_at(lambda whole: (whole.x, whole.y), rest, placed, is_leaf=lambda leaf: leaf is None)


def device_count(problem: Problem) -> int:
    """How many devices hold the samples."""
    return len(jnp.asarray(problem.x).devices())


def _checked_devices(devices: Any) -> list[Any]:
    listed = list(devices) if isinstance(devices, Sequence) else []
    if not listed or not all(isinstance(device, jax.Device) for device in listed) or len(set(listed)) < len(listed):
        raise ValueError(
            f"`devices` must be a list of one or more different JAX devices such as jax.devices(), got {devices!r}."
        )
    return listed


def _largest_divisor(samples: int, most: int) -> int:
    return max(count for count in range(1, most + 1) if samples % count == 0)
