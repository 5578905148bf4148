"""Retractions: orders measured against geodesics, first derivatives, projection against closed forms and scipy."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import riemgn as rg
from riemgn.geometry import AbstractRetraction, ProjectionRetraction, RETRACTIONS
from riemgn.geometry.charts import embedded_problem
from riemgn.geometry.interop.geomstats_import import load
from riemgn.geometry.retraction import descend
from tests.helpers import finite_difference, relative_error, tanh_net

ORDERS = {"chart": 1, "corrected": 2, "projection": 2, "exponential": math.inf}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def manifold(name: str) -> rg.OutputManifold:
    if name == "sphere":
        return rg.OutputManifold(rg.task.sphere(radius=2.0))
    if name == "rank one":
        return rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0)))
    if name == "linear":
        return rg.OutputManifold(rg.task.linear(8, 3, 30.0, key=jax.random.key(1)))
    return rg.OutputManifold(tanh_net(60, (4, 3, 1), seed=4))


LENGTH = {"sphere": 1.0, "rank one": 1.0, "net": 0.1}  # a fraction of the radius of curvature


def tangent(name: str, seed: int = 0):
    return manifold(name).random_tangent(manifold(name).problem.w0, key=jax.random.key(seed))


def moved(name: str, kind: str, u):
    return np.asarray(manifold(name).embed(manifold(name).retract(manifold(name).problem.w0, u, kind)))


# --- orders ----------------------------------------------------------------------------------------------------------


def test_every_retraction_states_its_order():
    assert {name: retraction.order for name, retraction in RETRACTIONS.items()} == ORDERS
    assert all(retraction.name == name for name, retraction in RETRACTIONS.items())


@pytest.mark.parametrize("name", LENGTH)
def test_orders_against_the_geodesic(name):
    """`|R(t u) - exp(t u)|` falls like `t^(order + 1)`."""
    ts = LENGTH[name] * 0.5 ** np.arange(2, 7)
    for seed in (0, 1):
        u = tangent(name, seed)
        geodesic = [moved(name, "exponential", t * u) for t in ts]
        for kind in ("chart", "corrected", "projection"):
            errors = [np.linalg.norm(moved(name, kind, t * u) - exact) for t, exact in zip(ts, geodesic, strict=True)]
            slope = np.polyfit(np.log(ts), np.log(errors), 1)[0]
            assert abs(slope - ORDERS[kind] - 1) < 0.1, (kind, slope, errors)


def test_all_are_exact_on_a_flat_manifold():
    flat = manifold("linear")
    u = 3.0 * tangent("linear")
    for kind in RETRACTIONS:
        assert relative_error(moved("linear", kind, u), flat.embed(flat.problem.w0) + u) < 1e-12


@pytest.mark.parametrize("name", ["sphere", "rank one"])
@pytest.mark.parametrize("kind", RETRACTIONS)
def test_zero_stays_and_the_derivative_there_is_the_identity(name, kind):
    m = manifold(name)
    w, u = m.problem.w0, tangent(name)
    assert relative_error(moved(name, kind, jnp.zeros(m.ambient_dim)), m.embed(w)) < 1e-14
    _, derivative = jax.jvp(lambda t: m.embed(m.retract(w, t * u, kind)), (jnp.zeros(()),), (jnp.ones(()),))
    assert relative_error(derivative, u) < 1e-10
    assert relative_error(1.001 * derivative, u) > 1e-4


def test_the_corrected_curve_has_the_acceleration_of_the_geodesic():
    """`d^2 / dt^2 R(t u) = II(u, u)` at zero; the chart's has a tangent part."""
    m, u = manifold("rank one"), tangent("rank one")
    w = m.problem.w0

    def acceleration(kind):
        def velocity(t):
            return jax.jvp(lambda t: m.embed(m.retract(w, t * u, kind)), (t,), (jnp.ones(()),))[1]

        return jax.jvp(velocity, (jnp.zeros(()),), (jnp.ones(()),))[1]

    bend = m.second_fundamental_form(w, u, u)
    assert relative_error(acceleration("corrected"), bend) < 1e-12
    assert relative_error(acceleration("chart"), bend) > 1e-3


def test_a_retraction_of_your_own():
    m, u = manifold("sphere"), tangent("sphere")
    halfway = Halfway()
    assert relative_error(m.embed(m.retract(m.problem.w0, 2 * u, halfway)), moved("sphere", "chart", u)) < 1e-15


class Halfway(AbstractRetraction):
    order = 0
    name = "halfway"

    def __call__(self, immersion, frame, u):
        return frame.w + 0.5 * frame.coordinates(u)


# --- nearest point ---------------------------------------------------------------------------------------------------


def nearest_on_torus(z, major=2.0, minor=0.7):
    centre = major * np.append(z[:2] / np.linalg.norm(z[:2]), 0.0)
    return centre + minor * (z - centre) / np.linalg.norm(z - centre)


def truncated(z):
    left, values, right = np.linalg.svd(z.reshape(4, 3))
    return (values[0] * np.outer(left[:, 0], right[0])).reshape(-1)


def least_squares(z):
    x = np.asarray(manifold("linear").problem.x)
    return x @ np.linalg.lstsq(x, z)[0]


def torus():
    return rg.OutputManifold(rg.task.torus())


def hyperboloid():
    problem = embedded_problem(load("geomstats.geometry.hyperboloid").Hyperboloid(2), np.ones(3))
    return rg.OutputManifold(problem, ambient=problem.model.ambient)


def from_start(shift: float):
    """Targets around the starting point: near and far."""

    def targets(m):
        point = np.asarray(m.embed(m.problem.w0))
        return point + shift * np.linalg.norm(point) * rng(5).standard_normal((4, point.size))

    return targets


def timelike(m):
    return np.array([[2.0, 0.5, -1.0], [30.0, 4.0, 5.0], [1.0, 0.9, 0.0]])


NEAREST = {
    "sphere": (lambda: manifold("sphere"), from_start(0.4), lambda z: 2 * z / np.linalg.norm(z)),
    "sphere, far": (lambda: manifold("sphere"), lambda m: 50 * from_start(0.4)(m), lambda z: 2 * z / np.linalg.norm(z)),
    "torus": (torus, from_start(0.1), nearest_on_torus),
    "torus, far": (
        torus,
        lambda m: 20 * np.asarray(m.embed(m.problem.w0)) + np.array([[3.0, -5, 4], [0, 7, 0]]),
        nearest_on_torus,
    ),
    "rank one": (lambda: manifold("rank one"), from_start(0.15), truncated),
    "rank one, far": (lambda: manifold("rank one"), lambda m: 20 * from_start(0.15)(m), truncated),
    "linear, far": (lambda: manifold("linear"), from_start(100.0), least_squares),
    "hyperboloid": (hyperboloid, timelike, lambda z: z / np.sqrt(z[0] ** 2 - z[1:] @ z[1:])),
}


@pytest.mark.parametrize("name", NEAREST)
def test_projection_is_the_nearest_point(name):
    build, targets, exact = NEAREST[name]
    m = build()
    for z in targets(m):
        params = m.project(z)
        assert relative_error(m.embed(params), exact(z)) < 1e-10
        assert bool(m.belongs(exact(z), start=params)) and not bool(m.belongs(z, start=params))


def network_target(m, distance: float, seed: int):
    """The outputs of other weights, `distance` away, and noise of a tenth of the way there."""
    generator = rng(seed)
    other = np.asarray(m.embed(m.problem.w0 + distance * generator.standard_normal(m.p) / np.sqrt(m.p)))
    noise = generator.standard_normal(other.size) / np.sqrt(other.size)
    return other + 0.1 * np.linalg.norm(other - m.embed(m.problem.w0)) * noise


@pytest.mark.parametrize("distance", [0.1, 0.5, 2.0])
def test_projection_on_a_network_against_scipy(distance):
    """The local minimum that scipy's trust region finds from the same start, near and far."""
    m = manifold("net")
    outputs, jac = (jax.jit(lambda w: m.problem.outputs(w))), (jax.jit(lambda w: m.problem.jac(w)))
    for seed in range(3):
        z = network_target(m, distance, seed)

        def residual(w, z=z):
            return np.asarray(outputs(w)) - z

        params = m.project(z)
        rest = z - np.asarray(m.embed(params))
        assert float(jnp.linalg.norm(m.to_tangent(params, rest))) < 1e-10
        theirs = scipy.optimize.least_squares(
            residual, m.problem.w0, lambda w: np.asarray(jac(w)), xtol=1e-15, ftol=1e-15, gtol=1e-12
        )
        assert abs(np.linalg.norm(rest) / np.sqrt(2 * theirs.cost) - 1) < 1e-9
        assert relative_error(m.embed(params), residual(theirs.x) + z) < 1e-6
        assert np.linalg.norm(rest) < 0.2 * np.linalg.norm(z - m.embed(m.problem.w0))


def test_a_projection_without_end_is_refused_and_never_climbs():
    """Noise ten times as large as the outputs: the weights run away and no nearest point is reached; the retraction says so too."""
    m = manifold("net")
    point = np.asarray(m.embed(m.problem.w0))
    z = point + 10 * np.linalg.norm(point) * rng(5).standard_normal(point.size)
    with pytest.raises(rg.GeometryError, match="tangent part of"):
        m.project(z)
    w, arrived = jax.jit(lambda z: descend(m.immersion, z, m.problem.w0, jnp.asarray(1e-12)))(z)
    assert not arrived
    assert np.linalg.norm(m.embed(w) - z) <= np.linalg.norm(point - z)
    u = m.to_tangent(m.problem.w0, z - point)
    with pytest.raises(rg.GeometryError, match="projection retraction did not arrive"):
        m.retract(m.problem.w0, u, "projection")


@pytest.mark.parametrize("name", ["sphere", "torus", "rank one"])
def test_derivative_of_the_projection(name):
    """Forward mode through Newton's iteration against finite differences; on the sphere `R / |z| (I - z z^T / |z|^2)`."""
    build, targets, _ = NEAREST[name]
    m = build()
    z = targets(m)[0]
    derivative = jax.jacfwd(lambda z: m.embed(m.project(z)))(jnp.asarray(z))
    assert relative_error(derivative, finite_difference(lambda z: m.embed(m.project(z)), z, 1e-5)) < 1e-8
    assert (
        relative_error(m.projector(m.project(z)), derivative) > 1e-2
    )  # off the manifold it is not the tangent projector
    if name == "sphere":
        length = np.linalg.norm(z)
        assert relative_error(derivative, 2 / length * (np.eye(3) - np.outer(z, z) / length**2)) < 1e-12


def test_projection_works_under_vmap_and_jit():
    m = manifold("sphere")
    targets = from_start(0.4)(m)
    batched = jax.jit(jax.vmap(lambda z: m.embed(m.project(z))))(targets)
    assert relative_error(batched, np.stack([m.embed(m.project(z)) for z in targets])) < 1e-14


def test_a_projection_that_has_no_nearest_point_is_refused():
    """Positive definite matrices are open: the infimum of the distance to -1 is not attained."""
    m = rg.OutputManifold(embedded_problem(load("geomstats.geometry.spd_matrices").SPDMatrices(2), np.eye(2)))
    inside = np.array([3.0, 1.0, 1.0, 2.0])
    assert relative_error(m.embed(m.project(inside)), inside) < 1e-10
    with pytest.raises(rg.GeometryError, match="tangent part of"):
        m.project(-np.eye(2).reshape(-1))


def test_a_loose_tolerance_stops_earlier():
    m, u = manifold("sphere"), tangent("sphere")
    exact = moved("sphere", "projection", u)
    loose = np.asarray(m.embed(m.retract(m.problem.w0, u, ProjectionRetraction(tol=1.0))))
    assert 1e-12 < relative_error(loose, exact) < 0.1
