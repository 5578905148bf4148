"""Discrete over-parameterised steps: quadratic convergence, adaptive damping and mini-batches."""

import math
from itertools import combinations
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
from .hypotheses import (
    all_satisfy,
    by_inspection,
    flow_is,
    full_row_rank,
    ON_PATH,
    reached_end,
    smooth_model,
    squared_loss,
)

# a residual is rounding below this share of |y|, because its square keeps half the digits (T10 of
# the statements), or below this many roundings of the outputs
ROUNDED, ROUNDINGS = 1e-10, 1e4


def discrete_quadratic(trajectories: Evidence) -> Findings:
    """Check that a full step obeys `|r_{k+1}| <= C |r_k|^2`, `C = L / (2 sigma_min(J_k)^2)`.

    If several output scales or widths are given, `|r_1| / |r_0|^2` must also fall: with slope at
    most -1 in `log alpha`, and at most -1/2 in the logarithm of the width. Networks of several
    widths are drawn independently, so their slope has a sampling error: three standard errors.

    Reference: Statements C9 and D13.
    """
    trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    sizes = [_residual_norms(traj) for traj in trajectories]
    shares = [_largest_share(traj) for traj in trajectories]
    full = all(float(getattr(traj.flow, "step_size", 0.0)) == 1.0 for traj in trajectories)
    losses = [traj.problem.loss for traj in trajectories]
    summed = all(isinstance(loss, SquaredLoss) and not loss.mean for loss in losses)
    pairs = float(min(count for _, count in shares))
    hypotheses = (
        all_satisfy("all methods are Gauss-Newton", trajectories, lambda traj: flow_is(traj, GaussNewton)),
        by_inspection("all steps are full", full),
        by_inspection("the loss is the squared sum", summed),
        all_satisfy("J(w0) has rank n", trajectories, full_row_rank),
        all_satisfy("the models are smooth", trajectories, smooth_model),
        Hypothesis("pairs of residuals above rounding", pairs, "at_least", 1.0, "counted"),
    )
    largest, name = max(share for share, _ in shares), "largest |r_{k+1}| / (C |r_k|^2)"
    conclusions = [Conclusion(name, 1.0, largest, "at_most", 0.0, constant="analytic L")]
    swept = _swept(trajectories)
    if swept:
        fall = max(float(size[1] / size[0]) for size in sizes)
        hypotheses += (Hypothesis("largest |r_1| / |r_0| (second order leads)", fall, "at_most", 0.05, ON_PATH),)
    for name, values, slope, drawn in swept:
        firsts = [np.log(size[1] / size[0] ** 2) for size in sizes]
        fit = cast(Any, scipy.stats.linregress(np.log(values), firsts))
        spread = 3 * float(fit.stderr) if drawn else math.inf
        words = f"slope of log(|r_1| / |r_0|^2) in log {name}"
        conclusions.append(Conclusion(words, slope, float(fit.slope), "at_most", 0.1, error=spread))
    return Findings(hypotheses, tuple(conclusions))


def _residual_norms(traj: Trajectory) -> np.ndarray:
    return np.linalg.norm(np.asarray(traj.outputs - traj.problem.y), axis=1)


def _lipschitz_on_path(traj: Trajectory):
    """The analytic `L` on the ball around the start that holds the path."""
    problem, radius = traj.problem, float(np.linalg.norm(np.asarray(traj.params - traj.params[0]), axis=1).max())
    return jacobian_lipschitz(problem.model, problem.x, problem.params, radius)


def _largest_share(traj: Trajectory) -> tuple[float, int]:
    """The largest `|r_{k+1}| / (C_k |r_k|^2)` over steps above rounding, and their number."""
    problem, size, lipschitz = traj.problem, _residual_norms(traj), _lipschitz_on_path(traj)
    bounds = np.array([quadratic_constant(lipschitz, float(sigma)).value for sigma in np.asarray(traj.sigma_min)[:-1]])
    rounding = ROUNDINGS * np.finfo(np.float64).eps * output_scale(problem.model)
    used = size[1:] > max(ROUNDED * np.linalg.norm(np.asarray(problem.y)), rounding)
    shares = size[1:] / (bounds * size[:-1] ** 2)
    return (float(shares[used].max()), int(used.sum())) if used.any() else (math.nan, 0)


def _swept(trajectories: list[Trajectory]) -> list[tuple[str, np.ndarray, float, bool]]:
    """What varies by a factor of four or more, the predicted slope, and whether it is sampled."""
    if len(trajectories) < 3:
        return []
    alphas = np.array([output_scale(traj.problem.model) for traj in trajectories])
    widths = np.array([float(traj.problem.p) for traj in trajectories])
    swept = [("alpha", alphas, -1.0, False), ("width (parameters)", widths, -0.5, True)]
    return [each for each in swept if each[1].max() >= 4 * each[1].min()]


def discrete_adaptive(traj: Trajectory) -> Findings:
    """Check `g_{k+1} - g* <= (1 - eta nu / (1 + c)) (g_k - g*)` for `rho_k = c lambda_min(K_k)`.

    The step condition is `eta [k G / (1 + c) + mu (1 + k eta G / (2 (1 + c)))^2] <= 1` at every
    step, with `k = L / lambda_min(K)` and `G = |grad g|`.

    Reference: Statements C9 and D14.
    """
    method = traj.flow
    schedule = method.damping if isinstance(method, LevenbergMarquardt) else None
    c = float(schedule.factor) if isinstance(schedule, SpectralDamping) else math.nan
    eta = float(method.step_size) if isinstance(method, AbstractMethod) else math.nan
    nu, mu = path_quantities.polyak_quotient(traj), traj.problem.loss.smoothness(traj.problem.n)
    gap, sigma = path_quantities.gaps(traj), np.asarray(traj.sigma_min)
    bend = _lipschitz_on_path(traj).value / sigma**2 * np.linalg.norm(path_quantities.gradients(traj), axis=1)
    condition = float(np.max(eta * (bend / (1 + c) + mu * (1 + eta * bend / (2 * (1 + c))) ** 2)))
    used = gap[1:] > 1e-18 * gap[0]
    ratio = float(np.max((gap[1:] / gap[:-1])[used])) / (1 - eta * nu / (1 + c)) if used.any() else math.nan
    hypotheses = (
        by_inspection("the method is Levenberg-Marquardt with rho = c lambda_min(K)", not math.isnan(c)),
        full_row_rank(traj),
        smooth_model(traj),
        reached_end(traj),
        Hypothesis("largest left side of the step condition", condition, "at_most", 1.0, "analytic L"),
    )
    name = "largest (g_{k+1} - g*) / (g_k - g*) over 1 - eta nu / (1 + c)"
    return Findings(hypotheses, (Conclusion(name, 1.0, ratio, "at_most", 1e-8, constant="nu measured on the path"),))


def minibatch_contraction(traj: Trajectory) -> Findings:
    """Check that `r^T K^-1 r` never grows, and contracts in the mean by `1 - lambda_min(E[S])`.

    `S = K^{1/2} E_B K_BB^{-1} E_B^T K^{1/2}`, with the mean over all batches of the given size. The
    mean over the steps of the trajectory has a sampling error: three standard errors.

    Reference: Statements C12 and D16.
    """
    problem, method = traj.problem, traj.flow
    minibatch = method if isinstance(method, GramGaussNewton) else None
    uniform = minibatch is not None and minibatch.order == "subset"
    full = minibatch is not None and float(minibatch.step_size) == 1.0 and float(minibatch.damping) == 0.0
    jac = np.asarray(problem.jac(problem.w0))
    _, s, vt = np.linalg.svd(jac.T, full_matrices=False)
    energy = np.sum((np.asarray(traj.outputs - problem.y) @ vt.T / s) ** 2, axis=1)
    used = energy[1:] > 1e-14 * energy[0]  # below, the residual has lost seven of its sixteen digits
    factors = energy[1:][used] / energy[:-1][used]
    hypotheses = (
        by_inspection("the method is Gram-Gauss-Newton on uniformly random batches", uniform),
        by_inspection("full step, no damping", full),
        by_inspection("the model is linear (frozen kernel)", isinstance(problem.model, LinearModel)),
        squared_loss(traj),
        full_row_rank(traj),
        Hypothesis("steps with energy above rounding", float(used.sum()), "at_least", 30.0, "counted"),
    )
    size = (minibatch.batch_size or len(jac)) if minibatch and uniform else 0
    bound = 1 - _smallest_mean_projection(jac, size) if size else math.nan
    largest, mean = (float(f(factors)) if factors.size else math.nan for f in (np.max, np.mean))
    sampling = float(3 * factors.std(ddof=1) / np.sqrt(factors.size)) if factors.size > 1 else math.nan
    name = "mean factor of the energy per step"
    conclusions = (
        Conclusion("largest factor of the energy in one step", 1.0, largest, "at_most", 1e-7),
        Conclusion(name, bound, mean, "at_most", 0.0, error=sampling, constant="all batches"),
    )
    return Findings(hypotheses, conclusions)


def _smallest_mean_projection(jac: np.ndarray, size: int) -> float:
    """`lambda_min(E[S])`: in the row space of `J`, `S` projects on the rows of the batch."""
    rows = np.linalg.svd(jac, full_matrices=False)[2]
    batches = list(combinations(range(len(jac)), size))
    bases = (np.linalg.qr(rows @ jac[list(batch)].T)[0] for batch in batches)
    return float(np.linalg.eigvalsh(sum(q @ q.T for q in bases) / len(batches))[0])
