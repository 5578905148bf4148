"""Hypotheses that many claims share, each with the number that decides it."""

import numpy as np

from ..flow import AbstractFlow, AbstractSpectralFlow
from ..loss import SquaredLoss
from ..result import EXPECTED, result_name
from ..trajectory import Trajectory
from .certificate import Hypothesis
from .path_quantities import rank_at_start


def truth(name: str, holds: bool) -> Hypothesis:
    """A hypothesis that is decided by looking: 1 where it holds, 0 where not."""
    return Hypothesis(name, float(holds), "at_least", 1.0, "by inspection")


def flow_is(traj: Trajectory, *kinds: type[AbstractFlow]) -> Hypothesis:
    """The trajectory is of one of these flows."""
    return truth(f"the flow is {' or '.join(kind.__name__ for kind in kinds)}", isinstance(traj.flow, kinds))


def by_a_gain(traj: Trajectory) -> Hypothesis:
    """The velocity is a gain on the singular values of the Jacobian: no other flow has what claims read off the gain."""
    return truth("the flow is a gain on the singular values of J", isinstance(traj.flow, AbstractSpectralFlow))


def arrived(traj: Trajectory) -> Hypothesis:
    """The solve ended as asked, at no singular point."""
    return truth("the solve reached its end", result_name(traj.result) in EXPECTED)


def full_row_rank(traj: Trajectory) -> Hypothesis:
    """`J` has rank n at the start; the event of the solve keeps it from falling."""
    return Hypothesis(
        "rank J(w0) at least n (over-parameterised)",
        float(rank_at_start(traj)),
        "at_least",
        float(traj.problem.n),
        "numerical rank",
    )


def full_column_rank(traj: Trajectory) -> Hypothesis:
    """`J` has rank p at the start."""
    return Hypothesis(
        "rank J(w0) at least p (under-parameterised)",
        float(rank_at_start(traj)),
        "at_least",
        float(traj.problem.p),
        "numerical rank",
    )


def rank_kept(traj: Trajectory) -> Hypothesis:
    """The smallest singular value stays clear of the rounding error of the largest at the start."""
    least = float(np.min(np.asarray(traj.sigma_min)))
    largest = float(traj.stats["cond"]) * float(traj.sigma_min[0])
    shape = max(traj.problem.n, traj.problem.p)
    return Hypothesis(
        "least singular value on the path",
        least,
        "at_least",
        shape * float(np.finfo(np.float64).eps) * largest,
        "measured on the path",
    )


def constant_curvature(traj: Trajectory) -> Hypothesis:
    """The loss is least squares."""
    return truth("the loss is squared", isinstance(traj.problem.loss, SquaredLoss))


def smooth(traj: Trajectory) -> Hypothesis:
    """The model is twice differentiable."""
    return truth("the model is twice continuously differentiable", bool(traj.problem.model.smooth))


def strictly_convex(traj: Trajectory) -> Hypothesis:
    """Every entry of `Hess g` is positive on the path; rounding of the entry is its own scale."""
    import jax

    least = float(np.min(np.asarray(jax.vmap(traj.problem.loss_hessian)(traj.outputs))))
    return Hypothesis(
        "least curvature of the loss on the path",
        least,
        "at_least",
        float(np.finfo(np.float64).tiny),
        "measured on the path",
    )
