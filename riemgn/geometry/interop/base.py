"""What the two geomstats spaces of an output manifold share: one set of compiled kernels, and arithmetic without geomstats' backend."""

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


class AbstractGeometrySpace(abc.ABC):
    """Points and tangent vectors of an output manifold in one of two forms, and the way between each form and the kernels' own.

    The kernels take parameters (p,) and ambient tangent vectors (m,).
    """

    manifold: OutputManifold
    radius: float
    shape: tuple[int, ...]

    @abc.abstractmethod
    def parameters(self, point):
        """Parameters (..., p) of points."""

    @abc.abstractmethod
    def to_tangent(self, vector, base_point=None):
        """The tangent part of vectors."""

    @abc.abstractmethod
    def _point(self, params):
        """The point with these parameters."""

    @abc.abstractmethod
    def _ambient(self, tangent_vec, params):
        """A tangent vector in R^m."""

    @abc.abstractmethod
    def _vector(self, ambient, params):
        """The tangent vector that is `ambient` in R^m."""

    def regularize(self, point):
        """The point itself."""
        return jnp.asarray(point, dtype=float) if is_jax(point) else np.array(point, dtype=float)

    def random_point(self, n_samples=1, bound=1.0, *, key=None):
        """Points with parameters uniform in the ball of radius `bound * radius` about `w0`.

        By numpy's global generator, which is geomstats'; as JAX arrays with a `key`.
        """
        p, centre = self.manifold.p, self.manifold.problem.w0
        shape = (p,) if n_samples == 1 else (n_samples, p)
        direction = _standard_normal(shape, key)
        xp = namespace(direction)
        height = _uniform((*shape[:-1], 1), key)
        step = self.radius * bound * height ** (1 / p) * direction / xp.linalg.norm(direction, axis=-1, keepdims=True)
        return self._point(xp.asarray(centre) + step)

    def random_tangent_vec(self, base_point=None, n_samples=1, *, key=None):
        """The tangent part of standard normal vectors: one for each base point, or `n_samples` at a single one."""
        batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
        if n_samples > 1 and math.prod(batch) not in (1, n_samples):
            raise ValueError(
                f"There must be one base point or as many as samples, got {math.prod(batch)} for {n_samples} samples."
            )
        return self.to_tangent(
            _standard_normal(((n_samples,) if n_samples > 1 else batch) + self.shape, key), base_point
        )

    def _regular(self, params):
        """The parameters, once the chart is known to be regular there, where that can be looked at."""
        if is_concrete(params):
            narrowness = np.asarray(at_point(_narrowness, self, params))
            if not bool(np.all(narrowness > max(self.manifold.ambient_dim, self.manifold.p) * np.finfo(float).eps)):
                raise ValueError(
                    f"Singular chart point: of the {self.manifold.dim} singular values kept the smallest is at most {np.min(narrowness):.3g} times "
                    "the largest. Choose another point, a lower rank, or damping."
                )
        return params


class AbstractInducedMetric(abc.ABC):
    """The metric induced from R^m, up to the form that points and tangent vectors have: ambient on the image, parameters in the chart.

    geomstats writes these methods with its backend, which cannot take tracers and returns now numpy, now JAX; here they return what they are given.
    Argument names are geomstats'. A test walks all public methods with tracers, and finds none left to geomstats' backend.
    """

    _space: Any

    @abc.abstractmethod
    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """`<u, v>` at a base point, shape (...,)."""

    @abc.abstractmethod
    def cometric_matrix(self, base_point=None):
        """The inverse of the metric matrix."""

    # --- lengths ------------------------------------------------------------------------------------------------------

    def squared_norm(self, vector, base_point=None):
        """`<v, v>`."""
        return self.inner_product(vector, vector, base_point)

    def norm(self, vector, base_point=None):
        """`sqrt <v, v>`."""
        squared = self.squared_norm(vector, base_point)
        return namespace(squared).sqrt(squared)

    def normalize(self, vector, base_point=None):
        """`v / |v|`; the zero vector stays."""
        length = self.norm(vector, base_point)
        xp = namespace(length)
        return xp.asarray(vector, dtype=float) / xp.where(length == 0, 1.0, length)[..., None]

    def inner_coproduct(self, cotangent_vec_a, cotangent_vec_b, base_point=None):
        """`<a, b>` of covectors, by the cometric."""
        cometric = self.cometric_matrix(base_point)
        xp = namespace(cometric, cotangent_vec_a, cotangent_vec_b)
        return xp.einsum(
            "...i,...ij,...j->...",
            xp.asarray(cotangent_vec_a, dtype=float),
            cometric,
            xp.asarray(cotangent_vec_b, dtype=float),
        )

    def hamiltonian(self, state):
        """`1/2 <p, p>` of the state (point, momentum)."""
        position, momentum = state
        return 0.5 * self.inner_coproduct(momentum, momentum, position)

    def normal_basis(self, basis, base_point=None):
        """Every vector of `basis`, shape (k, n), scaled to unit length."""
        return self.normalize(basis, base_point)

    def random_unit_tangent_vec(self, base_point=None, n_vectors=1):
        """A tangent vector of unit length; several only at a single base point."""
        batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
        if n_vectors > 1 and batch:
            raise ValueError(
                f"Several tangent vectors need a single base point, got {n_vectors} at a batch of shape {batch}."
            )
        return self.normalize(self._space.random_tangent_vec(base_point, n_samples=n_vectors), base_point)

    # --- distances ----------------------------------------------------------------------------------------------------

    def squared_dist(self, point_a, point_b):
        """`|log|^2`."""
        return self.squared_norm(self.log(point_b, point_a), point_a)

    def dist(self, point_a, point_b):
        """`|log|`: the length of the geodesic that shooting finds."""
        squared = self.squared_dist(point_a, point_b)
        return namespace(squared).sqrt(squared)

    def dist_broadcast(self, point_a, point_b):
        """Distances of pairs where the batches agree or one is a single point, else of every point of one with every point of the other."""
        shape_a, shape_b = np.shape(point_a), np.shape(point_b)
        if shape_a[-1:] != shape_b[-1:]:
            raise ValueError(f"Points of one manifold have one length, got {shape_a[-1:]} and {shape_b[-1:]}.")
        if len(shape_a) == 1 or len(shape_b) == 1 or shape_a == shape_b:
            return self.dist(point_a, point_b)
        xp = namespace(point_a, point_b)
        return xp.squeeze(self.dist(xp.asarray(point_a)[:, None], xp.asarray(point_b)[None]))

    def dist_pairwise(self, points, n_jobs=1, **joblib_kwargs):
        """All mutual distances, shape (n, n), in one compiled call; `n_jobs` and joblib's arguments are taken for geomstats' sake and not needed."""
        count = np.shape(points)[0]
        xp = namespace(points)
        points = xp.asarray(points, dtype=float)
        rows, columns = np.triu_indices(count, 1)
        place = np.zeros((count, count), dtype=int)
        place[rows, columns] = np.arange(1, rows.size + 1)
        pairs = self.dist(points[rows], points[columns]) if rows.size else xp.zeros(0)
        return xp.concatenate([xp.zeros(1), pairs])[place + place.T]

    def diameter(self, points):
        """The largest mutual distance."""
        return self.dist_pairwise(points).max()

    def closest_neighbor_index(self, point, neighbors):
        """For each point the index of the nearest of `neighbors`, shape (n_neighbors, n)."""
        xp = namespace(point, neighbors)
        point = xp.asarray(point, dtype=float)
        return xp.argmin(self.dist(point[..., None, :], xp.asarray(neighbors, dtype=float)), axis=-1)

    # --- geodesics ----------------------------------------------------------------------------------------------------

    def exp(self, tangent_vec, base_point):
        """The point at unit time of the geodesic with this initial velocity.

        Raises: `GeometryError` where the geodesic leaves the chart.
        """
        return self._exp_from(tangent_vec, self._space.parameters(base_point))

    def _exp_from(self, tangent_vec, params):
        reached = at_point(_exp, self._space, params, self._space._ambient(tangent_vec, params))
        return self._space._point(arrived(reached, "geodesic"))

    def log(self, point, base_point):
        """The initial velocity of the geodesic that reaches `point` at unit time, found by shooting.

        Raises: `GeometryError` with the distance at which shooting stopped.
        """
        params = self._space.parameters(base_point)
        velocity, miss = at_point(_log, self._space, params, self._space.parameters(point))
        return self._space._vector(landed(velocity, miss), params)

    def geodesic(self, initial_point, end_point=None, initial_tangent_vec=None):
        """The geodesic through two points, or with an initial velocity: a function of times (t,) with values (..., t, n)."""
        if (end_point is None) == (initial_tangent_vec is None):
            raise ValueError("A geodesic needs an initial point and either an end point or an initial tangent vector.")
        velocity = self.log(end_point, initial_point) if initial_tangent_vec is None else initial_tangent_vec
        params = self._space.parameters(initial_point)

        def path(t):
            xp = namespace(t, velocity, params)
            times = xp.atleast_1d(xp.asarray(t, dtype=float))
            return self._exp_from(
                times[:, None] * xp.asarray(velocity, dtype=float)[..., None, :], params[..., None, :]
            )

        return path

    def parallel_transport(self, tangent_vec, base_point, direction=None, end_point=None):
        """`tangent_vec` transported along the geodesic with velocity `direction`, or to `end_point`."""
        if direction is None and end_point is None:
            raise ValueError("A transport needs a direction or an end point.")
        along = self.log(end_point, base_point) if direction is None else direction
        params = self._space.parameters(base_point)
        reached, moved = at_point(
            _transport,
            self._space,
            params,
            self._space._ambient(tangent_vec, params),
            self._space._ambient(along, params),
        )
        return self._space._vector(
            arrived(moved, "transport"), reached if direction is not None else self._space.parameters(end_point)
        )

    # --- curvature ----------------------------------------------------------------------------------------------------

    def curvature(self, tangent_vec_a, tangent_vec_b, tangent_vec_c, base_point=None):
        """`R(a, b) c`, with the sign for which `<R(a, b) b, a>` is positive on a sphere."""
        params = self._space.parameters(base_point)
        vectors = (self._space._ambient(v, params) for v in (tangent_vec_a, tangent_vec_b, tangent_vec_c))
        return self._space._vector(at_point(_curvature, self._space, params, *vectors), params)

    def directional_curvature(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """`R(b, a) b`, the tidal force."""
        return self.curvature(tangent_vec_b, tangent_vec_a, tangent_vec_b, base_point)

    def sectional_curvature(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """Curvature of the plane of two tangent vectors; NaN where they are parallel."""
        params = self._space.parameters(base_point)
        return at_point(
            _sectional_curvature,
            self._space,
            params,
            *(self._space._ambient(v, params) for v in (tangent_vec_a, tangent_vec_b)),
        )

    def scalar_curvature(self, base_point=None):
        """The sum of the sectional curvatures of all ordered pairs from an orthonormal basis of the tangent space."""
        return at_point(_scalar_curvature, self._space, self._space.parameters(base_point))

    def mean_curvature_vector(self, base_point):
        """`(1 / dim) trace II`, (..., m): of length 1 / R on a sphere. geomstats documents this factor and leaves it out."""
        return at_point(_mean_curvature, self._space, self._space.parameters(base_point))


def arrived(value, what: str):
    """`value`, once it is known to be finite where it can be looked at.

    Raises: `GeometryError`.
    """
    if is_concrete(value) and not bool(np.all(np.isfinite(np.asarray(value)))):
        raise GeometryError(
            f"The {what} did not arrive: the chart became singular or the steps were used up on the way. Take a shorter vector."
        )
    return value


def landed(vector, miss):
    """The velocity that shooting found, once it is known to have reached its aim.

    Raises: `GeometryError` with the largest distance at which shooting stopped.
    """
    if is_concrete(vector, miss):
        allowed = 1e-6 * (1 + np.linalg.norm(np.asarray(vector), axis=-1))
        if not bool(np.all(np.asarray(miss) <= allowed)):
            raise GeometryError(
                f"No geodesic to the other point was found: shooting stopped {np.max(miss):.3g} away from it. Choose nearer points."
            )
    return vector


def _standard_normal(shape, key):
    return np.random.normal(size=shape) if key is None else jr.normal(key, shape)  # noqa: NPY002 (the generator geomstats uses)


def _uniform(shape, key):
    return np.random.uniform(size=shape) if key is None else jr.uniform(jr.fold_in(key, 1), shape)  # noqa: NPY002 (the same)


# --- at one point: what is compiled and mapped, shared by both spaces -------------------------------------------------


def at_point(kernel, space, *arrays):
    """`kernel(immersion, *arrays)`, all arrays with one axis that is no batch axis."""
    return call(kernel, space.manifold.immersion, *arrays, ndims=(1,) * len(arrays))


def _tolerance():
    return jnp.asarray(geodesic.default_tolerance())


def embed(immersion, w):
    """The point `F(w)`."""
    return immersion(w)


def locate(immersion, point):
    """Parameters of the nearest point, and how far it is."""
    w = retraction.nearest(immersion, point, immersion.problem.w0, jnp.asarray(1e-12))
    return w, jnp.linalg.norm(point - immersion(w))


def _narrowness(immersion, w):
    return immersion.frame(w).inverse_condition_bound()


def push_forward(immersion, w, a):
    """`J a`."""
    return jax.jvp(immersion, (w,), (a,))[1]


def coordinates(immersion, w, v):
    """`J^+ v`."""
    return immersion.frame(w).coordinates(v)


def _exp(immersion, w, u):
    return geodesic.exp(immersion, immersion.frame(w), u, _tolerance())


def _log(immersion, w, other):
    return geodesic.log(immersion, immersion.frame(w), other, _tolerance())


def _transport(immersion, w, u, direction):
    """The parameters at the end and the ambient vector that arrives there."""
    curve = geodesic.integrate(immersion, immersion.frame(w), direction, u, jnp.ones(1, u.dtype), _tolerance())
    return curve.params[-1], push_forward(immersion, curve.params[-1], curve.carried[-1])


def _curvature(immersion, w, u, v, z):
    return curvature.curvature(immersion, immersion.frame(w), u, v, z)


def _sectional_curvature(immersion, w, u, v):
    return curvature.sectional_curvature(immersion, immersion.frame(w), u, v)


def _mean_curvature(immersion, w):
    return curvature.mean_curvature(immersion, immersion.frame(w))


def _scalar_curvature(immersion, w):
    frame = immersion.frame(w)
    basis = frame.orthonormal().T

    def term(e, h):
        return curvature.curvature(immersion, frame, e, h, h) @ lower_index(immersion.form, e)

    return jnp.sum(jax.vmap(lambda e: jax.vmap(lambda h: term(e, h))(basis))(basis))
