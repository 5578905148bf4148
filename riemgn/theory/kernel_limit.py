"""The kernel limit: at large output scale the trained network predicts like regression with its tangent kernel."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike

from ..flow import GaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .constants import output_scale
from .hypotheses import arrived, constant_curvature, full_row_rank, truth


def kernel_limit(trajectories: Evidence, x_new: ArrayLike | None = None) -> Findings:
    """C11: on new points the Gauss-Newton predictor differs from `f_0(x) + J(x) J^+ (f_t - f_0)` by `O(1 / alpha)`.

    `J(x) J^+ = k(x, X) K^-1` is regression with the tangent kernel at the start, here to the outputs reached at the last time. By default the new
    points are midpoints of neighbouring training inputs.
    """
    alphas = np.array([output_scale(traj.problem.model) for traj in trajectories])
    if np.ptp(np.log10(alphas)) < 1 - 1e-9 or len(trajectories) < 3:
        raise ValueError(
            f"The claim `kernel_limit` needs at least three output scales over a decade, got {alphas.tolist()}."
        )
    deviations = np.array([deviation(traj, x_new) for traj in trajectories])
    slope = float(np.polyfit(np.log(alphas), np.log(deviations), 1)[0])
    hypotheses = (
        truth("all flows are of Gauss-Newton", all(isinstance(traj.flow, GaussNewtonFlow) for traj in trajectories)),
        truth("the loss is squared", all(constant_curvature(traj).margin >= 0 for traj in trajectories)),
        truth("J(w0) has rank n", all(full_row_rank(traj).margin >= 0 for traj in trajectories)),
        truth("the solves reached their end", all(arrived(traj).margin >= 0 for traj in trajectories)),
        Hypothesis(
            "largest relative change of J over a run (lazy)",
            max(map(path_quantities.jacobian_change, trajectories)),
            "at_most",
            0.1,
            "measured",
        ),
        Hypothesis(
            "deviation at the largest alpha, above rounding", float(deviations[-1]), "at_least", 1e-9, "measured"
        ),
    )
    # where second-order terms cancel the deviation falls faster, like 1 / alpha^2: an upper bound on the slope, not an equality
    name = "slope of log |f(x) - kernel regression| in log alpha"
    return Findings(hypotheses, (Conclusion(name, -1.0, slope, "at_most", 0.1, constant="kernel at the start"),))


def deviation(traj: Trajectory, x_new: ArrayLike | None) -> float:
    """Largest difference between the two predictors on the new points, in units of `|y - f_0|_inf`."""
    problem = traj.problem
    new = 0.5 * (problem.x + np.roll(np.asarray(problem.x), 1, axis=0)) if x_new is None else np.asarray(x_new)
    asked = eqx.tree_at(lambda p: (p.x, p.y), problem, (new, np.zeros(len(new) * problem.n // len(problem.x))))
    train, test = (np.asarray(path_quantities.jacobian(p, problem.w0)) for p in (problem, asked))
    moved = np.linalg.lstsq(train, np.asarray(traj.outputs[-1] - traj.outputs[0]), rcond=None)[0]
    predicted = np.asarray(asked.outputs(problem.w0)) + test @ moved
    trained = np.asarray(asked.outputs(traj.params[-1]))
    return float(np.abs(trained - predicted).max() / np.abs(np.asarray(problem.y - traj.outputs[0])).max())
