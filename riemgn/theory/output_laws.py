"""What Gauss-Newton flows do to the outputs, exactly: residual laws, dissipation, invariance, the flow on the output manifold."""

import numpy as np

from ..flow import GaussNewtonFlow, GeneralizedGaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .hypotheses import (
    arrived,
    by_a_gain,
    constant_curvature,
    flow_is,
    full_row_rank,
    rank_kept,
    strictly_convex,
    truth,
)


def exact_residual_law(traj: Trajectory) -> Findings:
    """C6 for the squared loss with curvature `c` (1, or 1 / n for the mean): `f_t - y = exp(-c t) (f_0 - y)`."""
    curvature = float(traj.problem.loss_hessian(traj.problem.y)[0])
    start = np.asarray(traj.outputs[0] - traj.problem.y)
    law = np.exp(-curvature * np.asarray(traj.ts))[:, None] * start
    gap = np.linalg.norm(np.asarray(traj.outputs - traj.problem.y) - law, axis=1).max() / np.linalg.norm(start)
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        constant_curvature(traj),
        full_row_rank(traj),
        rank_kept(traj),
        arrived(traj),
    )
    return Findings(hypotheses, (Conclusion("largest |r_t - exp(-t) r_0| / |r_0|", 0.0, float(gap), "equal", 1e-8),))


def generalized_law(traj: Trajectory) -> Findings:
    """C16: with the loss Hessian inside, `grad g(f_t) = exp(-t) grad g(f_0)` as a vector, for every strictly convex loss."""
    gradients = path_quantities.gradients(traj)
    law = np.exp(-np.asarray(traj.ts))[:, None] * gradients[0]
    gap = np.linalg.norm(gradients - law, axis=1).max() / np.linalg.norm(gradients[0])
    undamped = truth("the flow is undamped", bool(traj.flow.inverts))
    hypotheses = (
        flow_is(traj, GeneralizedGaussNewtonFlow),
        undamped,
        strictly_convex(traj),
        full_row_rank(traj),
        rank_kept(traj),
        arrived(traj),
    )
    return Findings(
        hypotheses, (Conclusion("largest |grad g_t - exp(-t) grad g_0| / |grad g_0|", 0.0, float(gap), "equal", 1e-7),)
    )


def dissipation(traj: Trajectory) -> Findings:
    """C2: `g(f_0) - g(f_T) = int sum_i phi(s_i^2) (u_i^T grad g)^2 dt`; for Gauss-Newton the integrand is `|P grad g|^2`."""
    lost, gain = float(traj.losses[0] - traj.losses[-1]), by_a_gain(traj)
    share = path_quantities.integral(traj, path_quantities.dissipation) / lost if gain.margin >= 0 else float("nan")
    hypotheses = (
        gain,
        arrived(traj),
        Hypothesis("the loss falls", lost / float(traj.losses[0]), "at_least", 1e-6, "measured on the path"),
    )
    return Findings(hypotheses, (Conclusion("integrated dissipation / (g_0 - g_T)", 1.0, share, "equal", 1e-7),))


def invariance(trajectories: Evidence) -> Findings:
    """C3: the outputs of Gauss-Newton are the same in all coordinates of the parameters."""
    first = trajectories[0]
    scale = float(np.linalg.norm(np.asarray(first.outputs[0] - first.problem.y)))
    starts = max(float(np.abs(np.asarray(traj.outputs[0] - first.outputs[0])).max()) for traj in trajectories)
    conds = [float(traj.stats["cond"]) for traj in trajectories]
    hypotheses = (
        truth(
            "all trajectories are of Gauss-Newton", all(isinstance(traj.flow, GaussNewtonFlow) for traj in trajectories)
        ),
        Hypothesis("difference of the starting outputs / |r_0|", starts / scale, "at_most", 1e-12, "measured"),
        Hypothesis(
            "cond(J), largest over smallest of the trajectories",
            max(conds) / min(conds),
            "at_least",
            10.0,
            "measured at the start",
        ),
        *(arrived(traj) for traj in trajectories),
    )
    shared = min(traj.ts.size for traj in trajectories)  # one that ended early is compared as far as it came
    if not all(
        bool(np.all(np.asarray(traj.ts[: shared - 1]) == np.asarray(first.ts[: shared - 1]))) for traj in trajectories
    ):
        raise ValueError("The claim `invariance` compares trajectories saved at the same times.")
    apart = [
        np.linalg.norm(np.asarray(traj.outputs[: shared - 1] - first.outputs[: shared - 1]), axis=1).max()
        for traj in trajectories
    ]
    spread = float(max(apart)) / scale
    return Findings(hypotheses, (Conclusion("largest difference of the outputs / |r_0|", 0.0, spread, "equal", 1e-6),))


def equivalence(pair: Evidence) -> Findings:
    """C1: the outputs of the Gauss-Newton flow solve `psi' = -P grad g(psi)` on `M`, integrated in the outputs."""
    traj, path = pair
    shared = min(traj.ts.size, path.ts.size)
    if not bool(np.allclose(np.asarray(traj.ts[: shared - 1]), np.asarray(path.ts[: shared - 1]), rtol=1e-12, atol=0)):
        raise ValueError("The claim `equivalence` compares two trajectories saved at the same times.")
    scale = float(np.linalg.norm(np.asarray(traj.outputs[0] - traj.problem.y)))
    ending = shared if traj.ts.size == path.ts.size else shared - 1  # an early end is at a time of its own
    gap = float(np.linalg.norm(np.asarray(traj.outputs[:ending] - path.outputs[:ending]), axis=1).max()) / scale
    hypotheses = (
        flow_is(traj, GaussNewtonFlow),
        rank_kept(traj),
        arrived(traj),
        truth("the manifold flow reached its end", path.succeeded),
        Hypothesis(
            "difference of the starting points / |r_0|",
            float(np.abs(np.asarray(traj.outputs[0] - path.outputs[0])).max()) / scale,
            "at_most",
            1e-12,
        ),
    )
    return Findings(hypotheses, (Conclusion("largest |f(w_t) - psi_t| / |r_0|", 0.0, gap, "equal", 1e-8),))
