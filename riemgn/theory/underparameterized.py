"""Under-parameterised Gauss-Newton flows: how curvature of the output manifold sets the rate."""

import math

import numpy as np

from ..flow import GaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence, THRESHOLD
from .constants import alpha_threshold, jacobian_lipschitz, swept_scales
from .curvature_spectrum import directional_curvature, slowest_share, theta_min
from .hypotheses import (
    all_satisfy,
    AT_START,
    flow_is,
    full_column_rank,
    ON_PATH,
    rank_kept,
    reached_end,
    smooth_model,
    TINY,
)

FLOOR = 1e-9  # share of its start below which a decaying norm is the integrator's error, at rtol 1e-8


def rate_identity(traj: Trajectory) -> Findings:
    """Check `-1/2 d/dt log |u|^2 = Hess_M g[u, u] / |u|^2`, with `u = grad_M g`.

    The left side comes from differences along the trajectory, the right side from the geometry at
    single points.

    Reference: Statement C4.
    """
    ts, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    # below a thousandth of its start |u| has lost three digits to the absolute error of the outputs
    end = ts[-1] if level.min() > 1e-3 else ts[np.argmax(level <= 1e-3)]
    share = float(traj.grad_norms[0]) / float(np.linalg.norm(path_quantities.gradients(traj)[0]))
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth_model(traj),
        rank_kept(traj),
        reached_end(traj),
        Hypothesis("|u_0| / |grad g_0|, above rounding", share, "at_least", 1e-9, AT_START),
    )
    # the truncation error falls like step^8, the error of the dense output grows like 1 / step
    step = end / 600
    sample = np.linspace(10 * step, end - 10 * step, 40)
    measured, coarse = (path_quantities.gradient_log_rates(traj, sample, h) for h in (step, 2 * step))
    predicted = path_quantities.kappas(traj, path_quantities.states_at(traj, sample))
    worst = int(np.argmax(np.abs(measured / predicted - 1)))
    truncation = float(abs(measured[worst] - coarse[worst]) / predicted[worst])
    name, ratio = "rate of |u| / kappa where they differ most", float(measured[worst] / predicted[worst])
    return Findings(hypotheses, (Conclusion(name, 1.0, ratio, "equal", 1e-6, truncation, "kappa on the path"),))


def underparameterized_convergence(traj: Trajectory) -> Findings:
    """Check convergence at output scales above `alpha_0`, with `delta = 1/2`.

    The flow stays in its ball, `|u_t|^2 <= exp(-nu t) |u_0|^2`, and `g - g_inf` decays alike.

    Reference: Statement C5.
    """
    threshold = alpha_threshold(traj.problem)
    nu, ts = threshold.loss.nu, np.asarray(traj.ts)
    level = np.asarray(traj.grad_norms / traj.grad_norms[0])
    gap = np.asarray(traj.losses - traj.losses[-1])
    distance = float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    kappa = float(np.min(path_quantities.kappas(traj, traj.params[level > FLOOR])))
    source, convexity = f"L: {threshold.source}", "nu on the sublevel set"
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth_model(traj),
        full_column_rank(traj),
        Hypothesis(THRESHOLD, threshold.ratio, "at_most", 1.0, source),
        Hypothesis(convexity, nu, "at_least", TINY, "analytic"),
        reached_end(traj),
        Hypothesis("|u_T| / |u_0|, converged", float(level[-1]), "at_most", 1e-4, ON_PATH),
    )
    share = distance / threshold.ball.radius
    rate, loss_rate = _smallest_rate(ts, level**2, FLOOR**2), _smallest_rate(ts, gap / gap[0], 1e-6)
    with_last = f"{convexity}; g_inf is the last loss"
    conclusions = (
        Conclusion("largest |w_t - w_0| / r_0", 1.0, share, "at_most", 0.0, constant=source),
        Conclusion("smallest kappa_t", nu / 2, kappa, "at_least", 0.0, constant=convexity),
        Conclusion("smallest rate of |u|^2", nu, rate, "at_least", 0.0, constant=convexity),
        Conclusion("smallest rate of g - g_inf", nu, loss_rate, "at_least", 0.0, constant=with_last),
    )
    return Findings(hypotheses, conclusions)


def _smallest_rate(ts: np.ndarray, shares: np.ndarray, floor: float) -> float:
    """The smallest `-log(share_t) / t` over positive times with `share > floor`."""
    used = (ts > 0) & (shares > floor)
    return float(np.min(-np.log(shares[used]) / ts[used])) if used.any() else math.nan


def asymptotic_rate(traj: Trajectory) -> Findings:
    """Check that the slope of `log |u|` tends to `-theta_min`.

    `theta_min` is the smallest root of `det(Hess R(w_inf) - theta J^T J) = 0`. The slope is taken
    over the last two decades of `|u|` above the integrator's error, 1e-9 of its start.

    Reference: Statement C17.
    """
    rank = rank_kept(traj)
    ts, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    last = int(np.flatnonzero(level > FLOOR)[-1])
    first = int(np.argmax(level <= 100 * level[last]))
    middle = (first + last) // 2
    early, late, both = (
        float(np.log(level[a] / level[b]) / (ts[b] - ts[a])) if b > a else math.nan
        for a, b in ((first, middle), (middle, last), (first, last))
    )
    theta = theta_min(traj.problem, traj.params[last])
    share = slowest_share(traj.problem, traj.params[last], path_quantities.gradients(traj)[first])
    share_name = "share of the slowest mode in |u|^2 at the start of the window"
    halves = "difference of the two half-window slopes, relative"
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth_model(traj),
        rank,
        reached_end(traj),
        Hypothesis("|u| at the end of the window / |u_0|", float(level[last]), "at_most", 1e-4, ON_PATH),
        Hypothesis("saved times in the window", float(last - first + 1), "at_least", 8.0, "counted"),
        Hypothesis(share_name, share, "at_least", 0.99, "modes at the last point"),
        Hypothesis(halves, abs(early / late - 1), "at_most", 2e-2, ON_PATH),
    )
    name, constant = "slope of -log |u| / theta_min", f"theta_min at the last point: {theta.formula}"
    return Findings(hypotheses, (Conclusion(name, 1.0, both / theta.value, "equal", 1e-2, constant=constant),))


def curvature_scaling(trajectories: Evidence) -> Findings:
    """Check that `k_N = max_v |<N, II(v, v)>| / |v|^2` falls like `1 / alpha`, below its bound.

    `N = (I - P) grad g` is taken at the end of each run. The bound is `L |N| / sigma_min^2`.

    Reference: Statement C18.
    """
    alphas = swept_scales("curvature_scaling", trajectories)
    sharp = np.array([directional_curvature(traj.problem, traj.params[-1]).value for traj in trajectories])
    slope = float(np.polyfit(np.log(alphas), np.log(sharp), 1)[0])
    jacobians = [np.asarray(traj.problem.jac(traj.problem.w0)) for traj in trajectories]
    shapes = [jac / alpha for jac, alpha in zip(jacobians, alphas, strict=True)]
    if len({shape.shape for shape in shapes}) > 1:
        raise ValueError("The claim `curvature_scaling` compares runs of one model; their Jacobians differ in shape.")
    apart = max(float(np.abs(shape - shapes[0]).max()) for shape in shapes) / float(np.abs(shapes[0]).max())
    change = max(map(path_quantities.metric_change, trajectories))
    one_model = "difference of J(w0) / alpha between the runs, relative (one model)"
    lazy = "largest |J(w_T) - J(w_0)| / sigma_min over a run (lazy)"
    hypotheses = (
        all_satisfy("all flows are of Gauss-Newton", trajectories, lambda traj: flow_is(traj, GaussNewtonFlow)),
        all_satisfy("J(w0) has rank p", trajectories, full_column_rank),
        all_satisfy("the solves reached their end", trajectories, reached_end),
        Hypothesis(one_model, apart, "at_most", 1e-10, AT_START),
        Hypothesis(lazy, change, "at_most", 0.1, ON_PATH),
    )
    share = max(map(_share_of_bound, trajectories, sharp))
    conclusions = (
        Conclusion("slope of log k_N in log alpha", -1.0, slope, "equal", 0.05, constant="sharp k_N"),
        Conclusion("largest k_N sigma_min^2 / (L |N|)", 1.0, share, "at_most", 0.0, constant="analytic L"),
    )
    return Findings(hypotheses, conclusions)


def _share_of_bound(traj: Trajectory, sharp: float) -> float:
    """`k_N` over its bound at the last point, with the analytic L of a ball around the path."""
    problem, radius = traj.problem, float(np.linalg.norm(np.asarray(traj.params[-1] - traj.problem.w0)))
    lipschitz = jacobian_lipschitz(problem.model, problem.x, problem.params, radius)
    gradient = np.asarray(problem.loss_gradient(traj.outputs[-1]))
    normal = np.sqrt(max(float(gradient @ gradient) - float(traj.grad_norms[-1]) ** 2, 0.0))
    return sharp * float(traj.sigma_min[-1]) ** 2 / (lipschitz.value * normal)
