"""geomstats' test cases on our spaces: data classes made by introspection, generators that stay near the start, spaces to test."""

import inspect

import numpy as np

import riemgn as rg
from riemgn.geometry.interop.geomstats import to_geomstats
from riemgn.geometry.interop.geomstats_import import load

data = load("geomstats.test.data")
RandomDataGenerator = load("geomstats.test.random").RandomDataGenerator
DataBasedParametrizer = load("geomstats.test.parametrizers").DataBasedParametrizer

N_POINTS, N_REPS, N_TIMES = (1, 3), (3,), (1, 4)  # batches of 1, 4 and 16 after padding: three compilations a function

GENERATORS = {
    frozenset({"n_points"}): "generate_shape_data",
    frozenset({"n_points", "atol"}): "generate_random_data",
    frozenset({"n_reps", "atol"}): "generate_vec_data",
    frozenset({"n_points", "n_times", "atol"}): "generate_random_data_with_time",
    frozenset({"n_reps", "n_times", "atol"}): "generate_vec_data_with_time",
}


class Data(data.TestData):
    """One trial, fixed numbers, and a missing method is a failure."""

    __test__ = False
    trials = 1
    fail_for_autodiff_exceptions = True
    fail_for_not_implemented_errors = True
    N_VEC_REPS = N_REPS
    N_SHAPE_POINTS = N_POINTS
    N_RANDOM_POINTS = N_POINTS
    N_TIME_POINTS = N_TIMES


def own_tests(case: type) -> dict[str, str]:
    """The tests of a geomstats case that need no expected values, and the generator of their arguments."""
    found = {}
    for name, function in inspect.getmembers(case, inspect.isfunction):
        if name.startswith("test_"):
            arguments = frozenset(inspect.signature(function).parameters) - {"self"}
            if arguments in GENERATORS:
                found[name.removeprefix("test_")] = GENERATORS[arguments]
    return found


def auto_data(
    case: type,
    excluded: dict[str, str],
    vec: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
    tolerances=None,
) -> Data:
    """Test data for all tests of `case` that need no expected values, but those `excluded` by name with a reason.

    `vec` names methods for which geomstats writes a vectorisation test, which also checks the names of their arguments; `only` keeps a few tests.
    """
    tests = own_tests(case)
    unknown = set(excluded) - set(tests) | set(only or ()) - set(tests) - {f"{name}_vec" for name in vec}
    if unknown:
        raise ValueError(f"{case.__name__} has no tests {sorted(unknown)}.")
    chosen = {
        name: generator for name, generator in tests.items() if name not in excluded and (only is None or name in only)
    }
    chosen |= {f"{name}_vec": "generate_vec_data" for name in vec if only is None or f"{name}_vec" in only}
    methods = {f"{name}_test_data": _generated_by(generator) for name, generator in chosen.items()}
    return type(f"{case.__name__}Data", (Data,), {**methods, "tolerances": tolerances or {}})()


def _generated_by(generator: str):
    return lambda self: getattr(self, generator)()


class Nearby(RandomDataGenerator):
    """Points from the ball about the start, tangent vectors short enough to stay in the chart, points to project near enough to have a projection."""

    def __init__(self, space, length: float = 0.4, off: float = 0.1):
        self.space = space
        self.length = length
        self.off = off

    def random_tangent_vec(self, base_point):
        return self.length * np.asarray(self.space.random_tangent_vec(base_point))

    def point_to_project(self, n_points=1):
        image = getattr(self.space, "image", self.space)
        points = image.random_point(n_points)
        return points + self.off * np.random.normal(size=points.shape)  # noqa: NPY002 (the generator geomstats uses)


def sphere(image_radius: float = 1.0, radius: float = 0.6):
    """S^2 in spherical coordinates, the chart away from the poles and from the cut of the azimuth; the image, with its chart."""
    return to_geomstats(rg.OutputManifold(rg.task.sphere(radius=image_radius, polar=1.4, azimuth=np.pi)), radius=radius)


def run(case: type, test: str, space, generator, **attributes):
    """Run one test of a generated class on another space."""
    instance = case()
    instance.space, instance.data_generator = space, generator
    for name, value in attributes.items():
        setattr(instance, name, value)
    instance.setup_method()
    getattr(instance, f"test_{test}")(3, 1e-6)
