"""The parameters as a geomstats space with the pullback metric (imports geomstats)."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import curvature
from ..immersion import lower_index
from ..output_manifold import OutputManifold
from .base import at_frame, at_point, embed, finite_or_raise, InducedMetric, locate, OutputGeometry, push_forward
from .batching import namespace
from .geomstats_import import load

ImmersedSet = load("geomstats.geometry.base").ImmersedSet
PullbackMetric = load("geomstats.geometry.pullback_metric").PullbackMetric
euclidean = load("geomstats.geometry.euclidean")


class ParameterChart(OutputGeometry, ImmersedSet):
    """The parameters `w` as coordinates of `M = f(W)`, with the metric `J^T Q J`.

    Points and tangent vectors are (..., p), and the immersion is `f`. Derivatives come from JAX, so
    geomstats' numpy backend is enough. `to_tangent` is the identity, and `tangent_coordinates` maps
    ambient vectors to coordinates. If p exceeds the dimension of `M`, the metric is degenerate, and
    a velocity represents the shortest one with the same image.

    Arguments:

    - `manifold`: the `OutputManifold`.
    - `radius`: `random_point` draws from the ball of this radius about the start.
    """

    def __init__(self, manifold: OutputManifold, radius: float = 0.5, equip: bool = True):
        self.manifold = manifold
        self.radius = radius
        ImmersedSet.__init__(self, dim=manifold.p, equip=equip)

    @staticmethod
    def default_metric():
        """Return the class of the pullback metric."""
        return ChartMetric

    def _define_embedding_space(self):
        form = self.manifold.immersion.form
        space = euclidean.Euclidean(self.manifold.ambient_dim, equip=form is None)
        if form is not None:
            matrix = np.diag(np.array(form)) if np.ndim(form) == 1 else np.array(form)
            space.equip_with_metric(euclidean.EuclideanMetric, metric_matrix=matrix)
        return space

    def parameters(self, point):
        """Return the point itself, or raise `ValueError` if the chart is singular there."""
        if point is None:
            raise ValueError("Got no base point, but the metric differs from point to point: pass one.")
        return self._check_regular(self.regularize(point))

    def immersion(self, point):
        """Compute `f(w)`, (..., m)."""
        return at_point(embed, self, point)

    def tangent_immersion(self, tangent_vec, base_point):
        """Compute `J a`, (..., m)."""
        return self._ambient(tangent_vec, base_point)

    def tangent_coordinates(self, vector, base_point):
        """Compute `J^+ v` of ambient vectors (..., m)."""
        return self._vector(vector, self.parameters(base_point))

    def jacobian_immersion(self, base_point):
        """Compute `J`, (..., m, p)."""
        return at_frame(_jacobian, self, base_point)

    def hessian_immersion(self, base_point):
        """Compute `D^2 f`, (..., m, p, p)."""
        return at_frame(curvature.second_derivative_tensor, self, base_point)

    def belongs(self, point, atol=0.0):
        """Whether points have p finite entries. `atol` is not used."""
        xp = namespace(point)
        if np.shape(point)[-1:] != self.shape:
            return xp.zeros(np.shape(point)[:-1], dtype=bool)[()]
        return xp.all(xp.isfinite(xp.asarray(point, dtype=float)), axis=-1)

    def is_tangent(self, vector, base_point=None, atol=0.0):
        """Whether vectors have p finite entries, broadcast over the base points."""
        batch = () if base_point is None else np.shape(base_point)[:-1]
        return self.belongs(vector) & namespace(vector, base_point).ones(batch, dtype=bool)[()]

    def to_tangent(self, vector, base_point=None):
        """Return the vector itself, broadcast over the base points."""
        shape = np.shape(vector) if base_point is None else np.broadcast_shapes(np.shape(vector), np.shape(base_point))
        return namespace(vector, base_point).broadcast_to(self.regularize(vector), shape) + 0.0

    def projection(self, point):
        """Compute parameters (..., p) of the point of `M` nearest to an ambient point (..., m).

        Raises: `GeometryError` if the iteration fails.
        """
        return finite_or_raise(at_point(locate, self, point)[0], "projection")

    def _point(self, params):
        return params

    def _ambient(self, tangent_vec, params):
        return at_point(push_forward, self, params, tangent_vec)

    def _vector(self, ambient, params):
        return at_frame(_coordinates, self, params, ambient)


class ChartMetric(InducedMetric, PullbackMetric):
    """The metric `G = J^T Q J` of `ParameterChart`, with geodesics to 1e-11."""

    def __init__(self, space, signature=None):
        PullbackMetric.__init__(self, space, signature=(space.manifold.dim, 0) if signature is None else signature)

    def _instantiate_solvers(self):
        """Do nothing, because `exp` and `log` need no solver of geomstats."""

    def _tensor(self, function, base_point, *vectors):
        return at_frame(function, self._space, self._space.parameters(base_point), *vectors)

    def metric_matrix(self, base_point=None):
        """Compute `G`, (..., p, p)."""
        return self._tensor(curvature.metric_matrix, base_point)

    def cometric_matrix(self, base_point=None):
        """Compute `G^-1`, or the pseudo-inverse if p exceeds the dimension of `M`."""
        return self._tensor(_cometric_matrix, base_point)

    def inner_product_derivative_matrix(self, base_point=None):
        """Compute `d_k g_ij`, (..., i, j, k)."""
        return self._tensor(_metric_derivative, base_point)

    def christoffels(self, base_point=None):
        """Compute `Gamma^k_ij`, (..., k, i, j)."""
        return self._tensor(curvature.christoffels, base_point)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """Compute `<J a, J b>`."""
        return self._tensor(_inner_product, base_point, tangent_vec_a, tangent_vec_b)

    def riemann_tensor(self, base_point=None):
        """Compute `R_ijk^l = dx^l(R(e_j, e_k) e_i)`, (..., i, j, k, l)."""
        return self._tensor(_riemann_tensor, base_point)

    def second_fundamental_form(self, base_point):
        """Compute `II(J e_i, J e_j)`, (..., m, i, j)."""
        return self._tensor(curvature.second_fundamental_tensor, base_point)


# --- compiled functions at one point and its tangent frame


def _jacobian(immersion, frame):
    return immersion.jac(frame.w)


def _coordinates(immersion, frame, v):
    return frame.coordinates(v)


def _cometric_matrix(immersion, frame):
    return jax.vmap(lambda h: frame.coordinates(frame.tangent_of_covector(h)))(
        jnp.eye(immersion.p, dtype=frame.w.dtype)
    )


def _metric_derivative(immersion, frame):
    lowered = jax.vmap(lower_index, (None, 1), 1)(immersion.form, immersion.jac(frame.w))
    half = jnp.einsum("aki,aj->ijk", curvature.second_derivative_tensor(immersion, frame), lowered)
    return half + half.swapaxes(0, 1)


def _inner_product(immersion, frame, a, b):
    a, b = (push_forward(immersion, frame.w, v) for v in (a, b))
    return a @ lower_index(immersion.form, b)


def _riemann_tensor(immersion, frame):
    return jnp.einsum("jkil->ijkl", curvature.riemann_tensor(immersion, frame))
