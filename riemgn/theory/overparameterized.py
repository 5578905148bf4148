"""Over-parameterised flows under damping: rates, schedules, and the length of the path."""

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
from .hypotheses import arrived, by_a_gain, constant_curvature, flow_is, full_row_rank, rank_kept, truth
from .path_quantities import rank_at_start

FLOOR = 1e-9  # share of its start below which a decaying norm is the integrator's, at rtol 1e-8 and better


def damped_rate(traj: Trajectory) -> Findings:
    """C7: `g - inf g <= (g_0 - inf g) exp(-2 nu int theta ds)`, `theta = phi(lambda_min(K))`, for any damping schedule."""
    ts, gap, nu = np.asarray(traj.ts), path_quantities.gaps(traj), path_quantities.polyak_quotient(traj)
    known = by_a_gain(traj).margin >= 0
    exponent = (
        2 * nu * path_quantities.cumulative(ts, path_quantities.at_saved_times(traj, path_quantities.least_gain))
        if known
        else np.zeros_like(ts)
    )
    seen = (gap > FLOOR**2 * gap[0]) & (exponent > 1e-3)
    ratio = float(np.min(np.log(gap[0] / gap[seen]) / exponent[seen])) if seen.any() else float("nan")
    hypotheses = (
        flow_is(traj, LevenbergMarquardtFlow, InterpolatedFlow, GaussNewtonFlow, GradientFlow),
        full_row_rank(traj),
        rank_kept(traj),
        arrived(traj),
        Hypothesis("nu, least |grad g|^2 / (2 (g - inf g))", nu, "at_least", 1e-12, "measured on the path"),
    )
    name = "least log((g_0 - g*) / (g_t - g*)) / (2 nu int theta)"
    # attained by Gauss-Newton on least squares: the slack is what Simpson's rule on the saved times and the floor leave
    return Findings(
        hypotheses,
        (Conclusion(name, 1.0, ratio, "at_least", 1e-5, constant="nu and lambda_min(K) measured on the path"),),
    )


def adaptive_damping(trajectories: Evidence) -> Findings:
    """C8: the slowest mode decays as the schedule's closed form says, whatever cond(K).

    `rho = c lambda_min(K)`: `|r| = |r_0| exp(-t / (1 + c))`;  `rho = rho_0 exp(-a t)`:
    `[(l + rho_0) / (l exp(a t) + rho_0)]^(1 / a)` with `l = lambda_min(K)`.
    """
    trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    flows = [traj.flow for traj in trajectories]
    schedules = [flow.damping for flow in flows if isinstance(flow, AbstractSpectralFlow)]
    known = [schedule for schedule in schedules if isinstance(schedule, SpectralDamping | ExponentialDamping)]
    adaptive = len(known) == len(trajectories)
    drift = max(float(np.ptp(np.asarray(traj.sigma_min)) / traj.sigma_min[0]) for traj in trajectories)
    ranks = all(rank_at_start(traj) == traj.problem.n for traj in trajectories)
    hypotheses = (
        truth("the flows are Levenberg-Marquardt", all(isinstance(flow, LevenbergMarquardtFlow) for flow in flows)),
        truth("the damping is spectral or exponential", adaptive),
        truth("the loss is squared", all(constant_curvature(traj).margin >= 0 for traj in trajectories)),
        truth("J(w0) has rank n", ranks),
        truth("the solves reached their end", all(arrived(traj).margin >= 0 for traj in trajectories)),
        Hypothesis(
            "change of sigma_min along a path, relative (frozen kernel)",
            drift,
            "at_most",
            1e-2,
            "measured on the paths",
        ),
    )
    if not (adaptive and ranks):
        return Findings(
            hypotheses, (Conclusion("decay of the slowest mode / closed form", 1.0, float("nan"), "equal", 1e-2),)
        )
    ratios = [slowest_mode_ratio(traj, schedule) for traj, schedule in zip(trajectories, known, strict=True)]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    return Findings(
        hypotheses,
        (
            Conclusion(
                "log-decay of the slowest mode / closed form",
                1.0,
                worst,
                "equal",
                1e-2,
                constant="lambda_min(K) at the start",
            ),
        ),
    )


def slowest_mode_ratio(traj: Trajectory, schedule: SpectralDamping | ExponentialDamping) -> float:
    """Measured over predicted log-decay of the residual along the last left singular vector of `J(w0)`, at the last time above the floor."""
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


def path_length(traj: Trajectory) -> Findings:
    """C15: the path of the parameters is at most `sqrt(2 (g_0 - inf g) / nu) / sigma_0` long, for every damping schedule."""
    nu, gap = path_quantities.polyak_quotient(traj), float(path_quantities.gaps(traj)[0])
    sigma = float(np.min(np.asarray(traj.sigma_min)))
    bound = np.sqrt(2 * gap / nu) / sigma
    length = path_quantities.integral(traj, path_quantities.speed)
    hypotheses = (
        flow_is(traj, GaussNewtonFlow, LevenbergMarquardtFlow),
        full_row_rank(traj),
        rank_kept(traj),
        arrived(traj),
        Hypothesis("nu, least |grad g|^2 / (2 (g - inf g))", nu, "at_least", 1e-12, "measured on the path"),
    )
    constant = "sigma_0 and nu measured on the path"
    return Findings(
        hypotheses, (Conclusion("path length / bound", 1.0, length / bound, "at_most", 1e-6, constant=constant),)
    )
