"""Discrete Gauss-Newton and Levenberg-Marquardt steps, over-parameterised: quadratic convergence, adaptive damping, mini-batches."""

import math
from typing import Any, cast

import numpy as np
import scipy.stats

from ..flow import SpectralDamping
from ..loss import SquaredLoss
from ..method import AbstractMethod, GaussNewton, GramGaussNewton, LevenbergMarquardt
from ..model import LinearModel
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .constants import jacobian_lipschitz, output_scale, quadratic_constant
from .hypotheses import arrived, constant_curvature, full_row_rank, smooth, truth

# a residual is rounding below this share of |y| (papers.md T10 stops at 1e-12; half the digits of r are lost in its square), or below this many
# roundings of the outputs themselves, which are sums of terms of the size of the output scale
ROUNDED, ROUNDINGS = 1e-10, 1e4


def method_is(traj: Trajectory, kind: type) -> Hypothesis:
    """The trajectory is of one of these methods."""
    return truth(f"the method is {kind.__name__}", isinstance(traj.flow, kind))


def discrete_quadratic(trajectories: Evidence) -> Findings:
    """C9: a full step obeys `|r_{k+1}| <= C |r_k|^2` with `C = L / (2 sigma_min(J_k)^2)`; over output scales or widths `|r_1| / |r_0|^2` falls.

    One trajectory is held to the bound alone; several also to the slopes: at most -1 in `log alpha`, at most -1/2 in the logarithm of the width.
    Networks of several widths are drawn apart: their slope has a sampling error, three standard errors of the fit.
    """
    trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    shares = [_largest_share(traj) for traj in trajectories]
    hypotheses = (
        truth("all methods are Gauss-Newton", all(isinstance(traj.flow, GaussNewton) for traj in trajectories)),
        truth("all steps are full", all(float(getattr(traj.flow, "step_size", 0.0)) == 1.0 for traj in trajectories)),
        truth(
            "the loss is the squared sum",
            all(isinstance(traj.problem.loss, SquaredLoss) and not traj.problem.loss.mean for traj in trajectories),
        ),
        truth("J(w0) has rank n", all(full_row_rank(traj).margin >= 0 for traj in trajectories)),
        truth("the models are smooth", all(smooth(traj).margin >= 0 for traj in trajectories)),
        Hypothesis(
            "pairs of residuals above rounding", float(min(count for _, count in shares)), "at_least", 1.0, "counted"
        ),
    )
    first = np.array([_first_constant(traj) for traj in trajectories])
    swept = _swept(trajectories)
    if swept:
        fall = max(
            float(np.linalg.norm(traj.outputs[1] - traj.problem.y) / np.linalg.norm(traj.outputs[0] - traj.problem.y))
            for traj in trajectories
        )
        hypotheses += (Hypothesis("largest |r_1| / |r_0| (second order leads)", fall, "at_most", 0.05, "measured"),)
    conclusions = [
        Conclusion(
            "largest |r_{k+1}| / (C |r_k|^2)",
            1.0,
            max(share for share, _ in shares),
            "at_most",
            0.0,
            constant="analytic L",
        )
    ]
    for name, values, slope, drawn in swept:
        fit = cast(Any, scipy.stats.linregress(np.log(values), np.log(first)))  # its fields are made at run time
        spread = 3 * float(fit.stderr) if drawn else math.inf
        conclusions.append(
            Conclusion(
                f"slope of log(|r_1| / |r_0|^2) in log {name}", slope, float(fit.slope), "at_most", 0.1, error=spread
            )
        )
    return Findings(hypotheses, tuple(conclusions))


def _largest_share(traj: Trajectory) -> tuple[float, int]:
    """The largest `|r_{k+1}| / (C_k |r_k|^2)` over steps whose result is above rounding, and their number."""
    problem = traj.problem
    radius = float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    lipschitz = jacobian_lipschitz(problem.model, problem.x, problem.params, radius)
    size = np.linalg.norm(np.asarray(traj.outputs - problem.y), axis=1)
    bounds = np.array([quadratic_constant(lipschitz, float(sigma)).value for sigma in np.asarray(traj.sigma_min)[:-1]])
    rounding = ROUNDINGS * np.finfo(np.float64).eps * output_scale(problem.model)
    seen = size[1:] > max(ROUNDED * np.linalg.norm(np.asarray(problem.y)), rounding)
    shares = size[1:] / (bounds * size[:-1] ** 2)
    return (float(shares[seen].max()), int(seen.sum())) if seen.any() else (float("nan"), 0)


def _first_constant(traj: Trajectory) -> float:
    size = np.linalg.norm(np.asarray(traj.outputs[:2] - traj.problem.y), axis=1)
    return float(size[1] / size[0] ** 2)


def _swept(trajectories: list[Trajectory]) -> list[tuple[str, np.ndarray, float, bool]]:
    """What varies over the evidence by a factor of four or more, the slope the theory allows, and whether each value has a draw of its own."""
    swept = []
    if len(trajectories) >= 3:
        alphas = np.array([output_scale(traj.problem.model) for traj in trajectories])
        widths = np.array([float(traj.problem.p) for traj in trajectories])
        swept += [("alpha", alphas, -1.0, False)] if alphas.max() >= 4 * alphas.min() else []
        swept += [("width (parameters)", widths, -0.5, True)] if widths.max() >= 4 * widths.min() else []
    return swept


def discrete_adaptive(traj: Trajectory) -> Findings:
    """C9 with `rho_k = c lambda_min(K_k)`: `g_{k+1} - g* <= (1 - eta nu / (1 + c)) (g_k - g*)` at every conditioning.

    The step condition is `eta [k G / (1 + c) + mu (1 + k eta G / (2 (1 + c)))^2] <= 1` at every step, `k = L / lambda_min(K)` and `G = |grad g|`.
    """
    problem, method = traj.problem, traj.flow
    schedule = method.damping if isinstance(method, LevenbergMarquardt) else None
    spectral = isinstance(schedule, SpectralDamping)
    c = float(schedule.factor) if spectral else float("nan")
    eta = float(method.step_size) if isinstance(method, AbstractMethod) else float("nan")
    nu, mu = path_quantities.polyak_quotient(traj), problem.loss.smoothness(problem.n)
    gap = path_quantities.gaps(traj)
    radius = float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    lipschitz = jacobian_lipschitz(problem.model, problem.x, problem.params, radius).value
    bend = lipschitz / np.asarray(traj.sigma_min) ** 2 * np.linalg.norm(path_quantities.gradients(traj), axis=1)
    condition = eta * (bend / (1 + c) + mu * (1 + eta * bend / (2 * (1 + c))) ** 2)
    seen = gap[1:] > 1e-18 * gap[0]
    ratio = float(np.max((gap[1:] / gap[:-1])[seen])) / (1 - eta * nu / (1 + c)) if seen.any() else float("nan")
    hypotheses = (
        truth("the method is Levenberg-Marquardt with rho = c lambda_min(K)", spectral),
        full_row_rank(traj),
        smooth(traj),
        arrived(traj),
        Hypothesis("largest left side of the step condition", float(condition.max()), "at_most", 1.0, "analytic L"),
    )
    name = "largest (g_{k+1} - g*) / (g_k - g*) over 1 - eta nu / (1 + c)"
    return Findings(hypotheses, (Conclusion(name, 1.0, ratio, "at_most", 1e-8, constant="nu measured on the path"),))


def minibatch_contraction(traj: Trajectory) -> Findings:
    """C12, frozen kernel: the energy `r^T K^-1 r` never grows, and its mean factor per step is at most `1 - lambda_min(E[S])`.

    `S = K^{1/2} E_B K_BB^{-1} E_B^T K^{1/2}` over uniformly random batches, by summation over all of them. The mean over the steps of the trajectory
    has a sampling error, three standard errors.
    """
    problem, method = traj.problem, traj.flow
    is_minibatch = isinstance(method, GramGaussNewton)
    jac = np.asarray(problem.jac(problem.w0))
    residual = np.asarray(traj.outputs - problem.y)
    _, s, vt = np.linalg.svd(jac.T, full_matrices=False)
    energy = np.sum((residual @ vt.T / s) ** 2, axis=1)
    seen = energy[1:] > 1e-14 * energy[0]  # the residual has lost seven of its sixteen digits there
    factors = energy[1:][seen] / energy[:-1][seen]
    uniform = is_minibatch and method.order == "subset"
    hypotheses = (
        truth("the method is Gram-Gauss-Newton on uniformly random batches", uniform),
        truth(
            "full step, no damping", is_minibatch and float(method.step_size) == 1.0 and float(method.damping) == 0.0
        ),
        truth("the model is linear in its parameters (frozen kernel)", isinstance(problem.model, LinearModel)),
        constant_curvature(traj),
        full_row_rank(traj),
        Hypothesis("steps with energy above rounding", float(seen.sum()), "at_least", 30.0, "counted"),
    )
    bound = 1 - _least_mean_projection(jac, method.batch_size or len(jac)) if is_minibatch else float("nan")
    mean = float(factors.mean()) if factors.size else float("nan")
    sampling = float(3 * factors.std(ddof=1) / np.sqrt(factors.size)) if factors.size > 1 else float("nan")
    return Findings(
        hypotheses,
        (
            Conclusion(
                "largest factor of the energy in one step",
                1.0,
                float(factors.max()) if factors.size else float("nan"),
                "at_most",
                1e-7,
            ),
            Conclusion(
                "mean factor of the energy per step",
                bound,
                mean,
                "at_most",
                0.0,
                error=sampling,
                constant="all batches",
            ),
        ),
    )


def _least_mean_projection(jac: np.ndarray, size: int) -> float:
    """`lambda_min(E[S])`: in the row space of `J`, `S` is the projector on the rows of the batch, found by QR."""
    from itertools import combinations

    n = len(jac)
    _, _, rows = np.linalg.svd(jac, full_matrices=False)
    mean, count = np.zeros((n, n)), 0
    for batch in combinations(range(n), size):
        q, _ = np.linalg.qr(rows @ jac[list(batch)].T)
        mean += q @ q.T
        count += 1
    return float(np.linalg.eigvalsh(mean / count)[0])
