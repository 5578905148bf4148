"""The laws that the checks are made of: each is the slope of an error over a step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpy.linalg import norm

from ..._types import Key
from .manifold import float64, implemented, manifold_functions, ManifoldFunctions, number, Point, Tangent
from .slope import checked_steps, EPS, measure_slope, SlopeLaw, step_grid, ValueLaw

Curve = Callable[[float], Point]

HALVINGS = 30  # a random direction is halved at most this often
MAX_BEND = 0.5  # and until its curve bends by less than this part of its length
TRIAL = 1e-3  # multiple of the direction at which a check tries whether a function is implemented
CENTRAL_LAWS = {  # name and order
    "velocity": ("stays on the manifold: tangent velocity", 3),  # (I - P)(c(s + h) - c(s - h))
    "acceleration": ("no tangential acceleration at s = {s:g}", 4),  # P(c(s + h) - 2 c(s) + c(s - h))
    "speed": ("speed {speed:.3g} at s = {s:g}", 3),  # |c(s + h) - c(s - h)| - 2 h speed
}


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
        cls, manifold: Any, point: Point, key: Any = None, *, direction: Any = None, steps: Any = None, **more: Any
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

    @property
    def bound(self) -> float:
        """Bound of errors that are not slopes: half the digits."""
        return float(np.sqrt(self.eps))

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

    def equal(self, name: str, difference: Any, reference: Any, bound: float | None = None) -> ValueLaw:
        """Bound `|difference| / |reference|`, or `|difference|` if the reference is zero."""
        error = float(norm(difference)) / (float(norm(reference)) or 1.0)
        return ValueLaw(name, error, self.bound if bound is None else bound)


def default_key(key: Key | None) -> Key:
    """Return the key, or key 0."""
    return jr.key(0) if key is None else key


def choose_direction(manifold: ManifoldFunctions, point: Point, direction: Tangent | None, key: Key) -> Tangent:
    """Return the direction, or a random unit tangent vector, shortened where the manifold bends."""
    x = np.asarray(manifold.embed(point))
    if direction is not None:
        values = np.asarray(direction)
        if values.shape != x.shape:
            raise ValueError(f"`direction` must have the shape of the embedded point, {x.shape}, got {values.shape}.")
        if not 0 < float(norm(values)) < np.inf:
            raise ValueError(f"`direction` must be finite and not zero, got {np.array2string(values, threshold=6)}.")
        return values if isinstance(direction, list | tuple) else direction
    if not manifold.has_connection:
        raise ValueError("Pass a `direction`: a random one needs a manifold with `to_tangent` or `christoffels`.")
    u = manifold.tangent_part(point, np.asarray(jr.normal(key, x.shape)))
    return shorten(manifold, point, u / manifold.norm(point, u), manifold.retract)


def shorten(manifold: ManifoldFunctions, point: Point, u: Tangent, move: Callable[[Point, Tangent], Point]) -> Tangent:
    """Halve u until `move(point, t u)` bends by at most half the length of u at t = 1."""
    x = manifold.array(point)
    for _ in range(HALVINGS):
        try:
            if norm(manifold.array(move(point, u)) - x - float64(u)) <= MAX_BEND * norm(u):
                return u
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError):  # a solver diverges
            pass
        u = u / 2
    return u


def tangency(probe: Probe, name: str, vector: Any) -> ValueLaw | str | None:
    """Return the law that a vector is tangent, or the note that this cannot be measured."""
    if probe.manifold.in_coordinates:
        return None if probe.manifold.has_connection else f"not measured whether the {name}: no `to_tangent`"
    return probe.equal(name, float64(vector) - probe.manifold.tangent_part(probe.point, vector), vector)


def start_velocity(probe: Probe, curve: Curve) -> SlopeLaw:
    """Measure `|c(t) - x - t u| = O(t^2)`: c leaves x with velocity u."""
    x, u = probe.x, float64(probe.u)

    def gap(t):
        y = probe.manifold.array(curve(t))
        return norm(y - x - t * u), norm(y) + norm(x), t * norm(u)

    return probe.slope("starts with velocity u", gap, 2)


def start_acceleration(probe: Probe, curve: Curve) -> SlopeLaw | None:
    """Measure the tangential part of `c(t) - x - t u`, which is `O(t^3)` if c does not turn."""
    x, u = probe.x, float64(probe.u)

    def turn(t):
        second = 2 * (probe.manifold.array(curve(t)) - x - t * u)  # t^2 c'' up to O(t^3)
        part = 0.5 * probe.manifold.acceleration(probe.point, second, t * u)
        return norm(part), 2 * norm(x) + t * norm(u), t * norm(u)

    return probe.slope("no tangential acceleration at the start", turn, 3) if probe.manifold.has_connection else None


def central_law(probe: Probe, kind: str, curve: Curve, s: float, speed: float = 0.0) -> SlopeLaw:
    """Measure a law of `CENTRAL_LAWS` at time s of a curve, by central differences."""
    manifold, base = probe.manifold, curve(s)
    middle = manifold.array(base)

    def error(h):
        after, before = manifold.array(curve(s + h)), manifold.array(curve(s - h))
        chord = after - before
        if kind == "velocity":
            return norm(chord - manifold.tangent_part(base, chord)), 2 * norm(middle), norm(chord)
        if kind == "acceleration":
            part = manifold.acceleration(base, after - 2 * middle + before, 0.5 * chord)
            return norm(part), 4 * norm(middle), norm(0.5 * chord)
        return manifold.norm(base, chord) - 2 * h * speed, 4 * norm(after), 2 * h * speed

    name, order = CENTRAL_LAWS[kind]
    return probe.slope(name.format(s=s, speed=speed), error, order)


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
