"""Distribute the samples of one problem over several devices."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..problem import check_problem, Problem


def shard(problem: Problem, devices: Sequence[Any] | None = None) -> Problem:
    """Distribute the samples over devices in equal blocks, and copy the rest to each of them.

    XLA then computes outputs, residual and rows of `J` where their samples are, and sums products
    `J^T u` and losses over the devices. Matrix-free flows and methods never gather arrays of n
    entries. Solvers that factorise `J` gather it on each device.

    Arguments:

    - `problem`: its model must be row-wise, such as networks, the linear model and equinox modules.
    - `devices`: JAX devices, by default `jax.devices()`.

    Returns: a `Problem`. Results agree with those on one device up to rounding.

    Raises: `ValueError` for a model that is not row-wise, for repeated or missing devices, or if
    their number does not divide the number of samples.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> problem = rg.Problem(rg.LinearModel(), jnp.zeros(2), jnp.eye(4, 2), jnp.ones(4))
    >>> rg.shard(problem, jax.devices()[:1]).y.sharding.shard_shape((4,))
    (4,)

    Reference: Xu et al., GSPMD, arXiv:2105.04663.
    """
    listed = _checked_devices(jax.devices() if devices is None else devices)
    check_problem(problem)
    if not problem.model.rowwise:
        raise ValueError(
            f"`shard` needs a row-wise model, and {type(problem.model).__name__} does not say that it is one: "
            "wrap a row-wise function as riemgn.FunctionModel(function, rowwise=True)."
        )
    samples, count = problem.x.shape[0], len(listed)
    if samples % count:
        divisor = max(k for k in range(1, count + 1) if samples % k == 0)
        raise ValueError(
            f"The number of samples must be a multiple of the number of devices, got {samples} and {count}: "
            f"leave out {samples % count} samples or pass {divisor} of the devices."
        )
    mesh = Mesh(np.array(listed), ("data",))
    by_rows, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

    rest, static = eqx.partition(eqx.tree_at(lambda tree: (tree.x, tree.y), problem, (None, None)), eqx.is_array)
    rest = eqx.combine(jax.device_put(rest, everywhere), static)
    data = jax.device_put((problem.x, problem.y), by_rows)
    return eqx.tree_at(lambda tree: (tree.x, tree.y), rest, data, is_leaf=lambda leaf: leaf is None)


def device_count(problem: Problem) -> int:
    """Return the number of devices that hold the samples."""
    return len(jnp.asarray(problem.x).devices())


def _checked_devices(devices: Any) -> list[Any]:
    listed = list(devices) if isinstance(devices, Sequence) else []
    if not listed or not all(isinstance(device, jax.Device) for device in listed) or len(set(listed)) < len(listed):
        raise ValueError(
            f"`devices` must be a list of one or more different JAX devices such as jax.devices(), got {devices!r}."
        )
    return listed
