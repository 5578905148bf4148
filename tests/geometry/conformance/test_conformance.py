"""geomstats' test suites on the image and the chart of a sphere, and its learning tools."""

import jax
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import to_geomstats
from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.conformance.harness import auto_data, DataBasedParametrizer, Nearby, run, SPHERE

cases = load("geomstats.test_cases.geometry.base")
manifold_cases = load("geomstats.test_cases.geometry.manifold")
mixins = load("geomstats.test_cases.geometry.mixins")
metric_cases = load("geomstats.test_cases.geometry.riemannian_metric")
pullback_cases = load("geomstats.test_cases.geometry.pullback_metric")
Hypersphere = load("geomstats.geometry.hypersphere").Hypersphere
PointTransformer = load("geomstats.test.utils").PointTransformer
FrechetMean = load("geomstats.learning.frechet_mean").FrechetMean
TangentPCA = load("geomstats.learning.pca").TangentPCA

pytestmark = pytest.mark.slow  # geomstats' own suites compile for a minute
IMAGE, CHART = SPHERE, SPHERE.chart

EXTRINSIC = "a tensor in coordinates, which points of R^m are not; tested on the chart"
LAW_EXCLUDED = {
    "covariant_riemann_tensor_is_skew_symmetric_1": EXTRINSIC,
    "covariant_riemann_tensor_is_skew_symmetric_2": EXTRINSIC,
    "covariant_riemann_tensor_bianchi_identity": EXTRINSIC,
    "covariant_riemann_tensor_is_interchange_symmetric": EXTRINSIC,
}
MANY_PROGRAMS = "compiles a program for every batch size; batch axes are tested with the cheap methods"
METRIC_EXCLUDED = {
    "geodesic_bvp_vec": MANY_PROGRAMS,
    "geodesic_ivp_vec": MANY_PROGRAMS,
    "parallel_transport_bvp_vec": MANY_PROGRAMS,
    "parallel_transport_ivp_vec": MANY_PROGRAMS,
}
METRIC_VEC = ("inner_product", "norm", "metric_matrix", "curvature", "scalar_curvature")
TENSOR_VEC = ("christoffels", "inner_product_derivative_matrix", "riemann_tensor", "second_fundamental_form")


class ImageCase(mixins.ProjectionTestCaseMixins, manifold_cases.ManifoldTestCase):
    """A manifold in extrinsic coordinates, with a projection."""


class TestImage(ImageCase, metaclass=DataBasedParametrizer):
    space = IMAGE
    data_generator = Nearby(IMAGE)
    testing_data = auto_data(ImageCase, {}, vec=("belongs", "is_tangent", "regularize"))


class TestImageMetric(metric_cases.RiemannianMetricTestCase, metaclass=DataBasedParametrizer):
    space = IMAGE
    data_generator = Nearby(IMAGE)
    testing_data = auto_data(metric_cases.RiemannianMetricTestCase, LAW_EXCLUDED | METRIC_EXCLUDED, vec=METRIC_VEC)


class TestChart(cases.ImmersedSetTestCase, metaclass=DataBasedParametrizer):
    space = CHART
    data_generator = Nearby(CHART)
    testing_data = auto_data(
        cases.ImmersedSetTestCase,
        {},
        vec=("belongs", "is_tangent", "immersion", "tangent_immersion", "jacobian_immersion", "hessian_immersion"),
    )


class TestChartMetric(pullback_cases.PullbackMetricTestCase, metaclass=DataBasedParametrizer):
    space = CHART
    data_generator = Nearby(CHART)
    testing_data = auto_data(pullback_cases.PullbackMetricTestCase, METRIC_EXCLUDED, vec=METRIC_VEC + TENSOR_VEC)


def test_a_damped_network_obeys_the_laws():
    problem = rg.teacher_student(n=8, width=2, inputs=2, key=jax.random.key(1))
    chart = to_geomstats(rg.OutputManifold(problem, damping=0.1), chart=True, radius=0.1)
    for test in ("covariant_riemann_tensor_bianchi_identity", "inner_product_is_symmetric"):
        run(TestChartMetric, test, chart, Nearby(chart, length=0.05))


# --- closed forms

CLOSED = Hypersphere(2)

CASE = metric_cases.RiemannianMetricComparisonTestCase
LACKING = "Hypersphere has no such method on the numpy backend"
COMPARISON_EXCLUDED = {
    "christoffels_random": EXTRINSIC,
    "riemann_tensor_random": EXTRINSIC,
    "ricci_tensor_random": EXTRINSIC,
    "inner_product_derivative_matrix_random": EXTRINSIC,
    "covariant_riemann_tensor_random": EXTRINSIC,
    "scalar_curvature_random": LACKING,
    "curvature_derivative_random": "our metrics have no derivative of the curvature",
    "directional_curvature_derivative_random": "our metrics have no derivative of the curvature",
    "injectivity_radius_random": "known for geomstats' sphere, not for a general immersion",
}
UNTRANSFORMED = "this test of geomstats does not transform the coordinates"
CHART_COMPARISON_EXCLUDED = {
    "christoffels_random": UNTRANSFORMED,
    "metric_matrix_random": UNTRANSFORMED,
    "cometric_matrix_random": UNTRANSFORMED,
    "inner_product_derivative_matrix_random": UNTRANSFORMED,
    "ricci_tensor_random": UNTRANSFORMED,
    "covariant_riemann_tensor_random": UNTRANSFORMED,
    "directional_curvature_random": UNTRANSFORMED,
    "normalize_random": UNTRANSFORMED,
    "inner_coproduct_random": "geomstats' test maps covectors as if they were vectors",
    "curvature_random": "geomstats' test compares the vector R(a, b) c without the change of coordinates back",
    "riemann_tensor_random": LACKING,
    "scalar_curvature_random": LACKING,
    "curvature_derivative_random": COMPARISON_EXCLUDED["curvature_derivative_random"],
    "directional_curvature_derivative_random": COMPARISON_EXCLUDED["curvature_derivative_random"],
    "injectivity_radius_random": COMPARISON_EXCLUDED["injectivity_radius_random"],
}


class Spherical(PointTransformer):
    """Spherical coordinates by geomstats' own formulas."""

    def transform_point(self, point):
        return CLOSED.spherical_to_extrinsic(point)

    def transform_tangent_vec(self, tangent_vec, base_point):
        return CLOSED.tangent_spherical_to_extrinsic(tangent_vec, base_point)

    def inverse_transform_point(self, other_point):
        return CLOSED.extrinsic_to_spherical(other_point)

    def inverse_transform_tangent_vec(self, other_tangent_vec, other_base_point):
        return CLOSED.tangent_extrinsic_to_spherical(other_tangent_vec, base_point=other_base_point)


class TestImageAgainstSphere(CASE, metaclass=DataBasedParametrizer):
    space, other_space = IMAGE, CLOSED
    data_generator = Nearby(IMAGE)
    testing_data = auto_data(CASE, COMPARISON_EXCLUDED)


class TestChartAgainstSphere(CASE, metaclass=DataBasedParametrizer):
    space, other_space = CHART, CLOSED
    data_generator = Nearby(CHART)
    point_transformer = Spherical()
    testing_data = auto_data(CASE, CHART_COMPARISON_EXCLUDED)


class TestChristoffelsAgainstSphere(CASE, metaclass=DataBasedParametrizer):
    space, other_space = CHART, Hypersphere(2, intrinsic=True)
    data_generator = Nearby(CHART)
    testing_data = auto_data(CASE, {}, only=("christoffels_random",))


@pytest.mark.parametrize("method", ["to_tangent", "projection", "is_tangent", "belongs"])
def test_the_image_is_the_sphere(method):
    points, vectors = IMAGE.random_point(3), np.random.normal(size=(3, 3))  # noqa: NPY002 (seeded by the fixture)
    if method == "to_tangent":
        np.testing.assert_allclose(IMAGE.to_tangent(vectors, points), CLOSED.to_tangent(vectors, points), atol=1e-13)
    elif method == "projection":
        off = points + 0.2 * vectors
        np.testing.assert_allclose(IMAGE.projection(off), CLOSED.projection(off), atol=1e-12)
    elif method == "is_tangent":
        mixed = np.stack([CLOSED.to_tangent(vectors[0], points[0]), vectors[1], points[2]])
        assert IMAGE.is_tangent(mixed, points).tolist() == CLOSED.is_tangent(mixed, points).tolist()
    else:
        mixed = np.stack([points[0], 1.001 * points[1], points[2] + 1e-3])
        assert IMAGE.belongs(mixed).tolist() == CLOSED.belongs(mixed).tolist() == [True, False, False]


# --- learning tools


def mean_of(space, points):
    mean = FrechetMean(space)
    mean.set(epsilon=1e-20, max_iter=64)
    return mean.fit(points).estimate_


def test_frechet_mean_and_distances_are_those_of_the_sphere():
    points = IMAGE.random_point(4)
    expected = mean_of(CLOSED, points)
    np.testing.assert_allclose(mean_of(IMAGE, points), expected, atol=1e-11)
    pairs = CLOSED.metric.dist_broadcast(points[:2], points[2:])
    np.testing.assert_allclose(IMAGE.metric.dist_broadcast(points[:2], points[2:]), pairs, atol=1e-9)


def test_tangent_pca_is_that_of_the_sphere_only_on_the_image():
    points = IMAGE.random_point(4)
    base = mean_of(CLOSED, points)

    def variances(space, points, base):
        return TangentPCA(space, n_components=2).fit(points, base_point=base).explained_variance_

    expected = variances(CLOSED, points, base)
    np.testing.assert_allclose(variances(IMAGE, points, base), expected, atol=1e-11)
    coordinates = variances(CHART, IMAGE.parameters(points), IMAGE.parameters(base))
    assert np.abs(coordinates - expected).max() > 1e-4


def test_ladder_transport_is_that_of_the_sphere():
    point = IMAGE.random_point(3)
    u, v = (0.3 * IMAGE.random_tangent_vec(point) for _ in range(2))
    exact = CLOSED.metric.parallel_transport(u, point, direction=v)
    pole = IMAGE.metric.ladder_parallel_transport(u, point, v)["transported_tangent_vec"]
    np.testing.assert_allclose(pole, exact, atol=1e-10)  # the pole ladder is exact on symmetric spaces
    np.testing.assert_allclose(IMAGE.metric.parallel_transport(u, point, v), exact, atol=1e-11)
