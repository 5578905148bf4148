"""The laws that the checks are made of: each is the slope of an error over a step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..._types import Key
from .manifold import float64, implemented, manifold_functions, ManifoldFunctions, number, Point, Tangent
from .slope import checked_steps, EPS, measure_slope, SlopeLaw, step_grid, ValueLaw

Curve = Callable[[float], Point]

HALVINGS = 30  # a random direction is halved at most this often
MAX_BEND = 0.5  # and until its curve bends by less than this part of its length
TRIAL = 1e-3  # multiple of the direction at which a check tries whether a function is implemented


@dataclass(frozen=True)
class Probe:
    """Where a check measures: manifold, point, direction u, and how slopes are fitted."""

    manifold: ManifoldFunctions
    point: Point
    u: Tangent
    steps: np.ndarray
    noise: float = 0.0
    tolerance: float = 0.1
    eps: float = EPS

    @classmethod
    def make(
        cls,
        manifold: Any,
        point: Point,
        key: Key | None = None,
        *,
        direction: Any = None,
        steps: Any = None,
        **more: Any,
    ) -> "Probe":
        """Collect the options that `check_gradient` describes, and choose a direction."""
        functions, steps = manifold_functions(manifold), step_grid() if steps is None else checked_steps(steps)
        return cls(functions, point, choose_direction(functions, point, direction, default_key(key)), steps, **more)

    def rounded_as(self, *values: Any) -> "Probe":
        """Use the coarsest rounding unit of the point and these values (float64 for an integer)."""
        kinds = [np.asarray(value).dtype for value in (self.manifold.embed(self.point), *values)]
        return replace(self, eps=max(float(jnp.finfo(k).eps) if jnp.issubdtype(k, np.floating) else EPS for k in kinds))

    @property
    def x(self) -> np.ndarray:
        """The embedded point."""
        return self.manifold.array(self.point)

    def curve(self, function: Any) -> Curve:
        """Return `t -> function(point, t u)`."""
        return lambda t: function(self.point, t * self.u)

    def exp(self) -> Callable | None:
        """Return the exponential map, or None if it is not implemented."""
        return implemented(self.manifold.exp, self.point, TRIAL * self.u)

    def slope(self, name: str, remainder: Any, expected: float, steps: Any = None) -> SlopeLaw:
        """Measure a slope with the options of the check."""
        options = {"eps": self.eps, "noise": self.noise, "tolerance": self.tolerance}
        return measure_slope(name, remainder, expected, self.steps if steps is None else steps, **options)

    def tangency(self, name: str, vector: Any) -> tuple[tuple[ValueLaw, ...], tuple[str, ...]]:
        """Return the law that a vector is tangent, or the note that this cannot be measured."""
        if self.manifold.in_coordinates:
            return (), () if self.manifold.has_connection else (f"not measured whether the {name}: no `to_tangent`",)
        normal = float64(vector) - self.manifold.tangent_part(self.point, vector)
        return (ValueLaw(name, relative(normal, vector), float(np.sqrt(self.eps))),), ()


def default_key(key: Key | None) -> Key:
    """Return the key, or key 0."""
    return jr.key(0) if key is None else key


def relative(difference: Any, reference: Any) -> float:
    """Compute `|difference| / |reference|`, or `|difference|` if the reference is zero."""
    return float(np.linalg.norm(difference)) / (float(np.linalg.norm(reference)) or 1.0)


def choose_direction(manifold: ManifoldFunctions, point: Point, direction: Tangent | None, key: Key) -> Tangent:
    """Return the direction, or a random unit tangent vector, shortened where the manifold bends."""
    x = np.asarray(manifold.embed(point))
    if direction is not None:
        direction = np.asarray(direction) if isinstance(direction, list | tuple) else direction
        values = np.asarray(direction)
        if values.shape != x.shape:
            raise ValueError(f"`direction` must have the shape of the embedded point, {x.shape}, got {values.shape}.")
        if not 0 < float(np.linalg.norm(values)) < np.inf:
            raise ValueError(f"`direction` must be finite and not zero, got {np.array2string(values, threshold=6)}.")
        return direction
    if not manifold.has_connection:
        raise ValueError("Pass a `direction`: a random one needs a manifold with `to_tangent` or `christoffels`.")
    u = manifold.tangent_part(point, np.asarray(jr.normal(key, x.shape)))
    return shorten(manifold, point, u / manifold.norm(point, u), manifold.retract)


def shorten(manifold: ManifoldFunctions, point: Point, u: Tangent, move: Callable[[Point, Tangent], Point]) -> Tangent:
    """Halve u until `move(point, t u)` bends by at most half the length of u at t = 1."""
    x = manifold.array(point)
    for _ in range(HALVINGS):
        try:
            gap = manifold.array(move(point, u)) - x - float64(u)
            if np.linalg.norm(gap) <= MAX_BEND * np.linalg.norm(u):
                return u
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError):  # a solver diverges
            pass
        u = u / 2
    return u


def start_laws(probe: Probe, curve: Curve) -> tuple[SlopeLaw, SlopeLaw | None]:
    """Measure `|c(t) - x - t u| = O(t^2)`, and `O(t^3)` for its tangential part.

    The first law says that c leaves x with velocity u, the second that it has no tangential
    acceleration at x.
    """
    manifold, x, u = probe.manifold, probe.x, float64(probe.u)

    def gap(t):
        y = manifold.array(curve(t))
        return np.linalg.norm(y - x - t * u), np.linalg.norm(y) + np.linalg.norm(x), t * np.linalg.norm(u)

    def turn(t):
        second = 2 * (manifold.array(curve(t)) - x - t * u)  # t^2 c'' up to O(t^3)
        part = 0.5 * manifold.acceleration(probe.point, second, t * u)
        return np.linalg.norm(part), 2 * np.linalg.norm(x) + t * np.linalg.norm(u), t * np.linalg.norm(u)

    start = probe.slope("starts with velocity u", gap, 2)
    if not manifold.has_connection:
        return start, None
    return start, probe.slope("no tangential acceleration at the start", turn, 3)


def tangent_velocity(probe: Probe, curve: Curve, s: float, steps: Any) -> SlopeLaw:
    """Measure `|(I - P)(c(s + h) - c(s - h))| = O(h^3)`: the curve stays on the manifold near s."""
    manifold, base = probe.manifold, curve(s)

    def normal(h):
        chord = manifold.array(curve(s + h)) - manifold.array(curve(s - h))
        part = chord - manifold.tangent_part(base, chord)
        return np.linalg.norm(part), 2 * np.linalg.norm(manifold.array(base)), np.linalg.norm(chord)

    return probe.slope("stays on the manifold: tangent velocity", normal, 3, steps)


def geodesic_laws(probe: Probe, curve: Curve, s: float, speed: float) -> tuple[SlopeLaw, SlopeLaw]:
    """Measure tangential acceleration and speed at time s by central differences.

    The tangential part of `c(s + h) - 2 c(s) + c(s - h)` is `O(h^4)` on a geodesic, and `O(h^2)` on
    other curves. `|c(s + h) - c(s - h)| - 2 h speed` is `O(h^3)`.
    """
    manifold, base = probe.manifold, curve(s)
    middle = manifold.array(base)

    def turn(h):
        after, before = manifold.array(curve(s + h)), manifold.array(curve(s - h))
        chord = 0.5 * (after - before)
        part = manifold.acceleration(base, after - 2 * middle + before, chord)
        return np.linalg.norm(part), 4 * np.linalg.norm(middle), np.linalg.norm(chord)

    def excess(h):
        after, before = manifold.array(curve(s + h)), manifold.array(curve(s - h))
        return manifold.norm(base, after - before) - 2 * h * speed, 4 * np.linalg.norm(after), 2 * h * speed

    acceleration = probe.slope(f"no tangential acceleration at s = {s:g}", turn, 4)
    return acceleration, probe.slope(f"speed {speed:.3g} at s = {s:g}", excess, 3)


def metric_compatibility(probe: Probe, a: Any, b: Any) -> SlopeLaw:
    """Measure that `<X, Y>` minus its value and its rate `<D_u X, Y> + <X, D_u Y>` is `O(t^2)`.

    On a submanifold `X = P a`, `Y = P b`, and `D_u X` is the tangential part of the change of X. In
    coordinates X = a and Y = b are constant and `D_u X = Gamma(u, a)`.
    """
    manifold, point, u = probe.manifold, probe.point, probe.u
    xa, yb = manifold.tangent_part(point, a), manifold.tangent_part(point, b)
    start = number(manifold.inner(point, xa, yb))
    scale = abs(start) + manifold.norm(point, xa) * manifold.norm(point, yb)

    def defect(t):
        y = manifold.retract(point, t * u)
        xt, yt = manifold.tangent_part(y, a), manifold.tangent_part(y, b)
        if manifold.in_coordinates:
            da, db = (t * manifold.christoffel_product(point, u, v) for v in (a, b))
        else:
            da, db = manifold.tangent_part(point, xt - xa), manifold.tangent_part(point, yt - yb)
        rate = number(manifold.inner(point, da, yb)) + number(manifold.inner(point, xa, db))
        value = number(manifold.inner(y, xt, yt))
        return value - start - rate, abs(value) + scale, 0.0

    return probe.slope("the connection preserves the metric", defect, 2)
