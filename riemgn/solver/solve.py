"""solve(problem, flow) -> Trajectory: integrate a flow in continuous time by diffrax."""

import dataclasses
import time
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..flow import AbstractFlow
from ..linalg import MatrixFree
from ..problem import Problem
from ..result import RESULTS
from ..trajectory import raise_unless_expected, sample, Trajectory
from .integrate import Arguments, integrate, locate
from .plan import check_types, evaluate_start, make_plan, Plan, Settings

TIGHTER = 100.0  # `error` compares with a solve at tolerances divided by this number


def solve(
    problem: Problem,
    flow: AbstractFlow,
    t1: float = 20.0,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    ts: ArrayLike | None = None,
    solver: diffrax.AbstractSolver | None = None,
    progress: bool = False,
    throw: bool = True,
    error: bool = False,
    dense: bool = False,
    rank_tol: float = 1e-5,
    ball_radius: float | None = None,
    loss_tol: float | None = None,
    max_steps: int = 4096,
    step_to_ts: bool = False,
) -> Trajectory:
    """Integrate a flow `w' = F(t, w)` from `problem.w0` at time 0 to `t1`.

    Explicit solvers also carry the outputs and control their error, so the steps do not depend on
    the coordinates of the parameters. Implicit solvers, and flows that are not `intrinsic`, control
    the error of the parameters. The rank of `J` at `w0` is held fixed: its loss ends the solve.

    Arguments:

    - `problem`, `flow`, `t1`: what to integrate, and the end time > 0 (default 20).
    - `rtol`, `atol`: tolerances of one step, relative to and in units of the outputs (or of the
      parameters, see above). In float32 an `rtol` below 1e-5 is raised to it.
    - `ts`: increasing times in [0, t1] to save at, by default 129 equally spaced ones (fewer if
      their spectra would take too long).
    - `solver`: a diffrax solver. By default Dopri8, or Kvaerno5 if the flow is stiff.
    - `progress`: show a progress bar on stderr.
    - `throw`: raise `SolveError` on numerical trouble (default). With False you get the trajectory
      so far, and `status` says what happened.
    - `error`: solve again at a hundredth of the tolerances. `Trajectory.error` is then the distance
      of the outputs and `Trajectory.tight` that solve.
    - `dense`: keep the dense output for `Trajectory.evaluate`, about 16 `max_steps` p numbers.
    - `rank_tol`: flows that invert `J` stop with `rank_lost` if its smallest singular value falls
      below `rank_tol` times the value at the start.
    - `ball_radius`: stop with `ball_left` if `|w - w0|` exceeds it, in units of the parameters.
    - `loss_tol`: stop with `loss_tolerance_met` if `g - inf g` falls below it, in loss units.
    - `max_steps`: maximum number of steps. If it is reached, the solve stops with `step_limit`.
    - `step_to_ts`: end a step at each of `ts`. Otherwise saved values are interpolated, and their
      error may be a thousand times that of the steps.

    Raises: `ValueError` for wrong arguments, `SolveError` if `throw` and the solve failed.

    >>> import riemgn as rg
    >>> rg.solve(rg.task.circle(radius=2.0, target=1.0), rg.GaussNewtonFlow(), t1=5.0).status
    'successful'

    Reference: Cayci, arXiv:2412.14031v4, and Statements C3 (coordinates) and C14 (singular set).
    """
    start_time = time.perf_counter()
    settings = Settings(t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts)
    check_types(problem, flow)
    start = evaluate_start(problem, flow)
    plan = make_plan(problem, flow, start, settings)
    if plan.status_at_start == "non_finite":
        raise ValueError(f"The problem must start from finite outputs and Jacobian, got a loss of {float(start.loss)}.")
    trajectory = run_plan(plan, start_time, dense=dense, progress=progress)
    if error and plan.status_at_start is None:
        trajectory = with_error(trajectory, run_plan(plan, start_time, TIGHTER, dense, progress))
    return raise_unless_expected(trajectory, throw)


def run_plan(
    plan: Plan, start_time: float, tighter: float = 1.0, dense: bool = False, progress: bool = False
) -> Trajectory:
    """Return the trajectory of a planned solve, at tolerances divided by `tighter`."""
    if plan.status_at_start is not None:
        return finished_at_start(plan, plan.status_at_start, start_time)
    steps, step_to_ts = plan.settings.max_steps, plan.settings.step_to_ts
    solution = integrate(plan.args, plan.solver, plan.numbers(tighter), steps, step_to_ts, dense, progress)
    solution = jax.block_until_ready(solution)
    end = final_state(plan.args, solution)
    sampled = jax.block_until_ready(sample_rows(plan.args, solution.ys[0], end.y["w"]))
    return trajectory_of(plan, tighter, solution, end, sampled, start_time)


@eqx.filter_jit
def sample_rows(args: Arguments, saved, w_end):
    """Return saved rows and end, which saved rows are finite, and the quantities at all rows."""
    rows = jnp.concatenate([saved, w_end[None]])
    finite = jnp.all(jnp.isfinite(rows), axis=1)
    # rows that were not reached become the start, so that shapes do not change
    params = jnp.where(finite[:, None], rows, args.problem.w0)
    return params, finite[:-1], sample(args.problem, params, args.rank, args.flow.matrix_free is None)


class FinalState(NamedTuple):
    """Time and state at the end of a solve, and the margins of its events if one ended it."""

    t: np.ndarray
    y: dict[str, np.ndarray]
    margins: np.ndarray | None


def final_state(args: Arguments, solution) -> FinalState:
    """Return the end of a solve, on the host."""
    if args.limits.watched and bool(solution.event_mask):
        return FinalState(*jax.tree.map(np.asarray, locate(args, solution.stats["last_step"])))
    y = {name: np.asarray(value)[0] for name, value in solution.ys[1].items()}
    return FinalState(np.asarray(solution.ts[1])[0], y, None)


def trajectory_of(plan: Plan, tighter: float, solution, end: FinalState, sampled, start_time: float) -> Trajectory:
    """Build the trajectory from `sample_rows`, without the rows that were not reached."""
    args, t_end, y_end = plan.args, end.t, end.y
    saved_ts = np.asarray(solution.ts[0])
    finite_end = bool(np.isfinite(t_end) and np.all(np.isfinite(y_end["w"])))
    params, reached, quantities = jax.tree.map(np.asarray, sampled)
    reached = np.isfinite(saved_ts) & ~(saved_ts > t_end) & reached
    last = float(saved_ts[reached][-1]) if reached.any() else -1.0
    keep = np.append(reached, finite_end and float(t_end) > last * (1 + 1e-12))
    sigmas = plan.sigma_start, float(quantities["sigma_min"][keep][-1])
    status = _status(solution, args, end, sigmas, bool(np.isfinite(quantities["losses"][keep][-1])))
    stats = plan.stats | {
        "rtol": plan.rtol / tighter,
        "atol": plan.settings.atol / tighter,
        **{f"num_{kind}steps": int(solution.stats[f"num_{kind}steps"]) for kind in ("", "accepted_", "rejected_")},
        "seconds": time.perf_counter() - start_time,
        "event_time": float(t_end) if status != "successful" else None,
    }
    if "psi" in y_end and finite_end:
        stats["drift"] = float(np.max(np.abs(y_end["psi"] - quantities["outputs"][-1])))
    rows = {"ts": np.append(plan.ts, t_end), "params": params, **quantities}
    rows = {name: jnp.asarray(values[keep]) for name, values in rows.items()}
    result, dense = getattr(RESULTS, status), solution.interpolation
    return Trajectory(args.problem, args.flow, **rows, error=None, result=result, stats=stats, interpolation=dense)


def _status(solution, args: Arguments, end: FinalState, sigmas: tuple[float, float], finite: bool) -> str:
    """Return the status. `sigmas` is the smallest singular value at the start and at the end."""
    watched = args.limits.watched
    if end.margins is not None:
        return watched[int(np.argmin(end.margins))]
    if not finite:
        return "non_finite"
    if bool(solution.result == diffrax.RESULTS.successful):
        return "successful"
    if isinstance(args.flow.matrix_free, MatrixFree) and not bool(_velocity_is_finite(args, end.y["w"])):
        return "krylov_limit"
    # the speed is unbounded at the singular set: there the step collapses and sigma_min has fallen
    if "rank_lost" in watched and sigmas[1] < 0.1 * sigmas[0]:
        return "rank_lost"
    if bool(solution.result == diffrax.RESULTS.max_steps_reached):
        return "step_limit"
    return "step_collapsed"


@eqx.filter_jit
def _velocity_is_finite(args: Arguments, w):
    """Return False if the conjugate gradients of a matrix-free flow did not converge."""
    return jnp.all(jnp.isfinite(args.flow.velocity(jnp.zeros(()), w, args.problem, args.rank)[0]))


def finished_at_start(plan: Plan, status: str, start_time: float) -> Trajectory:
    """Return the trajectory of a solve that is finished before it starts."""
    args, w0 = plan.args, np.asarray(plan.args.problem.w0)
    params, _, quantities = sample_rows(args, np.zeros((0, w0.size), w0.dtype), w0)
    result, ts = getattr(RESULTS, status), jnp.asarray(np.zeros(1, w0.dtype))
    stats = plan.stats | {"num_steps": 0, "num_accepted_steps": 0, "num_rejected_steps": 0, "event_time": 0.0}
    stats["seconds"] = time.perf_counter() - start_time
    return Trajectory(args.problem, args.flow, ts, params, **quantities, error=None, result=result, stats=stats)


def with_error(trajectory: Trajectory, tight: Trajectory) -> Trajectory:
    """Attach the tighter solve and the distance to it, infinite at times that it did not reach."""
    by_time = dict(zip(np.asarray(tight.ts).tolist(), np.asarray(tight.outputs), strict=True))
    missing = np.full(trajectory.problem.n, np.inf)
    outputs = np.stack([by_time.get(t, missing) for t in np.asarray(trajectory.ts).tolist()])
    distance = np.linalg.norm(outputs - np.asarray(trajectory.outputs), axis=1)
    return dataclasses.replace(trajectory, error=jnp.asarray(np.nan_to_num(distance, nan=np.inf)), tight=tight)
