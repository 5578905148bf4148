"""Under-parameterised Gauss-Newton flows: what the curvature of the output manifold does to the rate."""

import numpy as np

from ..flow import GaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence, THRESHOLD
from .constants import alpha_threshold, jacobian_lipschitz, output_scale
from .curvature_spectrum import directional_curvature, slowest_share, theta_min
from .hypotheses import arrived, flow_is, full_column_rank, rank_kept, smooth, truth

FLOOR = 1e-9  # share of its start below which a decaying norm is the integrator's, at rtol 1e-8 and better


def rate_identity(traj: Trajectory) -> Findings:
    """C4: `-1/2 d/dt log |u|^2 = Hess_M g[u, u] / |u|^2`: the trajectory's logarithmic derivative against geometry at single points."""
    ts, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    # below a thousandth of its start |u| has lost three digits to the absolute error of the outputs
    end = ts[-1] if level.min() > 1e-3 else ts[np.argmax(level <= 1e-3)]
    share = float(traj.grad_norms[0]) / float(np.linalg.norm(path_quantities.gradients(traj)[0]))
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth(traj),
        rank_kept(traj),
        arrived(traj),
        Hypothesis("|u_0| / |grad g_0|, above rounding", share, "at_least", 1e-9, "measured at the start"),
    )
    # differences of order 8: truncation falls like step^8, what the dense output's error contributes grows like 1 / step
    step = end / 600
    sample = np.linspace(10 * step, end - 10 * step, 40)
    measured, coarse = (path_quantities.gradient_log_rates(traj, sample, h) for h in (step, 2 * step))
    predicted = path_quantities.kappas(traj, path_quantities.states_at(traj, sample))
    worst = int(np.argmax(np.abs(measured / predicted - 1)))
    truncation = float(abs(measured[worst] - coarse[worst]) / predicted[worst])
    name, ratio = "rate of |u| / kappa where they differ most", float(measured[worst] / predicted[worst])
    return Findings(hypotheses, (Conclusion(name, 1.0, ratio, "equal", 1e-6, truncation, "kappa on the path"),))


def underparameterized_convergence(traj: Trajectory) -> Findings:
    """C5, `delta = 1/2`: at output scales above `alpha_0` the flow stays in its ball and `|u_t|^2 <= exp(-nu t) |u_0|^2`; `g - g_inf` likewise."""
    threshold = alpha_threshold(traj.problem)
    nu, ts = threshold.loss.nu, np.asarray(traj.ts)
    level = np.asarray(traj.grad_norms / traj.grad_norms[0])
    gap = np.asarray(traj.losses - traj.losses[-1])
    above, loss_above = (ts > 0) & (level > FLOOR), (ts > 0) & (gap > 1e-6 * gap[0])
    gradient_rate = float(np.min(-2 * np.log(level[above]) / ts[above])) if above.any() else float("nan")
    loss_rate = float(np.min(-np.log(gap[loss_above] / gap[0]) / ts[loss_above])) if loss_above.any() else float("nan")
    distance = float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    kappa = float(np.min(path_quantities.kappas(traj, traj.params[level > FLOOR])))
    source = f"L: {threshold.source}"
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth(traj),
        full_column_rank(traj),
        Hypothesis(THRESHOLD, threshold.ratio, "at_most", 1.0, source),
        Hypothesis("nu on the sublevel set", nu, "at_least", np.finfo(float).tiny, "analytic"),
        arrived(traj),
        Hypothesis("|u_T| / |u_0|, converged", float(level[-1]), "at_most", 1e-4, "measured on the path"),
    )
    conclusions = (
        Conclusion("largest |w_t - w_0| / r_0", 1.0, distance / threshold.ball.radius, "at_most", 0.0, constant=source),
        Conclusion("least kappa_t", nu / 2, kappa, "at_least", 0.0, constant="nu on the sublevel set"),
        Conclusion("least rate of |u|^2", nu, gradient_rate, "at_least", 0.0, constant="nu on the sublevel set"),
        Conclusion(
            "least rate of g - g_inf",
            nu,
            loss_rate,
            "at_least",
            0.0,
            constant="nu on the sublevel set; g_inf is the last loss",
        ),
    )
    return Findings(hypotheses, conclusions)


def asymptotic_rate(traj: Trajectory) -> Findings:
    """C17: the slope of `log |u|` tends to `-theta_min`, the least root of `det(Hess R(w_inf) - theta J^T J) = 0`.

    Measured over the last two decades of `|u|` above the integrator's floor, 1e-9 of its start.
    """
    ts, level = np.asarray(traj.ts), np.asarray(traj.grad_norms / traj.grad_norms[0])
    last = int(np.flatnonzero(level > FLOOR)[-1])
    first = int(np.argmax(level <= 100 * level[last]))
    middle = (first + last) // 2
    slopes = [
        float(np.log(level[a] / level[b]) / (ts[b] - ts[a])) if b > a else float("nan")
        for a, b in ((first, middle), (middle, last), (first, last))
    ]
    theta = theta_min(traj.problem, traj.params[last])
    share = slowest_share(traj.problem, traj.params[last], path_quantities.gradients(traj)[first])
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        smooth(traj),
        rank_kept(traj),
        arrived(traj),
        Hypothesis("|u| at the end of the window / |u_0|", float(level[last]), "at_most", 1e-4, "measured on the path"),
        Hypothesis("saved times in the window", float(last - first + 1), "at_least", 8.0, "counted"),
        Hypothesis(
            "share of the slowest mode in |u|^2 at the start of the window",
            share,
            "at_least",
            0.99,
            "modes at the last point",
        ),
        Hypothesis(
            "difference of the two half-window slopes, relative",
            abs(slopes[0] / slopes[1] - 1),
            "at_most",
            2e-2,
            "measured on the path",
        ),
    )
    name = "slope of -log |u| / theta_min"
    return Findings(
        hypotheses,
        (
            Conclusion(
                name,
                1.0,
                slopes[2] / theta.value,
                "equal",
                1e-2,
                constant=f"theta_min at the last point: {theta.formula}",
            ),
        ),
    )


def curvature_scaling(trajectories: Evidence) -> Findings:
    """C18: `k_N = max_v |<N, II(v, v)>| / |v|^2`, `N = (I - P) grad g`, at the end of each run falls like `1 / alpha`, below `L |N| / sigma^2`."""
    problems = [traj.problem for traj in trajectories]
    alphas = np.array([output_scale(problem.model) for problem in problems])
    if np.ptp(np.log10(alphas)) < 1 - 1e-9 or len(trajectories) < 3:
        raise ValueError(
            f"The claim `curvature_scaling` needs at least three output scales over a decade, got {alphas.tolist()}."
        )
    sharp = np.array([directional_curvature(traj.problem, traj.params[-1]).value for traj in trajectories])
    slope = float(np.polyfit(np.log(alphas), np.log(sharp), 1)[0])
    shapes = [np.asarray(problem.jac(problem.w0)) / alpha for problem, alpha in zip(problems, alphas, strict=True)]
    apart = max(float(np.abs(shape - shapes[0]).max()) for shape in shapes) / float(np.abs(shapes[0]).max())
    hypotheses = (
        truth("all flows are of Gauss-Newton", all(isinstance(traj.flow, GaussNewtonFlow) for traj in trajectories)),
        truth("J(w0) has rank p", all(full_column_rank(traj).margin >= 0 for traj in trajectories)),
        truth("the solves reached their end", all(arrived(traj).margin >= 0 for traj in trajectories)),
        Hypothesis(
            "difference of J(w0) / alpha between the runs, relative (one model)",
            apart,
            "at_most",
            1e-10,
            "measured at the start",
        ),
        Hypothesis(
            "largest |J(w_T) - J(w_0)| / sigma_min over a run (lazy)",
            max(map(path_quantities.metric_change, trajectories)),
            "at_most",
            0.1,
            "measured",
        ),
    )
    bound = max(_share_of_bound(traj, k) for traj, k in zip(trajectories, sharp, strict=True))
    conclusions = (
        Conclusion("slope of log k_N in log alpha", -1.0, slope, "equal", 0.05, constant="sharp k_N"),
        Conclusion("largest k_N sigma_min^2 / (L |N|)", 1.0, bound, "at_most", 0.0, constant="analytic L"),
    )
    return Findings(hypotheses, conclusions)


def _share_of_bound(traj: Trajectory, sharp: float) -> float:
    """`k_N` over its bound `L |N| / sigma_min^2` at the last point, with the analytic L of the ball that holds it."""
    problem, w = traj.problem, traj.params[-1]
    lipschitz = jacobian_lipschitz(
        problem.model, problem.x, problem.params, float(np.linalg.norm(np.asarray(w - problem.w0)))
    )
    gradient = np.asarray(problem.loss_gradient(traj.outputs[-1]))
    normal = np.sqrt(max(float(gradient @ gradient) - float(traj.grad_norms[-1]) ** 2, 0.0))
    return sharp * float(traj.sigma_min[-1]) ** 2 / (lipschitz.value * normal)
