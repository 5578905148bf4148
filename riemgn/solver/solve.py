"""solve(problem, flow) -> Trajectory: continuous time, by diffrax. All defaults live here."""

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
from ..result import EXPECTED, result_name, RESULTS
from ..trajectory import sample, SolveError as SolveError, Trajectory
from .integrate import Arguments, integrate, locate
from .plan import checked_settings, Plan, planned, Settings, start_of

TIGHTER = 100.0  # by this the tolerances are divided for the solve that `error` is measured against


@eqx.filter_jit
def sample_rows(args: Arguments, saved, w_end):
    """The saved rows and the end with their quantities, and which rows were reached; the others stand at the start.

    The shape stays that of the saved times, so that a solve cut short compiles nothing anew.
    """
    rows = jnp.concatenate([saved, w_end[None]])
    finite = jnp.all(jnp.isfinite(rows), axis=1)
    params = jnp.where(finite[:, None], rows, args.problem.w0)
    return params, finite[:-1], sample(args.problem, params, args.rank, args.flow.matrix_free is None)


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
    """Integrate a flow from `problem.w0` at time 0 to `t1`.

    `w' = flow.velocity(t, w)`; explicit solvers carry `psi' = J w'` beside `w` and control the step by the error of `psi`, the outputs, and by
    what it adds to the gap between `psi` and `f(w)`, in which a leap over a fold of `M` shows. So the steps do not depend on the coordinates of the
    parameters (theory.md C3). Implicit solvers control the parameters, and so do explicit ones for a flow that depends on them otherwise than through
    the outputs (`flow.intrinsic`).

    The rank of `J` is decided once, at `w0` (singular values above `max(n, p) eps s_max`), and held: a change of rank is an event, never a
    silent cut-off.

    Arguments:

    - `problem`, `flow`: what to integrate.
    - `t1`: end time > 0.
    - `rtol`, `atol`: relative and absolute tolerance of one step, `atol` in units of what controls the step: the outputs or the parameters.
    - `ts`: increasing times in [0, t1] to save at; by default 129 equally spaced ones, fewer where their spectra would take too long (`saved_times`).
    - `solver`: a diffrax solver; by default `choose_solver` takes Dopri8, in exponential time where all modes have one rate, or, for a stiff flow,
        Kvaerno5.
    - `progress`: show a progress bar on stderr.
    - `throw`: raise `SolveError` on numerical trouble. With False the trajectory so far comes back with its result code.
    - `error`: solve again at a hundredth of the tolerances; report the difference of the outputs and keep that solve as `Trajectory.tight`.
    - `dense`: keep the dense output, for `Trajectory.evaluate`. It has room for all `max_steps` steps: about 16 `max_steps` p numbers.
    - `rank_tol`: flows that invert `J` stop with `rank_lost` when `sigma_min` falls below `rank_tol` times its starting value.
    - `ball_radius`: stop with `ball_left` when `|w - w0|` exceeds it.
    - `loss_tol`: stop with `loss_tolerance_met` when `g - inf g` falls below it.
    - `max_steps`: a guard, not a setting.
    - `step_to_ts`: end a step at each of `ts`. Saved values then have the error of the steps; between steps the solver's interpolation may be up to
        a thousand times worse, and so may the dense output of long steps.

    Returns: a `Trajectory`. In float32 (`rg.enable_x64()` not called) tolerances below 1e-5 are raised to it, and `stats["accuracy"]` says so.

    Raises: `ValueError` for wrong arguments; `SolveError` if `throw` and the solve got into trouble.

    >>> import riemgn as rg
    >>> traj = rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewtonFlow(), t1=5.0)
    >>> rg.result_name(traj.result)
    'successful'

    Reference: Cayci, arXiv:2412.14031v4 (flows); theory.md C14 (singular set).
    """
    start_time = time.perf_counter()
    settings = checked_settings(
        problem, flow, t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts
    )
    start = start_of(problem, flow)
    plan = planned(problem, flow, start, settings)
    if plan.at_rest == "non_finite":
        raise ValueError(f"The problem must start from finite outputs and Jacobian, got a loss of {float(start.loss)}.")
    trajectory = followed(plan, settings, start_time, dense=dense, progress=progress)
    if error and plan.at_rest is None:
        trajectory = with_error(trajectory, followed(plan, settings, start_time, TIGHTER, dense, progress))
    if throw and result_name(trajectory.result) not in EXPECTED:
        raise SolveError(trajectory)
    return trajectory


def followed(
    plan: Plan, settings: Settings, start_time: float, tighter: float = 1.0, dense: bool = False, progress: bool = False
) -> Trajectory:
    """One solve as planned, with tolerances divided by `tighter`."""
    if plan.at_rest is not None:
        return resting(plan, plan.at_rest, start_time)
    max_steps, step_to_ts = settings.max_steps, settings.step_to_ts
    solution = integrate(
        plan.args, *settings.numbers(tighter), plan.shortest, plan.solver, max_steps, dense, progress, step_to_ts
    )
    solution = jax.block_until_ready(solution)
    end = ended(plan.args, solution)
    sampled = jax.block_until_ready(sample_rows(plan.args, solution.ys[0], end.y["w"]))
    return trajectory_of(plan, settings, tighter, solution, end, sampled, start_time)


class End(NamedTuple):
    """Where a solve ended: time, state, and the margins of its events where one of them ended it."""

    t: np.ndarray
    y: dict[str, np.ndarray]
    margins: np.ndarray | None


def ended(args: Arguments, solution) -> End:
    """The end of a solve, on the host: each small operation on the device would be compiled, for each shape."""
    if args.limits.watched and bool(solution.event_mask):
        return End(*(jax.tree.map(np.asarray, part) for part in locate(args, solution.stats["last_step"])))
    return End(
        np.asarray(solution.ts[1])[0], {name: np.asarray(value)[0] for name, value in solution.ys[1].items()}, None
    )


def trajectory_of(
    plan: Plan, settings: Settings, tighter: float, solution, end: End, sampled, start_time: float
) -> Trajectory:
    """Trim what was not reached, append the end, name the ending; `sampled` is what `sample_rows` says of the saved rows and the end."""
    args, t_end, y_end = plan.args, end.t, end.y
    saved_ts = np.asarray(solution.ts[0])
    finite_end = bool(np.isfinite(t_end) and np.all(np.isfinite(y_end["w"])))
    params, reached, quantities = jax.tree.map(np.asarray, sampled)
    reached = np.isfinite(saved_ts) & ~(saved_ts > t_end) & reached
    last = float(saved_ts[reached][-1]) if reached.any() else -1.0
    keep = np.append(reached, finite_end and float(t_end) > last * (1 + 1e-12))
    ends = plan.sigma_start, float(quantities["sigma_min"][keep][-1])
    code = _name_ending(
        solution, args, y_end["w"], end.margins, ends, bool(np.isfinite(quantities["losses"][keep][-1]))
    )
    stats = plan.stats | {
        "rtol": settings.rtol / tighter,
        "atol": settings.atol / tighter,
        "num_steps": int(solution.stats["num_steps"]),
        "num_accepted_steps": int(solution.stats["num_accepted_steps"]),
        "num_rejected_steps": int(solution.stats["num_rejected_steps"]),
        "seconds": time.perf_counter() - start_time,
        "event_time": float(t_end) if code != "successful" else None,
    }
    if "psi" in y_end and finite_end:
        stats["drift"] = float(np.max(np.abs(y_end["psi"] - quantities["outputs"][-1])))
    return Trajectory(
        problem=args.problem,
        flow=args.flow,
        ts=jnp.asarray(np.append(settings.ts, t_end)[keep]),
        params=jnp.asarray(params[keep]),
        outputs=jnp.asarray(quantities["outputs"][keep]),
        losses=jnp.asarray(quantities["losses"][keep]),
        grad_norms=jnp.asarray(quantities["grad_norms"][keep]),
        sigma_min=jnp.asarray(quantities["sigma_min"][keep]),
        error=None,
        result=getattr(RESULTS, code),
        stats=stats,
        interpolation=solution.interpolation,
    )


def _name_ending(solution, args: Arguments, w_end, margins, sigmas: tuple[float, float], finite: bool) -> str:
    """The name of the result code; `sigmas` are the singular values followed, at the start and at the end."""
    result, watched = solution.result, args.limits.watched
    if margins is not None:
        return watched[int(np.argmin(margins))]
    if not finite:
        return "non_finite"
    if bool(result == diffrax.RESULTS.successful):
        return "successful"
    if isinstance(args.flow.matrix_free, MatrixFree) and not bool(_moves(args, w_end)):
        return "krylov_limit"
    # at the singular set the speed is unbounded and the step is cut without end: a fall of sigma_min by ten says that it was this
    if "rank_lost" in watched and sigmas[1] < 0.1 * sigmas[0]:
        return "rank_lost"
    if bool(result == diffrax.RESULTS.max_steps_reached):
        return "step_limit"
    return "step_collapsed"


@eqx.filter_jit
def _moves(args: Arguments, w):
    """Whether the velocity of a matrix-free flow is finite: conjugate gradients mark so what did not converge."""
    return jnp.all(jnp.isfinite(args.flow.velocity(jnp.zeros(()), w, args.problem, args.rank)[0]))


def resting(plan: Plan, code: str, start_time: float) -> Trajectory:
    """The trajectory of a solve that is over before it starts, with its result code."""
    args, w0 = plan.args, np.asarray(plan.args.problem.w0)
    params, _, quantities = sample_rows(args, np.zeros((0, w0.size), w0.dtype), w0)
    result, start = getattr(RESULTS, code), jnp.asarray(np.zeros(1, w0.dtype))
    stats = plan.stats | {"num_steps": 0, "num_accepted_steps": 0, "num_rejected_steps": 0, "event_time": 0.0}
    stats |= {"seconds": time.perf_counter() - start_time}
    sampled = (quantities[name] for name in ("outputs", "losses", "grad_norms", "sigma_min"))
    return Trajectory(args.problem, args.flow, start, params, *sampled, error=None, result=result, stats=stats)


def with_error(trajectory: Trajectory, tight: Trajectory) -> Trajectory:
    """Attach the tighter solve and the difference of the outputs; where it did not arrive, or stopped at another time, the error is infinite."""
    by_time = dict(zip(np.asarray(tight.ts).tolist(), np.asarray(tight.outputs), strict=True))
    nowhere = np.full(trajectory.problem.n, np.inf)
    difference = np.stack([by_time.get(t, nowhere) for t in np.asarray(trajectory.ts).tolist()]) - np.asarray(
        trajectory.outputs
    )
    error = jnp.asarray(np.nan_to_num(np.linalg.norm(difference, axis=1), nan=np.inf))
    return eqx.tree_at(
        lambda traj: (traj.error, traj.tight), trajectory, (error, tight), is_leaf=lambda leaf: leaf is None
    )
