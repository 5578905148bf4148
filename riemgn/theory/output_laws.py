"""Exact laws of the outputs: residual law, dissipation, invariance, flow on the output manifold."""

import math

import numpy as np

from ..flow import GaussNewtonFlow, GeneralizedGaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .hypotheses import (
    all_satisfy,
    AT_START,
    by_inspection,
    flow_has_gain,
    flow_is,
    full_row_rank,
    ON_PATH,
    rank_kept,
    reached_end,
    squared_loss,
    strictly_convex,
)


def exact_residual_law(traj: Trajectory) -> Findings:
    """Check `f_t - y = exp(-c t) (f_0 - y)` for the squared loss, `c = 1` or `1 / n` for the mean.

    Reference: Statement C6.
    """
    rate = float(traj.problem.loss_hessian(traj.problem.y)[0])
    residuals = np.asarray(traj.outputs - traj.problem.y)
    gap = _largest_departure(residuals, np.exp(-rate * np.asarray(traj.ts)))
    conditions = (full_row_rank(traj), rank_kept(traj), reached_end(traj))
    hypotheses = (flow_is(traj, GaussNewtonFlow), squared_loss(traj), *conditions)
    return Findings(hypotheses, (Conclusion("largest |r_t - exp(-t) r_0| / |r_0|", 0.0, gap, "equal", 1e-8),))


def generalized_law(traj: Trajectory) -> Findings:
    """Check `grad g(f_t) = exp(-t) grad g(f_0)` with the loss Hessian inside.

    Reference: Statement C16.
    """
    gap = _largest_departure(path_quantities.gradients(traj), np.exp(-np.asarray(traj.ts)))
    undamped = by_inspection("the flow is undamped", bool(traj.flow.inverts))
    conditions = (full_row_rank(traj), rank_kept(traj), reached_end(traj))
    hypotheses = (flow_is(traj, GeneralizedGaussNewtonFlow), undamped, strictly_convex(traj), *conditions)
    name = "largest |grad g_t - exp(-t) grad g_0| / |grad g_0|"
    return Findings(hypotheses, (Conclusion(name, 0.0, gap, "equal", 1e-7),))


def _largest_departure(vectors: np.ndarray, factors: np.ndarray) -> float:
    """`max_t |v_t - factor_t v_0| / |v_0|`."""
    apart = np.linalg.norm(vectors - factors[:, None] * vectors[0], axis=1)
    return float(apart.max() / np.linalg.norm(vectors[0]))


def dissipation(traj: Trajectory) -> Findings:
    """Check `g(f_0) - g(f_T) = int sum_i phi(s_i^2) (u_i^T grad g)^2 dt`.

    For Gauss-Newton the integrand is `|P grad g|^2`.

    Reference: Statement C2.
    """
    lost, gain = float(traj.losses[0] - traj.losses[-1]), flow_has_gain(traj)
    falls = Hypothesis("the loss falls", lost / float(traj.losses[0]), "at_least", 1e-6, ON_PATH)
    share = math.nan
    if gain.margin >= 0:
        share = float(np.sum(path_quantities.integrals(traj, path_quantities.dissipation))) / lost
    conclusion = Conclusion("integrated dissipation / (g_0 - g_T)", 1.0, share, "equal", 1e-7)
    return Findings((gain, reached_end(traj), falls), (conclusion,))


def invariance(trajectories: Evidence) -> Findings:
    """Check that Gauss-Newton has the same outputs in all coordinates of the parameters.

    Reference: Statement C3.
    """
    first = trajectories[0]
    shapes = {traj.outputs.shape[1] for traj in trajectories}
    # a trajectory that ended early is compared up to its end
    shared = min(traj.ts.size for traj in trajectories) - 1
    if len(shapes) > 1 or not all(np.array_equal(traj.ts[:shared], first.ts[:shared]) for traj in trajectories):
        raise ValueError("The claim `invariance` compares trajectories of one problem, saved at the same times.")
    scale = float(np.linalg.norm(np.asarray(first.outputs[0] - first.problem.y)))
    starts = max(float(np.abs(np.asarray(traj.outputs[0] - first.outputs[0])).max()) for traj in trajectories)
    conds = [float(traj.stats["cond"] or np.nan) for traj in trajectories]
    ratio = max(conds) / min(conds)
    hypotheses = (
        all_satisfy("all trajectories are of Gauss-Newton", trajectories, lambda traj: flow_is(traj, GaussNewtonFlow)),
        Hypothesis("difference of the starting outputs / |r_0|", starts / scale, "at_most", 1e-12, AT_START),
        Hypothesis("cond(J), largest over smallest of the trajectories", ratio, "at_least", 10.0, AT_START),
        all_satisfy("the solves reached their end", trajectories, reached_end),
    )
    spread = max(_distance(traj.outputs, first.outputs, shared) for traj in trajectories) / scale
    return Findings(hypotheses, (Conclusion("largest difference of the outputs / |r_0|", 0.0, spread, "equal", 1e-6),))


def _distance(outputs, others, count: int) -> float:
    return float(np.linalg.norm(np.asarray(outputs[:count] - others[:count]), axis=1).max(initial=0.0))


def equivalence(pair: Evidence) -> Findings:
    """Check that the outputs of Gauss-Newton solve `psi' = -P grad g(psi)` on `M`.

    The right side is integrated in the outputs.

    Reference: Statement C1.
    """
    traj, path = pair
    shared = min(traj.ts.size, path.ts.size)
    before = slice(shared - 1)
    same = np.allclose(np.asarray(traj.ts[before]), np.asarray(path.ts[before]), rtol=1e-12, atol=0)
    if traj.outputs.shape[1] != path.outputs.shape[1] or not same:
        raise ValueError("The claim `equivalence` compares a trajectory and a path of one problem at the same times.")
    scale = float(np.linalg.norm(np.asarray(traj.outputs[0] - traj.problem.y)))
    # if one of the two ends early, its last time is its own
    gap = _distance(traj.outputs, path.outputs, shared if traj.ts.size == path.ts.size else shared - 1) / scale
    start = float(np.abs(np.asarray(traj.outputs[0] - path.outputs[0])).max()) / scale
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        rank_kept(traj),
        reached_end(traj),
        by_inspection("the manifold flow reached its end", path.succeeded),
        Hypothesis("difference of the starting points / |r_0|", start, "at_most", 1e-12, AT_START),
    )
    return Findings(hypotheses, (Conclusion("largest |f(w_t) - psi_t| / |r_0|", 0.0, gap, "equal", 1e-8),))
