"""What the two geomstats spaces of an output manifold share: compiled functions at one point."""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import curvature, geodesic, retraction
from ..immersion import lower_index
from ..output_manifold import GeometryError, OutputManifold
from .batching import batch_shape, call, is_concrete, is_jax, namespace


class OutputGeometry(abc.ABC):
    """The part of a space that does not depend on how points and tangent vectors are represented.

    The compiled functions take parameters (p,) and ambient tangent vectors (m,). Here points and
    tangent vectors are ambient too. The chart overrides `_point`, `_ambient` and `_vector`.
    """

    manifold: OutputManifold
    radius: float
    shape: tuple[int, ...]

    @abc.abstractmethod
    def parameters(self, point):
        """Return the parameters (..., p) of points."""

    @abc.abstractmethod
    def to_tangent(self, vector, base_point=None):
        """Return the tangent part of vectors."""

    def _point(self, params):
        return at_point(embed, self, params)

    def _ambient(self, tangent_vec, params):
        return tangent_vec

    def _vector(self, ambient, params):
        return ambient

    def regularize(self, point):
        """Return the point itself as a float64 array."""
        return jnp.asarray(point, dtype=float) if is_jax(point) else np.array(point, dtype=float)

    def random_point(self, n_samples=1, bound=1.0, *, key=None):
        """Draw parameters uniformly from the ball of radius `bound * radius` about `w0`.

        Uses numpy's global generator, as geomstats does. With a `key` it returns JAX arrays.
        """
        p, center = self.manifold.p, self.manifold.problem.w0
        shape = (p,) if n_samples == 1 else (n_samples, p)
        direction = _standard_normal(shape, key)
        xp = namespace(direction)
        step = self.radius * bound * _uniform((*shape[:-1], 1), key) ** (1 / p) * direction
        return self._point(xp.asarray(center) + step / xp.linalg.norm(direction, axis=-1, keepdims=True))

    def random_tangent_vec(self, base_point=None, n_samples=1, *, key=None):
        """Project normal vectors: one for each base point, or `n_samples` at a single one."""
        batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
        if n_samples > 1 and math.prod(batch) not in (1, n_samples):
            raise ValueError(
                f"Got {math.prod(batch)} base points for {n_samples} samples; pass one, or one for each sample."
            )
        shape = ((n_samples,) if n_samples > 1 else batch) + self.shape
        return self.to_tangent(_standard_normal(shape, key), base_point)

    def _check_regular(self, params):
        """Return the parameters, or raise `ValueError` if the Jacobian is singular."""
        if is_concrete(params):
            ratio = np.asarray(at_point(_inverse_condition_bound, self, params))
            if not bool(np.all(ratio > max(self.manifold.ambient_dim, self.manifold.p) * np.finfo(float).eps)):
                raise ValueError(
                    f"The chart is singular: smallest over largest of the {self.manifold.dim} singular values is at "
                    f"most {np.min(ratio):.3g}; pass another point, a lower rank, or damping."
                )
        return params


class InducedMetric(abc.ABC):
    """The metric induced from R^m, for ambient points or for parameters.

    geomstats writes `norm`, `dist`, `exp`, `log` and `parallel_transport` with its backend, which
    cannot take tracers. The methods here take NumPy arrays, JAX arrays or tracers and return the
    same. Methods that are not here are those of geomstats and take NumPy arrays.
    """

    _space: Any

    @abc.abstractmethod
    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """Compute `<u, v>` at a base point, shape (...,)."""

    def norm(self, vector, base_point=None):
        """Compute `sqrt <v, v>`."""
        squared = self.inner_product(vector, vector, base_point)
        return namespace(squared).sqrt(squared)

    def random_unit_tangent_vec(self, base_point=None, n_vectors=1):
        """Draw tangent vectors of unit length; those of geomstats are not tangent."""
        if n_vectors > 1 and np.ndim(base_point) > 1:
            raise ValueError(f"Got {n_vectors} vectors at a batch of base points; pass a single base point.")
        vector = self._space.random_tangent_vec(base_point, n_samples=n_vectors)
        return vector / self.norm(vector, base_point)[..., None]

    def dist(self, point_a, point_b):
        """Compute `|log|`, the length of the geodesic that shooting finds."""
        return self.norm(self.log(point_b, point_a), point_a)

    def exp(self, tangent_vec, base_point):
        """Compute the point at unit time of the geodesic with this initial velocity.

        Raises: `GeometryError` if the geodesic leaves the chart.
        """
        params = self._space.parameters(base_point)
        end = at_point(_exp, self._space, params, self._space._ambient(tangent_vec, params))
        return self._space._point(finite_or_raise(end, "geodesic"))

    def log(self, point, base_point):
        """Compute the initial velocity of the geodesic to `point` at unit time, by shooting.

        Raises: `GeometryError` with the distance at which shooting stopped.
        """
        params = self._space.parameters(base_point)
        velocity, miss = at_point(_log, self._space, params, self._space.parameters(point))
        if is_concrete(velocity, miss):
            allowed = 1e-6 * (1 + np.linalg.norm(np.asarray(velocity), axis=-1))
            if not bool(np.all(np.asarray(miss) <= allowed)):
                raise GeometryError(
                    f"Found no geodesic to the other point: shooting stopped {np.max(miss):.3g} away from it; "
                    "pass nearer points."
                )
        return self._space._vector(velocity, params)

    def parallel_transport(self, tangent_vec, base_point, direction=None, end_point=None):
        """Transport a vector on the geodesic with velocity `direction`, or to `end_point`."""
        if direction is None and end_point is None:
            raise ValueError("`parallel_transport` needs a direction or an end point, got none of them.")
        velocity = self.log(end_point, base_point) if direction is None else direction
        space, params = self._space, self._space.parameters(base_point)
        vectors = (space._ambient(v, params) for v in (tangent_vec, velocity))
        end, moved = at_point(_transport, space, params, *vectors)
        end = end if direction is not None else space.parameters(end_point)
        return space._vector(finite_or_raise(moved, "transport"), end)

    def curvature(self, tangent_vec_a, tangent_vec_b, tangent_vec_c, base_point=None):
        """Compute `R(a, b) c`; `<R(a, b) b, a>` is positive on a sphere."""
        params = self._space.parameters(base_point)
        vectors = (self._space._ambient(v, params) for v in (tangent_vec_a, tangent_vec_b, tangent_vec_c))
        return self._space._vector(at_frame(curvature.curvature, self._space, params, *vectors), params)

    def scalar_curvature(self, base_point=None):
        """Sum the sectional curvatures of all ordered pairs of an orthonormal basis."""
        return at_point(_scalar_curvature, self._space, self._space.parameters(base_point))

    def mean_curvature_vector(self, base_point):
        """Compute `(1 / dim) trace II`, (..., m); geomstats omits the factor."""
        return at_frame(curvature.mean_curvature, self._space, self._space.parameters(base_point))


def finite_or_raise(value, what: str):
    """Return `value`, or raise `GeometryError` if it is concrete and not finite."""
    if is_concrete(value) and not bool(np.all(np.isfinite(np.asarray(value)))):
        raise GeometryError(
            f"The {what} left the chart or used all its steps; pass a shorter vector or a nearer point."
        )
    return value


def _standard_normal(shape, key):
    return np.random.normal(size=shape) if key is None else jr.normal(key, shape)  # noqa: NPY002 (as geomstats)


def _uniform(shape, key):
    return np.random.uniform(size=shape) if key is None else jr.uniform(jr.fold_in(key, 1), shape)  # noqa: NPY002


# --- compiled functions at one point


def at_point(function, space, *arrays):
    """Map `function(immersion, *arrays)` over arrays with one axis that is no batch axis."""
    return call(function, space.manifold.immersion, *arrays, ndims=(1,) * len(arrays))


def at_frame(function, space, *arrays):
    """Map `function(immersion, frame, *vectors)` over points and vectors."""
    return call(_at_frame, (space.manifold.immersion, function), *arrays, ndims=(1,) * len(arrays))


def _at_frame(data, w, *vectors):
    immersion, function = data
    return function(immersion, immersion.frame(w), *vectors)


def _tolerance():
    return jnp.asarray(geodesic.default_tolerance())


def embed(immersion, w):
    """Compute `f(w)`."""
    return immersion(w)


def locate(immersion, point):
    """Compute the parameters of the nearest point, and its distance."""
    w = retraction.nearest(immersion, point, immersion.problem.w0, jnp.asarray(1e-12))
    return w, jnp.linalg.norm(point - immersion(w))


def _inverse_condition_bound(immersion, w):
    return immersion.frame(w).inverse_condition_bound()


def push_forward(immersion, w, a):
    """Compute `J a`."""
    return jax.jvp(immersion, (w,), (a,))[1]


def _exp(immersion, w, u):
    return geodesic.exp(immersion, immersion.frame(w), u, _tolerance())


def _log(immersion, w, other):
    return geodesic.log(immersion, immersion.frame(w), other, _tolerance())


def _transport(immersion, w, u, direction):
    curve = geodesic.integrate(immersion, immersion.frame(w), direction, u, jnp.ones(1, u.dtype), _tolerance())
    return curve.params[-1], push_forward(immersion, curve.params[-1], curve.transported[-1])


def _scalar_curvature(immersion, w):
    frame = immersion.frame(w)
    basis = frame.orthonormal().T

    def term(e, h):
        return curvature.curvature(immersion, frame, e, h, h) @ lower_index(immersion.form, e)

    return jnp.sum(jax.vmap(lambda e: jax.vmap(lambda h: term(e, h))(basis))(basis))
