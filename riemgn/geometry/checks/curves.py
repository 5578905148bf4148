"""Laws of curves and vector fields that the checks are made of, each measured as the slope of a finite difference over its step."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .manifold_view import ManifoldView, Point, Tangent
from .slope import measure_slope, SlopeLaw

Curve = Callable[[float], Point]
Vector = Float[np.ndarray, "..."]


def array(value: Any) -> Vector:
    """A NumPy float64 copy, whatever array came."""
    return np.array(value, dtype=float)


def number(value: Any) -> float:
    """A Python float, from a scalar or an array of one element."""
    return float(np.asarray(value).item())


def length(view: ManifoldView, point: Point, u: Tangent) -> float:
    """`sqrt |<u, u>|`."""
    return float(np.sqrt(abs(number(view.inner(point, u, u)))))


def relative(difference: Any, reference: Any) -> float:
    """`|difference| / |reference|`, the difference itself where the reference vanishes."""
    size = float(np.linalg.norm(reference))
    return float(np.linalg.norm(difference)) / (size if size > 0 else 1.0)


def rounding_unit(*values: Any) -> float:
    """The coarsest rounding unit among the arrays; integers and Python floats count as float64."""
    kinds = [np.asarray(value).dtype for value in values]
    return max(
        float(jnp.finfo(kind).eps) if jnp.issubdtype(kind, np.floating) else float(np.finfo(float).eps)
        for kind in kinds
    )


def on_submanifold(view: ManifoldView) -> bool:
    """Whether tangent vectors are ambient vectors with a projector, rather than components in coordinates."""
    return view.to_tangent is not None and view.christoffels is None


def tangential(view: ManifoldView, point: Point, vector: Any) -> Vector:
    """The tangential part of an ambient vector; in coordinates every vector is tangent."""
    project: Any = view.to_tangent
    return array(project(point, vector)) if on_submanifold(view) else array(vector)


def covariant_part(view: ManifoldView, point: Point, second: Vector, velocity: Vector) -> Vector:
    """Tangential part of a second derivative: `P c''` on a submanifold, `c'' + Gamma(c', c')` in coordinates."""
    if on_submanifold(view):
        return tangential(view, point, second)
    return second + bend(view, point, velocity, velocity)


def bend(view: ManifoldView, point: Point, u: Vector, v: Vector) -> Vector:
    """`Gamma(u, v)`, components (p,)."""
    symbols: Any = view.christoffels
    return np.einsum("kij,i,j->k", array(symbols(point)), array(u), array(v))


def second_order_law(
    view: ManifoldView, point: Point, u: Tangent, curve: Curve, steps: Any, options: dict
) -> SlopeLaw | None:
    """`|c(t) - x - t u|`, its tangential part, must be `O(t^3)`: the curve has no tangential acceleration at its start. None if unmeasurable."""
    if view.to_tangent is None and view.christoffels is None:
        return None
    x, u = array(view.embed(point)), array(u)

    def sideways(t):
        gap = array(view.embed(curve(t))) - x - t * u
        # c = x + t u + t^2/2 c'' + ..., so that twice the gap stands for t^2 c'' and t u for t c'
        part = 0.5 * covariant_part(view, point, 2 * gap, t * u)
        return np.linalg.norm(part), 2 * np.linalg.norm(x) + t * np.linalg.norm(u), t * np.linalg.norm(u)

    return measure_slope("no tangential acceleration at the start", sideways, 3, steps, **options)


def start_law(view: ManifoldView, point: Point, u: Tangent, curve: Curve, steps: Any, options: dict) -> SlopeLaw:
    """`|c(t) - x - t u| = O(t^2)`: the curve leaves x with velocity u."""
    x, u = array(view.embed(point)), array(u)

    def gap(t):
        there = array(view.embed(curve(t)))
        return np.linalg.norm(there - x - t * u), np.linalg.norm(there) + np.linalg.norm(x), t * np.linalg.norm(u)

    return measure_slope("starts along u", gap, 2, steps, **options)


def velocity_law(view: ManifoldView, curve: Curve, s: float, steps: Any, options: dict) -> SlopeLaw:
    """`|(I - P)(c(s + h) - c(s - h))| = O(h^3)`: the velocity at time s is tangent there, as on any curve that stays on the manifold."""
    base = curve(s)

    def outside(h):
        chord = array(view.embed(curve(s + h))) - array(view.embed(curve(s - h)))
        return (
            np.linalg.norm(chord - tangential(view, base, chord)),
            2 * np.linalg.norm(array(view.embed(base))),
            np.linalg.norm(chord),
        )

    return measure_slope("stays on the manifold: tangent velocity", outside, 3, steps, **options)


def acceleration_law(view: ManifoldView, curve: Curve, s: float, steps: Any, options: dict) -> SlopeLaw:
    """Tangential part of `c(s + h) - 2 c(s) + c(s - h)`: `O(h^4)` on a geodesic, `h^2` where the curve turns inside the manifold."""
    base = curve(s)
    middle = array(view.embed(base))

    def turned(h):
        after, before = array(view.embed(curve(s + h))), array(view.embed(curve(s - h)))
        chord = 0.5 * (after - before)
        part = covariant_part(view, base, after - 2 * middle + before, chord)
        return np.linalg.norm(part), 4 * np.linalg.norm(middle), np.linalg.norm(chord)

    return measure_slope(f"no tangential acceleration at s = {s:g}", turned, 4, steps, **options)


def speed_law(view: ManifoldView, curve: Curve, s: float, speed: float, steps: Any, options: dict) -> SlopeLaw:
    """`|c(s + h) - c(s - h)| - 2 h speed = O(h^3)`: the speed at time s is `speed`."""
    base = curve(s)

    def excess(h):
        after, before = array(view.embed(curve(s + h))), array(view.embed(curve(s - h)))
        return length(view, base, after - before) - 2 * h * speed, 4 * np.linalg.norm(after), 2 * h * speed

    return measure_slope(f"speed {speed:.3g} at s = {s:g}", excess, 3, steps, **options)


def compatibility_law(
    view: ManifoldView, point: Point, u: Tangent, a: Vector, b: Vector, steps: Any, options: dict
) -> SlopeLaw:
    """`<X, Y>` along a curve, less its value and its rate `<D_u X, Y> + <X, D_u Y>` at the start, is `O(t^2)`.

    On a submanifold `X = P a`, `Y = P b` and `D_u X` is the tangential part of the change of X; in coordinates X = a and Y = b are
    constant and `D_u X = Gamma(u, a)`.
    """
    flat = not on_submanifold(view)
    xa, yb = tangential(view, point, a), tangential(view, point, b)
    start = number(view.inner(point, xa, yb))
    if flat:
        turn_a, turn_b = bend(view, point, u, a), bend(view, point, u, b)

    def defect(t):
        there = view.retract(point, t * u)
        xt, yt = tangential(view, there, a), tangential(view, there, b)
        da, db = (
            (t * turn_a, t * turn_b) if flat else (tangential(view, point, xt - xa), tangential(view, point, yt - yb))
        )
        rate = number(view.inner(point, da, yb)) + number(view.inner(point, xa, db))
        value = number(view.inner(there, xt, yt))
        size = abs(value) + abs(start) + length(view, point, xa) * length(view, point, yb)
        return value - start - rate, size, 0.0

    return measure_slope("the connection preserves the metric", defect, 2, steps, **options)
