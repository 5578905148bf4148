"""The functions of a manifold that the checks call."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from ..output_manifold import OutputManifold

Point = Any
Tangent = Any


def float64(value: Any) -> np.ndarray:
    """Copy any array to a float64 NumPy array."""
    return np.array(value, dtype=float)


def number(value: Any) -> float:
    """Convert a scalar, or an array of one element, to a Python float."""
    return float(np.asarray(value).item())


class ManifoldFunctions(eqx.Module):
    """Collect the functions of a manifold that the checks call.

    Points have any form that the functions take. Tangent vectors are arrays with the shape of
    `embed(point)`: ambient vectors if you pass `to_tangent`, or components in coordinates if you
    pass `christoffels`. If a function is None, the checks leave out the laws that need it.

    - `retract(point, u)`, `exp(point, u)`: the retraction and the exponential map.
    - `inner(point, u, v)`, `dist(point, other)`: the metric (by default the Euclidean dot product)
        and the geodesic distance.
    - `to_tangent(point, a)`: orthogonal projection of an ambient vector onto the tangent space.
    - `embed(point)`: the point as an array. Defaults to the point itself.
    - `christoffels(point)`: Christoffel symbols `[k, i, j]`, for points that are coordinates.

    >>> import numpy as np
    >>> from riemgn.geometry import ManifoldFunctions
    >>> plane = ManifoldFunctions(lambda x, u: x + u, to_tangent=lambda x, a: a)
    >>> float(plane.inner(np.zeros(2), np.ones(2), np.ones(2)))
    2.0
    """

    retract: Callable[[Point, Tangent], Point]
    inner: Callable[[Point, Tangent, Tangent], Any] = lambda point, u, v: np.vdot(np.asarray(u), np.asarray(v))
    to_tangent: Callable[[Point, Any], Tangent] | None = None
    embed: Callable[[Point], Any] = np.asarray
    exp: Callable[[Point, Tangent], Point] | None = None
    dist: Callable[[Point, Point], Any] | None = None
    christoffels: Callable[[Point], Any] | None = None

    @property
    def in_coordinates(self) -> bool:
        """Whether tangent vectors are components, so that every vector is tangent."""
        return self.to_tangent is None or self.christoffels is not None

    @property
    def has_connection(self) -> bool:
        """Whether covariant derivatives can be computed."""
        return self.to_tangent is not None or self.christoffels is not None

    def array(self, point: Point) -> np.ndarray:
        """Return the embedded point as a float64 array."""
        return float64(self.embed(point))

    def norm(self, point: Point, u: Tangent) -> float:
        """Compute `sqrt |<u, u>|`."""
        return float(np.sqrt(abs(number(self.inner(point, u, u)))))

    def tangent_part(self, point: Point, vector: Any) -> np.ndarray:
        """Project an ambient vector. In coordinates every vector is tangent."""
        project: Any = self.to_tangent
        return float64(vector if self.in_coordinates else project(point, vector))

    def christoffel_product(self, point: Point, u: Any, v: Any) -> np.ndarray:
        """Compute `Gamma(u, v)`, components (p,)."""
        symbols: Any = self.christoffels
        return np.einsum("kij,i,j->k", *(np.asarray(value, float) for value in (symbols(point), u, v)))

    def acceleration(self, point: Point, second: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Compute the covariant acceleration: `P c''`, or `c'' + Gamma(c', c')` in coordinates."""
        if self.in_coordinates:
            return second + self.christoffel_product(point, velocity, velocity)
        return self.tangent_part(point, second)


def manifold_functions(manifold: Any) -> ManifoldFunctions:
    """Collect the functions of a manifold of riemgn, geomstats or pymanopt for the checks.

    `manifold` is an `OutputManifold` (with the retraction "corrected"), a geomstats space with a
    metric (with the exponential map), a pymanopt manifold or problem, or a `ManifoldFunctions`,
    which is returned as it is. Raises `ValueError` for another type.
    """
    if isinstance(manifold, ManifoldFunctions):
        return manifold
    if isinstance(manifold, OutputManifold):
        return ManifoldFunctions(
            lambda w, u: manifold.retract(w, u, retraction="corrected"),
            lambda w, u, v: manifold.inner(u, v),
            *(manifold.to_tangent, manifold.embed, manifold.exp, manifold.dist),
        )
    if _has(manifold, "manifold", "cost"):
        manifold = manifold.manifold
    if _has(manifold, "inner_product", "retraction", "projection"):
        embed = getattr(manifold, "embed", np.asarray)  # points of `to_pymanopt` are parameters
        exp, dist = getattr(manifold, "exp", None), getattr(manifold, "dist", None)
        return ManifoldFunctions(manifold.retraction, manifold.inner_product, manifold.projection, embed, exp, dist)
    if _has(manifold, "metric", "to_tangent"):
        metric, intrinsic = manifold.metric, bool(getattr(manifold, "intrinsic", False))
        return ManifoldFunctions(
            retract=lambda x, u: metric.exp(u, x),
            inner=lambda x, u, v: metric.inner_product(u, v, x),
            to_tangent=None if intrinsic else lambda x, a: manifold.to_tangent(a, x),
            exp=lambda x, u: metric.exp(u, x),
            dist=metric.dist,
            christoffels=metric.christoffels if intrinsic else None,
        )
    raise ValueError(
        f"Got {type(manifold).__name__}; a check needs an OutputManifold, a ManifoldFunctions, a geomstats space "
        "with a metric, or a pymanopt manifold or problem."
    )


def chart_functions(manifold: OutputManifold) -> ManifoldFunctions:
    """Collect the functions of an output `manifold` in its parameters, for the checks.

    Points and tangent vectors are coordinates (p,), and the metric is `J^T J` (plus damping).
    Raises `ValueError` if the rank of `manifold` is below the number of parameters.
    """
    if manifold.dim != manifold.p:
        raise ValueError(
            f"The manifold has dimension {manifold.dim} but {manifold.p} parameters, which are no coordinates; "
            "use the manifold itself."
        )
    return ManifoldFunctions(
        retract=lambda w, a: w + a,
        inner=lambda w, a, b: np.asarray(a) @ np.asarray(manifold.metric_matrix(w)) @ np.asarray(b),
        exp=lambda w, a: manifold.exp(w, manifold.push_forward(w, a)),
        dist=manifold.dist,
        christoffels=manifold.christoffels,
    )


def own_objective(manifold: Any) -> tuple[Callable | None, Callable | None, Callable | None]:
    """Return cost, gradient and Hessian product of an `OutputManifold` or a pymanopt problem."""
    if isinstance(manifold, OutputManifold):
        return manifold.objective, manifold.riemannian_grad, manifold.riemannian_hessp
    if _has(manifold, "manifold", "cost"):
        return manifold.cost, lambda x: manifold.riemannian_gradient(x), lambda x, u: manifold.riemannian_hessian(x, u)
    return None, None, None


def implemented(function: Callable | None, *args: Any) -> Callable | None:
    """Return the function, or None if it is missing or raises `NotImplementedError`."""
    try:
        return None if function is None or function(*args) is None else function
    except NotImplementedError:
        return None


def _has(thing, *names):
    return all(getattr(type(thing), name, None) is not None or name in getattr(thing, "__dict__", {}) for name in names)
