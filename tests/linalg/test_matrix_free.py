"""Directions from products with `J` alone: against dense ones, in flows and in methods."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import damped_direction, largest_eigenvalue
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net

NETS = {"n > p": tanh_net(40, (3, 4, 1)), "n < p": tanh_net(8, (3, 10, 1)), "two outputs": tanh_net(9, (3, 5, 2))}
TALL = NETS["n > p"]
FREE_FLOW = rg.LevenbergMarquardtFlow(0.3, matrix_free=rg.MatrixFree(rtol=1e-12))


@pytest.mark.parametrize("name", NETS)
def test_products_are_those_of_the_jacobian(name):
    problem = NETS[name]
    f, forward, backward = problem.products(problem.w0)
    jac = problem.jac(problem.w0)
    v, u = jnp.sin(jnp.arange(problem.p)), jnp.cos(jnp.arange(problem.n))
    np.testing.assert_array_equal(f, problem.outputs(problem.w0))
    assert relative_error(forward(v), jac @ v) < 1e-14
    assert relative_error(backward(u), jac.T @ u) < 1e-14


@eqx.filter_jit
def velocity(flow, problem):
    return flow.velocity(0.3, problem.w0, problem, 1)


@pytest.mark.parametrize("damping", [0.1, rg.ResidualDamping(0.1)], ids=["constant", "residual"])
@pytest.mark.parametrize("name", ["n > p", "n < p"])
def test_velocity_is_the_dense_one_to_its_tolerance(name, damping):
    problem, rtol = NETS[name], 1e-9
    w_dot, f_dot = velocity(rg.LevenbergMarquardtFlow(damping, matrix_free=rg.MatrixFree(rtol=rtol)), problem)
    point = problem.linearise(problem.w0)
    rho = damping if isinstance(damping, float) else damping(0.3, point, 1)
    dense = damped_direction(point.jac, point.loss_gradient, rho).w_dot
    cond = 1 + np.linalg.norm(point.jac, 2) ** 2 / float(rho)
    assert relative_error(w_dot, dense) < np.sqrt(problem.n) * rtol * cond
    assert relative_error(f_dot, point.jac @ w_dot) < 1e-13


def test_a_smaller_tolerance_takes_more_steps():
    problem = matrix_problem(matrix_with(30, 20, np.geomspace(1, 1e-3, 20)))
    _, forward, backward = problem.products(problem.w0)
    point = problem.linearise(problem.w0)
    dense = damped_direction(point.jac, point.loss_gradient, 1e-4).w_dot

    def solution(loss_gradient=point.loss_gradient, **options):
        return rg.MatrixFree(**options).direction(forward, backward, problem.w0, loss_gradient, 1e-4)

    coarse, fine = solution(rtol=1e-2), solution(rtol=1e-10)
    assert bool(coarse.converged) and bool(fine.converged)
    assert relative_error(coarse.w_dot, dense) > 1e-7 > relative_error(fine.w_dot, dense)
    assert int(coarse.steps) < int(fine.steps)
    cut = solution(rtol=1e-10, max_steps=3)
    assert (bool(cut.converged), int(cut.steps)) == (False, 3)
    assert np.isnan(cut.w_dot).all()
    zero = solution(0 * point.loss_gradient)
    assert bool(zero.converged)
    assert not zero.w_dot.any()


def test_a_method_takes_the_same_steps():
    dense = rg.iterate(TALL, rg.LevenbergMarquardt(0.3), steps=4)
    free = rg.iterate(TALL, rg.LevenbergMarquardt(0.3, matrix_free=rg.MatrixFree(rtol=1e-12)), steps=4)
    assert relative_error(free.outputs, dense.outputs) < 1e-8
    assert relative_error(free.losses, dense.losses) < 1e-8
    assert (free.stats["per_step"]["krylov_steps"] > 0).all()
    assert (free.stats["rank"], free.stats["cond"]) == (None, None)
    assert np.isnan(free.sigma_min).all()
    assert np.isnan(free.grad_norms).all()


def test_a_gradient_flow_has_the_same_velocity():
    free, dense = velocity(rg.GradientFlow(matrix_free=True), TALL), velocity(rg.GradientFlow(), TALL)
    assert relative_error(free[0], dense[0]) < 1e-13
    assert relative_error(free[1], dense[1]) < 1e-13


def test_flows_never_form_the_jacobian(monkeypatch):
    def solve(flow):
        return rg.solve(TALL, flow, t1=0.1, ts=[0.0, 0.1])

    def fail(*arguments, **options):
        raise AssertionError("the Jacobian was formed")

    dense = solve(rg.LevenbergMarquardtFlow(0.3))
    monkeypatch.setattr(rg.Problem, "linearise", fail)
    monkeypatch.setattr(rg.Problem, "jac", fail)
    by_krylov, by_product = solve(FREE_FLOW), solve(rg.GradientFlow(matrix_free=True))
    assert relative_error(by_krylov.outputs, dense.outputs) < 1e-7
    for ours, direction in ((by_krylov, "conjugate gradients"), (by_product, "product")):
        assert ours.succeeded
        assert (ours.stats["direction"], ours.stats["rank"], ours.stats["cond"]) == (direction, None, None)
        assert np.isnan(ours.sigma_min).all()


@pytest.mark.parametrize("gap", [0.5, 0.9, 1.0])
def test_largest_eigenvalue_is_estimated_from_below(gap):
    s = np.array([3.0, 3.0 * gap, *np.geomspace(1.0, 1e-3, 18)])
    problem = matrix_problem(matrix_with(30, 20, s))
    _, forward, backward = problem.products(problem.w0)
    assert 8.5 < float(largest_eigenvalue(forward, backward, problem.w0)) < 9.0 * (1 + 1e-13)


@pytest.mark.parametrize("factor", [0.0, jnp.nan, jnp.inf])
def test_largest_eigenvalue_of_useless_products_is_zero(factor):
    assert float(largest_eigenvalue(lambda v: factor * v, lambda u: u, jnp.ones(3))) == 0.0


def test_a_solve_without_convergence_stops_the_run():
    krylov = rg.MatrixFree(rtol=1e-12, max_steps=2)
    flow, method = (make(1e-6, matrix_free=krylov) for make in (rg.LevenbergMarquardtFlow, rg.LevenbergMarquardt))
    stopped = rg.solve(TALL, flow, t1=1.0, throw=False), rg.iterate(TALL, method, steps=3, throw=False)
    for trajectory in stopped:
        assert trajectory.status == "krylov_limit"
        assert float(trajectory.ts[-1]) == 0.0
    with pytest.raises(rg.SolveError, match="conjugate gradients did not reach"):
        rg.iterate(TALL, method, steps=3, throw=True)


SPECTRAL = rg.LevenbergMarquardtFlow(rg.SpectralDamping(), matrix_free=rg.MatrixFree())
WRONG = {
    "zero rtol": (lambda: rg.MatrixFree(rtol=0.0), "`rtol` of MatrixFree must be a number between 0 and 1, got 0.0"),
    "rtol of 1": (lambda: rg.MatrixFree(rtol=1.0), "got 1.0"),
    "text": (lambda: rg.MatrixFree(rtol="tiny"), "got 'tiny'"),
    "no steps": (lambda: rg.MatrixFree(max_steps=0), "`max_steps` must be a positive integer, got 0"),
    "a float of steps": (lambda: rg.MatrixFree(max_steps=10.0), "got 10.0"),
    "undamped flow": (lambda: rg.LevenbergMarquardtFlow(0.0, matrix_free=rg.MatrixFree()), "a positive damping, got 0"),
    "undamped method": (lambda: rg.LevenbergMarquardt(0, matrix_free=rg.MatrixFree()), "a positive damping, got 0"),
    "gradient flow": (lambda: rg.GradientFlow(matrix_free=rg.MatrixFree()), "must be True or False, got M"),
    "a flag": (lambda: rg.LevenbergMarquardtFlow(1.0, matrix_free=True), "must be a MatrixFree or None, got True"),
    "spectral damping": (lambda: velocity(SPECTRAL, NETS["n < p"]), "SpectralDamping needs the singular"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_quoted(name):
    make, fragment = WRONG[name]
    with pytest.raises(ValueError, match=fragment):
        make()
