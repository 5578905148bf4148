"""R^p with the metric of the GGN-SCORE flow, as a geomstats space (imports geomstats)."""

import jax
import jax.numpy as jnp
import numpy as np

from .batching import call
from .geomstats_import import load

euclidean = load("geomstats.geometry.euclidean")
RiemannianMetric = load("geomstats.geometry.riemannian_metric").RiemannianMetric
solvers = load("geomstats.numerics.geodesic")
ScipySolveIVP = load("geomstats.numerics.ivp").ScipySolveIVP


class ScoreMetric(RiemannianMetric):
    """The metric `G(w) = c D(w) + J^T Q J` on R^p, positive definite wherever `D` is.

    The metric and its derivative come from JAX. Christoffel symbols, curvature and geodesics are
    geomstats' own, from arrays (p, p, p), so use it for small p.

    Arguments:

    - `space`: the Euclidean space of the parameters.
    - `problem`, `flow`: the `Problem` and its `GGNScoreFlow`.
    """

    def __init__(self, space, problem, flow):
        RiemannianMetric.__init__(self, space)
        self._data = (problem, flow)
        self.exp_solver = solvers.ExpODESolver(space, integrator=ScipySolveIVP(method="DOP853", rtol=1e-10, atol=1e-12))
        self.log_solver = solvers.LogODESolver(space, use_jac=False)

    def metric_matrix(self, base_point=None):
        """Compute `G`, (..., p, p)."""
        return self._call(_metric_matrix, base_point)

    def cometric_matrix(self, base_point=None):
        """Compute `G^-1`, (..., p, p)."""
        return self._call(_cometric_matrix, base_point)

    def inner_product_derivative_matrix(self, base_point=None):
        """Compute `d_k G_ij`, (..., i, j, k)."""
        return self._call(_metric_derivative, base_point)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """Compute `<a, G b>`, (...,)."""
        return self._call(_inner_product, base_point, tangent_vec_a, tangent_vec_b)

    def riemannian_gradient(self, base_point):
        """Compute `G^-1 grad F`, (..., p), by differentiation. The flow is `w' = -G^-1 grad F`."""
        return self._call(_riemannian_gradient, base_point)

    def _call(self, function, base_point, *vectors):
        if base_point is None:
            raise ValueError("Got no base point, but the metric differs from point to point: pass one.")
        return call(function, self._data, base_point, *vectors, ndims=(1,) * (1 + len(vectors)))


def space_with_metric(problem, flow):
    """Return the Euclidean space of the parameters, equipped with `ScoreMetric`."""
    space = euclidean.Euclidean(problem.p, equip=False)
    space.equip_with_metric(ScoreMetric, problem=problem, flow=flow)
    return space


# --- compiled functions at one point


def _metric_matrix(data, w):
    problem, flow = data
    return flow.metric_matrix(problem, w)


def _cometric_matrix(data, w):
    factor = jax.scipy.linalg.cho_factor(_metric_matrix(data, w))
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(np.size(w), dtype=w.dtype))


def _metric_derivative(data, w):
    return jax.jacfwd(lambda w: _metric_matrix(data, w))(w)


def _inner_product(data, w, a, b):
    return a @ _metric_matrix(data, w) @ b


def _riemannian_gradient(data, w):
    problem, flow = data
    gradient = jax.grad(flow.objective, argnums=1)(problem, w)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(_metric_matrix(data, w)), gradient)
