"""Layer P: the laws that geomstats asks of every manifold and metric: all on both spaces of the sphere, a few on other manifolds."""

import jax
import pytest

import riemgn as rg
from riemgn.geometry.interop.geomstats import to_geomstats
from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.conformance.harness import auto_data, DataBasedParametrizer, Nearby, run, sphere

cases = load("geomstats.test_cases.geometry.base")
manifold_cases = load("geomstats.test_cases.geometry.manifold")
mixins = load("geomstats.test_cases.geometry.mixins")
metric_cases = load("geomstats.test_cases.geometry.riemannian_metric")
pullback_cases = load("geomstats.test_cases.geometry.pullback_metric")

IMAGE = sphere()
CHART = IMAGE.chart

EXTRINSIC = "a tensor in coordinates, which points of R^m have not; tested on the chart"
NO_IMAGE_TENSORS = {
    "covariant_riemann_tensor_is_skew_symmetric_1": EXTRINSIC,
    "covariant_riemann_tensor_is_skew_symmetric_2": EXTRINSIC,
    "covariant_riemann_tensor_bianchi_identity": EXTRINSIC,
    "covariant_riemann_tensor_is_interchange_symmetric": EXTRINSIC,
}
METRIC_VEC = (
    "exp", "log", "inner_product", "squared_norm", "norm", "normalize", "dist", "squared_dist", "metric_matrix", "cometric_matrix",
    "inner_coproduct", "curvature", "sectional_curvature", "directional_curvature", "scalar_curvature",
)  # fmt: skip
TENSOR_VEC = (
    "christoffels", "inner_product_derivative_matrix", "riemann_tensor", "covariant_riemann_tensor", "ricci_tensor", "second_fundamental_form",
    "mean_curvature_vector",
)  # fmt: skip


class ImageCase(mixins.ProjectionTestCaseMixins, manifold_cases.ManifoldTestCase):
    """A manifold in extrinsic coordinates, with a projection."""


class TestImage(ImageCase, metaclass=DataBasedParametrizer):
    space = IMAGE
    data_generator = Nearby(IMAGE)
    testing_data = auto_data(ImageCase, {}, vec=("belongs", "is_tangent", "regularize"))


class TestImageMetric(metric_cases.RiemannianMetricTestCase, metaclass=DataBasedParametrizer):
    space = IMAGE
    data_generator = Nearby(IMAGE)
    testing_data = auto_data(metric_cases.RiemannianMetricTestCase, NO_IMAGE_TENSORS, vec=METRIC_VEC)


class TestChart(cases.ImmersedSetTestCase, metaclass=DataBasedParametrizer):
    space = CHART
    data_generator = Nearby(CHART)
    testing_data = auto_data(
        cases.ImmersedSetTestCase,
        {},
        vec=(
            "belongs",
            "is_tangent",
            "regularize",
            "immersion",
            "tangent_immersion",
            "jacobian_immersion",
            "hessian_immersion",
        ),
    )


class TestChartMetric(pullback_cases.PullbackMetricTestCase, metaclass=DataBasedParametrizer):
    space = CHART
    data_generator = Nearby(CHART)
    testing_data = auto_data(pullback_cases.PullbackMetricTestCase, {}, vec=METRIC_VEC + TENSOR_VEC)


OTHERS = {
    "rank one": lambda: to_geomstats(rg.OutputManifold(rg.task.rank_one(4, 3, key=jax.random.key(0))), radius=0.2),
    "network": lambda: to_geomstats(
        rg.OutputManifold(rg.teacher_student(n=24, width=2, inputs=3, cond=3.0, key=jax.random.key(1))), radius=0.1
    ),
    "damped network": lambda: to_geomstats(
        rg.OutputManifold(rg.teacher_student(n=8, width=2, inputs=2, key=jax.random.key(1)), damping=0.1), radius=0.1
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_manifolds_obey_the_laws(name):
    space = OTHERS[name]()
    near = Nearby(space, length=0.05, off=0.005)
    for test in (
        "random_point_belongs",
        "random_tangent_vec_is_tangent",
        "to_tangent_is_tangent",
        "projection_belongs",
    ):
        run(TestImage, test, space, near)
    for test in ("normalize_is_unitary", "exp_belongs", "parallel_transport_ivp_norm"):
        run(TestImageMetric, test, space, near)
    near = Nearby(space.chart, length=0.05, off=0.005)
    for test in (
        "covariant_riemann_tensor_is_skew_symmetric_1",
        "covariant_riemann_tensor_bianchi_identity",
        "inner_product_is_symmetric",
    ):
        run(TestChartMetric, test, space.chart, near)
