"""solve(problem, flow) -> Trajectory: continuous time, by diffrax. All defaults live here."""

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ._arguments import finest_tolerance, positive, SAVED_TIMES, times_until
from ._types import Scalar
from .exponential_time import explicit_solver, ExponentialTime, solver_name
from .flow import AbstractFlow, Opening
from .integration import Arguments, integrate, Limits, locate
from .linalg import BRANCHES, MatrixFree, numerical_rank, spectrum
from .problem import Problem
from .result import EXPECTED, result_name, RESULTS
from .sharding import device_count
from .stiff import LowRankChord
from .trajectory import sample, SolveError as SolveError, Trajectory

# Explicit methods of order 5 to 8 are stable up to |h lambda| of about 5: a horizon this many time scales long takes them over 1000 steps.
STIFF_HORIZON = 5e3

# Multiplications that the spectra of the saved times may take together where the caller names no times: some minutes of one core.
SAMPLING_WORK = 2e12
FEWEST_SAVED = 17

TIGHTER = 100.0  # by this the tolerances are divided for the solve that `error` is measured against


@eqx.filter_jit
def sample_rows(args: Arguments, saved, w_end, together: bool = False):
    """The saved rows and the end with their quantities, and which rows were reached; the others stand at the start.

    The shape stays that of the saved times, so that a solve cut short compiles nothing anew. `together` is that of `sample`.
    """
    rows = jnp.concatenate([saved, w_end[None]])
    finite = jnp.all(jnp.isfinite(rows), axis=1)
    params = jnp.where(finite[:, None], rows, args.problem.w0)
    return params, finite[:-1], sample(args.problem, params, args.rank, args.flow.matrix_free is None, together)


class Start(eqx.Module):
    """What decides the solve before it starts: singular values, rank, the flow's opening, loss, its infimum.

    Where the flow is matrix-free there are no singular values and the rank is 1.
    """

    singular_values: Array
    rank: Array
    opening: Opening
    loss: Scalar
    infimum: Scalar


@eqx.filter_jit
def start_of(problem: Problem, flow: AbstractFlow) -> Start:
    """The `Start` of a flow on a problem."""
    infimum = problem.loss.infimum(problem.y)
    if flow.matrix_free is not None:
        f = problem.outputs(problem.w0)
        s, rank, point = jnp.zeros(0), jnp.ones((), int), problem.without_jacobian(f)
    else:
        point = problem.linearise(problem.w0, formed=False)
        s = spectrum(point.jac)
        rank = numerical_rank(s, (problem.n, problem.p))
    return Start(s, rank, flow.opening(problem, point, s, rank), problem.loss(point.outputs, problem.y), infimum)


def choose_solver(flow: AbstractFlow, rate: float, t1: float, slowest: float = 0.0) -> tuple[diffrax.AbstractSolver, str]:
    """The default solver and the reason for it.

    `rate` is the flow's own estimate of its fastest rate at the start (`flow.opening`), `max_i phi(s_i^2) * max Hess g` for a gain `phi`. A flow is
    called stiff when that passes through more than `STIFF_HORIZON` time scales before `t1`, since an explicit method is then held by its stability
    limit. Flows that invert `J` are not stiff at any conditioning: all their modes have the rate of the loss. A stiff flow gets Kvaerno5 with the
    stage solves of `LowRankChord`, which form `J`; another one, and one that is matrix-free, gets Dopri8, in exponential time where all modes have
    one rate: `slowest`, the least of the rates at the start, is within a hundredth of the fastest.

    Reference: measured in solvers.md section 1.
    """
    time_scales = rate * t1
    estimate = f"fastest rate {rate:.3g} x horizon {t1:.3g} = {time_scales:.3g} time scales"
    if flow.matrix_free is not None and time_scales > STIFF_HORIZON:
        return diffrax.Dopri8(), f"stiff, but matrix-free, and the implicit solver forms J: {estimate}"
    if flow.inverts or time_scales <= STIFF_HORIZON:
        solver = explicit_solver(slowest, rate)
        return solver, f"not stiff{', one rate for all modes' if isinstance(solver, ExponentialTime) else ''}: {estimate}"
    root_finder = diffrax.with_stepsize_controller_tols(LowRankChord)()
    return diffrax.Kvaerno5(root_finder=root_finder), f"stiff: {estimate}, over {STIFF_HORIZON:.0e}"


def saved_times(problem: Problem, flow: AbstractFlow) -> tuple[int, str]:
    """How many times are saved where the caller names none, and the reason.

    `sigma_min` and `grad_norms` cost one spectrum a time, `2 k^2 (m + 10 k)` multiplications with `k = min(n, p)` and `m = max(n, p)`, or the sum of
    the layers' sizes where the Jacobian is kept by layers. 129 times are saved while all of them stay below `SAMPLING_WORK`, else as many as do, and
    at least 17.
    """
    if flow.matrix_free is not None:
        return SAVED_TIMES, "no spectrum is taken of a matrix-free flow"
    k, m = min(problem.n, problem.p), max(problem.n, problem.p)
    if problem.keeps_layers:
        m = sum(sum(leaf.shape) for leaf in jax.tree.leaves(problem.params))
    work = 2.0 * k**2 * (m + 10 * k)
    count = int(min(max(SAMPLING_WORK / work, FEWEST_SAVED), SAVED_TIMES))
    return count, f"a spectrum at each takes about {work:.1e} multiplications"


@dataclass(frozen=True)
class Settings:
    """The checked arguments of `solve` that say how, the same for all members of a batch; `reason_saved` says who chose the times `ts`."""

    t1: float
    asked_rtol: float
    atol: float
    ts: Array
    reason_saved: str
    solver: diffrax.AbstractSolver | None
    rank_tol: float
    ball_radius: float | None
    loss_tol: float | None
    max_steps: int
    step_to_ts: bool

    @property
    def rtol(self) -> float:
        return max(self.asked_rtol, finest_tolerance())

    def numbers(self, tighter: float) -> tuple[Array, np.ndarray, np.ndarray, np.ndarray]:
        """Saved times, end and both tolerances, over `tighter`: as arrays, since Python floats are compiled in by filter_jit."""
        return self.ts, np.asarray(self.t1), np.asarray(self.rtol / tighter), np.asarray(self.atol / tighter)


def checked_settings(problem, flow, t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts) -> Settings:
    """The `Settings` of a solve; raises `ValueError` for what is wrong, with the problem and the flow too."""
    t1, rtol, atol, rank_tol = positive("t1", t1), positive("rtol", rtol), positive("atol", atol), positive("rank_tol", rank_tol)
    ball_radius = None if ball_radius is None else positive("ball_radius", ball_radius)
    loss_tol = None if loss_tol is None else positive("loss_tol", loss_tol)
    _check_types(problem, flow, solver, max_steps)
    count, reason = saved_times(problem, flow)
    reason = f"{count} by default: {reason}" if ts is None else "chosen by the caller"
    return Settings(t1, rtol, atol, times_until(ts, t1, count), reason, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts)


@dataclass(frozen=True)
class Plan:
    """What was decided about one solve before it starts.

    - `args`: what the right-hand side reads; `solver`: who integrates; `shortest`: the least step.
    - `sigma_start`: the singular value followed, at the start; NaN where the flow is matrix-free.
    - `at_rest`: the result code of a solve that is over before it starts, else None.
    - `stats`: what `Trajectory.stats` says of all that.
    """

    args: Arguments
    solver: diffrax.AbstractSolver
    shortest: np.ndarray
    sigma_start: float
    at_rest: str | None
    stats: dict[str, Any]


def planned(problem: Problem, flow: AbstractFlow, start: Start, settings: Settings) -> Plan:
    """The `Plan` of a solve whose `start` is known; it rests as `"non_finite"` where outputs or Jacobian are not finite at the start."""
    s, rank, loss = np.asarray(start.singular_values), int(start.rank), np.asarray(start.loss)
    t1, fastest, solver, reason = settings.t1, float(start.opening.fastest), settings.solver, "chosen by the caller"
    if solver is None:
        solver, reason = choose_solver(flow, fastest, t1, float(start.opening.slowest))
    shortest = np.asarray(8 * float(np.finfo(loss.dtype).eps) * min(t1, 1 / max(fastest, 1 / t1)))
    formed = flow.matrix_free is None
    sigma_start = (float(s[rank - 1]) if rank else 0.0) if formed else math.nan
    limits = _limits(flow, start, sigma_start, settings)
    at_rest = _rest_reason(flow, limits, float(loss), rank) if np.isfinite(loss) and np.all(np.isfinite(s)) else "non_finite"
    stats = {
        "solver": solver_name(solver),
        "solver_reason": reason,
        "direction": BRANCHES[branch] if (branch := int(start.opening.branch)) >= 0 else "conjugate gradients",
        "saved_times": settings.reason_saved,
        "rtol": settings.rtol,
        "atol": settings.atol,
        "rank": rank if formed else None,
        "cond": (float(s[0]) / sigma_start if rank else math.inf) if formed else None,
        "dropped_singular_values": [float(v) for v in s[rank:]] if formed else [],
        "dtype": str(problem.w0.dtype),
        "device": str(jax.devices()[0].platform),
        "devices": device_count(problem),
        "accuracy": f"rtol {settings.rtol:g}"
        if settings.rtol == settings.asked_rtol
        else f"float32: rtol raised from {settings.asked_rtol:g} to {settings.rtol:g}",
    }
    args = Arguments(problem, flow, np.maximum(np.asarray(start.rank), 1), limits)  # pyright: ignore[reportArgumentType]
    return Plan(args, solver, shortest, sigma_start, at_rest, stats)


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

    `w' = flow.velocity(t, w)`; explicit solvers carry `psi' = J w'` beside `w` and control the step by the error of `psi`, the outputs, so that
    the steps do not depend on the coordinates of the parameters (theory.md C3). Implicit solvers control the parameters, and so do explicit ones
    for a flow that depends on them otherwise than through the outputs (`flow.intrinsic`).

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
    >>> traj = rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), rg.GaussNewton(), t1=5.0)
    >>> rg.result_name(traj.result)
    'successful'

    Reference: Cayci, arXiv:2412.14031v4 (flows); theory.md C14 (singular set).
    """
    start_time = time.perf_counter()
    settings = checked_settings(problem, flow, t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts)
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
    plan: Plan,
    settings: Settings,
    start_time: float,
    tighter: float = 1.0,
    dense: bool = False,
    progress: bool = False,
    together: bool = False,
) -> Trajectory:
    """One solve as planned, with tolerances divided by `tighter`; `together` is that of `sample`."""
    if plan.at_rest is not None:
        return resting(plan, plan.at_rest, start_time)
    max_steps, step_to_ts = settings.max_steps, settings.step_to_ts
    solution = integrate(plan.args, *settings.numbers(tighter), plan.shortest, plan.solver, max_steps, dense, progress, step_to_ts)
    solution = jax.block_until_ready(solution)
    end = ended(plan.args, solution)
    sampled = jax.block_until_ready(sample_rows(plan.args, solution.ys[0], end.y["w"], together))
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
    return End(np.asarray(solution.ts[1])[0], {name: np.asarray(value)[0] for name, value in solution.ys[1].items()}, None)


def trajectory_of(plan: Plan, settings: Settings, tighter: float, solution, end: End, sampled, start_time: float) -> Trajectory:
    """Trim what was not reached, append the end, name the ending; `sampled` is what `sample_rows` says of the saved rows and the end."""
    args, t_end, y_end = plan.args, end.t, end.y
    saved_ts = np.asarray(solution.ts[0])
    finite_end = bool(np.isfinite(t_end) and np.all(np.isfinite(y_end["w"])))
    params, reached, quantities = jax.tree.map(np.asarray, sampled)
    reached = np.isfinite(saved_ts) & ~(saved_ts > t_end) & reached
    last = float(saved_ts[reached][-1]) if reached.any() else -1.0
    keep = np.append(reached, finite_end and float(t_end) > last * (1 + 1e-12))
    ends = plan.sigma_start, float(quantities["sigma_min"][keep][-1])
    code = _name_ending(solution, args, y_end["w"], end.margins, ends, bool(np.isfinite(quantities["losses"][keep][-1])))
    stats = plan.stats | {
        "rtol": settings.rtol / tighter,
        "atol": settings.atol / tighter,
        "num_steps": int(solution.stats["num_steps"]),
        "num_accepted_steps": int(solution.stats["num_accepted_steps"]),
        "num_rejected_steps": int(solution.stats["num_rejected_steps"]),
        "seconds": time.perf_counter() - start_time,
        "event_time": float(t_end) if code != "successful" else None,
        "message": str(RESULTS[getattr(RESULTS, code)]),
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


def _rest_reason(flow: AbstractFlow, limits: Limits, loss: float, rank: int) -> str | None:
    """The result code of a solve that is over before it starts, or None."""
    if rank == 0 and flow.intrinsic:
        return "rank_lost"
    if "loss_tolerance_met" in limits.watched and loss - float(limits.infimum) <= float(limits.loss):
        return "loss_tolerance_met"
    return None


def resting(plan: Plan, code: str, start_time: float) -> Trajectory:
    """The trajectory of a solve that is over before it starts, with its result code."""
    args, w0 = plan.args, np.asarray(plan.args.problem.w0)
    params, _, quantities = sample_rows(args, np.zeros((0, w0.size), w0.dtype), w0)
    result, start = getattr(RESULTS, code), jnp.asarray(np.zeros(1, w0.dtype))
    stats = plan.stats | {"num_steps": 0, "num_accepted_steps": 0, "num_rejected_steps": 0, "event_time": 0.0}
    stats |= {"seconds": time.perf_counter() - start_time, "message": str(RESULTS[result])}
    sampled = (quantities[name] for name in ("outputs", "losses", "grad_norms", "sigma_min"))
    return Trajectory(args.problem, args.flow, start, params, *sampled, error=None, result=result, stats=stats)


def with_error(trajectory: Trajectory, tight: Trajectory) -> Trajectory:
    """Attach the tighter solve and the difference of the outputs; where it did not arrive, or stopped at another time, the error is infinite."""
    by_time = dict(zip(np.asarray(tight.ts).tolist(), np.asarray(tight.outputs), strict=True))
    nowhere = np.full(trajectory.problem.n, np.inf)
    difference = np.stack([by_time.get(t, nowhere) for t in np.asarray(trajectory.ts).tolist()]) - np.asarray(trajectory.outputs)
    error = jnp.asarray(np.nan_to_num(np.linalg.norm(difference, axis=1), nan=np.inf))
    return eqx.tree_at(lambda traj: (traj.error, traj.tight), trajectory, (error, tight), is_leaf=lambda leaf: leaf is None)


def _limits(flow: AbstractFlow, start: Start, sigma: float, settings: Settings) -> Limits:
    """The events watched; `sigma` is the singular value followed, at the start."""
    radius = math.inf if settings.ball_radius is None else settings.ball_radius
    loss = 1.0 if settings.loss_tol is None else settings.loss_tol
    margins = {}
    if flow.inverts:
        margins["rank_lost"] = 1 / settings.rank_tol - 1
    if settings.ball_radius is not None:
        margins["ball_left"] = 1.0
    if settings.loss_tol is not None:
        margins["loss_tolerance_met"] = (float(start.loss) - float(start.infimum)) / loss - 1
    numbers = (sigma * settings.rank_tol, radius, loss, float(start.infimum), min(margins.values(), default=math.inf))
    # on the host: each small operation on the device takes as long as a step of a small problem
    return Limits(*(np.asarray(number, dtype=jnp.result_type(float)) for number in numbers), watched=tuple(margins))  # pyright: ignore[reportArgumentType]


def _check_types(problem, flow, solver, max_steps) -> None:
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")
    if not isinstance(flow, AbstractFlow):
        raise ValueError(f"`flow` must be a flow such as GaussNewton(), got {flow!r}.")
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(f"`solver` must be a diffrax solver such as diffrax.Tsit5(), got {solver!r}.")
    if not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"`max_steps` must be a positive integer, got {max_steps!r}.")
