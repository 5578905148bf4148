"""The optimum that a flow ends in, found a second time by SciPy's minimisers, which share no code with the flows."""

import equinox as eqx
import numpy as np
import scipy.optimize

from riemgn.theory.along import jacobian


@eqx.filter_jit
def outputs(problem, w):
    """`f(w)`, compiled once for each shape."""
    return problem.outputs(w)


def least_squares(problem, start=None):
    """The local minimum of the squared loss nearest in SciPy's trust-region sense: `scipy.optimize.OptimizeResult` with `x` and `cost`."""
    y = np.asarray(problem.y)
    return scipy.optimize.least_squares(
        lambda w: np.asarray(outputs(problem, w)) - y,
        np.asarray(problem.w0 if start is None else start),
        lambda w: np.asarray(jacobian(problem, w)),
        method="trf",
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=2000,
    )


def starts_around(problem, radius, count, seed):
    """`count` random points at distance `radius` from `w0`, shape (count, p)."""
    steps = np.random.default_rng(seed).normal(size=(count, problem.p))
    return np.asarray(problem.w0) + radius * steps / np.linalg.norm(steps, axis=1, keepdims=True)
