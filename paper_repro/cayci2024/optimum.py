"""Find the optimum of a flow again with SciPy, whose code is independent of the flows."""

import equinox as eqx
import jax
import numpy as np
import scipy.optimize

from riemgn.theory.path_quantities import jacobian


@eqx.filter_jit
def outputs(problem, w):
    """`f(w)`, compiled once for each shape."""
    return problem.outputs(w)


def least_squares(problem, start=None):
    """Minimise the squared loss with SciPy's trust-region method; returns its `OptimizeResult`."""
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


@eqx.filter_jit
def _objective(problem, w):
    return jax.value_and_grad(problem.objective)(w)


@eqx.filter_jit
def _hessian(problem, w):
    return jax.hessian(problem.objective)(w)


def newton(problem, start=None):
    """Minimise a smooth loss with SciPy's exact trust-region Newton method.

    The unknowns are scaled by the norms of the columns of the Jacobian at the start.

    Returns: an `OptimizeResult` with `x`, `fun` and the gradient `jac`.
    """
    w0 = np.asarray(problem.w0 if start is None else start)
    scale = 1 / np.linalg.norm(np.asarray(jacobian(problem, w0)), axis=0)

    def value(v):
        loss, gradient = _objective(problem, w0 + scale * v)
        return float(loss), scale * np.asarray(gradient)

    def hessian(v):
        return scale[:, None] * np.asarray(_hessian(problem, w0 + scale * v)) * scale

    options = {"gtol": 1e-10, "maxiter": 2000, "initial_trust_radius": 1.0, "max_trust_radius": 100.0}
    fit = scipy.optimize.minimize(
        value, np.zeros_like(w0), jac=True, hess=hessian, method="trust-exact", options=options
    )
    fit.x, fit.jac = w0 + scale * fit.x, fit.jac / scale
    return fit
