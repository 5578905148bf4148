"""Geodesics, transport and logarithm, against closed forms and conservation laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.examples import carry, closed, immersed, LENGTHS, manifold_of, tangents, TORUS
from tests.helpers import relative_error


@pytest.mark.parametrize("name", ["hyperboloid", "stiefel", "rank one"])
def test_exp_and_dist_are_the_closed_forms_and_log_inverts_exp(name):
    case = closed(name)
    manifold, w = case.manifold, case.points[1]
    point = np.asarray(manifold.embed(w))
    (u,) = tangents(manifold, w, 1)
    end = manifold.exp(w, u)
    assert relative_error(manifold.embed(end), case.exp(u, point)) < 1e-10
    length = np.sqrt(float(manifold.inner(u, u)))
    expected = length if case.dist is None else case.dist(point, np.asarray(manifold.embed(end)))
    assert abs(length - expected) < 1e-12
    if name == "rank one":  # a logarithm takes seconds to compile
        assert relative_error(manifold.log(w, end), u) < 1e-9
        assert abs(float(manifold.dist(end, w)) - expected) < 1e-9
        assert not manifold.log(w, w).any()
    if name == "hyperboloid":
        assert np.array_equal(manifold.exp(w, 0 * u), w)
        short = manifold.embed(manifold.exp(w, 1e-6 * u)) - point
        assert relative_error(short, case.exp(1e-6 * u, point) - point) < 1e-8


def test_parallel_transport_on_the_sphere_is_that_of_geomstats():
    manifold, w = closed("sphere").manifold, closed("sphere").points[1]
    space = load("geomstats.geometry.hypersphere").Hypersphere(2)
    u, v, direction = tangents(manifold, w, 3, seed=20)
    moved = [np.asarray(manifold.parallel_transport(w, a, direction)) for a in (u, v)]
    exact = space.metric.parallel_transport(u, np.asarray(manifold.embed(w)), direction=direction)
    assert relative_error(moved[0], exact) < 1e-10 and relative_error(moved[0], u) > 1e-3
    assert abs(moved[0] @ moved[1] - u @ v) < 1e-12


@pytest.mark.parametrize("name", ["torus", "damped net"])
def test_speed_and_inner_products_are_conserved(name):
    manifold, w = immersed(name)
    u, direction = tangents(manifold, w, 2, length=LENGTHS[name])
    path, velocity, moved = carry(manifold.immersion, jnp.asarray(w), direction, u, jnp.linspace(0, 1, 5))
    for here, a, b in zip(path, velocity, moved, strict=True):
        pushed = [manifold.push_forward(here, a), manifold.push_forward(here, b)]
        for i, j in ((0, 0), (0, 1), (1, 1)):
            at_start = manifold.inner((direction, u)[i], (direction, u)[j])
            assert abs(float(manifold.inner(pushed[i], pushed[j]) - at_start)) < 1e-10
    assert relative_error(pushed[1], u) > 1e-4
    if name == "torus":  # Clairaut's law
        rings = TORUS[0] + TORUS[1] * np.cos(path[:, 1])
        assert np.ptp(rings**2 * np.asarray(velocity[:, 0])) < 1e-9 and np.ptp(rings) > 1e-3


def test_a_geodesic_that_leaves_the_chart_is_refused():
    """`(exp(v), 0)` is the open half line x > 0, whose geodesics end at 0."""
    manifold = manifold_of(lambda v, x: jnp.array([jnp.exp(v[0]), 0.0]), [0.0], 2)
    assert relative_error(manifold.embed(manifold.exp([0.0], jnp.array([-0.9, 0.0]))), [0.1, 0.0]) < 1e-9
    outward = jnp.array([-1.1, 0.0])
    with pytest.raises(rg.GeometryError, match="geodesic failed: the chart became singular"):
        manifold.exp([0.0], outward)
    path = jax.jit(manifold.geodesic)(jnp.zeros(1), outward, jnp.array([0.0, 0.5, 0.95]))
    assert np.isnan(path[2]) and np.exp(path[:2, 0]) == pytest.approx([1.0, 0.45])


@pytest.mark.slow
def test_a_point_that_no_geodesic_reaches_is_refused():
    """On a flat cone over a curve, straight lines turn by less than pi in arc length."""

    def cone_over_curve(v, x):
        a = v[1]
        return jnp.exp(v[0]) * jnp.array([jnp.cos(a), jnp.sin(a), jnp.cos(3 * a), jnp.sin(3 * a)]) / jnp.sqrt(2.0)

    manifold = manifold_of(cone_over_curve, [0.0, 0.0], 4)
    angle = np.sqrt(5.0)  # arc length for each unit of a
    radial, around = np.array([1.0, 0, 1, 0]) / np.sqrt(2), np.array([0, 1.0, 0, 3]) / np.sqrt(10)
    expected = (np.cos(angle) - 1) * radial + np.sin(angle) * around
    assert relative_error(manifold.log(jnp.zeros(2), jnp.array([0.0, 1.0])), expected) < 1e-9
    with pytest.raises(rg.GeometryError, match=r"Shooting stopped [\d.]+ short"):
        manifold.log(jnp.zeros(2), jnp.array([0.0, 2.0]))


def test_times_and_tolerances_of_geodesics():
    plane = manifold_of(lambda w, x: jnp.stack([w[0], 2 * w[1], 0 * w[0]]), [1.0, 1.0], 3)
    w, u = plane.problem.w0, jnp.array([1.0, 2.0, 0.0])
    assert plane.geodesic(w, u, [0.0, 2.0]) == pytest.approx(np.array([[1.0, 1.0], [3.0, 3.0]]))
    for wrong in ([], [[0.5]], [0.5, 0.5], [-0.1, 0.5], 0.5):
        with pytest.raises(ValueError, match="`ts` must be increasing times >= 0"):
            plane.geodesic(w, u, wrong)
    for wrong in (0.0, 1.0, -1e-3):
        with pytest.raises(ValueError, match=r"`rtol` must lie in \(0, 1\)"):
            plane.exp(w, u, rtol=wrong)
