"""Tests of the geomstats spaces of an output manifold: closed forms, bad input, tracers."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone

import riemgn as rg
from riemgn.geometry import GeometryError, to_geomstats
from riemgn.geometry.interop import base
from riemgn.geometry.interop.geomstats_import import load

Manifold = load("geomstats.geometry.manifold").Manifold
ImmersedSet = load("geomstats.geometry.base").ImmersedSet
CLOSED = load("geomstats.geometry.hypersphere").Hypersphere(2)
FrechetMean = load("geomstats.learning.frechet_mean").FrechetMean

SLOPES = np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
X = np.array([2.0, 1.0, 0.0])
U, V = np.array([1.0, -2.0, 0.0]), np.array([2.0, 3.0, 0.0])
EPS = float(np.finfo(float).eps)


def space_of(model, start, **options):
    outputs = jax.eval_shape(model, jnp.array(start), None).shape
    problem = rg.Problem(model, jnp.array(start), jnp.zeros((*outputs, 1)), jnp.zeros(outputs))
    return to_geomstats(rg.OutputManifold(problem, **options), radius=0.5)


def hyperboloid(w, x):
    """Map the upper half-plane into Minkowski space R^(1, 2)."""
    return jnp.stack([(w @ w + 1) / (2 * w[1]), (w @ w - 1) / (2 * w[1]), w[0] / w[1]])


PLANE = space_of(lambda w, x: jnp.asarray(SLOPES) @ w, [1.0, 1.0])  # (2 w_1, w_2 / 2, 0)
IMAGE = to_geomstats(rg.OutputManifold(rg.task.sphere(polar=1.4, azimuth=np.pi)), radius=0.6)
CHART = IMAGE.chart
RANK_ONE = to_geomstats(rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0))), radius=0.2)
BOTH = pytest.mark.parametrize("space", [IMAGE, CHART], ids=["image", "chart"])


def draw(space, count=None, seed=0):
    """Draw points and two short tangent vectors at each; one of each without `count`."""
    np.random.seed(seed)  # noqa: NPY002 (the generator geomstats uses)
    points = space.random_point(count or 1)
    return points, 0.3 * space.random_tangent_vec(points), 0.3 * space.random_tangent_vec(points)


# --- types, copies, bad input


def test_spaces_are_geomstats_spaces_and_linked():
    assert isinstance(IMAGE, Manifold) and isinstance(CHART, ImmersedSet)
    assert IMAGE.chart is CHART and CHART.image is IMAGE and to_geomstats(IMAGE.manifold, chart=True).image.dim == 2
    assert (IMAGE.dim, IMAGE.shape, IMAGE.intrinsic) == (2, (3,), False)
    assert (CHART.dim, CHART.shape, CHART.intrinsic, CHART.embedding_space.dim) == (2, (2,), True, 3)
    assert (RANK_ONE.dim, RANK_ONE.shape, RANK_ONE.chart.dim) == (6, (12,), 7)
    assert RANK_ONE.metric.signature == RANK_ONE.chart.metric.signature == (6, 0)


@BOTH
def test_copies_pickles_and_clones_are_equal(space):
    points, vectors, _ = draw(space, 3)
    expected = space.metric.norm(vectors, points)
    for twin in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space), clone(FrechetMean(space)).space):
        assert twin is not space
        np.testing.assert_array_equal(twin.metric.norm(vectors, points), expected)
    assert copy.copy(space).equip_with_metric(type(space.metric)).metric is not space.metric


def test_bad_input_raises():
    with pytest.raises(ValueError, match="must be an OutputManifold, got Problem"):
        to_geomstats(rg.task.sphere())
    for radius in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="`radius` must be positive and finite"):
            to_geomstats(IMAGE.manifold, radius=radius)
    points, vectors, _ = draw(IMAGE, 3)
    with pytest.raises(ValueError, match="needs a direction or an end point"):
        IMAGE.metric.parallel_transport(vectors, points)
    with pytest.raises(ValueError, match="pass a single base point"):
        IMAGE.metric.random_unit_tangent_vec(points, 2)
    for space in (IMAGE, CHART):
        with pytest.raises(ValueError, match="Got no base point"):
            space.metric.exp(np.zeros(space.shape), None)
        with pytest.raises(ValueError, match="Got 3 base points for 2 samples"):
            space.random_tangent_vec(draw(space, 3)[0], n_samples=2)


def test_float32_raises_and_names_the_remedy():
    with jax.enable_x64(False):
        single = rg.OutputManifold(rg.task.circle())
        with pytest.raises(ValueError, match=r"JAX is set to float32.* call riemgn\.enable_x64\(\) first"):
            to_geomstats(single)
    with pytest.raises(ValueError, match=r"The problem has float32 parameters.* after riemgn\.enable_x64"):
        to_geomstats(single)


@pytest.mark.parametrize(("factor", "accepted"), [(0.99, True), (1.01, False)])
def test_points_and_vectors_have_tolerances(factor, accepted):
    off = np.array([0.0, 0.0, factor])
    for atol, options in ((1e-8, {}), (0.5, {"atol": 0.5})):
        assert bool(PLANE.belongs(X + atol * off, **options)) is accepted
        assert bool(PLANE.is_tangent(U + atol * off, X, **options)) is accepted
    point = X + 1e-6 * (1 + np.linalg.norm(X)) * off
    if accepted:
        assert PLANE.parameters(point) == pytest.approx([1.0, 2.0])
    else:
        with pytest.raises(ValueError, match=r"not on the manifold: its distance is 3\.2.*call `projection` first"):
            PLANE.parameters(np.stack([X, point]))


@pytest.mark.parametrize(("factor", "regular"), [(1.01, True), (0.99, False)])
def test_a_singular_chart_raises(factor, regular):
    chart = space_of(lambda w, x: jnp.stack([w[0], w[1] ** 2, 0 * w[0]]), [1.0, 1.0]).chart
    point = np.array([1.0, factor * 3 * EPS / 2])  # the ratio 2 w_2 of the singular values must exceed 3 eps
    if regular:
        assert np.array_equal(chart.parameters(point), point)
    else:
        with pytest.raises(ValueError, match="The chart is singular: smallest over largest of the 2"):
            chart.parameters(np.stack([point, np.ones(2)]))


@BOTH
def test_belongs_is_false_for_wrong_shapes(space):
    wrong = np.ones((4, space.shape[0] + 1))
    assert space.belongs(wrong).tolist() == [False] * 4 and not space.belongs(wrong[0])
    assert not CHART.belongs(np.array([np.nan, 1.0])) and isinstance(space.belongs(jnp.ones(7)), jax.Array)


def test_geodesics_that_fail_raise(monkeypatch):
    w = np.array([1.4, np.pi])
    monkeypatch.setattr(base, "_exp", lambda immersion, w, u: jnp.nan * w)
    with pytest.raises(GeometryError, match="The geodesic left the chart or used all its steps"):
        CHART.metric.exp(w, w)
    monkeypatch.setattr(base, "_log", lambda immersion, w, other: (jnp.zeros(3), 1e-4))
    with pytest.raises(GeometryError, match=r"no geodesic to the other point: shooting stopped 0\.0001 away"):
        CHART.metric.log(w, w)


def test_tensors_in_coordinates_raise_on_the_image():
    for name in ("christoffels", "riemann_tensor", "covariant_riemann_tensor", "ricci_tensor"):
        with pytest.raises(NotImplementedError, match=r"use space\.chart\.metric\."):
            getattr(IMAGE.metric, name)(draw(IMAGE)[0])


# --- closed forms


def test_a_plane_has_its_closed_forms():
    metric, chart = PLANE.metric, PLANE.chart
    assert (metric.norm(V, X), metric.inner_product(U, V, X)) == pytest.approx((13**0.5, -4.0))
    w = np.array([1.0, 2.0])
    assert chart.immersion(w) == pytest.approx(X) and np.array_equal(chart.jacobian_immersion(w), SLOPES)
    assert chart.tangent_coordinates([2.0, 1.0, 9.0], w) == pytest.approx([1.0, 2.0])
    assert chart.projection(X + np.array([0, 0, 9.0])) == pytest.approx(w) and PLANE.projection(
        X + np.array([0, 0, 9.0])
    ) == pytest.approx(X)
    assert chart.to_tangent(w, np.zeros((3, 2))).tolist() == [[1.0, 2.0]] * 3
    assert chart.is_tangent(np.array([[1.0, np.nan], [1.0, 2.0]]), np.zeros(2)).tolist() == [False, True]


@pytest.mark.parametrize("form", [np.array([1.0, 2.0, 4.0]), np.diag([1.0, 2.0, 4.0]) + 0.3], ids=["diagonal", "full"])
def test_the_ambient_form_defines_the_metric(form):
    space = to_geomstats(rg.OutputManifold(rg.task.sphere(), ambient=form))
    matrix, metric = np.diag(form) if form.ndim == 1 else form, space.metric
    u, v = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0])
    assert metric.inner_product(u, v) == pytest.approx(u @ matrix @ v)
    assert metric.inner_product(u, v, np.stack([u, v])) == pytest.approx(np.full(2, u @ matrix @ v))
    assert metric.metric_matrix(np.stack([u, v])) == pytest.approx(np.stack([matrix, matrix]))
    assert metric.cometric_matrix(u) == pytest.approx(np.linalg.inv(matrix))
    assert space.chart.embedding_space.metric.inner_product(u, v) == pytest.approx(u @ matrix @ v)


def test_the_chart_of_a_sphere_has_the_tensors_of_polar_coordinates():
    metric, delta, at = CHART.metric, np.eye(2), np.array([0.7, 3.3])
    sin, cos = np.sin(0.7), np.cos(0.7)
    g, symbols, derivative = np.diag([1.0, sin**2]), np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    derivative[1, 1, 0] = 2 * sin * cos
    symbols[0, 1, 1], symbols[1, 0, 1], symbols[1, 1, 0] = -sin * cos, cos / sin, cos / sin
    riemann = np.einsum("ki,lj->ijkl", g, delta) - np.einsum("ji,lk->ijkl", g, delta)
    expected = {
        "metric_matrix": g,
        "cometric_matrix": np.linalg.inv(g),
        "inner_product_derivative_matrix": derivative,
        "christoffels": symbols,
        "riemann_tensor": riemann,
        "covariant_riemann_tensor": np.einsum("im,jklm->ijkl", g, riemann),
        "ricci_tensor": g,
        "scalar_curvature": 2.0,
        "second_fundamental_form": -CHART.immersion(at)[:, None, None] * g,
    }
    for name, value in expected.items():
        assert getattr(metric, name)(at) == pytest.approx(value, abs=1e-12), name
    a = np.array([0.4, -0.8])
    state = np.stack([a, -np.einsum("kij,i,j->k", symbols, a, a)])
    assert metric.geodesic_equation(np.stack([at, a])) == pytest.approx(state, abs=1e-13)


def test_curvature_of_a_sphere_has_its_sign():
    at = np.array([1.2, 3.0])
    x, metric = CHART.immersion(at), IMAGE.metric
    e = CHART.tangent_immersion(np.array([1.0, 0.0]), at)
    f = CHART.tangent_immersion(np.array([0.0, 1 / np.sin(1.2)]), at)
    assert metric.curvature(e, f, f, x) == pytest.approx(e, abs=1e-12)
    assert metric.directional_curvature(e, 2 * f, x) == pytest.approx(-4 * e, abs=1e-12)
    assert metric.sectional_curvature(e + f, 3 * f, x) == pytest.approx(1.0)
    assert metric.second_fundamental_form(e, 2 * e + f, x) == pytest.approx(-2 * x, abs=1e-12)
    assert metric.shape_operator(3 * x, f, x) == pytest.approx(-3 * f, abs=1e-12)
    assert metric.geodesic_equation(np.stack([x, 2 * e])) == pytest.approx(np.stack([2 * e, -4 * x]), abs=1e-12)
    large = to_geomstats(rg.OutputManifold(rg.task.sphere(radius=2.5)))
    points = large.random_point(3)
    assert large.metric.mean_curvature_vector(points) == pytest.approx(-points / 2.5**2, abs=1e-12)
    assert large.metric.scalar_curvature(points) == pytest.approx(np.full(3, 2 / 2.5**2))


def test_a_half_plane_in_minkowski_space_is_hyperbolic():
    chart = space_of(hyperboloid, [0.2, 1.0], ambient=jnp.array([-1.0, 1.0, 1.0])).chart
    closed = load("geomstats.geometry.poincare_half_space").PoincareHalfSpace(2).metric
    points, u, v = draw(chart, 3)
    np.testing.assert_allclose(chart.metric.inner_product(u, v, points), closed.inner_product(u, v, points), atol=1e-13)
    np.testing.assert_allclose(chart.metric.sectional_curvature(u, v, points), -1, atol=1e-10)


def test_rank_one_matrices_have_their_closed_forms():
    point = RANK_ONE.random_point()
    vector = np.random.default_rng(1).normal(size=12)
    left, s, right = np.linalg.svd(point.reshape(4, 3), full_matrices=False)
    u, v, matrix = left[:, :1], right[:1].T, vector.reshape(4, 3)
    expected = u @ u.T @ matrix + matrix @ v @ v.T - u @ u.T @ matrix @ v @ v.T
    np.testing.assert_allclose(RANK_ONE.to_tangent(vector, point), expected.ravel(), atol=1e-12)
    off = point + 0.02 * s[0] * vector
    left, s, right = np.linalg.svd(off.reshape(4, 3), full_matrices=False)
    np.testing.assert_allclose(RANK_ONE.projection(off), (s[0] * np.outer(left[:, 0], right[0])).ravel(), atol=1e-10)
    w = RANK_ONE.parameters(point)
    metric, cometric = RANK_ONE.chart.metric.metric_matrix(w), RANK_ONE.chart.metric.cometric_matrix(w)
    np.testing.assert_allclose(metric @ cometric @ metric, metric, atol=1e-11)


# --- random points, arrays, tracers


def test_random_draws_have_their_shape_and_repeat_with_a_key():
    key, points = jax.random.key(3), draw(IMAGE, 5)[0]
    first, second = (IMAGE.random_point(4, key=key) for _ in range(2))
    assert isinstance(first, jax.Array) and jnp.array_equal(first, second) and bool(jnp.all(IMAGE.belongs(first)))
    assert (
        IMAGE.random_tangent_vec(points[0], 3).shape
        == IMAGE.metric.random_unit_tangent_vec(points[0], 3).shape
        == (3, 3)
    )
    vectors = IMAGE.metric.random_unit_tangent_vec(points)
    np.testing.assert_allclose(np.sum(vectors * points, axis=1), 0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-13)


@pytest.mark.parametrize("bound", [1.0, 0.25])
def test_random_parameters_fill_the_ball_evenly(bound):
    offsets = np.asarray(CHART.random_point(4000, bound, key=jax.random.key(5))) - np.asarray(CHART.manifold.problem.w0)
    radii = np.linalg.norm(offsets, axis=1) / (bound * CHART.radius)
    assert radii.max() <= 1 and abs(radii.mean() - 2 / 3) < 4 * radii.std() / 4000**0.5
    assert np.linalg.norm(offsets.mean(axis=0)) < 0.04 * bound * CHART.radius


def test_numpy_jit_vmap_and_derivatives_agree():
    points, u, _ = draw(IMAGE, 3)
    expected = IMAGE.to_tangent(u, points)
    assert type(expected) is np.ndarray and expected.flags.writeable
    mapped = jax.jit(jax.vmap(lambda x, a: IMAGE.to_tangent(a, x)))(points, u)
    assert isinstance(mapped, jax.Array)
    np.testing.assert_allclose(mapped, expected, atol=1e-12)
    w, a, _ = draw(CHART)
    slope = jax.jvp(lambda t: CHART.metric.exp(t * a, w), (0.0,), (1.0,))[1]
    np.testing.assert_allclose(slope, a, atol=1e-9)


TRACEABLE = {
    "to_tangent": lambda s, x, y, u, v: s.to_tangent(u, x),
    "is_tangent": lambda s, x, y, u, v: s.is_tangent(u, x),
    "belongs": lambda s, x, y, u, v: s.belongs(x),
    "projection": lambda s, x, y, u, v: s.projection(getattr(s, "immersion", lambda z: z)(x)),
    "random_point": lambda s, x, y, u, v: x + s.random_point(key=jax.random.key(0)),
    "inner_product": lambda s, x, y, u, v: s.metric.inner_product(u, v, x),
    "norm": lambda s, x, y, u, v: s.metric.norm(u, x),
    "dist": lambda s, x, y, u, v: s.metric.dist(x, y),
    "parallel_transport": lambda s, x, y, u, v: s.metric.parallel_transport(u, x, v),
    "curvature": lambda s, x, y, u, v: s.metric.curvature(u, v, v, x),
    "scalar_curvature": lambda s, x, y, u, v: s.metric.scalar_curvature(x),
    "mean_curvature_vector": lambda s, x, y, u, v: s.metric.mean_curvature_vector(x),
}


@pytest.mark.parametrize("name", TRACEABLE)
def test_methods_take_tracers(name):
    for space in (IMAGE,) if name in ("dist", "parallel_transport") else (IMAGE, CHART):
        points, u, v = draw(space)
        arrays = map(jnp.asarray, (points, points, u, v))
        out = jax.eval_shape(lambda *traced, space=space: TRACEABLE[name](space, *traced), *arrays)
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(out))


def test_base_points_and_vectors_broadcast():
    points, u, _ = draw(IMAGE, 4)
    many = IMAGE.to_tangent(u[0], points)
    np.testing.assert_allclose(many, np.stack([IMAGE.to_tangent(u[0], point) for point in points]), atol=1e-13)


def test_the_derivative_of_the_nearest_point_is_the_projector():
    normal = np.asarray(CHART.immersion(np.array([1.1, 3.4])))
    for radius in (1.0, 2.0):
        moved = jax.jacfwd(IMAGE.projection)(jnp.asarray(radius * normal))
        assert moved == pytest.approx((np.eye(3) - np.outer(normal, normal)) / radius, abs=1e-9)
