"""The output manifold as a geomstats space of points in R^m: what to_geomstats returns. Importing this module imports geomstats."""

import jax.numpy as jnp
import numpy as np

from .. import curvature
from ..output_manifold import OutputManifold
from .base import AbstractGeometrySpace, AbstractInducedMetric, arrived, at_point, embed, locate
from .batching import batch_shape, is_concrete, namespace
from .geomstats_import import load

Manifold = load("geomstats.geometry.manifold").Manifold
RiemannianMetric = load("geomstats.geometry.riemannian_metric").RiemannianMetric

ATOL = 1e-8  # of belongs and is_tangent; geomstats' own 1e-12 is below what an iteration or an integrator leaves
ON_MANIFOLD = (
    1e-6  # how far a point may lie off the manifold to be taken for its nearest point, relative to 1 + its length
)


class ImageSpace(AbstractGeometrySpace, Manifold):
    """The submanifold `M = f(W)`: points in R^m, tangent vectors ambient, the metric induced from R^m.

    geomstats knows points by arrays alone, so every call finds the parameters again, by Newton's method from the starting point of the problem:
    this is the sheet of `M` through that point.

    Arguments:

    - `manifold`: the `OutputManifold`.
    - `radius`: `random_point` draws parameters from the ball of this radius about the starting point.

    Reference: derived, theory.md section 2.
    """

    def __init__(self, manifold: OutputManifold, radius: float = 0.5, equip: bool = True):
        self.manifold = manifold
        self.radius = radius
        Manifold.__init__(self, dim=manifold.dim, shape=(manifold.ambient_dim,), intrinsic=False, equip=equip)

    @staticmethod
    def default_metric():
        """The induced metric."""
        return ImageMetric

    def parameters(self, point):
        """Parameters (..., p) of points of `M`.

        Raises: `ValueError` with the distance of a point that is not on `M`, or where the chart is singular.
        """
        if point is None:
            raise ValueError("A base point is needed: tangent spaces differ from point to point.")
        params, distance = at_point(locate, self, point)
        if is_concrete(distance):
            allowed = ON_MANIFOLD * (1 + np.linalg.norm(np.asarray(point, dtype=float), axis=-1))
            if not bool(np.all(np.asarray(distance) <= allowed)):
                raise ValueError(
                    f"A point is not on the manifold: its distance from the sheet through the start is {np.max(distance):.3g}. Use projection first."
                )
        return self._regular(params)

    def belongs(self, point, atol=ATOL):
        """Whether points lie within `atol` of `M`; False where the shape is wrong."""
        if np.shape(point)[-1:] != self.shape:
            return namespace(point).zeros(np.shape(point)[:-1], dtype=bool)[()]
        return at_point(locate, self, point)[1] <= atol

    def is_tangent(self, vector, base_point=None, atol=ATOL):
        """Whether the normal part of vectors is at most `atol` long."""
        normal = self.normal_part(vector, base_point)
        return namespace(normal).linalg.norm(normal, axis=-1) <= atol

    def to_tangent(self, vector, base_point=None):
        """`P v`."""
        return at_point(_tangent_part, self, self.parameters(base_point), vector)

    def normal_part(self, vector, base_point):
        """`(I - P) v`."""
        return at_point(_normal_part, self, self.parameters(base_point), vector)

    def projection(self, point):
        """The nearest point of `M`, downhill from the starting point.

        Raises: `GeometryError` where the iteration breaks down.
        """
        return self._point(arrived(at_point(locate, self, point)[0], "projection"))

    def _point(self, params):
        return at_point(embed, self, params)

    def _ambient(self, tangent_vec, params):
        return tangent_vec

    def _vector(self, ambient, params):
        return ambient


class ImageMetric(AbstractInducedMetric, RiemannianMetric):
    """The metric of `ImageSpace`, induced from R^m; geodesics to 1e-11, curvature by the Gauss equation.

    Tensors in coordinates (Christoffel symbols and their like) are the chart's: here they raise `NotImplementedError`.
    """

    def __init__(self, space, signature=None):
        RiemannianMetric.__init__(self, space, signature=signature)

    def inner_product(self, tangent_vec_a, tangent_vec_b, base_point=None):
        """`<u, v>` in the ambient form; the base point only says how often."""
        form = self._space.manifold.immersion.form
        xp = namespace(tangent_vec_a, tangent_vec_b, base_point)
        a, b = xp.asarray(tangent_vec_a, dtype=float), xp.asarray(tangent_vec_b, dtype=float)
        if form is not None:
            form = form if xp is jnp else np.asarray(form)
            b = form * b if form.ndim == 1 else b @ form
        value = xp.sum(a * b, axis=-1)
        shape = (
            value.shape if base_point is None else np.broadcast_shapes(value.shape, batch_shape(base_point, ndims=(1,)))
        )
        return value if value.shape == shape else xp.broadcast_to(value, shape) + 0.0

    def metric_matrix(self, base_point=None):
        """The ambient form `Q`, (..., m, m)."""
        return _repeated(self._form(), base_point)

    def cometric_matrix(self, base_point=None):
        """`Q^-1`, (..., m, m)."""
        return _repeated(np.linalg.inv(self._form()), base_point)

    def _form(self):
        form = self._space.manifold.immersion.form
        matrix = np.ones(self._space.shape) if form is None else np.asarray(form)
        return np.diag(matrix) if matrix.ndim == 1 else matrix

    def geodesic_equation(self, state):
        """`(y, y') -> (y', II(y', y'))`, states (..., 2, m)."""
        xp = namespace(state)
        position, velocity = xp.moveaxis(xp.asarray(state, dtype=float), -2, 0)
        return xp.stack([velocity, self.second_fundamental_form(velocity, velocity, position)], axis=-2)

    def second_fundamental_form(self, tangent_vec_a, tangent_vec_b, base_point):
        """`II(u, v)`, a normal vector (..., m)."""
        return at_point(
            _second_fundamental_form, self._space, self._space.parameters(base_point), tangent_vec_a, tangent_vec_b
        )

    def shape_operator(self, normal_vec, tangent_vec, base_point):
        """`S_N u`, with `<S_N u, v> = <N, II(u, v)>`."""
        return at_point(_shape_operator, self._space, self._space.parameters(base_point), normal_vec, tangent_vec)

    def christoffels(self, base_point=None):
        """Not defined without coordinates."""
        return _no_coordinates("christoffels")

    def inner_product_derivative_matrix(self, base_point=None):
        """Not defined without coordinates."""
        return _no_coordinates("inner_product_derivative_matrix")

    def riemann_tensor(self, base_point=None):
        """Not defined without coordinates; `curvature` applies it to vectors."""
        return _no_coordinates("riemann_tensor")

    def covariant_riemann_tensor(self, base_point=None):
        """Not defined without coordinates."""
        return _no_coordinates("covariant_riemann_tensor")

    def ricci_tensor(self, base_point=None):
        """Not defined without coordinates."""
        return _no_coordinates("ricci_tensor")


def _no_coordinates(name: str):
    raise NotImplementedError(
        f"{name} is a tensor in coordinates; ask the parameter chart for it: space.chart.metric.{name}."
    )


def _repeated(matrix, base_point):
    """A constant array once for every base point."""
    batch = () if base_point is None else batch_shape(base_point, ndims=(1,))
    return namespace(base_point).broadcast_to(matrix, batch + matrix.shape) + 0.0


# --- at one point: what is compiled and mapped ------------------------------------------------------------------------


def _tangent_part(immersion, w, v):
    return immersion.frame(w).tangent_part(v)


def _normal_part(immersion, w, v):
    return immersion.frame(w).normal_part(v)


def _second_fundamental_form(immersion, w, u, v):
    return curvature.second_fundamental_form(immersion, immersion.frame(w), u, v)


def _shape_operator(immersion, w, normal, u):
    return curvature.shape_operator(immersion, immersion.frame(w), u, normal)
