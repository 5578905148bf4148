"""Tests of the pymanopt problem of an output manifold: its optimisers, its manifold, bad input."""

import sys

import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import check_gradient, check_hessian, check_retraction
from tests.helpers import relative_error, tanh_net

pymanopt = pytest.importorskip("pymanopt")

OPTIMISERS = {
    "trust regions": lambda: pymanopt.optimizers.TrustRegions(verbosity=0),
    "conjugate gradient": lambda: pymanopt.optimizers.ConjugateGradient(verbosity=0, min_gradient_norm=1e-9),
    "steepest descent": lambda: pymanopt.optimizers.SteepestDescent(
        verbosity=0, min_gradient_norm=1e-9, max_iterations=200
    ),
}


@pytest.fixture(scope="module")
def sphere():
    return rg.OutputManifold(rg.task.sphere(radius=2.0))


@pytest.fixture(scope="module")
def start(sphere):
    return np.asarray(sphere.problem.w0)


@pytest.fixture(scope="module")
def problem(sphere):
    return rg.to_pymanopt(sphere)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_find_the_nearest_point(problem, sphere, start, name):
    found = OPTIMISERS[name]().run(problem, initial_point=start)
    target = np.asarray(sphere.problem.y)
    nearest = 2.0 * target / np.linalg.norm(target)
    assert found.cost < problem.cost(start)
    assert relative_error(sphere.embed(found.point), nearest) < 1e-6


def test_trust_regions_converge_quadratically(problem, start):
    """With a true Hessian few steps lead to a gradient at rounding level."""
    found = pymanopt.optimizers.TrustRegions(verbosity=0, min_gradient_norm=1e-12).run(problem, initial_point=start)
    assert found.gradient_norm < 1e-12 and found.iterations <= 10


def test_a_network_is_fitted_to_a_stationary_point():
    net = tanh_net(12, (2, 2, 1), seed=1)
    start = np.asarray(net.w0)
    fit = rg.Problem(net.model, net.params, net.x, net.outputs(net.w0) + 0.02 * net.y)  # near the optimum
    found = pymanopt.optimizers.TrustRegions(verbosity=0, max_iterations=40).run(
        rg.to_pymanopt(rg.OutputManifold(fit)), initial_point=start
    )
    slopes = [
        np.linalg.norm(np.asarray(fit.jac(w)).T @ np.asarray(fit.outputs(w) - fit.y)) for w in (start, found.point)
    ]
    assert found.cost < float(fit.objective(start)) and slopes[1] < 1e-6 * slopes[0]


def test_gradient_hessian_and_retraction_pass_the_checks(problem, start):
    for check in (
        check_gradient(problem, start),
        check_hessian(problem, start),
        check_retraction(problem, start, order=2),
    ):
        assert check.passed, check


def test_manifold_methods_are_those_of_the_sphere(problem, sphere, start):
    space, point = problem.manifold, np.asarray(sphere.embed(start))
    u, v = space.random_tangent_vector(start), np.array([1.0, -2.0, 0.5])
    assert abs(u @ point) < 1e-14 and space.norm(start, u) == pytest.approx(1)
    assert relative_error(space.projection(start, v), v - (v @ point) / 4 * point) < 1e-14
    assert (space.dim, space.num_values) == (2, 1) and not np.any(space.zero_vector(start)) and "R^3" in str(space)
    there = space.exp(start, 0.3 * u)
    moved = space.transport(start, there, u)
    assert abs(moved @ np.asarray(sphere.embed(there))) < 1e-9
    assert relative_error(sphere.embed(there), np.cos(0.15) * point + 2 * np.sin(0.15) * u) < 1e-9
    assert space.dist(start, there) == pytest.approx(0.3) and relative_error(space.log(start, there), 0.3 * u) < 1e-8
    middle = space.pair_mean(start, there)
    assert relative_error(sphere.embed(middle), np.cos(0.075) * point + 2 * np.sin(0.075) * u) < 1e-8
    assert np.linalg.norm(space.random_point() - start) <= 0.5


def test_a_failed_retraction_costs_infinity(problem, start):
    lost = problem.manifold.retraction(start, np.full(3, np.nan))
    assert np.all(np.isnan(lost)) and problem.cost(lost) == np.inf


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"manifold": 3}, "`manifold` must be an OutputManifold, got int"),
        ({"retraction": "polar"}, "`retraction` must be one of .* got 'polar'"),
        ({"radius": 0.0}, "`radius` must be positive and finite, got 0.0"),
    ],
)
def test_bad_input_raises(sphere, arguments, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.to_pymanopt(**{"manifold": sphere, **arguments})


def test_a_missing_pymanopt_names_the_command(sphere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymanopt", None)
    with pytest.raises(
        ValueError, match=r'needs pymanopt, which is not installed: run `pip install "riemgn\[pymanopt\]"`'
    ):
        rg.to_pymanopt(sphere)


def test_random_draws_follow_numpys_generator(sphere, start):
    space = rg.to_pymanopt(sphere, radius=0.25).manifold

    def draws():
        np.random.seed(0)  # noqa: NPY002 (the generator pymanopt uses)
        return np.stack([space.random_point() for _ in range(500)]), space.random_tangent_vector(start)

    (points, vector), (again, same) = draws(), draws()
    radii = np.linalg.norm(points - start, axis=1) / 0.25
    assert np.array_equal(points, again) and np.array_equal(vector, same)
    assert radii.max() <= 1 and abs(radii.mean() - 2 / 3) < 4 * radii.std() / 500**0.5


def test_lengths_follow_the_ambient_form():
    problem = rg.Problem(lambda w, x: np.array([1.0, 2.0]) * w[0], np.ones(1), np.zeros((2, 1)), np.zeros(2))
    space = rg.to_pymanopt(rg.OutputManifold(problem, ambient=np.array([-1.0, 1.0]))).manifold
    u, v = np.array([1.0, 3.0]), np.array([2.0, 5.0])
    assert space.inner_product(np.ones(1), u, v) == 13.0 and space.norm(np.ones(1), u) == pytest.approx(8**0.5)
    assert space.norm(np.ones(1), np.array([3.0, 1.0])) == 0.0 and space.zero_vector(np.ones(1)).tolist() == [
        0.0,
        0.0,
    ]  # no square root of -8
    assert space.embed(np.array([2.0])).tolist() == [2.0, 4.0] and str(space) == "Output manifold of dimension 1 in R^2"
