"""The parameters as a geomstats space: an immersed set with its pullback metric. Importing this module imports geomstats."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import curvature
from ..immersion import lower_index
from ..output_manifold import OutputManifold
from .base import (
    AbstractGeometrySpace,
    AbstractInducedMetric,
    arrived,
    at_point,
    coordinates,
    embed,
    locate,
    push_forward,
)
from .batching import namespace
from .geomstats_import import load

ImmersedSet = load("geomstats.geometry.base").ImmersedSet
PullbackMetric = load("geomstats.geometry.pullback_metric").PullbackMetric
euclidean = load("geomstats.geometry.euclidean")


class ParameterChart(AbstractGeometrySpace, ImmersedSet):
    """The parameters `w` as coordinates of `M = f(W)`: points and tangent vectors (..., p), the immersion is `f`, the metric `J^T Q J`.

    geomstats' own immersed sets need one of its backends with derivatives; this one takes them from JAX, so it works on plain numpy.
    `to_tangent` is the identity, since a tangent vector is its coordinates; `tangent_coordinates` maps ambient vectors to them.

    Where the chart is over-complete (p above the dimension of `M`) the metric is degenerate, and every velocity stands for the shortest one with the
    same image.

    Arguments:

    - `manifold`: the `OutputManifold`.
    - `radius`: `random_point` draws from the ball of this radius about the starting point.

    Reference: derived, theory.md section 2.
    """

    def __init__(self, manifold: OutputManifold, radius: float = 0.5, equip: bool = True):
        self.manifold = manifold
        self.radius = radius
        ImmersedSet.__init__(self, dim=manifold.p, equip=equip)

    @staticmethod
    def default_metric():
        """The pullback metric."""
        return ChartMetric

    def _define_embedding_space(self):
        form = self.manifold.immersion.form
        space = euclidean.Euclidean(self.manifold.ambient_dim, equip=form is None)
        if form is not None:
            matrix = np.array(form)
            space.equip_with_metric(
                euclidean.EuclideanMetric, metric_matrix=np.diag(matrix) if matrix.ndim == 1 else matrix
            )
        return space

    def parameters(self, point):
        """The point itself, once the chart is known to be regular there.

        Raises: `ValueError`.
        """
        if point is None:
            raise ValueError("A base point is needed: the metric differs from point to point.")
        return self._regular(self.regularize(point))

    def immersion(self, point):
        """`f(w)`, (..., m)."""
        return at_point(embed, self, point)

    def tangent_immersion(self, tangent_vec, base_point):
        """`J a`, (..., m)."""
        return self._ambient(tangent_vec, base_point)

    def tangent_coordinates(self, vector, base_point):
        """`J^+ v` of ambient vectors (..., m)."""
        return self._vector(vector, self.parameters(base_point))

    def jacobian_immersion(self, base_point):
        """`J`, (..., m, p)."""
        return at_point(_jacobian, self, base_point)

    def hessian_immersion(self, base_point):
        """`D^2 f`, (..., m, p, p)."""
        return at_point(_hessian, self, base_point)

    def belongs(self, point, atol=0.0):
        """Whether points have p finite entries; `atol` has nothing to measure here."""
        xp = namespace(point)
        if np.shape(point)[-1:] != self.shape:
            return xp.zeros(np.shape(point)[:-1], dtype=bool)[()]
        return xp.all(xp.isfinite(xp.asarray(point, dtype=float)), axis=-1)

    def is_tangent(self, vector, base_point=None, atol=0.0):
        """Whether vectors have p finite entries, once for every base point."""
        answer = self.belongs(vector)
        return (
            answer
            if base_point is None
            else answer & namespace(vector, base_point).ones(np.shape(base_point)[:-1], dtype=bool)[()]
        )

    def to_tangent(self, vector, base_point=None):
        """The vector itself, once for every base point."""
        shape = np.shape(vector) if base_point is None else np.broadcast_shapes(np.shape(vector), np.shape(base_point))
        return namespace(vector, base_point).broadcast_to(self.regularize(vector), shape) + 0.0

    def projection(self, point):
        """Parameters (..., p) of the point of `M` nearest to an ambient point (..., m), downhill from the starting point.

        Raises: `GeometryError` where the iteration breaks down.
        """
        return arrived(at_point(locate, self, point)[0], "projection")

    def _point(self, params):
        return params

    def _ambient(self, tangent_vec, params):
        return at_point(push_forward, self, params, tangent_vec)

    def _vector(self, ambient, params):
        return at_point(coordinates, self, params, ambient)


class ChartMetric(AbstractInducedMetric, PullbackMetric):
    """The metric `G = J^T Q J` of `ParameterChart`; geodesics to 1e-11 without Christoffel symbols, curvature by the Gauss equation."""

    def __init__(self, space, signature=None):
        PullbackMetric.__init__(self, space, signature=(space.manifold.dim, 0) if signature is None else signature)

    def _instantiate_solvers(self):
        """None: `exp` and `log` need no solver of geomstats'."""

    def _tensor(self, kernel, base_point, *vectors):
        return at_point(kernel, self._space, self._space.parameters(base_point), *vectors)

    def metric_matrix(self, base_point=None):
        """`G`, (..., p, p)."""
        return self._tensor(_metric_matrix, base_point)

    def cometric_matrix(self, base_point=None):
        """`G^-1`, the pseudo-inverse where the chart is over-complete."""
        return self._tensor(_cometric_matrix, base_point)

    def inner_product_derivative_matrix(self, base_point=None):
        """`d_k g_ij`, (..., i, j, k)."""
        return self._tensor(_metric_derivative, base_point)

    def christoffels(self, base_point=None):
        """`Gamma^k_ij`, (..., k, i, j)."""
        return self._tensor(_christoffels, base_point)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """`<J a, J b>`."""
        return self._tensor(_inner_product, base_point, tangent_vec_a, tangent_vec_b)

    def geodesic_equation(self, state):
        """`(w, w') -> (w', -Gamma(w', w'))`, states (..., 2, p)."""
        xp = namespace(state)
        position, velocity = xp.moveaxis(xp.asarray(state, dtype=float), -2, 0)
        return xp.stack([velocity, -self._tensor(_christoffel_product, position, velocity)], axis=-2)

    def riemann_tensor(self, base_point=None):
        """`R_ijk^l = dx^l(R(e_j, e_k) e_i)`, (..., i, j, k, l)."""
        return self._tensor(_riemann_tensor, base_point)

    def covariant_riemann_tensor(self, base_point=None):
        """`R_ijkl = g_im R_jkl^m`, (..., i, j, k, l)."""
        return self._tensor(_covariant_riemann_tensor, base_point)

    def ricci_tensor(self, base_point=None):
        """`Ric_ij = R_ikj^k`, (..., i, j)."""
        return self._tensor(_ricci_tensor, base_point)

    def second_fundamental_form(self, base_point):
        """`II(J e_i, J e_j)`, (..., m, i, j)."""
        return self._tensor(_second_fundamental_form, base_point)


# --- at one point: what is compiled and mapped ------------------------------------------------------------------------


def _jacobian(immersion, w):
    return immersion.jac(w)


def _hessian(immersion, w):
    return curvature.second_derivative_tensor(immersion, immersion.frame(w))


def _metric_matrix(immersion, w):
    return curvature.metric_matrix(immersion, immersion.frame(w))


def _cometric_matrix(immersion, w):
    frame = immersion.frame(w)
    return jax.vmap(lambda h: frame.coordinates(frame.pull_up(h)))(jnp.eye(immersion.p, dtype=w.dtype))


def _metric_derivative(immersion, w):
    frame = immersion.frame(w)
    lowered = jax.vmap(lower_index, (None, 1), 1)(immersion.form, immersion.jac(w))
    half = jnp.einsum("aki,aj->ijk", curvature.second_derivative_tensor(immersion, frame), lowered)
    return half + half.swapaxes(0, 1)


def _christoffels(immersion, w):
    return curvature.christoffels(immersion, immersion.frame(w))


def _christoffel_product(immersion, w, a):
    return jnp.einsum("kij,i,j->k", _christoffels(immersion, w), a, a)


def _inner_product(immersion, w, a, b):
    return push_forward(immersion, w, a) @ lower_index(immersion.form, push_forward(immersion, w, b))


def _riemann_tensor(immersion, w):
    return jnp.einsum("jkil->ijkl", curvature.riemann_tensor(immersion, immersion.frame(w)))


def _covariant_riemann_tensor(immersion, w):
    return jnp.einsum("im,jklm->ijkl", _metric_matrix(immersion, w), _riemann_tensor(immersion, w))


def _ricci_tensor(immersion, w):
    return jnp.einsum("ikjk->ij", _riemann_tensor(immersion, w))


def _second_fundamental_form(immersion, w):
    return curvature.second_fundamental_tensor(immersion, immersion.frame(w))
