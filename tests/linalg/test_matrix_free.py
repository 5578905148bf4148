"""Directions from products with `J` alone: against the dense ones, through both drivers, and what happens where they do not converge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn._memory import memory_limit
from riemgn.linalg import damped_direction, largest_eigenvalue
from riemgn.solver.plan import choose_solver
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net

NETS = {
    "n > p": lambda: tanh_net(40, (3, 4, 1)),
    "n < p": lambda: tanh_net(8, (3, 10, 1)),
    "two outputs": lambda: tanh_net(9, (3, 5, 2)),
}


@pytest.mark.parametrize("name", NETS)
def test_products_are_those_of_the_jacobian(name):
    problem = NETS[name]()
    f, forward, backward = problem.products(problem.w0)
    jac = problem.jac(problem.w0)
    v, u = jnp.sin(jnp.arange(problem.p)), jnp.cos(jnp.arange(problem.n))
    np.testing.assert_array_equal(f, problem.outputs(problem.w0))
    assert relative_error(forward(v), jac @ v) < 1e-14
    assert relative_error(backward(u), jac.T @ u) < 1e-14


@eqx.filter_jit
def velocity(flow, problem):
    return flow.velocity(0.3, problem.w0, problem, 1)


@pytest.mark.parametrize("damping", [10.0, 0.1, rg.ResidualDamping(0.1)])
@pytest.mark.parametrize("name", NETS)
def test_matrix_free_velocity_is_the_dense_one_to_its_tolerance(name, damping):
    problem, rtol = NETS[name](), 1e-9
    w_dot, f_dot = velocity(rg.LevenbergMarquardtFlow(damping, matrix_free=rg.MatrixFree(rtol=rtol)), problem)
    point = problem.linearise(problem.w0)
    rho = damping if isinstance(damping, float) else damping(0.3, point, 1)
    dense = damped_direction(point.jac, point.loss_gradient, rho, 1.0, min(problem.n, problem.p)).w_dot
    cond = 1 + np.linalg.norm(point.jac, 2) ** 2 / float(rho)
    assert relative_error(w_dot, dense) < np.sqrt(problem.n) * rtol * cond
    assert relative_error(f_dot, point.jac @ w_dot) < 1e-13


def test_tolerance_and_steps_are_kept():
    problem = matrix_problem(matrix_with(30, 20, np.geomspace(1, 1e-3, 20)))
    _, forward, backward = problem.products(problem.w0)
    point = problem.linearise(problem.w0)
    dense = damped_direction(point.jac, point.loss_gradient, 1e-4, 1.0, 20).w_dot
    errors, steps = [], []
    for rtol in (1e-2, 1e-5, 1e-10):
        solution = rg.MatrixFree(rtol=rtol).direction(forward, backward, problem.w0, point.loss_gradient, 1e-4)
        assert bool(solution.converged)
        errors.append(relative_error(solution.w_dot, dense))
        steps.append(int(solution.steps))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-7
    assert steps == sorted(steps)
    assert steps[0] < steps[2]
    cut = rg.MatrixFree(rtol=1e-10, max_steps=3).direction(forward, backward, problem.w0, point.loss_gradient, 1e-4)
    assert not bool(cut.converged)
    assert np.isnan(cut.w_dot).all()
    still = rg.MatrixFree().direction(forward, backward, problem.w0, 0 * point.loss_gradient, 1e-4)
    assert bool(still.converged)
    assert not still.w_dot.any()


def test_a_matrix_free_method_takes_the_same_steps():
    problem = NETS["n > p"]()
    dense = rg.iterate(problem, rg.LevenbergMarquardt(0.3), steps=4)
    free = rg.iterate(problem, rg.LevenbergMarquardt(0.3, matrix_free=rg.MatrixFree(rtol=1e-12)), steps=4)
    assert relative_error(free.outputs, dense.outputs) < 1e-8
    assert relative_error(free.losses, dense.losses) < 1e-8
    assert (free.stats["per_step"]["krylov_steps"] > 0).all()
    assert (free.stats["rank"], free.stats["cond"]) == (None, None)
    assert np.isnan(free.sigma_min).all()
    assert np.isnan(free.grad_norms).all()


def test_a_matrix_free_flow_ends_where_the_dense_one_does():
    problem = NETS["n < p"]()
    dense = rg.solve(problem, rg.LevenbergMarquardtFlow(0.3), t1=2.0)
    free = rg.solve(problem, rg.LevenbergMarquardtFlow(0.3, matrix_free=rg.MatrixFree(rtol=1e-12)), t1=2.0)
    assert relative_error(free.outputs, dense.outputs) < 1e-7
    assert (free.stats["direction"], free.stats["rank"], free.stats["cond"]) == ("conjugate gradients", None, None)
    assert dense.stats["direction"] in rg.linalg.BRANCHES
    assert np.isnan(free.sigma_min).all()


def test_a_matrix_free_flow_never_forms_the_jacobian(monkeypatch):
    def formed(self, w):
        raise AssertionError("the Jacobian was formed")

    problem = tanh_net(40, (3, 5, 1))
    monkeypatch.setattr(rg.Problem, "jac", formed)
    free = rg.solve(problem, rg.LevenbergMarquardtFlow(0.3, matrix_free=rg.MatrixFree()), t1=0.5, ts=[0.0, 0.5])
    assert free.succeeded
    with pytest.raises(AssertionError, match="was formed"):
        rg.solve(problem, rg.LevenbergMarquardtFlow(0.3), t1=0.5, ts=[0.0, 0.5])


@pytest.mark.parametrize("name", NETS)
def test_matrix_free_gradient_flow_is_gradient_flow(name):
    problem = NETS[name]()
    for found, expected in zip(
        velocity(rg.GradientFlow(matrix_free=True), problem), velocity(rg.GradientFlow(), problem), strict=True
    ):
        assert relative_error(found, expected) < 1e-13
    free, dense = (
        rg.solve(problem, flow, t1=0.1, rtol=1e-10, atol=1e-12)
        for flow in (rg.GradientFlow(matrix_free=True), rg.GradientFlow())
    )
    assert relative_error(free.outputs, dense.outputs) < 1e-8
    assert (free.stats["direction"], dense.stats["direction"], free.stats["rank"]) == ("product", "product", None)
    assert np.isnan(free.sigma_min).all()


def test_matrix_free_gradient_flow_forms_no_jacobian(monkeypatch):
    def formed(self, w, formed=True):
        raise AssertionError("the Jacobian was formed")

    problem = tanh_net(39, (3, 5, 1))
    monkeypatch.setattr(rg.Problem, "linearise", formed)
    assert rg.solve(problem, rg.GradientFlow(matrix_free=True), t1=0.01, ts=[0.0, 0.01]).succeeded
    with pytest.raises(AssertionError, match="was formed"):
        rg.solve(problem, rg.GradientFlow(), t1=0.01, ts=[0.0, 0.01])


def test_a_stiff_matrix_free_flow_takes_explicit_steps_and_says_so():
    stiff, reason = choose_solver(rg.GradientFlow(matrix_free=True), 1e6, 1.0)
    assert type(stiff).__name__ == "Dopri8"
    assert reason.startswith("stiff, but matrix-free, and the implicit solver forms J: fastest rate 1e+06")
    assert type(choose_solver(rg.GradientFlow(), 1e6, 1.0)[0]).__name__ == "Kvaerno5"
    assert choose_solver(rg.GradientFlow(matrix_free=True), 1e2, 1.0)[1].startswith("not stiff")


@pytest.mark.parametrize("gap", [0.5, 0.9, 1.0])
def test_the_largest_eigenvalue_is_estimated_from_below(gap):
    s = np.array([3.0, 3.0 * gap, *np.geomspace(1.0, 1e-3, 18)])
    problem = matrix_problem(matrix_with(30, 20, s))
    _, forward, backward = problem.products(problem.w0)
    found = float(largest_eigenvalue(forward, backward, problem.w0))
    assert 8.5 < found < 9.0 * (1 + 1e-13)


def test_no_rate_is_claimed_where_the_products_are_zero_or_not_finite():
    assert float(largest_eigenvalue(lambda v: 0 * v, lambda u: u, jnp.ones(3))) == 0.0
    assert float(largest_eigenvalue(lambda v: jnp.nan * v, lambda u: u, jnp.ones(3))) == 0.0


def test_a_flow_whose_direction_does_not_converge_ends_there():
    flow = rg.LevenbergMarquardtFlow(1e-6, matrix_free=rg.MatrixFree(rtol=1e-12, max_steps=2))
    trajectory = rg.solve(NETS["n > p"](), flow, t1=1.0, throw=False)
    assert trajectory.status == "krylov_limit"
    assert float(trajectory.ts[-1]) == 0.0


def test_a_solve_that_does_not_converge_is_an_ending():
    problem = NETS["n > p"]()
    method = rg.LevenbergMarquardt(1e-6, matrix_free=rg.MatrixFree(rtol=1e-12, max_steps=2))
    trajectory = rg.iterate(problem, method, steps=3, throw=False)
    assert trajectory.status == "krylov_limit"
    assert trajectory.ts.size == 1
    with pytest.raises(rg.SolveError, match="conjugate gradients did not reach"):
        rg.iterate(problem, method, steps=3)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: rg.MatrixFree(rtol=0.0), "`rtol` of MatrixFree must be a number between 0 and 1, got 0.0"),
        (lambda: rg.MatrixFree(rtol="tiny"), "got 'tiny'"),
        (lambda: rg.MatrixFree(rtol=-0.5), "got -0.5"),
        (lambda: rg.MatrixFree(rtol=1.0), "got 1.0"),
        (lambda: rg.MatrixFree(rtol=2), "got 2"),
        (lambda: rg.MatrixFree(rtol=True), "`rtol` of MatrixFree .* got True"),
        (lambda: rg.MatrixFree(max_steps=True), "`max_steps` of MatrixFree .* got True"),
        (lambda: rg.MatrixFree(max_steps=10.0), "got 10.0"),
        (lambda: rg.MatrixFree(max_steps=-1), "got -1"),
        (lambda: rg.MatrixFree(max_steps=0), "`max_steps` of MatrixFree must be a positive integer, got 0"),
        (
            lambda: rg.LevenbergMarquardtFlow(0.0, matrix_free=rg.MatrixFree()),
            "`matrix_free` needs a positive damping, got 0",
        ),
        (
            lambda: rg.LevenbergMarquardt(0, matrix_free=rg.MatrixFree()),
            "`matrix_free` needs a positive damping, got 0",
        ),
        (
            lambda: rg.GradientFlow(matrix_free=rg.MatrixFree()),
            "`matrix_free` of GradientFlow, which has nothing to solve, must be True or False, got M",
        ),
        (
            lambda: rg.LevenbergMarquardtFlow(1.0, matrix_free=True),
            "`matrix_free` must be a MatrixFree or None, got True",
        ),
        (
            lambda: velocity(
                rg.LevenbergMarquardtFlow(rg.SpectralDamping(), matrix_free=rg.MatrixFree()), NETS["n < p"]()
            ),
            "SpectralDamping needs the singular",
        ),
    ],
)
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()


def test_a_matrix_too_large_is_a_sentence_before_it_is_made():
    x = jnp.ones((10**6, 1))
    problem = rg.Problem(rg.LinearModel(), jnp.zeros(1), x, jnp.zeros(10**6))
    assert problem.jac(problem.w0).shape == (10**6, 1)
    with pytest.raises(
        ValueError,
        match=r"The tangent kernel of shape \(1000000, 1000000\) takes 8000.0 GB, 24000.0 GB with its factorisation, and",
    ):
        problem.ntk(problem.w0)
    net = rg.MLP((4, 2000, 2000, 1))
    problem = rg.Problem(net, net.init(key=jax.random.key(0)), jnp.ones((2 * 10**4, 4)), jnp.zeros(2 * 10**4))
    with pytest.raises(
        ValueError,
        match=r"The Jacobian of shape .* takes 642.2 GB, .* use LevenbergMarquardtFlow\(rho, matrix_free=MatrixFree\(\)\)",
    ):
        rg.solve(problem, rg.GaussNewtonFlow(), t1=1.0)


def test_the_memory_limit_is_that_of_the_machine():
    assert 1e8 < memory_limit() < 1e15
