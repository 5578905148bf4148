"""The output manifold as a geomstats space of points in R^m (imports geomstats)."""

import numpy as np

from .. import curvature
from ..output_manifold import OutputManifold
from .base import at_frame, at_point, finite_or_raise, InducedMetric, locate, OutputGeometry
from .batching import batch_shape, is_concrete, namespace
from .geomstats_import import load

Manifold = load("geomstats.geometry.manifold").Manifold
RiemannianMetric = load("geomstats.geometry.riemannian_metric").RiemannianMetric

ATOL = 1e-8  # of belongs and is_tangent; geomstats' 1e-12 is below the error of an iteration
MAX_DISTANCE = 1e-6  # of a point from the manifold, relative to 1 + its length


class ImageSpace(OutputGeometry, Manifold):
    """The submanifold `M = f(W)` of points in R^m, with the induced metric.

    Every call finds the parameters of its points again, by Newton's method from the start of the
    problem, so the space is the sheet of `M` that contains the start.

    Arguments:

    - `manifold`: the `OutputManifold`.
    - `radius`: `random_point` draws parameters from the ball of this radius about the start.
    """

    def __init__(self, manifold: OutputManifold, radius: float = 0.5, equip: bool = True):
        self.manifold = manifold
        self.radius = radius
        Manifold.__init__(self, dim=manifold.dim, shape=(manifold.ambient_dim,), intrinsic=False, equip=equip)

    @staticmethod
    def default_metric():
        """Return the class of the induced metric."""
        return ImageMetric

    def parameters(self, point):
        """Return the parameters (..., p) of points of `M`.

        Raises: `ValueError` with the distance of a point that is not on `M`, or if the chart is
        singular there.
        """
        if point is None:
            raise ValueError("Got no base point, but tangent spaces differ from point to point: pass one.")
        params, distance = at_point(locate, self, point)
        if is_concrete(distance):
            allowed = MAX_DISTANCE * (1 + np.linalg.norm(np.asarray(point, dtype=float), axis=-1))
            if not bool(np.all(np.asarray(distance) <= allowed)):
                raise ValueError(
                    f"A point is not on the manifold: its distance is {np.max(distance):.3g}; call `projection` first."
                )
        return self._check_regular(params)

    def belongs(self, point, atol=ATOL):
        """Whether points are within `atol` of `M`. False if the shape is wrong."""
        if np.shape(point)[-1:] != self.shape:
            return namespace(point).zeros(np.shape(point)[:-1], dtype=bool)[()]
        return at_point(locate, self, point)[1] <= atol

    def is_tangent(self, vector, base_point=None, atol=ATOL):
        """Whether the normal part of vectors is at most `atol` long."""
        normal = self.normal_part(vector, base_point)
        return namespace(normal).linalg.norm(normal, axis=-1) <= atol

    def to_tangent(self, vector, base_point=None):
        """Compute `P v`."""
        return at_frame(_tangent_part, self, self.parameters(base_point), vector)

    def normal_part(self, vector, base_point):
        """Compute `(I - P) v`."""
        return at_frame(_normal_part, self, self.parameters(base_point), vector)

    def projection(self, point):
        """Compute the nearest point of `M`, by descent from the start.

        Raises: `GeometryError` if the iteration fails.
        """
        return self._point(finite_or_raise(at_point(locate, self, point)[0], "projection"))


class ImageMetric(InducedMetric, RiemannianMetric):
    """The metric of `ImageSpace`, induced from R^m, with geodesics to 1e-11.

    The Christoffel symbols and other tensors in coordinates are those of the chart. Here they raise
    `NotImplementedError`.
    """

    def __init__(self, space, signature=None):
        RiemannianMetric.__init__(self, space, signature=signature)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """Compute `<u, v>` in the ambient form, broadcast over the base points."""
        form = self._space.manifold.immersion.form
        xp = namespace(tangent_vec_a, tangent_vec_b, base_point)
        a, b = xp.asarray(tangent_vec_a, dtype=float), xp.asarray(tangent_vec_b, dtype=float)
        if form is not None:
            form = xp.asarray(form)
            b = form * b if form.ndim == 1 else b @ form
        value = xp.sum(a * b, axis=-1)
        batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
        shape = np.broadcast_shapes(value.shape, batch)
        return value if value.shape == shape else xp.broadcast_to(value, shape) + 0.0

    def metric_matrix(self, base_point=None):
        """Return the ambient form `Q`, (..., m, m)."""
        return _repeated(self._form(), base_point)

    def cometric_matrix(self, base_point=None):
        """Return `Q^-1`, (..., m, m)."""
        return _repeated(np.linalg.inv(self._form()), base_point)

    def _form(self):
        form = self._space.manifold.immersion.form
        matrix = np.ones(self._space.shape) if form is None else np.asarray(form)
        return np.diag(matrix) if matrix.ndim == 1 else matrix

    def geodesic_equation(self, state):
        """Compute `(y, y') -> (y', II(y', y'))` for states (..., 2, m)."""
        xp = namespace(state)
        position, velocity = xp.moveaxis(xp.asarray(state, dtype=float), -2, 0)
        return xp.stack([velocity, self.second_fundamental_form(velocity, velocity, position)], axis=-2)

    def second_fundamental_form(self, tangent_vec_a, tangent_vec_b, base_point):
        """Compute `II(u, v)`, a normal vector (..., m)."""
        params = self._space.parameters(base_point)
        return at_frame(curvature.second_fundamental_form, self._space, params, tangent_vec_a, tangent_vec_b)

    def shape_operator(self, normal_vec, tangent_vec, base_point):
        """Compute `S_N u`, with `<S_N u, v> = <N, II(u, v)>`."""
        return at_frame(_shape_operator, self._space, self._space.parameters(base_point), normal_vec, tangent_vec)

    def inner_product_derivative_matrix(self, base_point=None):
        """Raise `NotImplementedError`, as `christoffels` does, which needs it."""
        return _no_coordinates("inner_product_derivative_matrix")

    def riemann_tensor(self, base_point=None):
        """Raise `NotImplementedError`, as the tensors that need it do. Use `curvature`."""
        return _no_coordinates("riemann_tensor")


def _no_coordinates(name: str):
    raise NotImplementedError(f"{name} needs coordinates, which points of R^m are not: use space.chart.metric.{name}.")


def _repeated(matrix, base_point):
    """Broadcast a constant array over the base points."""
    batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
    return namespace(base_point).broadcast_to(matrix, batch + matrix.shape) + 0.0


# --- compiled functions at one point and its tangent frame


def _tangent_part(immersion, frame, v):
    return frame.tangent_part(v)


def _normal_part(immersion, frame, v):
    return frame.normal_part(v)


def _shape_operator(immersion, frame, normal, u):
    return curvature.shape_operator(immersion, frame, u, normal)
