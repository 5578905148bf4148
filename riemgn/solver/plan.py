"""What `solve` decides before it integrates: settings, solver, saved times and events."""

import math
from dataclasses import dataclass
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .._types import Scalar
from .._validation import finest_tolerance, positive, positive_integer, SAVED_TIMES, times_until
from ..flow import AbstractFlow, InitialRates
from ..linalg import BRANCHES, numerical_rank, spectrum
from ..problem import check_problem, Problem
from .exponential_time import explicit_solver, ExponentialTime, solver_name
from .implicit import LowRankChord
from .integrate import Arguments, Limits
from .sharding import device_count

STIFF_HORIZON = 5e3  # explicit methods of order 5 to 8 are stable up to |h lambda| of about 5
SAMPLING_WORK = 2e12  # multiplications for the spectra at saved times: some minutes on one core
FEWEST_SAVED = 17


class Start(eqx.Module):
    """Quantities at the start. For a matrix-free flow the spectrum is empty and the rank is 1."""

    singular_values: Array
    rank: Array
    rates: InitialRates
    loss: Scalar
    infimum: Scalar


@eqx.filter_jit
def evaluate_start(problem: Problem, flow: AbstractFlow) -> Start:
    """Return the `Start` of a flow on a problem."""
    infimum = problem.loss.infimum(problem.y)
    if flow.matrix_free is not None:
        s, rank, point = jnp.zeros(0), jnp.ones((), int), problem.without_jacobian(problem.outputs(problem.w0))
    else:
        point = problem.linearise(problem.w0, formed=False)
        s = spectrum(point.jac)
        rank = numerical_rank(s, (problem.n, problem.p))
    return Start(s, rank, flow.initial_rates(problem, point, s, rank), problem.loss(point.outputs, problem.y), infimum)


def choose_solver(
    flow: AbstractFlow, rate: float, t1: float, slowest: float = 0.0
) -> tuple[diffrax.AbstractSolver, str]:
    """Return the default solver and the reason for it.

    `rate` and `slowest` are the extreme rates of `flow.initial_rates`. A flow that does not invert
    `J` is stiff if `rate * t1` exceeds `STIFF_HORIZON`. If it also forms `J`, it gets Kvaerno5 with
    `LowRankChord`. All others get Dopri8, in exponential time if all modes have one rate.
    """
    time_scales = rate * t1
    estimate = f"fastest rate {rate:.3g} x horizon {t1:.3g} = {time_scales:.3g} time scales"
    if flow.matrix_free is not None and time_scales > STIFF_HORIZON:
        return diffrax.Dopri8(), f"stiff, but matrix-free, and the implicit solver forms J: {estimate}"
    if flow.inverts or time_scales <= STIFF_HORIZON:
        solver = explicit_solver(slowest, rate)
        one_rate = ", one rate for all modes" if isinstance(solver, ExponentialTime) else ""
        return solver, f"not stiff{one_rate}: {estimate}"
    root_finder = diffrax.with_stepsize_controller_tols(LowRankChord)()
    return diffrax.Kvaerno5(root_finder=root_finder), f"stiff: {estimate}, over {STIFF_HORIZON:.0e}"


def saved_times(problem: Problem, flow: AbstractFlow) -> tuple[int, str]:
    """Return the default number of saved times, and the reason for it.

    There are 129 times if all spectra stay below `SAMPLING_WORK`, otherwise fewer, at least 17.
    """
    if flow.matrix_free is not None:
        return SAVED_TIMES, "no spectrum is taken of a matrix-free flow"
    k, m = min(problem.n, problem.p), max(problem.n, problem.p)
    if problem.has_layer_jacobian:  # the kernel is a sum over layers
        m = sum(sum(leaf.shape) for leaf in jax.tree.leaves(problem.params))
    work = 2.0 * k**2 * (m + 10 * k)
    count = int(min(max(SAMPLING_WORK / work, FEWEST_SAVED), SAVED_TIMES))
    return count, f"a spectrum at each takes about {work:.1e} multiplications"


@dataclass(frozen=True)
class Settings:
    """The keyword arguments of `solve` that all members of a batch share, checked."""

    t1: float = 20.0
    rtol: float = 1e-8
    atol: float = 1e-10
    ts: ArrayLike | None = None
    solver: diffrax.AbstractSolver | None = None
    rank_tol: float = 1e-5
    ball_radius: float | None = None
    loss_tol: float | None = None
    max_steps: int = 4096
    step_to_ts: bool = False

    def __post_init__(self):
        for name in ("t1", "rtol", "atol", "rank_tol", "ball_radius", "loss_tol"):
            if (value := getattr(self, name)) is not None or name not in ("ball_radius", "loss_tol"):
                object.__setattr__(self, name, positive(name, value))
        if self.ts is not None:
            object.__setattr__(self, "ts", np.asarray(times_until(self.ts, self.t1)))
        if self.solver is not None and not isinstance(self.solver, diffrax.AbstractSolver):
            raise ValueError(f"`solver` must be a diffrax solver such as diffrax.Tsit5(), got {self.solver!r}.")
        positive_integer("max_steps", self.max_steps)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided about one solve before it starts."""

    settings: Settings
    args: Arguments
    solver: diffrax.AbstractSolver
    ts: np.ndarray
    rtol: float  # as the float type can resolve
    sigma_start: float  # smallest non-zero singular value at the start, NaN for a matrix-free flow
    status_at_start: str | None  # of a solve that is finished before it starts
    stats: dict[str, Any]  # entries of `Trajectory.stats` that are known before the solve

    def numbers(self, tighter: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return saved times, end time and tighter tolerances, as arrays that do not recompile."""
        return self.ts, *(np.asarray(x) for x in (self.settings.t1, self.rtol / tighter, self.settings.atol / tighter))


def make_plan(problem: Problem, flow: AbstractFlow, start: Start, settings: Settings) -> Plan:
    """Return the `Plan` of a solve whose `start` is known."""
    s, rank, loss = np.asarray(start.singular_values), int(start.rank), np.asarray(start.loss)
    solver, ts, reason, reason_saved = settings.solver, settings.ts, "chosen by the caller", "chosen by the caller"
    if solver is None:
        solver, reason = choose_solver(flow, float(start.rates.fastest), settings.t1, float(start.rates.slowest))
    if ts is None:
        count, why = saved_times(problem, flow)
        ts, reason_saved = np.asarray(times_until(None, settings.t1, count)), f"{count} by default: {why}"
    rtol, branch, formed = max(settings.rtol, finest_tolerance()), int(start.rates.branch), flow.matrix_free is None
    raised = f"float32: rtol raised from {settings.rtol:g} to {rtol:g}"
    sigma_start, start_stats = stats_at_start(problem, s, rank, formed)
    limits = _limits(flow, start, sigma_start, settings)
    status = None
    if not (np.isfinite(loss) and np.all(np.isfinite(s))):
        status = "non_finite"
    elif rank == 0 and flow.intrinsic:
        status = "rank_lost"
    elif "loss_tolerance_met" in limits.watched and loss - float(limits.infimum) <= float(limits.loss):
        status = "loss_tolerance_met"
    stats = {
        "solver": solver_name(solver),
        "solver_reason": reason,
        "direction": BRANCHES[branch] if branch >= 0 else "conjugate gradients",
        "saved_times": reason_saved,
        "rtol": rtol,
        "atol": settings.atol,
        **start_stats,
        "accuracy": f"rtol {rtol:g}" if rtol == settings.rtol else raised,
    }
    args = Arguments(problem, flow, np.maximum(np.asarray(start.rank), 1), limits)  # pyright: ignore[reportArgumentType]
    return Plan(settings, args, solver, ts, rtol, sigma_start, status, stats)  # pyright: ignore[reportArgumentType]


def stats_at_start(problem: Problem, s: np.ndarray, rank: int, formed: bool) -> tuple[float, dict[str, Any]]:
    """Return the smallest non-zero singular value at the start, and the statistics of `J` there."""
    sigma = (float(s[rank - 1]) if rank else 0.0) if formed else math.nan
    return sigma, {
        "rank": rank if formed else None,
        "cond": (float(s[0]) / sigma if rank else math.inf) if formed else None,
        "dropped_singular_values": [float(v) for v in s[rank:]] if formed else [],
        "dtype": str(problem.w0.dtype),
        "device": str(jax.devices()[0].platform),
        "devices": device_count(problem),
    }


def _limits(flow: AbstractFlow, start: Start, sigma: float, settings: Settings) -> Limits:
    """Return the events and thresholds. `sigma` is the smallest singular value at the start."""
    radius = math.inf if settings.ball_radius is None else settings.ball_radius
    loss, infimum = 1.0 if settings.loss_tol is None else settings.loss_tol, float(start.infimum)
    margins = {}
    if flow.inverts:
        margins["rank_lost"] = 1 / settings.rank_tol - 1
    if settings.ball_radius is not None:
        margins["ball_left"] = 1.0
    if settings.loss_tol is not None:
        margins["loss_tolerance_met"] = (float(start.loss) - infimum) / loss - 1
    min_step = 8 * float(np.finfo(np.asarray(start.loss).dtype).eps)
    min_step *= min(settings.t1, 1 / max(float(start.rates.fastest), 1 / settings.t1))
    margin = min(margins.values(), default=math.inf)
    numbers = (sigma * settings.rank_tol, radius, loss, infimum, margin, min_step)
    # on the host: a small operation on the device takes as long as a step of a small problem
    return Limits(*(np.asarray(number, dtype=jnp.result_type(float)) for number in numbers), watched=tuple(margins))  # pyright: ignore[reportArgumentType]


def check_types(problem: Any, flow: Any) -> None:
    """Raise `ValueError` for anything but a problem and a flow."""
    check_problem(problem)
    if not isinstance(flow, AbstractFlow):
        raise ValueError(f"`flow` must be a flow such as GaussNewtonFlow(), got {flow!r}.")
