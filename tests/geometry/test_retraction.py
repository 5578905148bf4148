"""Retractions: orders measured against geodesics, first derivatives, and the nearest point."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import riemgn as rg
from riemgn.geometry import ProjectionRetraction, RETRACTIONS
from riemgn.geometry.charts import embedded_problem
from riemgn.geometry.interop.geomstats_import import load
from riemgn.geometry.retraction import newton_step
from tests.geometry.examples import closed, manifold_of, rng, scaled
from tests.helpers import finite_difference, relative_error, tanh_net

ORDERS = {"chart": 1, "corrected": 2, "projection": 2, "exponential": math.inf}
CIRCLE = manifold_of(lambda w, x: jnp.stack([jnp.cos(w[0]), jnp.sin(w[0])]), [0.5], 2)


@cache
def manifold(name: str) -> rg.OutputManifold:
    if name == "sphere":
        return rg.OutputManifold(rg.task.sphere(radius=2.0))
    if name == "torus":
        return rg.OutputManifold(rg.task.torus())
    if name == "linear":
        return rg.OutputManifold(rg.task.linear(8, 3, 30.0, key=jax.random.key(1)))
    return rg.OutputManifold(tanh_net(60, (4, 3, 1), seed=4)) if name == "net" else closed(name).manifold


def tangent(name: str, seed: int = 0):
    return manifold(name).random_tangent(manifold(name).problem.w0, key=jax.random.key(seed))


def moved(name: str, kind: str, u):
    return np.asarray(manifold(name).embed(manifold(name).retract(manifold(name).problem.w0, u, kind)))


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sphere", "rank one"])
def test_a_retraction_has_its_order(name):
    """`|R(t u) - exp(t u)|` falls like `t^(order + 1)`."""
    assert {kind: retraction.order for kind, retraction in RETRACTIONS.items()} == ORDERS
    ts, u = 0.5 ** np.arange(2, 7), tangent(name)
    geodesic = [moved(name, "exponential", t * u) for t in ts]
    for kind in ("chart", "corrected", "projection"):
        errors = [np.linalg.norm(moved(name, kind, t * u) - exact) for t, exact in zip(ts, geodesic, strict=True)]
        assert abs(np.polyfit(np.log(ts), np.log(errors), 1)[0] - ORDERS[kind] - 1) < 0.1, kind


@pytest.mark.parametrize("kind", RETRACTIONS)
def test_a_retraction_fixes_zero_with_the_identity_as_derivative(kind):
    m, u = manifold("rank one"), tangent("rank one")
    w = m.problem.w0
    assert relative_error(moved("rank one", kind, 0 * u), m.embed(w)) < 1e-14
    _, derivative = jax.jvp(lambda t: m.embed(m.retract(w, t * u, kind)), (jnp.zeros(()),), (jnp.ones(()),))
    assert relative_error(derivative, u) < 1e-10


def test_all_retractions_agree_on_a_flat_manifold():
    flat, u = manifold("linear"), 3.0 * tangent("linear")
    for kind in RETRACTIONS:
        assert relative_error(moved("linear", kind, u), flat.embed(flat.problem.w0) + u) < 1e-12


def test_the_corrected_curve_has_the_acceleration_of_the_geodesic():
    """`d^2 / dt^2 R(t u) = II(u, u)` at zero. The chart's has a tangent part."""
    m, u = manifold("rank one"), tangent("rank one")
    w = m.problem.w0

    def acceleration(kind):
        def velocity(t):
            return jax.jvp(lambda t: m.embed(m.retract(w, t * u, kind)), (t,), (jnp.ones(()),))[1]

        return jax.jvp(velocity, (jnp.zeros(()),), (jnp.ones(()),))[1]

    second = m.second_fundamental_form(w, u, u)
    assert relative_error(acceleration("corrected"), second) < 1e-12
    assert relative_error(acceleration("chart"), second) > 1e-3


def test_you_can_pass_your_own_retraction():
    u = tangent("sphere")
    assert relative_error(moved("sphere", scaled(0.5), 2 * u), moved("sphere", "chart", u)) < 1e-15


def test_retractions_on_the_circle_in_closed_form():
    u = np.array([-np.sin(0.5), np.cos(0.5)])
    assert CIRCLE.retract([0.5], 0.75 * u, "projection") == pytest.approx([0.5 + np.arctan(0.75)], abs=1e-12)
    assert CIRCLE.retract([0.5], 0.75 * u, "exponential") == pytest.approx([1.25])
    assert CIRCLE.retract([0.5], 0.75 * u) == pytest.approx([1.25])


# --- nearest point --------------------------------------------------------------------------------


def nearest_on_torus(z, major=2.0, minor=0.7):
    centre = major * np.append(z[:2] / np.linalg.norm(z[:2]), 0.0)
    return centre + minor * (z - centre) / np.linalg.norm(z - centre)


def truncated(z):
    left, values, right = np.linalg.svd(z.reshape(4, 3))
    return (values[0] * np.outer(left[:, 0], right[0])).reshape(-1)


def least_squares(z):
    x = np.asarray(manifold("linear").problem.x)
    return x @ np.linalg.lstsq(x, z)[0]


def around_start(name: str, shift: float):
    point = np.asarray(manifold(name).embed(manifold(name).problem.w0))
    return point + shift * np.linalg.norm(point) * rng(5).standard_normal((3, point.size))


NEAREST = {
    "sphere": (lambda: 50 * around_start("sphere", 0.4), lambda z: 2 * z / np.linalg.norm(z)),
    "torus": (lambda: np.vstack([around_start("torus", 0.1), [[57.0, -5, 4], [54, 7, 0]]]), nearest_on_torus),
    "rank one": (lambda: np.vstack([around_start("rank one", 0.15), 20 * around_start("rank one", 0.15)]), truncated),
    "linear": (lambda: around_start("linear", 100.0), least_squares),
    "hyperboloid": (
        lambda: np.array([[2.0, 0.5, -1.0], [30.0, 4.0, 5.0], [1.0, 0.9, 0.0]]),
        lambda z: z / np.sqrt(z[0] ** 2 - z[1:] @ z[1:]),
    ),
}


@pytest.mark.parametrize("name", NEAREST)
def test_projection_is_the_nearest_point(name):
    targets, exact = NEAREST[name]
    m = manifold(name)
    for z in targets():
        params = m.project(z)
        assert relative_error(m.embed(params), exact(z)) < 1e-10
        assert bool(m.belongs(exact(z), start=params)) and not bool(m.belongs(z, start=params))


def test_projection_on_a_network_agrees_with_scipy():
    """The local minimum that scipy's trust region finds from the same start."""
    m = manifold("net")
    w0, generator = m.problem.w0, rng(0)
    z = np.asarray(m.embed(w0 + 0.5 * generator.standard_normal(m.p) / np.sqrt(m.p)))
    z = z + 0.1 * np.linalg.norm(z - m.embed(w0)) * generator.standard_normal(z.size) / np.sqrt(z.size)
    outputs, jac = jax.jit(lambda w: m.problem.outputs(w)), jax.jit(lambda w: m.problem.jac(w))
    theirs = scipy.optimize.least_squares(
        lambda w: np.asarray(outputs(w)) - z, w0, lambda w: np.asarray(jac(w)), xtol=1e-15, ftol=1e-15, gtol=1e-12
    )
    params = m.project(z)
    rest = z - np.asarray(m.embed(params))
    assert float(jnp.linalg.norm(m.to_tangent(params, rest))) < 1e-10
    assert abs(np.linalg.norm(rest) / np.sqrt(2 * theirs.cost) - 1) < 1e-9
    assert relative_error(m.embed(params), outputs(theirs.x)) < 1e-6


def test_a_projection_without_a_nearest_point_is_refused():
    """Large noise makes the weights diverge. Positive definite matrices are an open set."""
    m = manifold("net")
    point = np.asarray(m.embed(m.problem.w0))
    z = point + 10 * np.linalg.norm(point) * rng(5).standard_normal(point.size)
    with pytest.raises(rg.GeometryError, match="tangent part of"):
        m.project(z)
    with pytest.raises(rg.GeometryError, match="projection retraction failed"):
        m.retract(m.problem.w0, m.to_tangent(m.problem.w0, z - point), "projection")
    definite = rg.OutputManifold(embedded_problem(load("geomstats.geometry.spd_matrices").SPDMatrices(2), np.eye(2)))
    inside = np.array([3.0, 1.0, 1.0, 2.0])
    assert relative_error(definite.embed(definite.project(inside)), inside) < 1e-10
    with pytest.raises(rg.GeometryError, match="tangent part of"):
        definite.project(-np.eye(2).reshape(-1))


def test_derivative_of_the_projection():
    """On the sphere `R / |z| (I - z z^T / |z|^2)`; finite differences on the rank-one matrices."""
    m, z = manifold("sphere"), around_start("sphere", 0.4)[0]
    length = np.linalg.norm(z)
    derivative = jax.jacfwd(lambda z: m.embed(m.project(z)))(jnp.asarray(z))
    assert relative_error(derivative, 2 / length * (np.eye(3) - np.outer(z, z) / length**2)) < 1e-12
    m, z = manifold("rank one"), around_start("rank one", 0.15)[0]
    derivative = jax.jacfwd(lambda z: m.embed(m.project(z)))(jnp.asarray(z))
    assert relative_error(derivative, finite_difference(lambda z: m.embed(m.project(z)), z, 1e-5)) < 1e-8


def test_a_loose_tolerance_stops_earlier():
    u = tangent("sphere")
    error = relative_error(moved("sphere", ProjectionRetraction(tol=1.0), u), moved("sphere", "projection", u))
    assert 1e-12 < error < 0.1


@pytest.mark.parametrize(
    ("angle", "step"), [(0.3, -np.tan(0.3)), (-0.4, np.tan(0.4)), (2.0, -3 * np.sin(2.0)), (np.pi, 0.0)]
)
def test_newton_falls_back_to_gauss_newton_without_convexity(angle, step):
    """Half the squared distance of the circle to (3, 0) is `5 - 3 cos(w)`."""
    frame = CIRCLE.immersion.frame(jnp.array([angle]))
    found, gradient = newton_step(CIRCLE.immersion, frame, jnp.array([3.0, 0.0]))
    assert float(found[0]) == pytest.approx(step, abs=1e-14)
    assert frame.basis @ gradient == pytest.approx(
        -3 * np.sin(angle) * np.array([-np.sin(angle), np.cos(angle)]), abs=1e-14
    )
