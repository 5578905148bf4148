"""The two geomstats spaces of an output manifold: what they are, what they refuse, and geomstats' learning tools on them."""

import copy
import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone

import riemgn as rg
from riemgn.geometry import GeometryError
from riemgn.geometry.interop.base import landed
from riemgn.geometry.interop.geomstats import to_geomstats
from riemgn.geometry.interop.geomstats_import import load
from riemgn.geometry.interop.image import ATOL

Manifold = load("geomstats.geometry.manifold").Manifold
ImmersedSet = load("geomstats.geometry.base").ImmersedSet
RiemannianMetric = load("geomstats.geometry.riemannian_metric").RiemannianMetric
PullbackMetric = load("geomstats.geometry.pullback_metric").PullbackMetric
SPHERE = load("geomstats.geometry.hypersphere").Hypersphere(2)

IMAGE = to_geomstats(rg.OutputManifold(rg.task.sphere(polar=1.4, azimuth=np.pi)), radius=0.6)
CHART = IMAGE.chart
RADIUS = 2.5


def drawn(space, count=None, seed=0):
    """Points and two tangent vectors at each, short enough to stay in the chart; one of each without `count`."""
    np.random.seed(seed)  # noqa: NPY002 (the generator geomstats uses)
    points = space.random_point(count or 1)
    return points, 0.3 * space.random_tangent_vec(points), 0.3 * space.random_tangent_vec(points)


# --- what they are ----------------------------------------------------------------------------------------------------


def test_both_are_citizens_and_know_each_other():
    assert isinstance(IMAGE, Manifold) and isinstance(IMAGE.metric, RiemannianMetric)
    assert isinstance(CHART, ImmersedSet) and isinstance(CHART.metric, PullbackMetric)
    assert IMAGE.chart is CHART and CHART.image is IMAGE and IMAGE.manifold is CHART.manifold
    assert (IMAGE.dim, IMAGE.shape, IMAGE.intrinsic) == (2, (3,), False)
    assert (CHART.dim, CHART.shape, CHART.intrinsic) == (2, (2,), True)
    assert CHART.embedding_space.dim == 3
    assert to_geomstats(IMAGE.manifold, chart=True).image.dim == 2


def test_the_dimension_is_the_rank():
    image = to_geomstats(rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0))))
    assert (image.dim, image.shape, image.chart.dim) == (6, (12,), 7)
    assert image.metric.signature == image.chart.metric.signature == (6, 0)


@pytest.mark.parametrize("space", [IMAGE, CHART], ids=["image", "chart"])
def test_a_metric_class_equips(space):
    again = copy.copy(space).equip_with_metric(type(space.metric))
    assert again.metric is not space.metric and again.metric._space is again


def test_copies_are_equal_and_compile_nothing():
    traces = []

    def model(params, x):
        traces.append(1)
        return jnp.stack([jnp.cos(params[0]), jnp.sin(params[0])])

    space = to_geomstats(rg.OutputManifold(rg.Problem(model, jnp.array([0.3]), jnp.ones((2, 1)), jnp.zeros(2))))
    point = np.array([np.cos(0.5), np.sin(0.5)])
    expected = space.to_tangent(np.ones(2), point)
    count = len(traces)
    twin = copy.deepcopy(space)
    np.testing.assert_array_equal(twin.to_tangent(np.ones(2), point), expected)
    assert len(traces) == count and twin.chart.image is twin


@pytest.mark.parametrize("space", [IMAGE, CHART], ids=["image", "chart"])
def test_spaces_survive_pickle_and_clone(space):
    points, vectors, _ = drawn(space, 3)
    expected = space.metric.exp(vectors, points)
    mean = clone(load("geomstats.learning.frechet_mean").FrechetMean(space))
    for twin in (pickle.loads(pickle.dumps(space)), mean.space):
        assert twin is not space
        np.testing.assert_array_equal(twin.metric.exp(vectors, points), expected)


# --- what they refuse -------------------------------------------------------------------------------------------------


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="must be an OutputManifold, got Problem"):
        to_geomstats(rg.task.sphere())
    with pytest.raises(ValueError, match="`radius` must be positive and finite, got 0"):
        to_geomstats(IMAGE.manifold, radius=0)
    with pytest.raises(ValueError, match="needs an initial point and either"):
        IMAGE.metric.geodesic(drawn(IMAGE)[0])
    with pytest.raises(ValueError, match="direction or an end point"):
        IMAGE.metric.parallel_transport(drawn(IMAGE)[1], drawn(IMAGE)[0])
    for space in (IMAGE, CHART):
        with pytest.raises(ValueError, match="base point is needed"):
            space.metric.exp(np.zeros(space.shape), None)
        with pytest.raises(ValueError, match=r"as many as samples, got 3 for 2"):
            space.random_tangent_vec(drawn(space, 3)[0], n_samples=2)


def test_float32_is_refused_with_the_remedy():
    with jax.enable_x64(False):
        single = rg.OutputManifold(rg.task.circle())
        with pytest.raises(ValueError, match=r"JAX is set to float32: call riemgn\.enable_x64\(\) first"):
            to_geomstats(single)
    with pytest.raises(ValueError, match=r"the problem was made in float32: make it after riemgn\.enable_x64"):
        to_geomstats(single)


def test_points_off_the_manifold_are_refused_with_their_distance():
    point, vector, _ = drawn(IMAGE)
    IMAGE.metric.exp(vector, point * (1 + 1e-7))
    with pytest.raises(
        ValueError, match=r"not on the manifold: its distance from the sheet through the start is 0\.01"
    ):
        IMAGE.metric.exp(vector, 1.01 * point)
    with pytest.raises(ValueError, match="Use projection first"):
        IMAGE.to_tangent(np.ones((3, 3)), np.stack([point, point, 2 * point]))
    assert not IMAGE.belongs(1.01 * point) and IMAGE.belongs(IMAGE.projection(1.01 * point))


def test_belongs_answers_for_any_shape():
    for space in (IMAGE, CHART):
        wrong = np.ones((4, space.shape[0] + 1))
        assert space.belongs(wrong).tolist() == [False] * 4 and not space.belongs(wrong[0])
    assert not CHART.belongs(np.array([np.nan, 1.0]))


def test_belongs_to_within_its_tolerance():
    point = drawn(IMAGE)[0]
    for atol in (None, 1e-4):
        options, size = ({}, ATOL) if atol is None else ({"atol": atol}, atol)
        assert IMAGE.belongs((1 + 0.5 * size) * point, **options)
        assert not IMAGE.belongs((1 + 2 * size) * point, **options)


def test_singular_chart_points_are_refused():
    for call in (CHART.metric.christoffels, CHART.metric.scalar_curvature):
        with pytest.raises(ValueError, match="Singular chart point: of the 2 singular values kept"):
            call(np.array([0.0, 1.0]))


def test_tensors_without_coordinates_send_to_the_chart():
    for name in (
        "christoffels",
        "riemann_tensor",
        "covariant_riemann_tensor",
        "ricci_tensor",
        "inner_product_derivative_matrix",
    ):
        with pytest.raises(NotImplementedError, match=rf"space\.chart\.metric\.{name}"):
            getattr(IMAGE.metric, name)(drawn(IMAGE)[0])
        assert getattr(CHART.metric, name)(drawn(CHART)[0]).shape


def half_circle(params, x):
    return jnp.stack([params[0], jnp.sqrt(1 - params[0] ** 2)])


def test_a_geodesic_that_leaves_the_chart_is_told():
    chart = to_geomstats(
        rg.OutputManifold(rg.Problem(half_circle, jnp.array([0.3]), jnp.ones((2, 1)), jnp.zeros(2))), chart=True
    )
    assert abs(chart.metric.exp(np.array([0.2]), np.zeros(1)) - np.sin(0.2)) < 1e-11
    with pytest.raises(GeometryError, match="The geodesic did not arrive"):
        chart.metric.exp(np.array([2.0]), np.zeros(1))


def hyperbola(params, x):
    return jnp.stack([params[0], 1 / params[0]])


def test_a_point_that_no_geodesic_reaches_is_told():
    chart = to_geomstats(
        rg.OutputManifold(rg.Problem(hyperbola, jnp.ones(1), jnp.ones((2, 1)), jnp.zeros(2))), chart=True
    )
    with pytest.raises(GeometryError, match="No geodesic to the other point was found: shooting stopped"):
        chart.metric.log(-np.ones(1), np.ones(1))
    with pytest.raises(GeometryError, match=r"shooting stopped 0\.0001 away"):
        landed(np.ones(3), 1e-4)
    assert landed(np.ones(3), 1e-7) is not None


@pytest.mark.parametrize("form", [np.array([1.0, 2.0, 4.0]), np.diag([1.0, 2.0, 4.0]) + 0.3])
def test_the_inner_product_is_the_ambient_form(form):
    space = to_geomstats(rg.OutputManifold(rg.task.sphere(), ambient=form))
    u, v = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0])
    assert abs(space.metric.inner_product(u, v) - u @ (np.diag(form) if form.ndim == 1 else form) @ v) < 1e-12


# --- numpy, JAX, tracers ----------------------------------------------------------------------------------------------

INHERITED = {  # of geomstats' own, without its backend: compositions of methods that are ours, or not implemented there
    "ladder_parallel_transport", "curvature_derivative", "directional_curvature_derivative", "injectivity_radius",
}  # fmt: skip
SPACE_INHERITED = {"equip_with_metric", "equip_with_group_action", "equip_with_quotient"}
SPACE_CALLS = {
    "belongs": lambda s, x, y, u, v: s.belongs(x),
    "is_tangent": lambda s, x, y, u, v: s.is_tangent(u, x),
    "to_tangent": lambda s, x, y, u, v: s.to_tangent(u, x),
    "regularize": lambda s, x, y, u, v: s.regularize(x),
    "projection": lambda s, x, y, u, v: s.projection(x if s is IMAGE else s.immersion(x)),
    "random_point": lambda s, x, y, u, v: x + s.random_point(key=jax.random.key(0)),
    "random_tangent_vec": lambda s, x, y, u, v: s.random_tangent_vec(x, key=jax.random.key(0)),
    "parameters": lambda s, x, y, u, v: s.parameters(x),
    "normal_part": lambda s, x, y, u, v: s.normal_part(u, x),
    "immersion": lambda s, x, y, u, v: s.immersion(x),
    "tangent_immersion": lambda s, x, y, u, v: s.tangent_immersion(u, x),
    "tangent_coordinates": lambda s, x, y, u, v: s.tangent_coordinates(s.tangent_immersion(u, x), x),
    "jacobian_immersion": lambda s, x, y, u, v: s.jacobian_immersion(x),
    "hessian_immersion": lambda s, x, y, u, v: s.hessian_immersion(x),
}
METRIC_CALLS = {
    "metric_matrix": lambda m, x, y, u, v: m.metric_matrix(x),
    "cometric_matrix": lambda m, x, y, u, v: m.cometric_matrix(x),
    "inner_product": lambda m, x, y, u, v: m.inner_product(u, v, x),
    "inner_coproduct": lambda m, x, y, u, v: m.inner_coproduct(u, v, x),
    "hamiltonian": lambda m, x, y, u, v: m.hamiltonian((x, u)),
    "squared_norm": lambda m, x, y, u, v: m.squared_norm(u, x),
    "norm": lambda m, x, y, u, v: m.norm(u, x),
    "normalize": lambda m, x, y, u, v: m.normalize(u, x),
    "normal_basis": lambda m, x, y, u, v: m.normal_basis(jnp.stack([u, v]), x),
    "random_unit_tangent_vec": lambda m, x, y, u, v: m.random_unit_tangent_vec(x),
    "exp": lambda m, x, y, u, v: m.exp(u, x),
    "log": lambda m, x, y, u, v: m.log(y, x),
    "geodesic": lambda m, x, y, u, v: m.geodesic(x, end_point=y)(jnp.linspace(0.0, 1.0, 3)),
    "geodesic_equation": lambda m, x, y, u, v: m.geodesic_equation(jnp.stack([x, u])),
    "parallel_transport": lambda m, x, y, u, v: m.parallel_transport(u, x, end_point=y),
    "ladder_parallel_transport": lambda m, x, y, u, v: m.ladder_parallel_transport(u, x, v)["transported_tangent_vec"],
    "squared_dist": lambda m, x, y, u, v: m.squared_dist(x, y),
    "dist": lambda m, x, y, u, v: m.dist(x, y),
    "dist_broadcast": lambda m, x, y, u, v: m.dist_broadcast(jnp.stack([x, y, x]), jnp.stack([x, y])),
    "dist_pairwise": lambda m, x, y, u, v: m.dist_pairwise(jnp.stack([x, y, y])),
    "diameter": lambda m, x, y, u, v: m.diameter(jnp.stack([x, y])),
    "closest_neighbor_index": lambda m, x, y, u, v: m.closest_neighbor_index(x, jnp.stack([y, x])),
    "curvature": lambda m, x, y, u, v: m.curvature(u, v, v, x),
    "directional_curvature": lambda m, x, y, u, v: m.directional_curvature(u, v, x),
    "sectional_curvature": lambda m, x, y, u, v: m.sectional_curvature(u, v, x),
    "scalar_curvature": lambda m, x, y, u, v: m.scalar_curvature(x),
    "mean_curvature_vector": lambda m, x, y, u, v: m.mean_curvature_vector(x),
    "christoffels": lambda m, x, y, u, v: m.christoffels(x),
    "inner_product_derivative_matrix": lambda m, x, y, u, v: m.inner_product_derivative_matrix(x),
    "riemann_tensor": lambda m, x, y, u, v: m.riemann_tensor(x),
    "covariant_riemann_tensor": lambda m, x, y, u, v: m.covariant_riemann_tensor(x),
    "ricci_tensor": lambda m, x, y, u, v: m.ricci_tensor(x),
    "shape_operator": lambda m, x, y, u, v: m.shape_operator(x, u, x),
    "second_fundamental_form": lambda m, x, y, u, v: m.second_fundamental_form(
        *((u, v) if m is IMAGE.metric else ()), x
    ),
}


def public_methods(cls):
    return {
        name: member
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and name != "default_metric"
    }


@pytest.mark.parametrize(
    "thing", [IMAGE, CHART, IMAGE.metric, CHART.metric], ids=["image", "chart", "image metric", "chart metric"]
)
def test_nothing_is_left_to_the_backend_of_geomstats(thing):
    """Every public method is ours, but a short list that needs no backend."""
    theirs = {name for name, method in public_methods(type(thing)).items() if method.__module__.startswith("geomstats")}
    assert theirs <= INHERITED | SPACE_INHERITED
    assert set(public_methods(type(thing))) - INHERITED - SPACE_INHERITED <= set(SPACE_CALLS) | set(METRIC_CALLS)


def walked():
    for space, name in ((IMAGE, "image"), (CHART, "chart")):
        for owner, calls in ((space, SPACE_CALLS), (space.metric, METRIC_CALLS)):
            for method, call in calls.items():
                own = getattr(type(owner), method, None)
                if own is not None and "_no_coordinates" not in own.__code__.co_names:
                    yield pytest.param(space, owner, call, id=f"{name}-{method}")


@pytest.mark.parametrize(("space", "owner", "call"), list(walked()))
def test_every_method_takes_tracers(space, owner, call):
    points, u, v = drawn(space)
    other = space.metric.exp(u, points)
    traced = jax.eval_shape(lambda *arrays: call(owner, *arrays), *map(jnp.asarray, (points, other, u, v)))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(traced))


@pytest.mark.parametrize("space", [IMAGE, CHART], ids=["image", "chart"])
def test_jit_vmap_and_derivatives_agree_with_numpy(space):
    points, u, _ = drawn(space, 3)
    expected = space.metric.exp(u, points)
    assert type(expected) is np.ndarray and expected.flags.writeable
    mapped = jax.jit(jax.vmap(lambda x, a: space.metric.exp(a, x)))(points, u)
    assert isinstance(mapped, jax.Array)
    np.testing.assert_allclose(mapped, expected, atol=1e-12)
    slope = jax.jvp(lambda t: space.metric.exp(t * u[0], points[0]), (0.0,), (1.0,))[1]
    np.testing.assert_allclose(slope, u[0], atol=1e-9)


def test_one_base_point_takes_many_vectors_and_the_reverse():
    points, u, _ = drawn(IMAGE, 4)
    np.testing.assert_allclose(IMAGE.metric.exp(u, points[0])[0], IMAGE.metric.exp(u[0], points[0]), atol=1e-13)
    many = IMAGE.to_tangent(u[0], points)
    np.testing.assert_allclose(many, np.stack([IMAGE.to_tangent(u[0], point) for point in points]), atol=1e-13)
    pairs = IMAGE.metric.dist_pairwise(points)
    np.testing.assert_allclose(IMAGE.metric.dist(points[:2, None], points[None]), pairs[:2], atol=1e-9)
    np.testing.assert_allclose(IMAGE.metric.dist_broadcast(points[:2], points), pairs[:2], atol=1e-9)
    assert abs(IMAGE.metric.dist_broadcast(points[0], points[1]) - pairs[0, 1]) < 1e-9
    assert IMAGE.metric.closest_neighbor_index(points[2:], points).tolist() == [2, 3]
    assert abs(IMAGE.metric.diameter(points) - pairs.max()) < 1e-9


def test_keys_draw_the_same_points_again():
    key = jax.random.key(3)
    first, second = (IMAGE.random_point(4, key=key) for _ in range(2))
    assert isinstance(first, jax.Array) and jnp.array_equal(first, second) and bool(jnp.all(IMAGE.belongs(first)))
    assert np.linalg.norm(CHART.random_point(50, key=key) - np.asarray(IMAGE.manifold.problem.w0), axis=1).max() <= 0.6
    assert IMAGE.metric.random_unit_tangent_vec(first[0], n_vectors=3).shape == (3, 3)


@pytest.mark.parametrize("bound", [1.0, 0.25])
def test_random_points_fill_the_ball_of_parameters_evenly(bound):
    points = np.asarray(CHART.random_point(4000, bound, key=jax.random.key(5)))
    radii = np.linalg.norm(points - np.asarray(CHART.manifold.problem.w0), axis=1) / (bound * CHART.radius)
    # of p parameters the share p / (p + 1) is the mean of the radius, within four standard errors, and every direction is as likely
    assert radii.max() <= 1 and abs(radii.mean() - 2 / 3) < 4 * radii.std() / 4000**0.5
    assert np.quantile(radii, 0.25) == pytest.approx(0.5, abs=0.03)
    assert np.linalg.norm(points.mean(axis=0) - np.asarray(CHART.manifold.problem.w0)) < 0.04 * bound * CHART.radius


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_mean_curvature_of_a_sphere_is_one_over_its_radius():
    """`H = -psi / R^2`. geomstats' own PullbackMetric documents the factor 1 / dim and returns twice this; the closed form decides."""
    image = to_geomstats(rg.OutputManifold(rg.task.sphere(radius=RADIUS)))
    points = image.random_point(3)
    np.testing.assert_allclose(image.metric.mean_curvature_vector(points), -points / RADIUS**2, atol=1e-13)
    np.testing.assert_allclose(
        image.chart.metric.mean_curvature_vector(image.parameters(points)), -points / RADIUS**2, atol=1e-12
    )
    np.testing.assert_allclose(image.metric.scalar_curvature(points), 2 / RADIUS**2, atol=1e-13)


def test_random_unit_tangent_vectors_are_tangent_and_unit():
    """geomstats normalises a random ambient vector here, which is not tangent on an extrinsic space; the normal of the sphere decides."""
    points, _, _ = drawn(IMAGE, 5)
    vectors = IMAGE.metric.random_unit_tangent_vec(points)
    np.testing.assert_allclose(np.sum(vectors * points, axis=1), 0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-13)


def hyperboloid(params, x):
    """The upper half-plane in Minkowski space R^(1, 2)."""
    a, b = params
    return jnp.stack([(a**2 + b**2 + 1) / (2 * b), (a**2 + b**2 - 1) / (2 * b), a / b])


def test_half_plane_in_minkowski_space_is_hyperbolic():
    problem = rg.Problem(hyperboloid, jnp.array([0.2, 1.0]), jnp.ones((3, 1)), jnp.zeros(3))
    chart = to_geomstats(rg.OutputManifold(problem, ambient=jnp.array([-1.0, 1.0, 1.0])), chart=True, radius=0.4)
    closed = load("geomstats.geometry.poincare_half_space").PoincareHalfSpace(2)
    points, u, v = drawn(chart, 3)
    np.testing.assert_allclose(
        chart.metric.inner_product(u, v, points), closed.metric.inner_product(u, v, points), atol=1e-13
    )
    np.testing.assert_allclose(chart.metric.sectional_curvature(u, v, points), -1, atol=1e-10)
    np.testing.assert_allclose(chart.metric.exp(u, points), closed.metric.exp(u, points), atol=1e-10)
    np.testing.assert_array_equal(chart.embedding_space.metric.metric_matrix(), np.diag([-1.0, 1.0, 1.0]))
    ambient = chart.image.metric.inner_product(chart.tangent_immersion(u, points), chart.tangent_immersion(v, points))
    np.testing.assert_allclose(ambient, closed.metric.inner_product(u, v, points), atol=1e-13)


def test_rank_one_matrices_have_their_closed_forms():
    """Tangent space and nearest point of an over-complete chart, by the singular value decomposition."""
    image = to_geomstats(rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0))), radius=0.2)
    np.random.seed(1)  # noqa: NPY002 (the generator geomstats uses)
    point, vector = image.random_point(), np.random.normal(size=12)  # noqa: NPY002
    left, s, right = np.linalg.svd(point.reshape(4, 3), full_matrices=False)
    u, v, matrix = left[:, :1], right[:1].T, vector.reshape(4, 3)
    expected = u @ u.T @ matrix + matrix @ v @ v.T - u @ u.T @ matrix @ v @ v.T
    np.testing.assert_allclose(image.to_tangent(vector, point), expected.ravel(), atol=1e-12)
    off = point + 0.02 * s[0] * vector
    left, s, right = np.linalg.svd(off.reshape(4, 3), full_matrices=False)
    np.testing.assert_allclose(image.projection(off), (s[0] * np.outer(left[:, 0], right[0])).ravel(), atol=1e-10)
    w = image.parameters(point)
    metric, cometric = image.chart.metric.metric_matrix(w), image.chart.metric.cometric_matrix(w)
    np.testing.assert_allclose(metric @ cometric @ metric, metric, atol=1e-11)
    assert np.linalg.matrix_rank(metric, tol=1e-10) == 6


# --- learning tools ---------------------------------------------------------------------------------------------------


def cloud(count=8, seed=5):
    return drawn(IMAGE, count, seed)[0]


def mean_of(space, points):
    mean = load("geomstats.learning.frechet_mean").FrechetMean(space)
    mean.set(epsilon=1e-20, max_iter=64)
    return mean.fit(points).estimate_


def test_frechet_mean_is_that_of_the_sphere():
    points = cloud()
    expected = mean_of(SPHERE, points)
    np.testing.assert_allclose(mean_of(IMAGE, points), expected, atol=1e-11)
    np.testing.assert_allclose(CHART.immersion(mean_of(CHART, IMAGE.parameters(points))), expected, atol=1e-11)


def test_tangent_pca_is_that_of_the_sphere_on_the_image_and_not_in_the_chart():
    TangentPCA = load("geomstats.learning.pca").TangentPCA
    points = cloud()
    base = mean_of(SPHERE, points)

    def variances(space, points, base):
        return TangentPCA(space, n_components=2).fit(points, base_point=base).explained_variance_

    expected = variances(SPHERE, points, base)
    np.testing.assert_allclose(variances(IMAGE, points, base), expected, atol=1e-11)
    coordinates = variances(CHART, IMAGE.parameters(points), IMAGE.parameters(base))
    assert np.abs(coordinates - expected).max() > 1e-4  # a plain decomposition of coordinates depends on them
    pca = TangentPCA(IMAGE, n_components=2).fit(points, base_point=base)
    np.testing.assert_allclose(pca.inverse_transform(pca.transform(points)), points, atol=1e-10)


def test_clusters_and_neighbours_are_those_of_the_sphere():
    points = cloud()
    centres = points[:3].copy()

    def labels(space):
        means = load("geomstats.learning.kmeans").RiemannianKMeans(space, n_clusters=3, init=centres.copy(), tol=1e-6)
        return means.fit(points).labels_

    def neighbours(space):
        classes = (points[:, 1] > np.median(points[:, 1])).astype(int)
        return (
            load("geomstats.learning.knn")
            .KNearestNeighborsClassifier(space, n_neighbors=3)
            .fit(points[:6], classes[:6])
            .predict(points[6:])
        )

    np.testing.assert_array_equal(labels(IMAGE), labels(SPHERE))
    np.testing.assert_array_equal(neighbours(IMAGE), neighbours(SPHERE))


def test_ladder_transport_is_that_of_the_sphere():
    point, u, v = drawn(IMAGE)
    for scheme in ("pole", "schild"):
        ours, theirs = (
            space.metric.ladder_parallel_transport(u, point, v, n_rungs=2, scheme=scheme) for space in (IMAGE, SPHERE)
        )
        np.testing.assert_allclose(ours["transported_tangent_vec"], theirs["transported_tangent_vec"], atol=1e-10)
    exact = SPHERE.metric.parallel_transport(u, point, direction=v)
    pole = IMAGE.metric.ladder_parallel_transport(u, point, v)["transported_tangent_vec"]
    np.testing.assert_allclose(pole, exact, atol=1e-10)  # the pole ladder is exact on symmetric spaces
    np.testing.assert_allclose(IMAGE.metric.parallel_transport(u, point, v), exact, atol=1e-11)


def test_distances_are_those_of_the_sphere():
    points = cloud(4)
    np.testing.assert_allclose(IMAGE.metric.dist_pairwise(points), SPHERE.metric.dist_pairwise(points), atol=1e-9)
    times = np.linspace(0, 1, 4)
    ours, theirs = (space.metric.geodesic(points[0], end_point=points[1])(times) for space in (IMAGE, SPHERE))
    np.testing.assert_allclose(ours, theirs, atol=1e-11)
