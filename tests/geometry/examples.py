"""Manifolds with closed forms, shared by the tests of this folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

import riemgn as rg
from riemgn.geometry import AbstractRetraction, OutputManifold
from riemgn.geometry.charts import embedded_problem
from riemgn.geometry.geodesic import integrate
from riemgn.geometry.interop.geomstats_import import load
from tests.helpers import tanh_net

RADIUS, REACH = 2.0, 3.0
TARGET = REACH * np.array([0.6, 0.0, 0.8])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def manifold_of(model, start, outputs: int, **options) -> OutputManifold:
    """The manifold of a function of the parameters alone, with zero targets."""
    return OutputManifold(rg.Problem(model, jnp.array(start), jnp.zeros((outputs, 1)), jnp.zeros(outputs)), **options)


def line(height: float = 0.0, start: float = 1.0) -> OutputManifold:
    """`psi = (w, 0)` with the target (0, height): the exact step is 1."""
    problem = rg.Problem(
        lambda w, x: jnp.stack([w[0], 0.0 * w[0]]), jnp.array([start]), jnp.zeros((2, 1)), jnp.array([0.0, height])
    )
    return OutputManifold(problem)


def parabola(target: float) -> OutputManifold:
    """`psi = w^2` from w = 1: the chart is singular at 0, the edge of the manifold."""
    return OutputManifold(rg.Problem(lambda w, x: w**2, jnp.ones(1), jnp.zeros((1, 1)), jnp.array([target])))


class Stretched(AbstractRetraction):
    """`R(u) = F(w + factor J^+ u)` with `DR(0) = factor id`: a retraction only for the factor 1."""

    factor: jax.Array
    order: ClassVar[float] = 0
    name: ClassVar[str] = "stretched"

    def __call__(self, immersion, frame, u):
        return frame.w + self.factor * frame.coordinates(u)


def scaled(factor: float) -> Stretched:
    return Stretched(jnp.array(float(factor)))


def stereographic(params, x):
    u, v = params
    square = u**2 + v**2
    return RADIUS * jnp.stack([2 * u, 2 * v, 1 - square]) / (1 + square)


def sphere() -> OutputManifold:
    """The sphere in a chart whose straight lines are no geodesics."""
    return OutputManifold(rg.Problem(stereographic, jnp.array([0.1, 0.7]), jnp.zeros((3, 1)), TARGET))


def sphere_flow(t: float) -> np.ndarray:
    """On the great circle through the target `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`."""
    problem = sphere().problem
    start, pole = np.asarray(problem.outputs(problem.w0)) / RADIUS, TARGET / REACH
    phi = 2 * np.arctan(np.tan(np.arccos(start @ pole) / 2) * np.exp(-REACH / RADIUS * t))
    side = start - (start @ pole) * pole
    return RADIUS * (np.cos(phi) * pole + np.sin(phi) * side / np.linalg.norm(side))


def tangents(manifold: OutputManifold, w, count: int, seed: int = 0, length: float = 0.5) -> list[np.ndarray]:
    return [length * np.asarray(manifold.random_tangent(w, key=jax.random.key(seed + i))) for i in range(count)]


# --- closed forms of whole manifolds --------------------------------------------------------------

MINKOWSKI = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Closed:
    """A manifold with its closed forms on ambient arrays. The base point comes last."""

    manifold: OutputManifold
    points: list[np.ndarray]  # parameters
    exp: Callable
    dist: Callable | None
    curvature: Callable  # sectional, (u, v, point)


def _of_geomstats(space, manifold: OutputManifold, points, curvature: float) -> Closed:
    def flat(function):
        return lambda *arrays: np.reshape(function(*(np.reshape(a, space.shape) for a in arrays)), -1)

    dist = flat(space.metric.dist)
    return Closed(
        manifold, list(points), flat(space.metric.exp), lambda a, b: dist(a, b)[0], lambda u, v, point: curvature
    )


def _stiefel(n: int, p: int) -> Closed:
    """The Euclidean metric, by Edelman, Arias and Smith (1998), section 2.2."""
    manifold = OutputManifold(embedded_problem(load("geomstats.geometry.stiefel").Stiefel(n, p), np.eye(n, p)))

    def exp(u, point):
        x, h = point.reshape(n, p), u.reshape(n, p)
        a, s = x.T @ h, h.T @ h
        block = scipy.linalg.expm(np.block([[a, -s], [np.eye(p), a]]))
        return (np.hstack([x, h]) @ block[:, :p] @ scipy.linalg.expm(-a)).reshape(-1)

    def second(u, v, point):
        x, u, v = (a.reshape(n, p) for a in (point, u, v))
        return (-x @ (u.T @ v + v.T @ u) / 2).reshape(-1)

    def sectional(u, v, point):
        area = (u @ u) * (v @ v) - (u @ v) ** 2
        mixed = second(u, v, point)
        return (second(u, u, point) @ second(v, v, point) - mixed @ mixed) / area

    return Closed(manifold, list(0.4 * rng(3).standard_normal((2, manifold.p))), exp, None, sectional)


def cone(point, rows=4, columns=3):
    """`X = r a b^T` as (r, a, b)."""
    left, values, right = np.linalg.svd(point.reshape(rows, columns))
    return values[0], left[:, 0], right[0]


def _cone_parts(u, point):
    """The radial part and the two parts `r a'`, `r b'` of a tangent vector."""
    (_, a, b), u = cone(point), u.reshape(4, 3)
    return a @ u @ b, u @ b - (a @ u @ b) * a, u.T @ a - (a @ u @ b) * b


def _rank_one() -> Closed:
    """The cone `dr^2 + r^2 (|da|^2 + |db|^2)` over S^3 x S^2 / +-1, with a rank-deficient chart."""
    manifold = OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0)))

    def exp(u, point):
        (r, a, b), (radial, da, db) = cone(point), _cone_parts(u, point)
        omega = np.hypot(np.linalg.norm(da), np.linalg.norm(db)) / r
        length, angle = np.hypot(r + radial, r * omega), np.arctan2(r * omega, r + radial)

        def turned(start, move):
            size = np.linalg.norm(move)
            return np.cos(angle * size / r / omega) * start + np.sin(angle * size / r / omega) * move / size

        return length * np.outer(turned(a, da), turned(b, db)).reshape(-1)

    def dist(one, two):
        (r, a, b), (s, c, d) = cone(one), cone(two)
        sign = np.sign(a @ c)
        angle = np.hypot(np.arccos(sign * (a @ c)), np.arccos(np.clip(sign * (b @ d), -1, 1)))
        return np.sqrt(r**2 + s**2 - 2 * r * s * np.cos(angle))

    def sectional(u, v, point):
        (_, ua, ub), (_, va, vb) = _cone_parts(u, point), _cone_parts(v, point)

        def area(x, y):
            return (x @ x) * (y @ y) - (x @ y) ** 2

        link = area(np.append(ua, ub), np.append(va, vb))
        return (area(ua, va) + area(ub, vb) - link) / cone(point)[0] ** 2 / area(u, v)

    start = np.asarray(manifold.problem.w0)
    return Closed(manifold, [start, start + 0.3 * rng(4).standard_normal(7)], exp, dist, sectional)


@cache
def closed(name: str) -> Closed:
    if name == "sphere":
        space = load("geomstats.geometry.hypersphere").Hypersphere(2)
        return _of_geomstats(space, OutputManifold(rg.task.sphere()), np.array([[1.2, 0.7], [1.9, -2.0]]), 1.0)
    if name == "hyperboloid":
        space = load("geomstats.geometry.hyperboloid").Hyperboloid(2)
        problem = embedded_problem(space, [0.5, 1.0, -0.5])
        manifold = OutputManifold(problem, ambient=problem.model.ambient)
        return _of_geomstats(space, manifold, rng(2).standard_normal((2, 2)), -1.0)
    if name == "spd":
        matrices = load("geomstats.geometry.spd_matrices")
        space = matrices.SPDMatrices(2, equip=False)
        space.equip_with_metric(matrices.SPDEuclideanMetric)
        points = np.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]])
        return _of_geomstats(space, OutputManifold(embedded_problem(space, np.eye(2))), points, 0.0)
    return _stiefel(4, 2) if name == "stiefel" else _rank_one()


CLOSED = ["sphere", "hyperboloid", "spd", "stiefel", "rank one"]
TORUS = (2.0, 0.7)
IMMERSED = ["torus", "hyperboloid", "damped net"]
LENGTHS = {"torus": 0.5, "hyperboloid": 0.5, "damped net": 0.1}  # short compared with the radius of curvature


@cache
def immersed(name: str) -> tuple[OutputManifold, np.ndarray]:
    """A manifold whose chart is an immersion, and a point of it."""
    if name == "torus":
        return OutputManifold(rg.task.torus(*TORUS)), np.array([1.0, 0.5])
    if name == "hyperboloid":
        return closed("hyperboloid").manifold, closed("hyperboloid").points[0]
    manifold = OutputManifold(tanh_net(20, (2, 2, 1), seed=2), damping=1e-2)
    return manifold, np.asarray(manifold.problem.w0)


@eqx.filter_jit
def carry(immersion, w, u, v, ts):
    """A geodesic at `ts`: parameters, their velocity, and the coordinates of `v` transported."""
    return tuple(integrate(immersion, immersion.frame(w), u, v, ts, jnp.asarray(1e-11)))
