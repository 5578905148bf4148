"""Methods as solvers of optimistix: the same steps, its tolerances, jit and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import riemgn as rg
from riemgn import GaussNewton, GramGaussNewton, iterate, LevenbergMarquardt, OptimistixSolver, TrustRegion
from tests.helpers import matrix_problem, matrix_with, relative_error
from tests.method.shared import NET

METHODS = {
    "gn": GaussNewton(0.5),
    "lm": LevenbergMarquardt(rg.SpectralDamping(0.5)),
    "lm_trust_region": LevenbergMarquardt(TrustRegion()),
    "lm_matrix_free": LevenbergMarquardt(0.1, matrix_free=rg.MatrixFree()),
}


def residuals(params, data):
    """A PyTree of residuals, one leaf for each half of the samples."""
    x, y = data
    r = NET.model(params, x) - y
    return {"first": r[:4].reshape(2, 2), "rest": r[4:]}


@pytest.mark.parametrize("name", METHODS)
def test_solver_takes_the_steps_of_iterate(name):
    solver = OptimistixSolver(1e-15, 0.0, METHODS[name])
    solution = optx.least_squares(residuals, solver, NET.params, (NET.x, NET.y), max_steps=4, throw=False)
    ours = iterate(NET, METHODS[name], steps=4)
    assert jax.tree.structure(solution.value) == jax.tree.structure(NET.params)
    assert relative_error(NET.with_params(solution.value).w0, ours.params[-1]) < 1e-12
    assert solution.result == optx.RESULTS.nonlinear_max_steps_reached
    np.testing.assert_allclose(solution.state.method.time, ours.ts[-1], rtol=1e-12)


def rosenbrock(y, args):
    return 10 * (y["b"] - y["a"] ** 2), args - y["a"]


def valley(y, args):
    """Rosenbrock's residuals and a third one, so that no point makes all of them zero."""
    return *rosenbrock(y, args), 0.3 * y["a"] * y["b"] + 1.0


START = {"a": jnp.array(-1.2), "b": jnp.array(1.0)}


@pytest.mark.parametrize("fn", [rosenbrock, valley])
def test_optimum_equals_that_of_optimistix(fn):
    ours = optx.least_squares(fn, rg.OptimistixSolver(1e-10, 1e-10), START, 1.0, max_steps=500)
    theirs = optx.least_squares(fn, optx.LevenbergMarquardt(1e-10, 1e-10), START, 1.0, max_steps=2000)
    for name in START:
        np.testing.assert_allclose(ours.value[name], theirs.value[name], atol=1e-7)
    assert 3 < ours.stats["num_steps"] < 500
    assert ours.result == optx.RESULTS.successful


def test_start_at_the_optimum_takes_one_step():
    solution = optx.least_squares(
        rosenbrock, rg.OptimistixSolver(1e-8, 1e-8), {"a": jnp.array(1.0), "b": jnp.array(1.0)}, 1.0, max_steps=30
    )
    assert int(solution.stats["num_steps"]) == 1


def test_looser_tolerance_takes_fewer_steps():
    steps = [
        int(optx.least_squares(valley, rg.OptimistixSolver(tol, tol), START, 1.0).stats["num_steps"])
        for tol in (1e-2, 1e-6, 1e-10)
    ]
    assert steps[0] < steps[1] < steps[2]
    with pytest.raises(Exception, match="maximum number of steps"):
        optx.least_squares(valley, rg.OptimistixSolver(1e-10, 1e-10), START, 1.0, max_steps=3)


def test_solver_works_under_jit_and_grad():
    def fn(y, args):
        return valley(y, args), y["a"] + args

    @jax.jit
    def optimum(target):
        solution = optx.least_squares(fn, rg.OptimistixSolver(1e-12, 1e-12), START, target, has_aux=True)
        return solution.value["a"], solution.aux

    value, aux = optimum(1.0)
    np.testing.assert_allclose(aux, value + 1.0, rtol=1e-8)
    h = 1e-3
    numeric = (optimum(1.0 + h)[0] - optimum(1.0 - h)[0]) / (2 * h)
    np.testing.assert_allclose(jax.grad(lambda t: optimum(t)[0])(1.0), numeric, rtol=1e-4)


def test_float32_parameters_stay_float32():
    start = jax.tree.map(lambda v: v.astype(jnp.float32), START)
    solution = optx.least_squares(rosenbrock, rg.OptimistixSolver(1e-4, 1e-4), start, jnp.asarray(1.0, jnp.float32))
    assert [leaf.dtype for leaf in jax.tree.leaves(solution.value)] == [jnp.float32] * 2
    np.testing.assert_allclose(solution.value["a"], 1.0, atol=1e-3)


def test_underdetermined_problem_gives_the_minimum_norm_solution():
    matrix = matrix_with(7, 200, np.geomspace(1, 0.1, 7))
    problem = matrix_problem(matrix)

    def fn(w, args):
        return args @ w - problem.y

    solution = optx.least_squares(fn, rg.OptimistixSolver(1e-10, 1e-10, GaussNewton()), problem.w0, jnp.asarray(matrix))
    expected = problem.w0 - np.linalg.pinv(matrix) @ (matrix @ np.asarray(problem.w0) - problem.y)
    assert relative_error(solution.value, expected) < 1e-12
    # only n x n systems and n x p matrices: nothing of p x p
    program = str(
        jax.make_jaxpr(lambda w: optx.least_squares(fn, rg.OptimistixSolver(1e-6, 1e-6), w, jnp.asarray(matrix)).value)(
            problem.w0
        )
    )
    assert "[7,200]" in program
    assert "[200,200]" not in program


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: OptimistixSolver(0.0, 1e-6), "`rtol` must be positive and finite, got 0.0"),
        (lambda: OptimistixSolver(1e-6, -1.0), "`atol` must be >= 0 and finite, got -1.0"),
        (
            lambda: OptimistixSolver(1e-6, 1e-6, rg.GaussNewtonFlow()),
            "`method` must be a discrete method such as .*, got GaussNewtonFlow",
        ),
        (
            lambda: OptimistixSolver(1e-6, 1e-6, GramGaussNewton(3)),
            "'gram-gauss-newton' draws its batches, but optimistix passes no random key",
        ),
    ],
)
def test_wrong_argument_is_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
