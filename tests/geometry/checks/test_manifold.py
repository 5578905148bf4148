"""Tests of the functions that checks take from manifolds of riemgn, geomstats and pymanopt."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import (
    chart_functions,
    check_geodesic,
    check_gradient,
    check_hessian,
    check_metric,
    check_projection,
    check_retraction,
    manifold_functions,
    OutputManifold,
)
from riemgn.geometry.interop.geomstats_import import load
from tests.geometry.checks.sphere import cost, exp, grad, hessp, MATRIX, POINT, project, retract, SPHERE
from tests.helpers import tanh_net


@pytest.fixture(scope="module")
def torus():
    return OutputManifold(rg.task.torus())


def failed(check):
    return [law.name for law in check.laws if not law.passed]


def test_functions_are_returned_as_they_are():
    assert manifold_functions(SPHERE) is SPHERE


@pytest.mark.parametrize(("check", "damping"), [(check_gradient, 0.0), (check_hessian, 0.1), (check_projection, 0.1)])
def test_a_network_passes(check, damping):
    manifold = OutputManifold(tanh_net(8, (3, 4, 1)), damping=damping)
    assert check(manifold, manifold.problem.params, key=jr.key(1)).passed


def test_retractions_have_their_order(torus):
    w, functions = torus.problem.params, manifold_functions(torus)
    functions = eqx.tree_at(lambda m: m.exp, functions, None, is_leaf=lambda x: x is None)
    for kind, order in (("chart", 1), ("corrected", 2), ("projection", 2)):
        result = check_retraction(functions, w, lambda w, u, kind=kind: torus.retract(w, u, kind), order=order)
        assert result.passed, str(result)
    assert not check_retraction(functions, w, lambda w, u: torus.retract(w, u, "chart"), order=2).passed


def test_geodesics_and_metric_pass_in_space_and_chart(torus):
    w = torus.problem.w0
    for functions in (manifold_functions(torus), chart_functions(torus)):
        without_dist = eqx.tree_at(lambda m: m.dist, functions, None)
        assert check_geodesic(without_dist, w).passed and check_metric(without_dist, w).passed


def test_a_straight_line_of_parameters_is_no_geodesic(torus):
    w, a = torus.problem.w0, jnp.array([0.3, 0.4])
    on_surface = check_geodesic(torus, w, lambda t: w + t * a, direction=torus.push_forward(w, a))
    in_chart = check_geodesic(chart_functions(torus), w, lambda t: w + t * a, direction=a)
    for check in (on_surface, in_chart):
        assert not check.passed and abs(check.order - 2) < 0.05


def test_wrong_christoffel_symbols_fail(torus):
    chart, w = eqx.tree_at(lambda m: m.dist, chart_functions(torus), None), torus.problem.w0
    skew = np.array([[[0, 0.1], [-0.1, 0]]] * 2)
    doubled = eqx.tree_at(lambda m: m.christoffels, chart, lambda x: 2 * np.asarray(chart.christoffels(x)))
    twisted = eqx.tree_at(lambda m: m.christoffels, chart, lambda x: np.asarray(chart.christoffels(x)) + skew)
    assert "the connection preserves the metric" in failed(check_metric(doubled, w))
    assert not check_geodesic(doubled, w).passed and "free of torsion" in failed(check_metric(twisted, w))


def test_wrong_derivatives_on_an_output_manifold_fail(torus):
    w, problem = torus.problem.params, torus.problem

    def without_curvature(w, u):
        return torus.to_tangent(w, problem.loss_hessian(torus.embed(w)) * u)

    assert not check_gradient(torus, w, grad=lambda w: 1.01 * torus.riemannian_grad(w)).passed
    assert not check_gradient(torus, w, grad=lambda w: problem.loss_gradient(torus.embed(w))).passed
    assert failed(check_hessian(torus, w, hessp=without_curvature)) == ["quadratic model of the cost"]


def test_rank_deficient_parameters_are_no_coordinates():
    with pytest.raises(ValueError, match="no coordinates"):
        chart_functions(OutputManifold(rg.task.rank_one(3, 2, key=jr.key(2))))


def test_a_pymanopt_problem_passes():
    pymanopt = pytest.importorskip("pymanopt")
    sphere = pymanopt.manifolds.Sphere(3)

    def problem(scale):
        value = pymanopt.function.numpy(sphere)(lambda x: 0.5 * x @ MATRIX @ x)
        gradient = pymanopt.function.numpy(sphere)(lambda x: scale * MATRIX @ x)
        hessian = pymanopt.function.numpy(sphere)(lambda x, u: MATRIX @ u)
        return pymanopt.Problem(sphere, value, euclidean_gradient=gradient, euclidean_hessian=hessian)

    for check in (check_gradient, check_hessian, check_projection, check_geodesic, check_metric, check_retraction):
        result = check(problem(1.0), POINT)
        assert result.passed, str(result)
    assert not check_gradient(problem(1.01), POINT).passed


class SphereWithoutExp:
    """Imitate pymanopt's manifolds, whose missing methods exist and raise."""

    dim = 2

    def inner_product(self, x, u, v):
        return u @ v

    def projection(self, x, a):
        return project(x, a)

    def retraction(self, x, u):
        return retract(x, u)

    def exp(self, x, u):
        raise NotImplementedError

    dist = exp


def test_a_method_that_is_not_implemented_counts_as_missing():
    sphere = SphereWithoutExp()
    assert check_retraction(sphere, POINT, order=2).passed and check_projection(sphere, POINT).passed
    assert check_hessian(sphere, POINT, cost, grad, hessp).passed
    assert "the manifold has none" in check_metric(sphere, POINT).notes[0]


def test_a_geomstats_hypersphere_passes():
    sphere = load("geomstats.geometry.hypersphere").Hypersphere(2)
    u = np.array([0, 0.8, -0.48])
    assert np.allclose(manifold_functions(sphere).exp(POINT, u), exp(POINT, u))
    for check in (check_projection, check_geodesic, check_metric):
        assert check(sphere, POINT).passed
    assert check_gradient(sphere, POINT, cost, grad).passed and check_hessian(sphere, POINT, cost, grad, hessp).passed
    assert not check_gradient(sphere, POINT, cost, lambda x: 1.01 * grad(x)).passed
