"""planned(problem, flow, start, settings) -> Plan: what is decided before a flow is integrated, and why: solver, saved times, events."""

import math
from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import Scalar
from .._validation import finest_tolerance, positive, SAVED_TIMES, times_until
from ..flow import AbstractFlow, InitialRates
from ..linalg import BRANCHES, numerical_rank, spectrum
from ..problem import Problem
from .exponential_time import explicit_solver, ExponentialTime, solver_name
from .implicit import LowRankChord
from .integrate import Arguments, Limits
from .sharding import device_count

# Explicit methods of order 5 to 8 are stable up to |h lambda| of about 5: a horizon this many time scales long takes them over 1000 steps.
STIFF_HORIZON = 5e3

# Multiplications that the spectra of the saved times may take together where the caller names no times: some minutes of one core.
SAMPLING_WORK = 2e12
FEWEST_SAVED = 17


class Start(eqx.Module):
    """What decides the solve before it starts: singular values, rank, the flow's opening, loss, its infimum.

    Where the flow is matrix-free there are no singular values and the rank is 1.
    """

    singular_values: Array
    rank: Array
    opening: InitialRates
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
    return Start(s, rank, flow.initial_rates(problem, point, s, rank), problem.loss(point.outputs, problem.y), infimum)


def choose_solver(
    flow: AbstractFlow, rate: float, t1: float, slowest: float = 0.0
) -> tuple[diffrax.AbstractSolver, str]:
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
        return (
            solver,
            f"not stiff{', one rate for all modes' if isinstance(solver, ExponentialTime) else ''}: {estimate}",
        )
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


def checked_settings(
    problem, flow, t1, rtol, atol, ts, solver, rank_tol, ball_radius, loss_tol, max_steps, step_to_ts
) -> Settings:
    """The `Settings` of a solve; raises `ValueError` for what is wrong, with the problem and the flow too."""
    t1, rtol, atol, rank_tol = (
        positive("t1", t1),
        positive("rtol", rtol),
        positive("atol", atol),
        positive("rank_tol", rank_tol),
    )
    ball_radius = None if ball_radius is None else positive("ball_radius", ball_radius)
    loss_tol = None if loss_tol is None else positive("loss_tol", loss_tol)
    _check_types(problem, flow, solver, max_steps)
    count, reason = saved_times(problem, flow)
    reason = f"{count} by default: {reason}" if ts is None else "chosen by the caller"
    return Settings(
        t1,
        rtol,
        atol,
        times_until(ts, t1, count),
        reason,
        solver,
        rank_tol,
        ball_radius,
        loss_tol,
        max_steps,
        step_to_ts,
    )


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
    at_rest = (
        _rest_reason(flow, limits, float(loss), rank) if np.isfinite(loss) and np.all(np.isfinite(s)) else "non_finite"
    )
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


def _rest_reason(flow: AbstractFlow, limits: Limits, loss: float, rank: int) -> str | None:
    """The result code of a solve that is over before it starts, or None."""
    if rank == 0 and flow.intrinsic:
        return "rank_lost"
    if "loss_tolerance_met" in limits.watched and loss - float(limits.infimum) <= float(limits.loss):
        return "loss_tolerance_met"
    return None


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
        raise ValueError(f"`flow` must be a flow such as GaussNewtonFlow(), got {flow!r}.")
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(f"`solver` must be a diffrax solver such as diffrax.Tsit5(), got {solver!r}.")
    if not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"`max_steps` must be a positive integer, got {max_steps!r}.")
