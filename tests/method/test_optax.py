"""Our steps in other people's loops: as a gradient transformation of optax, as a solver of optimistix."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import riemgn as rg
from riemgn.linalg import MatrixFree
from riemgn.method import (
    GaussNewton,
    GradientDescent,
    GramGaussNewton,
    LevenbergMarquardt,
    OptimistixSolver,
    TrustRegion,
)
from riemgn.solver.iterate import iterate
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net

KEY = jax.random.key(0)
NET = tanh_net(8, (3, 10, 1))
METHODS = {
    "gn": GaussNewton(0.5),
    "lm": LevenbergMarquardt(0.1),
    "lm spectral": LevenbergMarquardt(rg.SpectralDamping(0.5)),
    "lm trusted": LevenbergMarquardt(TrustRegion()),
    "lm matrix-free": LevenbergMarquardt(0.1, matrix_free=MatrixFree()),
    "ggn": GramGaussNewton(3, 0.5, 0.05),
}


def trained(optimiser, params, steps: int, *batches):
    """A user's loop: jitted steps, `optax.apply_updates`; `batches` are dealt in turn."""
    optax = pytest.importorskip("optax")

    @jax.jit
    def step(params, state, **extra):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, state = optimiser.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimiser.init)(params)
    for k in range(steps):
        params, state = step(params, state, **({"batch": batches[k % len(batches)]} if batches else {}))
    return params, state


# --- optax -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_updates_of_a_transformation_are_our_steps(method):
    params, state = trained(rg.as_optax(method, NET, key=KEY), NET.params, 4)
    ours = iterate(NET, method, steps=4, key=KEY)
    assert jax.tree.structure(params) == jax.tree.structure(NET.params)
    assert relative_error(NET.with_params(params).w0, ours.params[-1]) < 1e-12
    assert set(state.report) == set(ours.stats["per_step"])
    for name, values in ours.stats["per_step"].items():
        np.testing.assert_allclose(state.report[name], values[-1], rtol=1e-9)


def test_batches_of_ones_own_take_the_place_of_the_problems():
    rows = ([0, 1, 2], [3, 4, 5], [5, 6, 7])
    y = NET.y
    params, _ = trained(
        rg.as_optax(GramGaussNewton(damping=0.05), NET),
        NET.params,
        4,
        *((NET.x[np.array(r)], y[np.array(r)]) for r in rows),
    )
    w = NET.w0
    for r in (*rows, rows[0]):
        part = rg.Problem(NET.model, NET.unflatten(w), NET.x[np.array(r)], y[np.array(r)])
        jac, loss_gradient = part.jac(w), part.loss_gradient(part.outputs(w))
        w = w - jac.T @ jnp.linalg.solve(jac @ jac.T + 0.05 * jnp.eye(3), loss_gradient)
    assert relative_error(NET.with_params(params).w0, w) < 1e-12


def test_a_transformation_composes_with_chains_and_schedules():
    optax = pytest.importorskip("optax")
    first = rg.as_optax(GaussNewton(), NET)
    schedule = optax.piecewise_constant_schedule(0.5, {2: 0.5})  # 0.5, 0.5, then 0.25
    params, _ = trained(optax.chain(first, optax.scale_by_schedule(schedule)), NET.params, 4)
    w = NET.w0
    for eta in (0.5, 0.5, 0.25, 0.25):
        w = iterate(NET.with_params(w), GaussNewton(eta), steps=1).params[-1]
    assert relative_error(NET.with_params(params).w0, w) < 1e-12
    # heavy ball: s_k = d_k + 0.5 s_{k-1}
    params, _ = trained(optax.chain(first, optax.trace(0.5), optax.scale(0.3)), NET.params, 3)
    w, s = NET.w0, 0.0
    for _ in range(3):
        s = 0.5 * s + iterate(NET.with_params(w), GaussNewton(), steps=1).params[-1] - w
        w = w + 0.3 * s
    assert relative_error(NET.with_params(params).w0, w) < 1e-12


def test_a_masked_transformation_trains_a_part():
    """The last layer alone: the problem's model holds the first, `optax.masked` leaves it where it is."""
    optax = pytest.importorskip("optax")
    first, last = NET.params
    part = rg.Problem(lambda params, x: NET.model([first, params[1]], x), [None, last], NET.x, NET.y)
    mask = [jax.tree.map(lambda _: False, first), jax.tree.map(lambda _: True, last)]
    optimiser = optax.masked(rg.as_optax(LevenbergMarquardt(0.1), part), mask)
    params, _ = trained(optimiser, NET.params, 3)
    for name in first:
        np.testing.assert_array_equal(params[0][name], first[name])
    ours = iterate(part, LevenbergMarquardt(0.1), steps=3)
    assert relative_error(part.with_params([None, params[1]]).w0, ours.params[-1]) < 1e-12


def test_parameters_of_another_tree_and_type_keep_them():
    """A dictionary of float32 leaves, one of them a scalar, in a float64 problem."""
    params = {"rate": jnp.asarray(0.5, jnp.float32), "sizes": jnp.ones((2, 1), jnp.float32)}
    x = jnp.linspace(0, 3, 20)

    def model(params, x):
        return params["sizes"].sum() * jnp.exp(-params["rate"] * x)

    problem = rg.Problem(model, params, x, jnp.exp(-2.0 * x))
    found, _ = trained(rg.as_optax(LevenbergMarquardt(TrustRegion()), problem), params, 20)
    assert [leaf.dtype for leaf in jax.tree.leaves(found)] == [jnp.float32] * 2
    assert [leaf.shape for leaf in jax.tree.leaves(found)] == [(), (2, 1)]
    assert abs(found["rate"] - 2.0) < 1e-5
    assert abs(found["sizes"].sum() - 1.0) < 1e-5


def test_init_without_spectra_presumes_full_rank():
    params, _ = trained(rg.as_optax(LevenbergMarquardt(0.1), NET, spectra=False), NET.params, 2)
    assert relative_error(NET.with_params(params).w0, iterate(NET, LevenbergMarquardt(0.1), steps=2).params[-1]) < 1e-12


def test_a_missing_optax_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(
        ValueError, match="as_optax needs optax, which is not installed; install it with `pip install optax`"
    ):
        rg.as_optax(GaussNewton(), NET)


def updated(method, *arguments, **extra):
    transformation = rg.as_optax(method, NET)
    return transformation.update(None, transformation.init(NET.params), *arguments, **extra)


BATCH = (NET.x[:3], NET.y[:3])


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (
            lambda: rg.as_optax(rg.GaussNewtonFlow(), NET),
            "`method` must be a discrete method such as .*, got GaussNewtonFlow",
        ),
        (lambda: rg.as_optax(GaussNewton(), "net"), "`problem` must be a riemgn.Problem, got str"),
        (
            lambda: rg.as_optax(GramGaussNewton(3), NET),
            "'gram-gauss-newton' draws its batches: `key` must be a JAX random key, got None",
        ),
        (lambda: rg.as_optax(GaussNewton(), NET, spectra=False), "'gauss-newton' inverts J and needs its rank"),
        (
            lambda: rg.as_optax(GaussNewton(), NET).init({"w": jnp.ones(3)}),
            r"leaves of the shapes of the problem's, .*, got \[\(3,\)\]",
        ),
        (lambda: updated(GaussNewton()), r"needs the parameters: call `update\(grads, state, params\)`"),
        (lambda: updated(GaussNewton(), NET.params, batch=BATCH), r"at the start: for a batch use GramGaussNewton\(\)"),
        (
            lambda: updated(GradientDescent(0.1, 3), NET.params, batch=BATCH),
            "deals its own batches: give it `batch_size=None`",
        ),
        (
            lambda: updated(GradientDescent(0.1), NET.params, batch=(NET.x[:3], NET.y[:2])),
            "the same number of samples, got 3 and 2",
        ),
    ],
)
def test_wrong_use_of_a_transformation_is_said(call, fragment):
    pytest.importorskip("optax")
    with pytest.raises(ValueError, match=fragment):
        call()


# --- optimistix ------------------------------------------------------------------------------------------------------


def residuals(params, data):
    """A PyTree of residuals: those of two halves of the samples."""
    x, y = data
    r = NET.model(params, x) - y
    return {"first": r[:4].reshape(2, 2), "rest": r[4:]}


@pytest.mark.parametrize("name", ["gn", "lm", "lm spectral", "lm trusted", "lm matrix-free"])
def test_the_steps_of_the_solver_are_our_steps(name):
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
    """Rosenbrock's with a third residual, which no point makes zero together with the others."""
    return *rosenbrock(y, args), 0.3 * y["a"] * y["b"] + 1.0


START = {"a": jnp.array(-1.2), "b": jnp.array(1.0)}


@pytest.mark.parametrize("fn", [rosenbrock, valley])
def test_the_optimum_is_that_of_optimistix(fn):
    ours = optx.least_squares(fn, rg.OptimistixSolver(1e-10, 1e-10), START, 1.0, max_steps=500)
    theirs = optx.least_squares(fn, optx.LevenbergMarquardt(1e-10, 1e-10), START, 1.0, max_steps=2000)
    for name in START:
        np.testing.assert_allclose(ours.value[name], theirs.value[name], atol=1e-7)
    assert 3 < ours.stats["num_steps"] < 500
    assert ours.result == optx.RESULTS.successful


def test_the_solver_ends_at_once_where_it_starts_at_the_optimum():
    solution = optx.least_squares(
        rosenbrock, rg.OptimistixSolver(1e-8, 1e-8), {"a": jnp.array(1.0), "b": jnp.array(1.0)}, 1.0, max_steps=30
    )
    assert int(solution.stats["num_steps"]) == 1


def test_looser_tolerances_end_sooner_and_a_limit_is_an_error_unless_asked():
    steps = [
        int(optx.least_squares(valley, rg.OptimistixSolver(tol, tol), START, 1.0).stats["num_steps"])
        for tol in (1e-2, 1e-6, 1e-10)
    ]
    assert steps[0] < steps[1] < steps[2]
    with pytest.raises(Exception, match="maximum number of steps"):
        optx.least_squares(valley, rg.OptimistixSolver(1e-10, 1e-10), START, 1.0, max_steps=3)


def test_the_solver_works_under_jit_with_auxiliary_output_and_derivatives():
    def fn(y, args):
        return valley(y, args), y["a"] + args

    @jax.jit
    def optimum(target):
        solution = optx.least_squares(fn, rg.OptimistixSolver(1e-12, 1e-12), START, target, has_aux=True)
        return solution.value["a"], solution.aux

    value, aux = optimum(1.0)
    np.testing.assert_allclose(aux, value + 1.0, rtol=1e-8)
    h = 1e-3  # the loss tells two points apart down to the root of its rounding, 1e-8
    numeric = (optimum(1.0 + h)[0] - optimum(1.0 - h)[0]) / (2 * h)
    np.testing.assert_allclose(jax.grad(lambda t: optimum(t)[0])(1.0), numeric, rtol=1e-4)


def test_float32_parameters_stay_float32():
    start = jax.tree.map(lambda v: v.astype(jnp.float32), START)
    solution = optx.least_squares(rosenbrock, rg.OptimistixSolver(1e-4, 1e-4), start, jnp.asarray(1.0, jnp.float32))
    assert [leaf.dtype for leaf in jax.tree.leaves(solution.value)] == [jnp.float32] * 2
    np.testing.assert_allclose(solution.value["a"], 1.0, atol=1e-3)


def test_more_parameters_than_residuals_take_the_minimum_norm_solution():
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
            "'gram-gauss-newton' draws its batches, and optimistix has no key to give",
        ),
    ],
)
def test_wrong_use_of_the_solver_is_said(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
