"""geomstats' test cases on our spaces: test data by introspection, and points near the start."""

import inspect

import numpy as np

import riemgn as rg
from riemgn.geometry import to_geomstats
from riemgn.geometry.interop.geomstats_import import load

data = load("geomstats.test.data")
RandomDataGenerator = load("geomstats.test.random").RandomDataGenerator
DataBasedParametrizer = load("geomstats.test.parametrizers").DataBasedParametrizer

GENERATORS = {
    frozenset({"n_points"}): "generate_shape_data",
    frozenset({"n_points", "atol"}): "generate_random_data",
    frozenset({"n_reps", "atol"}): "generate_vec_data",
    frozenset({"n_points", "n_times", "atol"}): "generate_random_data_with_time",
    frozenset({"n_reps", "n_times", "atol"}): "generate_vec_data_with_time",
}


class Data(data.TestData):
    """One trial with one batch size; a missing method is a failure."""

    __test__ = False
    trials = 1
    fail_for_autodiff_exceptions = True
    fail_for_not_implemented_errors = True
    N_VEC_REPS = N_SHAPE_POINTS = N_RANDOM_POINTS = N_TIME_POINTS = (3,)


def own_tests(case: type) -> dict[str, str]:
    """Return the tests of a geomstats case that need no expected values, with their generators."""
    generators = {}
    for name, function in inspect.getmembers(case, inspect.isfunction):
        arguments = frozenset(inspect.signature(function).parameters) - {"self"}
        if name.startswith("test_") and arguments in GENERATORS:
            generators[name.removeprefix("test_")] = GENERATORS[arguments]
    return generators


def auto_data(case: type, excluded: dict[str, str], vec: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Data:
    """Make test data for the tests of `case` that need no expected values.

    `excluded` gives a reason for each test that is left out, `only` names the tests to keep, and
    `vec` names methods for which geomstats writes a test of their batch axes.
    """
    tests = own_tests(case)
    unknown = (set(excluded) | set(only)) - set(tests)
    if unknown:
        raise ValueError(f"{case.__name__} has no tests {sorted(unknown)}.")
    names = {name: tests[name] for name in tests if name not in excluded and (not only or name in only)}
    names |= {f"{name}_vec": "generate_vec_data" for name in vec}
    methods = {f"{name}_test_data": _generated_by(generator) for name, generator in names.items()}
    return type(f"{case.__name__}Data", (Data,), {**methods, "tolerances": {}})()


def _generated_by(generator: str):
    return lambda self: getattr(self, generator)()


class Nearby(RandomDataGenerator):
    """Draw points near the start, and tangent vectors short enough to stay in the chart."""

    def __init__(self, space, length: float = 0.4, off: float = 0.1):
        self.space = space
        self.length = length
        self.off = off

    def random_tangent_vec(self, base_point):
        return self.length * np.asarray(self.space.random_tangent_vec(base_point))

    def point_to_project(self, n_points=1):
        image = getattr(self.space, "image", self.space)
        points = image.random_point(n_points)
        return points + self.off * np.random.normal(size=points.shape)  # noqa: NPY002 (as geomstats)


# S^2 in spherical coordinates, away from the poles and the cut
SPHERE = to_geomstats(rg.OutputManifold(rg.task.sphere(polar=1.4, azimuth=np.pi)), radius=0.6)


def run(case: type, test: str, space, generator):
    """Run one test of a generated class on another space."""
    instance = case()
    instance.space, instance.data_generator = space, generator
    instance.setup_method()
    getattr(instance, f"test_{test}")(3, 1e-6)
