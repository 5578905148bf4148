"""solve_batch(problems, flows) -> [Trajectory, ...]: solve problems of one structure together."""

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

from .._validation import positive_integer
from ..flow import AbstractFlow
from ..problem import Problem
from ..result import EXPECTED
from ..trajectory import SolveError, Trajectory
from .integrate import integrate
from .plan import check_types, evaluate_start, make_plan, Plan, Settings, Start
from .solve import final_state, run_plan, sample_rows, TIGHTER, trajectory_of, with_error

STACK_SIZE = 64  # members per call of a stacked program
MAX_STACKED_STEPS = 256  # a stacked member that needs more is solved again by itself


class BatchError(SolveError):
    """Some members of a batch failed. `trajectories` holds all members in order."""

    def __init__(self, trajectories: list[Trajectory], failed: list[int]):
        super().__init__(trajectories[failed[0]])
        self.trajectories, self.failed = trajectories, failed

    def __str__(self) -> str:
        return (
            f"{len(self.failed)} of {len(self.trajectories)} solves failed, first member {self.failed[0]}: "
            f"{self.trajectory.message} See `error.trajectories`, or pass throw=False to get them."
        )


def batch_key(problem: Problem, flow: AbstractFlow) -> Hashable:
    """Return what two solves of `problem` and `flow` must share to use one compiled program.

    This is the PyTree structure with its static fields (such as a model function), and the shapes
    and types of arrays. Other weights, data, output scale or damping give an equal key.

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
    throw: bool = True,
    error: bool = False,
    threads: int | None = None,
    stacked: bool | None = None,
    **options: Any,
) -> list[Trajectory]:
    """Solve each problem with its flow, by programs that are compiled once for all of them.

    Each trajectory is, up to rounding, that of `solve` on the problem alone. A member that fails
    does not affect the others. On a CPU the members run in threads. On an accelerator they are
    stacked under `vmap`, and a member that needs more than 256 steps is solved by itself.

    Arguments:

    - `problems`, `flows`: problems with the same `batch_key`, and one flow for all or for each.
    - `t1`, `error`, `**options`: as in `solve`, but not `dense` and `progress`.
    - `throw`: raise `SolveError` if a member failed, after all are finished (default). Its
      `trajectories` holds all members. With False you get them all, each with its `status`.
    - `threads`: number of members solved at a time, by default the number of cores.
    - `stacked`: whether to stack. By default only on an accelerator: on a CPU batched
      factorisations of jaxlib 0.10 may deadlock.

    Returns: the trajectories in the order of the problems.

    Raises: `ValueError` for wrong arguments, such as problems of different structure.

    >>> import riemgn as rg
    >>> circles = [rg.task.circle(angle=a) for a in (0.5, 1.0)]
    >>> trajs = rg.solve_batch(circles, rg.GaussNewtonFlow(), t1=1.0)
    >>> [traj.status for traj in trajs]
    ['successful', 'successful']
    """
    start_time = time.perf_counter()
    pairs = _checked_pairs(problems, flows)
    settings = Settings(t1, **options)
    check_types(*pairs[0])
    if threads is not None:
        positive_integer("threads", threads)
    stacked = jax.default_backend() != "cpu" if stacked is None else stacked
    cores = len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count()
    with ThreadPoolExecutor(threads or cores) as pool:
        starts = _in_chunks(_starts, pairs) if stacked else _in_threads(pool, lambda pair: evaluate_start(*pair), pairs)
        plans = [make_plan(*pair, start, settings) for pair, start in zip(pairs, starts, strict=True)]
        run = _run_stacked if stacked else _run_in_threads
        trajectories = run(pool, plans, start_time, 1.0)
        if error:
            moving = [i for i, plan in enumerate(plans) if plan.status_at_start is None]
            for i, tight in zip(moving, run(pool, [plans[i] for i in moving], start_time, TIGHTER), strict=True):
                trajectories[i] = with_error(trajectories[i], tight)
    failed = [i for i, trajectory in enumerate(trajectories) if trajectory.status not in EXPECTED]
    if throw and failed:
        raise BatchError(trajectories, failed)
    return trajectories


def _run_in_threads(pool: ThreadPoolExecutor, plans: list[Plan], start_time: float, tighter: float) -> list[Trajectory]:
    results: dict[int, Trajectory] = {}
    for members in _groups(plans):
        runs = _in_threads(pool, lambda i: run_plan(plans[i], start_time, tighter), members)
        results |= zip(members, runs, strict=True)
    return [results[i] for i in range(len(plans))]


def _run_stacked(pool: ThreadPoolExecutor, plans: list[Plan], start_time: float, tighter: float) -> list[Trajectory]:
    """Stack the plans of each solver, and run finished and slow members as `solve` does."""
    results: dict[int, Trajectory | None] = {}
    run = functools.partial(_run_chunk, start_time=start_time, tighter=tighter)
    for members in _groups(plans):
        if plans[members[0]].status_at_start is None:
            results |= zip(members, _in_chunks(run, [plans[i] for i in members]), strict=True)
    alone = [i for i in range(len(plans)) if results.get(i) is None]
    results |= zip(alone, _run_in_threads(pool, [plans[i] for i in alone], start_time, tighter), strict=True)
    return [results[i] for i in range(len(plans))]  # pyright: ignore[reportReturnType]


def _groups(plans: list[Plan]) -> list[list[int]]:
    """Return the indices of the plans that share a program: one group for each solver."""
    groups: dict[Hashable, list[int]] = {}
    for i, plan in enumerate(plans):
        groups.setdefault(plan.status_at_start or _structure(plan.solver), []).append(i)
    return list(groups.values())


def _in_threads(pool: ThreadPoolExecutor, function: Callable, items: Sequence) -> list:
    """Map `function` over the items. The first one runs alone, so that only one thread compiles."""
    return [function(items[0]), *pool.map(function, items[1:])]


def _in_chunks(function: Callable[[list], list], items: list) -> list:
    """Map `function` over chunks whose size is a power of two, the last one filled with copies."""
    size = min(STACK_SIZE, 1 << (len(items) - 1).bit_length())
    chunks = [items[i : i + size] for i in range(0, len(items), size)]
    return [result for part in chunks for result in function([*part, *part[:1] * (size - len(part))])[: len(part)]]


_starts_program = eqx.filter_jit(eqx.filter_vmap(evaluate_start))
_sample_program = eqx.filter_jit(eqx.filter_vmap(sample_rows))
_integrate_program = eqx.filter_jit(eqx.filter_vmap(integrate, in_axes=(*[eqx.if_array(0)] * 2, *[None] * 5)))


def _starts(pairs: list[tuple[Problem, AbstractFlow]]) -> list[Start]:
    return _unstack(_starts_program(*_stack(pairs)), len(pairs))


def _run_chunk(plans: list[Plan], start_time: float, tighter: float) -> list[Trajectory | None]:
    """Return the trajectories of one stacked call, None for members that need more steps."""
    settings, args = plans[0].settings, _stack([plan.args for plan in plans])
    steps = min(settings.max_steps, MAX_STACKED_STEPS)
    solver, numbers = _stack([plan.solver for plan in plans]), plans[0].numbers(tighter)
    solutions = _integrate_program(args, solver, numbers, steps, settings.step_to_ts, False, False)
    each = _unstack(solutions, len(plans))
    ends = [final_state(plan.args, solution) for plan, solution in zip(plans, each, strict=True)]
    sampled = _sample_program(args, solutions.ys[0], np.stack([end.y["w"] for end in ends]))
    trajectories = []
    for plan, solution, end, rows in zip(plans, each, ends, _unstack(sampled, len(plans)), strict=True):
        unfinished = steps < settings.max_steps and bool(solution.result == diffrax.RESULTS.max_steps_reached)
        trajectories.append(None if unfinished else trajectory_of(plan, tighter, solution, end, rows, start_time))
    return trajectories


def _stack(trees: Sequence[Any]) -> Any:
    """Stack the arrays of several PyTrees, on the host."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)) if eqx.is_array(leaves[0]) else leaves[0], *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    """Return the members of a stacked PyTree, on the host."""
    arrays, rest = eqx.partition(tree, eqx.is_array)
    arrays = jax.tree.map(np.asarray, arrays)
    return [eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), rest) for i in range(count)]


def _structure(tree: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf for leaf in leaves)


def _checked_pairs(problems: Sequence[Problem], flows: AbstractFlow | Sequence[AbstractFlow]) -> list[tuple]:
    flows = [flows] * len(problems) if isinstance(flows, AbstractFlow) else list(flows)
    if not len(problems) == len(flows) > 0:
        raise ValueError(
            "`flows` must be one flow or one for each of at least one problem, "
            f"got {len(flows)} for {len(problems)} problems."
        )
    pairs = list(zip(problems, flows, strict=True))
    keys = [batch_key(*pair) for pair in pairs]
    if others := [i for i, key in enumerate(keys) if key != keys[0]]:
        raise ValueError(
            f"Problems solved together must have equal `batch_key`s, got another one for problem {others[0]}."
        )
    return pairs
