"""Over-parameterised flows with damping: rates, schedules and the length of the path."""

import math

import numpy as np

from ..flow import (
    AbstractSpectralFlow,
    ExponentialDamping,
    GaussNewtonFlow,
    GradientFlow,
    InterpolatedFlow,
    LevenbergMarquardtFlow,
    SpectralDamping,
)
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .hypotheses import (
    all_satisfy,
    by_inspection,
    flow_has_gain,
    flow_is,
    full_row_rank,
    ON_PATH,
    rank_kept,
    reached_end,
    squared_loss,
)

FLOOR = 1e-9  # share of its start below which a decaying norm is the integrator's error, at rtol 1e-8


def damped_rate(traj: Trajectory) -> Findings:
    """Check `g - inf g <= (g_0 - inf g) exp(-2 nu int theta ds)`, `theta = phi(lambda_min(K))`.

    It holds for any damping schedule.

    Reference: Statement C7.
    """
    ts, gap, nu = np.asarray(traj.ts), path_quantities.gaps(traj), path_quantities.polyak_quotient(traj)
    exponent = np.zeros_like(ts)
    if flow_has_gain(traj).margin >= 0:
        gains = path_quantities.at_saved_times(traj, path_quantities.smallest_gain)
        exponent = 2 * nu * path_quantities.cumulative(ts, gains)
    used = (gap > FLOOR**2 * gap[0]) & (exponent > 1e-3)
    ratio = float(np.min(np.log(gap[0] / gap[used]) / exponent[used])) if used.any() else math.nan
    hypotheses = _hypotheses(traj, nu, LevenbergMarquardtFlow, InterpolatedFlow, GaussNewtonFlow, GradientFlow)
    name = "smallest log((g_0 - g*) / (g_t - g*)) / (2 nu int theta)"
    # Gauss-Newton on least squares attains the bound; the slack is for Simpson's rule
    constant = "nu and lambda_min(K) measured on the path"
    return Findings(hypotheses, (Conclusion(name, 1.0, ratio, "at_least", 1e-5, constant=constant),))


def path_length(traj: Trajectory) -> Findings:
    """Check that the path is at most `sqrt(2 (g_0 - inf g) / nu) / sigma_0` long.

    It holds for every damping schedule.

    Reference: Statement C15.
    """
    nu, gap = path_quantities.polyak_quotient(traj), float(path_quantities.gaps(traj)[0])
    bound = np.sqrt(2 * gap / nu) / float(np.min(np.asarray(traj.sigma_min)))
    hypotheses = _hypotheses(traj, nu, GaussNewtonFlow, LevenbergMarquardtFlow)
    share = math.nan
    if flow_has_gain(traj).margin >= 0:
        share = float(np.sum(path_quantities.integrals(traj, path_quantities.speed)) / bound)
    constant = "sigma_0 and nu measured on the path"
    return Findings(hypotheses, (Conclusion("path length / bound", 1.0, share, "at_most", 1e-6, constant=constant),))


def _hypotheses(traj: Trajectory, nu: float, *flows: type) -> tuple[Hypothesis, ...]:
    convex = Hypothesis("nu, smallest |grad g|^2 / (2 (g - inf g))", nu, "at_least", 1e-12, ON_PATH)
    return flow_is(traj, *flows), full_row_rank(traj), rank_kept(traj), reached_end(traj), convex


def adaptive_damping(trajectories: Evidence) -> Findings:
    """Check that the slowest mode decays as the closed form says, for every cond(K).

    `rho = c lambda_min(K)`: `|r| = |r_0| exp(-t / (1 + c))`.
    `rho = rho_0 exp(-a t)`: `|r| / |r_0| = [(l + rho_0) / (l exp(a t) + rho_0)]^(1 / a)` with
    `l = lambda_min(K)`.

    Reference: Statement C8.
    """
    trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    schedules = [traj.flow.damping if isinstance(traj.flow, AbstractSpectralFlow) else None for traj in trajectories]
    adaptive = all(isinstance(schedule, SpectralDamping | ExponentialDamping) for schedule in schedules)
    ranks = all_satisfy("J(w0) has rank n", trajectories, full_row_rank)
    drift = max(float(np.ptp(np.asarray(traj.sigma_min)) / traj.sigma_min[0]) for traj in trajectories)
    kind = "the flows are Levenberg-Marquardt"
    hypotheses = (
        all_satisfy(kind, trajectories, lambda traj: flow_is(traj, LevenbergMarquardtFlow)),
        by_inspection("the damping is spectral or exponential", adaptive),
        all_satisfy("the loss is squared", trajectories, squared_loss),
        ranks,
        all_satisfy("the solves reached their end", trajectories, reached_end),
        Hypothesis("change of sigma_min along a path, relative (frozen kernel)", drift, "at_most", 1e-2, ON_PATH),
    )
    worst = math.nan
    if adaptive and ranks.margin >= 0:
        ratios = map(slowest_mode_ratio, trajectories, schedules)
        worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    name, constant = "log-decay of the slowest mode / closed form", "lambda_min(K) at the start"
    return Findings(hypotheses, (Conclusion(name, 1.0, worst, "equal", 1e-2, constant=constant),))


def slowest_mode_ratio(traj: Trajectory, schedule: SpectralDamping | ExponentialDamping) -> float:
    """Compute measured over predicted log-decay along the last left singular vector of `J(w0)`.

    It is taken at the last time at which the component is above 1e-6 of its start.
    """
    u, s, _ = np.linalg.svd(np.asarray(traj.problem.jac(traj.problem.w0)), full_matrices=False)
    amplitude = np.abs(np.asarray(traj.outputs - traj.problem.y) @ u[:, -1])
    level = amplitude / amplitude[0]
    last = int(np.flatnonzero(level > 1e-6)[-1])
    t, eigenvalue = float(traj.ts[last]), float(s[-1] ** 2)
    if isinstance(schedule, SpectralDamping):
        predicted = t / (1 + float(schedule.factor))
    else:
        rho, a = float(schedule.rho0), float(schedule.rate)
        predicted = np.log((eigenvalue * np.exp(a * t) + rho) / (eigenvalue + rho)) / a
    return float(-np.log(level[last]) / predicted)
