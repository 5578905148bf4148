"""Hypotheses that many claims share, each with the number that decides it."""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from ..flow import AbstractFlow, AbstractSpectralFlow
from ..loss import SquaredLoss
from ..method import AbstractMethod
from ..result import EXPECTED, result_name
from ..trajectory import Trajectory
from .certificate import Hypothesis
from .path_quantities import rank_at_start

ON_PATH, AT_START = "measured on the path", "measured at the start"
TINY = float(np.finfo(np.float64).tiny)


def by_inspection(name: str, holds: bool) -> Hypothesis:
    """A hypothesis without a number: 1 if it holds, else 0."""
    return Hypothesis(name, float(holds), "at_least", 1.0, "by inspection")


def all_satisfy(
    name: str, trajectories: Iterable[Trajectory], hypothesis: Callable[[Trajectory], Hypothesis]
) -> Hypothesis:
    """A hypothesis that every trajectory must satisfy."""
    return by_inspection(name, all(hypothesis(traj).margin >= 0 for traj in trajectories))


def flow_is(traj: Trajectory, *kinds: type[AbstractFlow] | type[AbstractMethod]) -> Hypothesis:
    """The trajectory is one of these flows or methods."""
    word = "method" if issubclass(kinds[0], AbstractMethod) else "flow"
    return by_inspection(f"the {word} is {' or '.join(kind.__name__ for kind in kinds)}", isinstance(traj.flow, kinds))


def flow_has_gain(traj: Trajectory) -> Hypothesis:
    """The velocity is a gain on the singular values of the Jacobian."""
    return by_inspection("the flow is a gain on the singular values of J", isinstance(traj.flow, AbstractSpectralFlow))


def reached_end(traj: Trajectory) -> Hypothesis:
    """The solve ended as requested, not at a singular point."""
    return by_inspection("the solve reached its end", result_name(traj.result) in EXPECTED)


def full_row_rank(traj: Trajectory) -> Hypothesis:
    """`J` has rank n at the start. The event of the solve keeps the rank from falling."""
    rank, n = float(rank_at_start(traj)), float(traj.problem.n)
    return Hypothesis("rank J(w0) at least n (over-parameterised)", rank, "at_least", n, "numerical rank")


def full_column_rank(traj: Trajectory) -> Hypothesis:
    """`J` has rank p at the start."""
    rank, p = float(rank_at_start(traj)), float(traj.problem.p)
    return Hypothesis("rank J(w0) at least p (under-parameterised)", rank, "at_least", p, "numerical rank")


def rank_kept(traj: Trajectory) -> Hypothesis:
    """The smallest singular value stays above the rounding error of the largest one."""
    rank_at_start(traj)  # raises if there are no singular values
    smallest = float(np.min(np.asarray(traj.sigma_min)))
    largest = float(traj.stats["cond"]) * float(traj.sigma_min[0])
    rounding = max(traj.problem.n, traj.problem.p) * float(np.finfo(np.float64).eps) * largest
    return Hypothesis("smallest singular value on the path", smallest, "at_least", rounding, ON_PATH)


def squared_loss(traj: Trajectory) -> Hypothesis:
    """The loss is least squares."""
    return by_inspection("the loss is squared", isinstance(traj.problem.loss, SquaredLoss))


def smooth_model(traj: Trajectory) -> Hypothesis:
    """The model is twice continuously differentiable."""
    return by_inspection("the model is twice continuously differentiable", bool(traj.problem.model.smooth))


def strictly_convex(traj: Trajectory) -> Hypothesis:
    """Every entry of `Hess g` is positive on the path."""
    smallest = float(np.min(np.asarray(jax.vmap(traj.problem.loss_hessian)(traj.outputs))))
    return Hypothesis("smallest entry of Hess g on the path", smallest, "at_least", TINY, ON_PATH)
