"""What a check sees of a manifold: seven callables, taken from any package's manifold or written by hand."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from ..output_manifold import OutputManifold

Point = Any
Tangent = Any


def _euclidean(point, u, v):
    return np.vdot(np.asarray(u), np.asarray(v))


def _as_it_is(point):
    return point


class ManifoldView(eqx.Module):
    """A manifold as a check sees it; a callable that is None leaves out the laws that need it.

    Points are what the callables take; tangent vectors are arrays shaped like `embed(point)`: ambient vectors of a submanifold, or
    components where the points are coordinates (then `christoffels` replaces `to_tangent`).

    - `retract(point, u)`: the point reached along u.
    - `inner(point, u, v)`: the metric; by default the Euclidean dot product.
    - `to_tangent(point, a)`: orthogonal projection of an ambient vector.
    - `embed(point)`: the point as an array; by default the point itself.
    - `exp(point, u)`: exponential map.
    - `dist(point, other)`: geodesic distance.
    - `christoffels(point)`: symbols `[k, i, j]` of the Levi-Civita connection, for points that are coordinates.

    >>> import numpy as np
    >>> from riemgn.geometry import ManifoldView
    >>> sphere = ManifoldView(lambda x, u: (x + u) / np.linalg.norm(x + u), to_tangent=lambda x, a: a - (x @ a) * x)
    >>> sphere.exp is None
    True
    """

    retract: Callable[[Point, Tangent], Point]
    inner: Callable[[Point, Tangent, Tangent], Any] = _euclidean
    to_tangent: Callable[[Point, Any], Tangent] | None = None
    embed: Callable[[Point], Any] = _as_it_is
    exp: Callable[[Point, Tangent], Point] | None = None
    dist: Callable[[Point, Point], Any] | None = None
    christoffels: Callable[[Point], Any] | None = None


def manifold_view(manifold: Any) -> ManifoldView:
    """The view of a `manifold`: an `OutputManifold`, a geomstats space with a metric, a pymanopt manifold or problem, or of a view itself.

    An `OutputManifold` is seen with its second-order corrected retraction, a geomstats space with its exponential map as retraction.
    No package is imported: a manifold is known by its methods.

    Raises: `ValueError` naming the type that came.
    """
    if isinstance(manifold, ManifoldView):
        return manifold
    if isinstance(manifold, OutputManifold):
        return _of_output_manifold(manifold)
    if _has(manifold, "manifold", "cost"):
        manifold = manifold.manifold
    if _has(manifold, "inner_product", "retraction", "projection"):
        return ManifoldView(
            retract=manifold.retraction,
            inner=manifold.inner_product,
            to_tangent=manifold.projection,
            embed=getattr(manifold, "embed", _as_it_is),  # that of `to_pymanopt` names its points by parameters
            exp=getattr(manifold, "exp", None),
            dist=getattr(manifold, "dist", None),
        )
    if _has(manifold, "metric", "to_tangent"):
        return _of_geomstats(manifold, manifold.metric)
    raise ValueError(
        "A check takes an OutputManifold, a ManifoldView, a pymanopt manifold or problem, or a geomstats space with a metric, "
        f"got {type(manifold).__name__}."
    )


def chart_view(manifold: OutputManifold) -> ManifoldView:
    """The `manifold`, an `OutputManifold`, in its parameters: points and tangent vectors are coordinates (p,), the metric is `J^T J` (plus damping).

    Raises: `ValueError` where the parameters are no coordinates because the rank is less than their number.
    """
    if manifold.dim != manifold.p:
        raise ValueError(
            f"The parameters are no coordinates: the manifold has dimension {manifold.dim}, but {manifold.p} parameters."
        )

    def push(w, a):
        return manifold.push_forward(w, a)

    return ManifoldView(
        retract=lambda w, a: w + a,
        inner=lambda w, a, b: np.asarray(a) @ np.asarray(manifold.metric_matrix(w)) @ np.asarray(b),
        exp=lambda w, a: manifold.exp(w, push(w, a)),
        dist=manifold.dist,
        christoffels=manifold.christoffels,
    )


def own_objective(manifold: Any) -> tuple[Callable | None, Callable | None, Callable | None]:
    """Cost, gradient and Hessian-vector product that come with the manifold: an `OutputManifold`, or a pymanopt problem."""
    if isinstance(manifold, OutputManifold):
        return manifold.objective, manifold.riemannian_grad, manifold.riemannian_hessp
    if _has(manifold, "manifold", "cost"):
        return manifold.cost, lambda x: manifold.riemannian_gradient(x), lambda x, u: manifold.riemannian_hessian(x, u)
    return None, None, None


def _of_output_manifold(manifold):
    return ManifoldView(
        retract=lambda w, u: manifold.retract(w, u, retraction="corrected"),
        inner=lambda w, u, v: manifold.inner(u, v),
        to_tangent=manifold.to_tangent,
        embed=manifold.embed,
        exp=manifold.exp,
        dist=manifold.dist,
    )


def _of_geomstats(space, metric):
    intrinsic = bool(getattr(space, "intrinsic", False))
    return ManifoldView(
        retract=lambda x, u: metric.exp(u, x),
        inner=lambda x, u, v: metric.inner_product(u, v, x),
        to_tangent=None if intrinsic else lambda x, a: space.to_tangent(a, x),
        exp=lambda x, u: metric.exp(u, x),
        dist=metric.dist,
        christoffels=metric.christoffels if intrinsic else None,
    )


def _has(thing, *names):
    return all(getattr(type(thing), name, None) is not None or name in getattr(thing, "__dict__", {}) for name in names)
