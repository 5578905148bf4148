"""The geomstats spaces of a plane and a sphere, where all has closed forms: tensors, tolerances, shapes, random draws, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import GeometryError
from riemgn.geometry.interop.base import arrived, landed
from riemgn.geometry.interop.geomstats import to_geomstats

EPS = float(np.finfo(float).eps)
SLOPES = np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]])


def space_of(model, start, outputs, **options):
    problem = rg.Problem(model, jnp.array(start), jnp.zeros((outputs, 1)), jnp.zeros(outputs))
    return to_geomstats(rg.OutputManifold(problem, **options), radius=0.5)


PLANE = space_of(lambda w, x: jnp.asarray(SLOPES) @ w, [1.0, 1.0], 3)  # (2 w_1, w_2 / 2, 0)
CHART = PLANE.chart
SPHERE = space_of(
    lambda w, x: jnp.stack([jnp.sin(w[0]) * jnp.cos(w[1]), jnp.sin(w[0]) * jnp.sin(w[1]), jnp.cos(w[0])]), [1.0, 0.5], 3
)
LIGHT = space_of(lambda w, x: jnp.stack([jnp.sqrt(1 + w @ w), *w]), [0.3, 0.4], 3, ambient=np.array([-1.0, 1.0, 1.0]))
X, Y = np.array([2.0, 1.0, 0.0]), np.array([5.0, 5.0, 0.0])
U, V = np.array([1.0, -2.0, 0.0]), np.array([2.0, 3.0, 0.0])


# --- the plane -------------------------------------------------------------------------------------------------------


def test_lengths_and_distances_in_the_plane():
    metric = PLANE.metric
    assert (metric.squared_norm(V, X), metric.norm(V, X), metric.inner_product(U, V, X)) == pytest.approx(
        (13.0, 13**0.5, -4.0)
    )
    assert metric.normalize(np.stack([V, 0 * V]), X) == pytest.approx(np.stack([V / 13**0.5, 0 * V]))
    assert metric.normal_basis(np.stack([U, V]), X) == pytest.approx(np.stack([U / 5**0.5, V / 13**0.5]))
    assert (metric.squared_dist(X, Y), metric.dist(X, Y)) == pytest.approx((25.0, 5.0))
    assert metric.exp(V, X) == pytest.approx(X + V) and metric.log(Y, X) == pytest.approx(Y - X)
    assert CHART.metric.norm([1.0, 2.0], [0.0, 0.0]) == pytest.approx(5**0.5) and CHART.metric.dist(
        [0, 0], [1, 2]
    ) == pytest.approx(5**0.5)


def test_a_null_vector_has_no_unit_and_stays():
    assert LIGHT.metric.normalize(np.array([1.0, 1.0, 0.0]), None).tolist() == [1.0, 1.0, 0.0]


def test_covectors_are_measured_by_the_inverse_metric():
    a, b = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    assert CHART.metric.inner_coproduct(a, b, [0.0, 0.0]) == pytest.approx(3 / 4 - 2 / 0.25)
    assert CHART.metric.hamiltonian((np.zeros(2), a)) == pytest.approx((1 / 4 + 4 / 0.25) / 2)
    ambient = LIGHT.metric
    assert ambient.inner_coproduct(U, V, None) == pytest.approx(-2 - 6) and np.array_equal(
        ambient.cometric_matrix(), np.diag([-1.0, 1, 1])
    )
    full = space_of(
        lambda w, x: jnp.asarray(SLOPES) @ w, [1.0, 1.0], 3, ambient=np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 4]])
    )
    assert full.metric.inner_product(U, V) == pytest.approx(U @ [[2, 1, 0], [1, 2, 0], [0, 0, 4]] @ V)
    assert full.metric.cometric_matrix() == pytest.approx(np.array([[2, -1, 0], [-1, 2, 0], [0, 0, 0.75]]) / 3)


def test_pairs_of_points_in_every_shape(monkeypatch):
    monkeypatch.setattr(PLANE.metric, "log", lambda point, base_point: point - base_point)
    points, dist = np.stack([X, Y, X + V]), PLANE.metric.dist_broadcast
    expected = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert (
        dist(X, Y) == pytest.approx(5.0)
        and dist(X, points) == pytest.approx(expected[0])
        and dist(points, Y) == pytest.approx(expected[:, 1])
    )
    assert dist(points, points[::-1]) == pytest.approx([13**0.5, 0.0, 13**0.5], abs=1e-9)
    assert dist(points[:2], points) == pytest.approx(expected[:2], abs=1e-9) and dist(
        points, points[:1]
    ) == pytest.approx(expected[:, 0], abs=1e-9)
    for wrong in ((X[:2], Y), (X, Y[:2])):
        with pytest.raises(ValueError, match="Points of one manifold have one length"):
            dist(*wrong)
    pairs = PLANE.metric.dist_pairwise(points)
    assert pairs == pytest.approx(expected, abs=1e-9) and np.array_equal(pairs, pairs.T) and np.all(np.diag(pairs) == 0)
    assert PLANE.metric.dist_pairwise(X[None]).tolist() == [[0.0]] and PLANE.metric.diameter(points) == pytest.approx(
        5.0
    )
    assert PLANE.metric.closest_neighbor_index(X + 0.1 * V, points) == 0
    assert PLANE.metric.closest_neighbor_index(points[:0:-1] + 0.1 * V, points).tolist() == [2, 1]


def test_geodesics_of_the_plane_are_lines():
    times = np.array([0.0, 0.5, 2.0])
    by_vector, by_end = PLANE.metric.geodesic(X, initial_tangent_vec=V), PLANE.metric.geodesic(X, end_point=Y)
    assert by_vector(times) == pytest.approx(X + times[:, None] * V) and by_end(times) == pytest.approx(
        X + times[:, None] * (Y - X), abs=1e-9
    )
    assert by_vector(0.5).shape == (1, 3)
    batch = PLANE.metric.geodesic(np.stack([X, Y]), initial_tangent_vec=np.stack([V, U]))(times[1:])
    assert batch == pytest.approx(np.stack([X + times[1:, None] * V, Y + times[1:, None] * U]))
    for wrong in ({}, {"end_point": Y, "initial_tangent_vec": V}):
        with pytest.raises(ValueError, match="needs an initial point and either"):
            PLANE.metric.geodesic(X, **wrong)


def test_transport_in_the_plane_changes_nothing():
    for options in ({"direction": V}, {"end_point": Y}, {"direction": V, "end_point": Y}):
        assert PLANE.metric.parallel_transport(U, X, **options) == pytest.approx(U, abs=1e-9)
    with pytest.raises(ValueError, match="direction or an end point"):
        PLANE.metric.parallel_transport(U, X)


def test_the_nearest_point_moves_with_the_point():
    """On the sphere `z / |z|`, whose derivative at `r n` is the tangent projector over `r`."""
    angles = np.array([1.1, 0.4])
    normal = np.array([np.sin(1.1) * np.cos(0.4), np.sin(1.1) * np.sin(0.4), np.cos(1.1)])
    tangents = np.array(
        [[np.cos(1.1) * np.cos(0.4), np.cos(1.1) * np.sin(0.4), -np.sin(1.1)], [-np.sin(0.4), np.cos(0.4), 0]]
    )
    for radius in (1.0, 0.5, 2.0):
        assert SPHERE.projection(radius * normal) == pytest.approx(normal) and SPHERE.chart.projection(
            radius * normal
        ) == pytest.approx(angles)
        moved = jax.jacfwd(SPHERE.projection)(jnp.asarray(radius * normal))
        assert moved == pytest.approx(tangents.T @ tangents / radius, abs=1e-9)
        turned = jax.jacfwd(SPHERE.chart.projection)(jnp.asarray(radius * normal))
        assert turned == pytest.approx(tangents / (radius * np.array([[1.0], [np.sin(1.1)]])), abs=1e-9)


# --- tolerances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "taken"), [(0.999, True), (1.001, False)])
def test_a_point_may_lie_a_millionth_of_its_length_off(factor, taken):
    """At most 1e-6 (1 + |psi|)."""
    height = factor * 1e-6 * (1 + 5.0)
    point = np.array([3.0, 4.0, height])
    if taken:
        assert PLANE.parameters(point) == pytest.approx([1.5, 8.0])
    else:
        with pytest.raises(ValueError, match=r"its distance from the sheet through the start is 6\.01e-06"):
            PLANE.parameters(point)
    with pytest.raises(ValueError, match="not on the manifold"):
        PLANE.parameters(np.stack([X, X + np.array([0, 0, 1.0])]))
    for atol, options in ((1e-8, {}), (0.5, {"atol": 0.5})):
        off = np.array([0.0, 0.0, factor * atol])
        assert bool(PLANE.belongs(X + off, **options)) is bool(PLANE.is_tangent(U + off, X, **options)) is taken


def test_only_the_last_axis_must_fit():
    for space in (PLANE, CHART):
        n = space.shape[0]
        for wrong in (n - 1, n + 1):
            assert space.belongs(np.ones(wrong)) == False and space.belongs(np.ones((2, wrong))).tolist() == [
                False,
                False,
            ]
            assert isinstance(space.belongs(jnp.ones(wrong)), jax.Array)
    assert CHART.belongs(np.array([[1.0, 2.0], [np.inf, 0.0], [0.0, np.nan]])).tolist() == [True, False, False]
    assert CHART.is_tangent(np.array([1.0, 2.0]), np.zeros((3, 2))).tolist() == [True] * 3 and CHART.is_tangent(
        np.array([1.0, 2.0])
    )
    assert CHART.is_tangent(np.array([[1.0, np.nan], [1.0, 2.0]]), np.zeros(2)).tolist() == [False, True]


@pytest.mark.parametrize(("factor", "regular"), [(1.01, True), (0.99, False)])
def test_a_chart_is_singular_at_its_rounding_error(factor, regular):
    """`psi = (w_1, w_2^2, 0)`: the ratio `2 w_2` of the singular values must exceed `max(m, p) eps`."""
    chart = space_of(lambda w, x: jnp.stack([w[0], w[1] ** 2, 0 * w[0]]), [1.0, 1.0], 3).chart
    at = np.array([1.0, factor * 3 * EPS / 2])
    if regular:
        assert np.array_equal(chart.parameters(at), at)
    else:
        with pytest.raises(ValueError, match=r"of the 2 singular values kept the smallest is at most 6\.59e-16 times"):
            chart.parameters(np.stack([at, np.ones(2)]))


@pytest.mark.parametrize(("factor", "lands"), [(0.999, True), (1.001, False)])
def test_shooting_may_miss_by_a_millionth_of_the_velocity(factor, lands):
    vectors, miss = np.stack([Y - X, 0 * X]), factor * 1e-6 * np.array([1 + 5.0, 1.0])
    if lands:
        assert landed(vectors, miss) is vectors
    else:
        for which in ([1, 0], [0, 1]):
            with pytest.raises(GeometryError, match="shooting stopped"):
                landed(vectors, miss * which)
    with pytest.raises(GeometryError, match="shooting stopped nan"):
        landed(vectors, np.array([0.0, np.nan]))
    assert arrived(X, "curve") is X
    with pytest.raises(GeometryError, match="The curve did not arrive"):
        arrived(np.array([1.0, np.nan]), "curve")


# --- random draws ----------------------------------------------------------------------------------------------------


def test_random_draws_have_the_shape_asked_for():
    key = jax.random.key(0)
    assert (
        PLANE.random_point().shape == (3,)
        and PLANE.random_point(1, key=key).shape == (3,)
        and CHART.random_point(4).shape == (4, 2)
    )
    assert isinstance(CHART.random_point(), np.ndarray) and isinstance(CHART.random_point(key=key), jax.Array)
    points = np.stack([X, Y])
    for space, base, n in ((PLANE, X, 3), (CHART, np.zeros(2), 2)):
        many = np.stack([base, base])
        assert space.random_tangent_vec(base).shape == (n,) and space.random_tangent_vec(base, 2).shape == (2, n)
        assert space.random_tangent_vec(many).shape == space.random_tangent_vec(many, 2).shape == (2, n)
        assert space.random_tangent_vec(base[None], 3).shape == (3, n)
        with pytest.raises(ValueError, match="got 2 for 3 samples"):
            space.random_tangent_vec(many, 3)
        assert space.metric.random_unit_tangent_vec(base, 3).shape == (3, n) and space.metric.random_unit_tangent_vec(
            many
        ).shape == (2, n)
        assert space.metric.norm(space.metric.random_unit_tangent_vec(base), base) == pytest.approx(1.0)
        with pytest.raises(ValueError, match=r"got 2 at a batch of shape \(2,\)"):
            space.metric.random_unit_tangent_vec(many, 2)
    assert np.all(PLANE.random_tangent_vec(points, key=key)[:, 2] == 0)
    assert CHART.random_tangent_vec().shape == (2,) and CHART.random_tangent_vec(n_samples=3).shape == (3, 2)


def test_random_points_follow_numpys_generator_and_their_key():
    def draw(bound):
        np.random.seed(3)  # noqa: NPY002 (the generator geomstats uses)
        return CHART.random_point(5, bound)

    assert np.allclose(draw(1.0) - 1, 4 * (draw(0.25) - 1)) and np.array_equal(draw(1.0), draw(1))
    one, other = (CHART.random_point(50, key=jax.random.key(seed)) for seed in (0, 1))
    assert (
        not np.allclose(one, other)
        and np.linalg.norm(one - 1, axis=1).max() <= 0.5 < 2 * np.linalg.norm(one - 1, axis=1).max()
    )


# --- tensors of the sphere -------------------------------------------------------------------------------------------

AT = np.array([0.7, 0.3])
SIN, COS = np.sin(0.7), np.cos(0.7)
G = np.diag([1.0, SIN**2])


def test_tensors_of_the_sphere_in_polar_coordinates():
    metric, delta = SPHERE.chart.metric, np.eye(2)
    assert metric.metric_matrix(AT) == pytest.approx(G, abs=1e-14) and metric.cometric_matrix(AT) == pytest.approx(
        np.linalg.inv(G), abs=1e-13
    )
    derivative, symbols = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    derivative[1, 1, 0] = 2 * SIN * COS
    symbols[0, 1, 1], symbols[1, 0, 1], symbols[1, 1, 0] = -SIN * COS, COS / SIN, COS / SIN
    assert metric.inner_product_derivative_matrix(AT) == pytest.approx(derivative, abs=1e-13)
    assert metric.christoffels(AT) == pytest.approx(symbols, abs=1e-13)
    # R(u, v) z = <v, z> u - <u, z> v
    riemann = np.einsum("ki,lj->ijkl", G, delta) - np.einsum("ji,lk->ijkl", G, delta)
    assert metric.riemann_tensor(AT) == pytest.approx(riemann, abs=1e-12)
    assert metric.covariant_riemann_tensor(AT) == pytest.approx(np.einsum("im,jklm->ijkl", G, riemann), abs=1e-12)
    assert metric.ricci_tensor(AT) == pytest.approx(G, abs=1e-12) and metric.scalar_curvature(AT) == pytest.approx(2.0)
    normal = SPHERE.chart.immersion(AT)
    assert metric.second_fundamental_form(AT) == pytest.approx(-normal[:, None, None] * G, abs=1e-13)
    a = np.array([0.4, -0.8])
    state = metric.geodesic_equation(np.stack([AT, a]))
    assert state == pytest.approx(np.stack([a, -np.einsum("kij,i,j->k", symbols, a, a)]), abs=1e-13)


def test_curvature_of_the_sphere_and_its_signs():
    x = SPHERE.chart.immersion(AT)
    e, f = (
        SPHERE.chart.tangent_immersion(np.array([1.0, 0.0]), AT),
        SPHERE.chart.tangent_immersion(np.array([0.0, 1 / SIN]), AT),
    )
    metric = SPHERE.metric
    assert metric.curvature(e, f, f, x) == pytest.approx(e, abs=1e-12) and metric.curvature(
        e, f, e, x
    ) == pytest.approx(-f, abs=1e-12)
    assert metric.directional_curvature(e, 2 * f, x) == pytest.approx(-4 * e, abs=1e-12)
    assert metric.sectional_curvature(e + f, 3 * f, x) == pytest.approx(1.0) and np.isnan(
        metric.sectional_curvature(e, e, x)
    )
    assert metric.second_fundamental_form(e, 2 * e + f, x) == pytest.approx(-2 * x, abs=1e-12)
    assert metric.shape_operator(3 * x, f, x) == pytest.approx(-3 * f, abs=1e-12)
    assert metric.geodesic_equation(np.stack([x, 2 * e])) == pytest.approx(np.stack([2 * e, -4 * x]), abs=1e-12)
    assert SPHERE.normal_part(e + 3 * x, x) == pytest.approx(3 * x) and SPHERE.to_tangent(
        e + 3 * x, x
    ) == pytest.approx(e)


# --- forms and shapes ------------------------------------------------------------------------------------------------


def test_constant_arrays_come_once_for_every_base_point():
    assert PLANE.metric.metric_matrix().shape == (3, 3) and PLANE.metric.metric_matrix(np.stack([X, Y])).shape == (
        2,
        3,
        3,
    )
    assert np.array_equal(LIGHT.metric.metric_matrix(X), np.diag([-1.0, 1.0, 1.0])) and np.array_equal(
        PLANE.metric.metric_matrix(X), np.eye(3)
    )
    products = [
        PLANE.metric.inner_product(u, V, base)
        for u, base in ((U, None), (U, X), (U, np.stack([X, Y])), (np.stack([U, V]), X))
    ]
    assert (
        products[0] == products[1] == -4.0
        and products[2].tolist() == [-4.0, -4.0]
        and products[3].tolist() == [-4.0, 13.0]
    )
    products[2][0] = 7.0
    assert products[2].tolist() == [7.0, -4.0]
    assert isinstance(PLANE.metric.inner_product(jnp.asarray(U), V), jax.Array)


def test_a_chart_takes_vectors_as_they_are():
    vector = np.array([1.0, 2.0])
    same, many = CHART.to_tangent(vector), CHART.to_tangent(vector, np.zeros((3, 2)))
    assert same.tolist() == [1.0, 2.0] and same is not vector and many.tolist() == [[1.0, 2.0]] * 3
    many[0, 0] = 5.0
    assert (
        vector[0] == 1.0
        and CHART.regularize([1, 2]).dtype == float
        and isinstance(CHART.regularize(jnp.ones(2)), jax.Array)
    )
    assert CHART.immersion(vector) == pytest.approx([2.0, 1.0, 0.0]) and np.array_equal(
        CHART.jacobian_immersion(vector), SLOPES
    )
    assert CHART.hessian_immersion(vector).shape == (3, 2, 2) and CHART.tangent_coordinates(
        [2.0, 1.0, 9.0], vector
    ) == pytest.approx([1.0, 2.0])
    assert CHART.projection(np.array([2.0, 1.0, 9.0])) == pytest.approx([1.0, 2.0])
    assert PLANE.projection(np.array([2.0, 1.0, 9.0])) == pytest.approx([2.0, 1.0, 0.0])


def test_the_form_of_the_embedding_space_is_that_of_the_manifold():
    flat, light = CHART.embedding_space.metric, LIGHT.chart.embedding_space.metric
    assert flat.inner_product(U, V) == pytest.approx(-4.0) and light.inner_product(U, V) == pytest.approx(-2.0 - 6.0)
    for metric in (PLANE.metric, LIGHT.metric):  # as they are given
        values = [metric.inner_product(xp.asarray(U), xp.asarray(V)) for xp in (np, jnp)]
        assert [isinstance(value, jax.Array) for value in values] == [False, True] and values[0] == pytest.approx(
            float(values[1])
        )
    assert CHART.metric.signature == (2, 0) and type(CHART.metric)(CHART, signature=(1, 1)).signature == (1, 1)
