"""Compare our sphere with geomstats' closed forms, on the image and in spherical coordinates."""

import numpy as np
import pytest

from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.conformance.harness import auto_data, DataBasedParametrizer, Nearby, SPHERE

Hypersphere = load("geomstats.geometry.hypersphere").Hypersphere
metric_cases = load("geomstats.test_cases.geometry.riemannian_metric")
PointTransformer = load("geomstats.test.utils").PointTransformer

IMAGE = SPHERE
CHART = IMAGE.chart
CLOSED = Hypersphere(2)

CASE = metric_cases.RiemannianMetricComparisonTestCase
EXTRINSIC = "a tensor in coordinates, which points of R^3 are not"
LACKING = "Hypersphere has no such method on the numpy backend"
IMAGE_EXCLUDED = {
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
CHART_EXCLUDED = {
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
    "curvature_derivative_random": IMAGE_EXCLUDED["curvature_derivative_random"],
    "directional_curvature_derivative_random": IMAGE_EXCLUDED["curvature_derivative_random"],
    "injectivity_radius_random": IMAGE_EXCLUDED["injectivity_radius_random"],
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
    testing_data = auto_data(CASE, IMAGE_EXCLUDED)


class TestChartAgainstSphere(CASE, metaclass=DataBasedParametrizer):
    space, other_space = CHART, CLOSED
    data_generator = Nearby(CHART)
    point_transformer = Spherical()
    testing_data = auto_data(CASE, CHART_EXCLUDED)


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
