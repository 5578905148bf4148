"""The laws that geomstats tests on every manifold: all on the sphere, a few on other manifolds."""

import jax

import riemgn as rg
from riemgn.geometry import to_geomstats
from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.conformance.harness import auto_data, DataBasedParametrizer, Nearby, run, SPHERE

cases = load("geomstats.test_cases.geometry.base")
manifold_cases = load("geomstats.test_cases.geometry.manifold")
mixins = load("geomstats.test_cases.geometry.mixins")
metric_cases = load("geomstats.test_cases.geometry.riemannian_metric")
pullback_cases = load("geomstats.test_cases.geometry.pullback_metric")

IMAGE = SPHERE
CHART = IMAGE.chart

EXTRINSIC = "a tensor in coordinates, which points of R^m are not; tested on the chart"
IMAGE_EXCLUDED = {
    "covariant_riemann_tensor_is_skew_symmetric_1": EXTRINSIC,
    "covariant_riemann_tensor_is_skew_symmetric_2": EXTRINSIC,
    "covariant_riemann_tensor_bianchi_identity": EXTRINSIC,
    "covariant_riemann_tensor_is_interchange_symmetric": EXTRINSIC,
}
METRIC_EXCLUDED = {f"geodesic_{kind}_vec": "compiles a program for each number of times" for kind in ("bvp", "ivp")}
METRIC_VEC = ("exp", "log", "inner_product", "norm", "dist", "metric_matrix", "curvature", "scalar_curvature")
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
    testing_data = auto_data(metric_cases.RiemannianMetricTestCase, IMAGE_EXCLUDED | METRIC_EXCLUDED, vec=METRIC_VEC)


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
