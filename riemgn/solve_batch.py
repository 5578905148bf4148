"""Many solves of equal structure."""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .flow import AbstractFlow
from .problem import Problem
from .solve import solve
from .trajectory import Trajectory


def batch_key(problem: Problem, flow: AbstractFlow) -> Hashable:
    """What two cells must share to be solved in one program: structure, shapes and types."""
    leaves, structure = jax.tree.flatten((problem, flow))
    return str(structure), tuple((jnp.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves)


def solve_batch(problems: Sequence[Problem], flows: Sequence[AbstractFlow], **options: Any) -> list[Trajectory]:
    """The trajectories of the problems, one after the other; arguments as in `solve`."""
    return [solve(problem, flow, throw=False, **options) for problem, flow in zip(problems, flows, strict=True)]
