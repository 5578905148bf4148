"""R^p with the metric of GGN-SCORE's flow, as a geomstats space. Importing this module imports geomstats."""

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
    """`G(w) = c D(w) + J^T Q J` on R^p: positive definite wherever `D` is, also where `J` loses rank.

    Its values and derivatives come from JAX, so they work on plain numpy; Christoffel symbols, curvature and geodesics are geomstats' own, from
    arrays (p, p, p): for small p.

    Arguments:

    - `space`: the Euclidean space of the parameters.
    - `problem`, `flow`: the `Problem` and its `GGNScoreFlow`.

    Reference: derived.
    """

    def __init__(self, space, problem, flow):
        RiemannianMetric.__init__(self, space)
        self.of = (problem, flow)
        self.exp_solver = solvers.ExpODESolver(space, integrator=ScipySolveIVP(method="DOP853", rtol=1e-10, atol=1e-12))
        self.log_solver = solvers.LogODESolver(space, use_jac=False)

    def metric_matrix(self, base_point=None):
        """`G`, (..., p, p)."""
        return self._at(_metric_matrix, base_point)

    def cometric_matrix(self, base_point=None):
        """`G^-1`, (..., p, p)."""
        return self._at(_cometric_matrix, base_point)

    def inner_product_derivative_matrix(self, base_point=None):
        """`d_k G_ij`, (..., i, j, k)."""
        return self._at(_metric_derivative, base_point)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """`<a, G b>`, (...,)."""
        return self._at(_inner_product, base_point, tangent_vec_a, tangent_vec_b)

    def riemannian_gradient(self, base_point):
        """`G^-1 grad F`, (..., p), with `grad F` by differentiation: the flow is `w' = -riemannian_gradient(w)`."""
        return self._at(_riemannian_gradient, base_point)

    def _at(self, kernel, base_point, *vectors):
        if base_point is None:
            raise ValueError("A base point is needed: the metric differs from point to point.")
        return call(kernel, self.of, base_point, *vectors, ndims=(1,) * (1 + len(vectors)))


def space_with_metric(problem, flow):
    """The Euclidean space of the parameters, equipped with `ScoreMetric`."""
    space = euclidean.Euclidean(problem.p, equip=False)
    space.equip_with_metric(ScoreMetric, problem=problem, flow=flow)
    return space


# --- at one point: what is compiled and mapped ------------------------------------------------------------------------


def _metric_matrix(of, w):
    problem, flow = of
    return flow.metric_matrix(problem, w)


def _cometric_matrix(of, w):
    factor = jax.scipy.linalg.cho_factor(_metric_matrix(of, w))
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(np.size(w), dtype=w.dtype))


def _metric_derivative(of, w):
    return jax.jacfwd(lambda w: _metric_matrix(of, w))(w)


def _inner_product(of, w, a, b):
    return a @ _metric_matrix(of, w) @ b


def _riemannian_gradient(of, w):
    problem, flow = of
    gradient = jax.grad(flow.objective, argnums=1)(problem, w)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(_metric_matrix(of, w)), gradient)
