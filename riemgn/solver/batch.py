"""solve_batch(problems, flows) -> [Trajectory, ...]: problems of one structure, solved by programs that are compiled once."""

import functools
import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..flow import AbstractFlow
from ..problem import Problem
from ..result import EXPECTED, result_name
from ..trajectory import SolveError, Trajectory
from .integrate import Arguments, integrate
from .plan import checked_settings, Plan, planned, Settings, Start, start_of
from .solve import ended, followed, sample_rows, TIGHTER, trajectory_of, with_error

# Members that one call of a stacked program takes.
WIDTH = 64

# Steps after which a stacked member is solved by itself, from the start, so that the others do not take thousands of steps for nothing.
PATIENCE = 256


def batch_key(problem: Problem, flow: AbstractFlow) -> Hashable:
    """What two solves must have in common to be stacked: the PyTree structure with its static fields, shapes and types of the arrays, other leaves.

    A `problem` and the `flow` on it have one key. Problems of different weights, data, output scale and damping have equal keys; a model given as
    a function counts as that very function.

    >>> import riemgn as rg
    >>> flow = rg.LevenbergMarquardtFlow
    >>> rg.batch_key(rg.task.circle(2.0), flow(0.1)) == rg.batch_key(rg.task.circle(3.0), flow(0.2))
    True
    """
    return _structure((problem, flow))


def solve_batch(
    problems: Sequence[Problem],
    flows: AbstractFlow | Sequence[AbstractFlow],
    t1: float = 20.0,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    ts: ArrayLike | None = None,
    solver: diffrax.AbstractSolver | None = None,
    throw: bool = False,
    error: bool = False,
    rank_tol: float = 1e-5,
    ball_radius: float | None = None,
    loss_tol: float | None = None,
    max_steps: int = 4096,
    step_to_ts: bool = False,
    threads: int | None = None,
    stacked: bool | None = None,
) -> list[Trajectory]:
    """`solve` of each problem with its flow, compiled once for all of them.

    Every trajectory is that of `solve` on that problem alone, to rounding: own steps, times, events, result code, statistics. The solver is chosen
    for each as `solve` does. What goes on in one, divergence or values that are not finite, reaches no other.

    On a CPU the members run by the programs of `solve`, one beside the other in threads. On an accelerator they are stacked under `vmap`; all wait
    for the slowest, but one that takes more than `PATIENCE` steps is taken out and solved by itself.

    Arguments as in `solve`, and

    - `problems`: at least one, all with the same `batch_key`.
    - `flows`: one flow for all, or one for each.
    - `throw`: raise `SolveError` of the first member in numerical trouble; by default each comes back with its result code, also one that is not
        finite at the start.
    - `threads`: members solved at the same time, by default as many as there are cores. One where other processes take the other cores.
    - `stacked`: whether to stack; None (default) where there is an accelerator. On a CPU stacking saves about a sixth of the integration, and jaxlib
        0.10 can wait forever in the batched factorisations of a program that runs on more than one core.

    Returns: the trajectories in the order of the problems; their `stats["seconds"]` are those of the batch until that member was done.

    Raises: `ValueError` for wrong arguments, problems that cannot be solved by one program among them; `SolveError` if `throw`.

    >>> import riemgn as rg
    >>> trajs = rg.solve_batch([rg.task.circle(angle=a) for a in (0.5, 1.0)], rg.GaussNewtonFlow(), t1=1.0)
    >>> [rg.result_name(traj.result) for traj in trajs]
    ['successful', 'successful']
    """
    start_time = time.perf_counter()
    pairs = _checked_pairs(problems, flows)
    settings = checked_settings(
        *pairs[0], t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts
    )
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"`threads` must be a positive integer, got {threads!r}.")
    stacked = jax.default_backend() != "cpu" if stacked is None else stacked
    with ThreadPoolExecutor(threads or _cores()) as pool:
        starts = _by_calls(_starts, pairs) if stacked else _at_once(pool, lambda pair: start_of(*pair), pairs)
        plans = [planned(problem, flow, start, settings) for (problem, flow), start in zip(pairs, starts, strict=True)]
        follow = _stacked if stacked else _side_by_side
        trajectories = follow(pool, plans, settings, start_time, 1.0)
        if error:
            moving = [i for i, plan in enumerate(plans) if plan.at_rest is None]
            for i, tight in zip(
                moving, follow(pool, [plans[i] for i in moving], settings, start_time, TIGHTER), strict=True
            ):
                trajectories[i] = with_error(trajectories[i], tight)
    for trajectory in trajectories:
        if throw and result_name(trajectory.result) not in EXPECTED:
            raise SolveError(trajectory)
    return trajectories


def _side_by_side(
    pool: ThreadPoolExecutor, plans: list[Plan], settings: Settings, start_time: float, tighter: float
) -> list[Trajectory]:
    """Each plan by the programs of `solve`, as many at a time as there are threads."""

    def follow(i: int) -> Trajectory:
        return followed(plans[i], settings, start_time, tighter)

    found: dict[int, Trajectory] = {}
    for members in _groups(plans):
        found |= zip(members, _at_once(pool, follow, members), strict=True)
    return [found[i] for i in range(len(plans))]


def _stacked(
    pool: ThreadPoolExecutor, plans: list[Plan], settings: Settings, start_time: float, tighter: float
) -> list[Trajectory]:
    """The plans of one solver stacked; those that rest, and those that outlast the others' patience, by the programs of `solve`."""
    found: dict[int, Trajectory | None] = {}
    together = functools.partial(_trajectories, settings=settings, start_time=start_time, tighter=tighter)
    for members in _groups(plans):
        if plans[members[0]].at_rest is None:
            found |= zip(members, _by_calls(together, [plans[i] for i in members]), strict=True)
    alone = [i for i in range(len(plans)) if found.get(i) is None]
    found |= zip(alone, _side_by_side(pool, [plans[i] for i in alone], settings, start_time, tighter), strict=True)
    return [found[i] for i in range(len(plans))]  # pyright: ignore[reportReturnType]


def _groups(plans: list[Plan]) -> list[list[int]]:
    """The places of the plans that one program serves: those that rest, those of each solver."""
    groups: dict[Hashable, list[int]] = {}
    for i, plan in enumerate(plans):
        groups.setdefault(plan.at_rest or _structure(plan.solver), []).append(i)
    return list(groups.values())


def _at_once(pool: ThreadPoolExecutor, function: Callable, items: Sequence) -> list:
    """`function` of the items in the pool's threads, after that of the first one: two threads that meet a program would both compile it."""
    return [function(items[0]), *pool.map(function, items[1:])]


def _by_calls(function: Callable[[list], list], items: list) -> list:
    """`function` of the items, `WIDTH` or a smaller power of two a call, filled up with copies: few sizes are ever compiled."""
    width = min(WIDTH, 1 << (len(items) - 1).bit_length())
    calls = [items[i : i + width] for i in range(0, len(items), width)]
    return [result for call in calls for result in function([*call, *call[:1] * (width - len(call))])[: len(call)]]


@eqx.filter_jit
def _starts_program(stacked) -> Start:
    return eqx.filter_vmap(start_of)(*stacked)


def _starts(pairs: list[tuple[Problem, AbstractFlow]]) -> list[Start]:
    return _unstack(_starts_program(_stack(pairs)), len(pairs))


@eqx.filter_jit
def _integrate_program(
    args: Arguments, solver, shortest, numbers: tuple[Any, Any, Any, Any], max_steps: int, step_to_ts: bool
):
    def one(args, solver, shortest):
        return integrate(args, *numbers, shortest, solver, max_steps, False, False, step_to_ts)

    return eqx.filter_vmap(one)(args, solver, shortest)


@eqx.filter_jit
def _sample_program(args: Arguments, saved, ends):
    return eqx.filter_vmap(sample_rows)(args, saved, ends)


def _trajectories(plans: list[Plan], settings: Settings, start_time: float, tighter: float) -> list[Trajectory | None]:
    """One call: the trajectories, None for a member whose patience ran out."""
    args, solvers, shortest = (
        _stack([getattr(plan, name) for plan in plans]) for name in ("args", "solver", "shortest")
    )
    steps = min(settings.max_steps, PATIENCE)
    solutions = _integrate_program(args, solvers, shortest, settings.numbers(tighter), steps, settings.step_to_ts)
    each = _unstack(solutions, len(plans))
    ends = [ended(plan.args, solution) for plan, solution in zip(plans, each, strict=True)]
    sampled = _sample_program(args, solutions.ys[0], np.stack([end.y["w"] for end in ends]))
    trajectories = []
    for plan, solution, end, rows in zip(plans, each, ends, _unstack(sampled, len(plans)), strict=True):
        unfinished = steps < settings.max_steps and bool(solution.result == diffrax.RESULTS.max_steps_reached)
        trajectories.append(
            None if unfinished else trajectory_of(plan, settings, tighter, solution, end, rows, start_time)
        )
    return trajectories


def _stack(trees: Sequence[Any]) -> Any:
    """One PyTree with the arrays of all, stacked on the host."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)) if eqx.is_array(leaves[0]) else leaves[0], *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    """The members of a stacked PyTree, on the host."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    arrays = jax.tree.map(np.asarray, arrays)
    return [eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), rest) for i in range(count)]


def _structure(tree: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf for leaf in leaves)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1


def _checked_pairs(
    problems: Sequence[Problem], flows: AbstractFlow | Sequence[AbstractFlow]
) -> list[tuple[Problem, AbstractFlow]]:
    flows = [flows] * len(problems) if isinstance(flows, AbstractFlow) else list(flows)
    if not len(problems) == len(flows) > 0:
        raise ValueError(
            f"`flows` must be one flow or one for each of at least one problem, got {len(flows)} for {len(problems)} problems."
        )
    keys = [batch_key(problem, flow) for problem, flow in zip(problems, flows, strict=True)]
    for i, key in enumerate(keys):
        if key != keys[0]:
            raise ValueError(f"Problems solved together must have equal `batch_key`s, got another one for problem {i}.")
    return list(zip(problems, flows, strict=True))
