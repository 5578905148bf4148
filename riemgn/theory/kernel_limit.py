"""The kernel limit: a network of large output scale predicts like tangent-kernel regression."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike

from ..flow import GaussNewtonFlow
from ..trajectory import Trajectory
from . import path_quantities
from .certificate import Conclusion, Findings, Hypothesis
from .claim import Evidence
from .constants import swept_scales
from .hypotheses import all_satisfy, flow_is, full_row_rank, ON_PATH, reached_end, squared_loss


def kernel_limit(trajectories: Evidence, x_new: ArrayLike | None = None) -> Findings:
    """Check that predictions differ from `f_0(x) + J(x) J^+ (f_t - f_0)` by `O(1 / alpha)`.

    `J(x) J^+ = k(x, X) K^-1` is regression with the tangent kernel at the start, here on the
    outputs at the last time.

    Arguments:

    - `x_new`: new inputs. Defaults to midpoints of neighbouring training inputs.

    Reference: Statement C11.
    """
    alphas = swept_scales("kernel_limit", trajectories)
    deviations = np.array([deviation(traj, x_new) for traj in trajectories])
    slope = float(np.polyfit(np.log(alphas), np.log(deviations), 1)[0])
    change = max(map(path_quantities.jacobian_change, trajectories))
    last = float(deviations[-1])
    hypotheses = (
        all_satisfy("all flows are of Gauss-Newton", trajectories, lambda traj: flow_is(traj, GaussNewtonFlow)),
        all_satisfy("the loss is squared", trajectories, squared_loss),
        all_satisfy("J(w0) has rank n", trajectories, full_row_rank),
        all_satisfy("the solves reached their end", trajectories, reached_end),
        Hypothesis("largest relative change of J over a run (lazy)", change, "at_most", 0.1, ON_PATH),
        Hypothesis("deviation at the largest alpha, above rounding", last, "at_least", 1e-9, ON_PATH),
    )
    # only an upper bound of the slope, because second-order terms can cancel
    name = "slope of log |f(x) - kernel regression| in log alpha"
    return Findings(hypotheses, (Conclusion(name, -1.0, slope, "at_most", 0.1, constant="kernel at the start"),))


def deviation(traj: Trajectory, x_new: ArrayLike | None) -> float:
    """Compute the largest difference of the two predictions, in units of `|y - f_0|_inf`."""
    problem = traj.problem
    new = 0.5 * (problem.x + np.roll(np.asarray(problem.x), 1, axis=0)) if x_new is None else np.asarray(x_new)
    at_new = eqx.tree_at(lambda p: (p.x, p.y), problem, (new, np.zeros(len(new) * problem.n // len(problem.x))))
    train, test = (np.asarray(path_quantities.jacobian(p, problem.w0)) for p in (problem, at_new))
    step = np.linalg.lstsq(train, np.asarray(traj.outputs[-1] - traj.outputs[0]), rcond=None)[0]
    predicted = np.asarray(at_new.outputs(problem.w0)) + test @ step
    trained = np.asarray(at_new.outputs(traj.params[-1]))
    return float(np.abs(trained - predicted).max() / np.abs(np.asarray(problem.y - traj.outputs[0])).max())
