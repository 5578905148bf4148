"""The output manifold under the optimisers of pymanopt: they arrive where our own methods do, and its manifold keeps the laws of one."""

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
def test_optimisers_find_the_nearest_point_of_the_sphere(problem, sphere, start, name):
    found = OPTIMISERS[name]().run(problem, initial_point=start)
    target = np.asarray(sphere.problem.y)
    nearest = 2.0 * target / np.linalg.norm(target)
    assert found.cost < problem.cost(start)
    assert relative_error(sphere.embed(found.point), nearest) < 1e-6


def test_second_order_is_reached(problem, start):
    """Trust regions with a true Hessian converge quadratically: few steps to a gradient at rounding."""
    found = pymanopt.optimizers.TrustRegions(verbosity=0, min_gradient_norm=1e-12).run(problem, initial_point=start)
    assert found.gradient_norm < 1e-12 and found.iterations <= 10


def test_a_network_is_fitted_to_a_point_where_the_gradient_vanishes():
    net = tanh_net(12, (2, 2, 1), seed=1)
    start = np.asarray(net.w0)
    fit = rg.Problem(
        net.model, net.params, net.x, net.outputs(net.w0) + 0.02 * net.y
    )  # the optimum is near: a far one may lie at infinity
    found = pymanopt.optimizers.TrustRegions(verbosity=0, max_iterations=40).run(
        rg.to_pymanopt(rg.OutputManifold(fit)), initial_point=start
    )
    slopes = [
        np.linalg.norm(np.asarray(fit.jac(w)).T @ np.asarray(fit.outputs(w) - fit.y)) for w in (start, found.point)
    ]
    assert found.cost < float(fit.objective(start)) and slopes[1] < 1e-6 * slopes[0]


def test_the_checks_pass_on_the_pymanopt_problem(problem, start):
    for check in (
        check_gradient(problem, start),
        check_hessian(problem, start),
        check_retraction(problem, start, order=2),
    ):
        assert check.passed, check


def test_tangent_vectors_are_those_of_the_sphere(problem, sphere, start):
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


def test_a_step_that_does_not_arrive_costs_infinity_and_raises_nothing(problem, start):
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
def test_wrong_input_is_refused_in_a_sentence(sphere, arguments, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.to_pymanopt(**{"manifold": sphere, **arguments})


def test_without_pymanopt_the_cure_is_said(sphere, monkeypatch):
    monkeypatch.delitem(sys.modules, "riemgn.geometry.interop.pymanopt", raising=False)
    monkeypatch.setitem(sys.modules, "pymanopt", None)
    with pytest.raises(ValueError, match="to_pymanopt needs pymanopt, which is not installed; install it with"):
        rg.to_pymanopt(sphere)


def test_random_points_fill_the_ball_of_parameters_evenly(sphere, start):
    space = rg.to_pymanopt(sphere, radius=0.25).manifold
    np.random.seed(0)  # noqa: NPY002 (the generator pymanopt uses)
    steps = np.stack([space.random_point() for _ in range(2000)]) - start
    radii = np.linalg.norm(steps, axis=1) / 0.25
    # of two parameters the mean radius is 2 / 3 and a quarter lies within a half
    assert (
        radii.max() <= 1
        and abs(radii.mean() - 2 / 3) < 4 * radii.std() / 2000**0.5
        and np.quantile(radii, 0.25) == pytest.approx(0.5, abs=0.04)
    )
    assert np.linalg.norm(steps.mean(axis=0)) < 0.015
    np.random.seed(0)  # noqa: NPY002
    again, other = (space.random_tangent_vector(start) for _ in range(2))
    np.random.seed(0)  # noqa: NPY002
    assert np.array_equal(space.random_tangent_vector(start), again) and not np.allclose(again, other)


def test_lengths_are_those_of_the_ambient_form():
    problem = rg.Problem(lambda w, x: np.array([1.0, 2.0]) * w[0], np.ones(1), np.zeros((2, 1)), np.zeros(2))
    space = rg.to_pymanopt(rg.OutputManifold(problem, ambient=np.array([-1.0, 1.0]))).manifold
    u, v = np.array([1.0, 3.0]), np.array([2.0, 5.0])
    assert space.inner_product(np.ones(1), u, v) == 13.0 and space.norm(np.ones(1), u) == pytest.approx(8**0.5)
    assert space.norm(np.ones(1), np.array([3.0, 1.0])) == 0.0 and space.zero_vector(np.ones(1)).tolist() == [
        0.0,
        0.0,
    ]  # no square root of -8
    assert space.embed(np.array([2.0])).tolist() == [2.0, 4.0] and str(space) == "Output manifold of dimension 1 in R^2"


@pytest.mark.parametrize("radius", [-1.0, np.inf, np.nan])
def test_a_radius_is_positive_and_finite(sphere, radius):
    for citizen in (rg.to_pymanopt, rg.to_geomstats):
        with pytest.raises(ValueError, match="`radius` must be positive and finite"):
            citizen(sphere, radius=radius)


def test_a_citizen_draws_within_a_half_and_moves_by_the_corrected_retraction(sphere, start):
    space = rg.to_pymanopt(sphere).manifold
    assert (space.radius, space.move.name) == (0.5, "corrected") and rg.to_pymanopt(
        sphere, retraction="chart"
    ).manifold.move.name == "chart"
    image, chart = rg.to_geomstats(sphere), rg.to_geomstats(sphere, chart=True, radius=0.1)
    assert (image.radius, image.chart.radius, chart.radius, chart.image.radius) == (0.5, 0.5, 0.1, 0.1)
    assert image.shape == (3,) and chart.shape == (2,)
