"""The output manifold under the optimisers of pymanopt: they arrive where our own methods do, and its manifold keeps the laws of one."""

import sys

import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import check_gradient, check_hessian, check_retraction

from .helpers import relative_error, tanh_net

pymanopt = pytest.importorskip("pymanopt")

SPHERE = rg.OutputManifold(rg.task.sphere(radius=2.0))
START = np.asarray(SPHERE.problem.w0)
OPTIMISERS = {
    "trust regions": lambda: pymanopt.optimizers.TrustRegions(verbosity=0),
    "conjugate gradient": lambda: pymanopt.optimizers.ConjugateGradient(verbosity=0, min_gradient_norm=1e-9),
    "steepest descent": lambda: pymanopt.optimizers.SteepestDescent(verbosity=0, min_gradient_norm=1e-9, max_iterations=200),
}


@pytest.fixture(scope="module")
def problem():
    return rg.to_pymanopt(SPHERE)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_find_the_nearest_point_of_the_sphere(problem, name):
    found = OPTIMISERS[name]().run(problem, initial_point=START)
    target = np.asarray(SPHERE.problem.y)
    nearest = 2.0 * target / np.linalg.norm(target)
    assert found.cost < problem.cost(START)
    assert relative_error(SPHERE.embed(found.point), nearest) < 1e-6


def test_second_order_is_reached(problem):
    """Trust regions with a true Hessian converge quadratically: few steps to a gradient at rounding."""
    found = pymanopt.optimizers.TrustRegions(verbosity=0, min_gradient_norm=1e-12).run(problem, initial_point=START)
    assert found.gradient_norm < 1e-12 and found.iterations <= 10


def test_a_network_is_fitted_to_a_point_where_the_gradient_vanishes():
    net = tanh_net(12, (2, 2, 1), seed=1)
    start = np.asarray(net.w0)
    fit = rg.Problem(net.model, net.params, net.x, net.outputs(net.w0) + 0.02 * net.y)  # the optimum is near: a far one may lie at infinity
    found = pymanopt.optimizers.TrustRegions(verbosity=0, max_iterations=40).run(rg.to_pymanopt(rg.OutputManifold(fit)), initial_point=start)
    slopes = [np.linalg.norm(np.asarray(fit.jac(w)).T @ np.asarray(fit.outputs(w) - fit.y)) for w in (start, found.point)]
    assert found.cost < float(fit.objective(start)) and slopes[1] < 1e-6 * slopes[0]


def test_the_checks_pass_on_the_pymanopt_problem(problem):
    for check in (check_gradient(problem, START), check_hessian(problem, START), check_retraction(problem, START, order=2)):
        assert check.passed, check


def test_tangent_vectors_are_those_of_the_sphere(problem):
    space, point = problem.manifold, np.asarray(SPHERE.embed(START))
    u, v = space.random_tangent_vector(START), np.array([1.0, -2.0, 0.5])
    assert abs(u @ point) < 1e-14 and space.norm(START, u) == pytest.approx(1)
    assert relative_error(space.projection(START, v), v - (v @ point) / 4 * point) < 1e-14
    assert (space.dim, space.num_values) == (2, 1) and not np.any(space.zero_vector(START)) and "R^3" in str(space)
    there = space.exp(START, 0.3 * u)
    moved = space.transport(START, there, u)
    assert abs(moved @ np.asarray(SPHERE.embed(there))) < 1e-9
    assert relative_error(SPHERE.embed(there), np.cos(0.15) * point + 2 * np.sin(0.15) * u) < 1e-9
    assert space.dist(START, there) == pytest.approx(0.3) and relative_error(space.log(START, there), 0.3 * u) < 1e-8
    middle = space.pair_mean(START, there)
    assert relative_error(SPHERE.embed(middle), np.cos(0.075) * point + 2 * np.sin(0.075) * u) < 1e-8
    assert np.linalg.norm(space.random_point() - START) <= 0.5


def test_a_step_that_does_not_arrive_costs_infinity_and_raises_nothing(problem):
    lost = problem.manifold.retraction(START, np.full(3, np.nan))
    assert np.all(np.isnan(lost)) and problem.cost(lost) == np.inf


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"manifold": 3}, "`manifold` must be an OutputManifold, got int"),
        ({"retraction": "polar"}, "`retraction` must be one of .* got 'polar'"),
        ({"radius": 0.0}, "`radius` must be positive and finite, got 0.0"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(arguments, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.to_pymanopt(**{"manifold": SPHERE, **arguments})


def test_without_pymanopt_the_cure_is_said(monkeypatch):
    monkeypatch.delitem(sys.modules, "riemgn.geometry.pymanopt_manifold", raising=False)
    monkeypatch.setitem(sys.modules, "pymanopt", None)
    with pytest.raises(ValueError, match="to_pymanopt needs pymanopt, which is not installed; install it with"):
        rg.to_pymanopt(SPHERE)
