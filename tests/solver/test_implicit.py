"""Stage matrices against dense solves, the iteration that uses them, closed forms of whole solves, endings."""

import math
from types import SimpleNamespace

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import riemgn as rg
from riemgn.jacobian import LayerJacobian
from riemgn.linalg import formed
from riemgn.solver import implicit as stiff
from riemgn.solver.implicit import (
    factorise,
    low_rank_part,
    LowRankChord,
    MatrixFreeStage,
    parameter_velocity,
    TallStage,
    WideStage,
)
from riemgn.solver.plan import choose_solver
from tests.helpers import relative_error, tanh_net

# name -> flow, (a, rho) of its gain s / (a s + rho)
GAINS = {
    "gf": (rg.GradientFlow(), 0.0, 1.0),
    "gn": (rg.GaussNewtonFlow(), 1.0, 0.0),
    "lm": (rg.LevenbergMarquardtFlow(0.3), 1.0, 0.3),
    "interpolated": (rg.InterpolatedFlow(0.4), 0.6, 0.4),
    "ggn damped": (rg.GeneralizedGaussNewtonFlow(0.2), 1.0, 0.2),
}
SHAPES = {
    "wide": (8, (3, 10, 1)),
    "wide layers": (8, (3, 10, 1)),
    "wide function": (8, (3, 10, 1)),
    "tall": (40, (3, 4, 1)),
}
TOLS = {"rtol": 1e-6, "atol": 1e-8}


def _network(params, x):
    """The network of "wide" as a function: its Jacobian is formed."""
    return rg.MLP(SHAPES["wide"][1])(params, x)


def net(shape: str, logistic: bool = False) -> rg.Problem:
    n, sizes = SHAPES[shape]
    problem = tanh_net(n, sizes)
    if shape == "wide function":
        problem = rg.Problem(_network, problem.params, problem.x, problem.y)
    targets = np.where(np.arange(n) % 2, 0.8, 0.2)
    return rg.Problem(problem.model, problem.params, problem.x, targets, rg.LogisticLoss()) if logistic else problem


def dense_stage(problem, flow, share, damping, c) -> np.ndarray:
    """`I + c (a G + rho I)^{-1} J^T B J` with dense NumPy matrices."""
    point = problem.linearise(problem.w0)
    jac, b = np.asarray(point.jac), np.asarray(point.loss_hessian)
    if flow.whitens:
        jac, b = np.sqrt(b)[:, None] * jac, np.ones_like(b)
    inner = share * jac.T @ jac + damping * np.eye(problem.p)
    return np.eye(problem.p) + c * np.linalg.pinv(inner, rcond=1e-13, hermitian=True) @ jac.T @ (b[:, None] * jac)


# --- one stage matrix ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logistic", [False, True], ids=["squared", "logistic"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GAINS)
def test_stage_solve_equals_a_dense_solve(name, shape, logistic, monkeypatch):
    if shape == "wide layers":
        monkeypatch.setattr(stiff, "LARGEST_FORMED", 0)
    flow, share, damping = GAINS[name]
    problem = net(shape, logistic)
    part = low_rank_part(flow, 0.0, problem.w0, problem, min(problem.n, problem.p))
    assert math.isclose(part.share, share, abs_tol=1e-100)
    assert math.isclose(part.damping, damping, abs_tol=1e-100, rel_tol=1e-12)
    v = jax.random.normal(jax.random.key(1), (problem.p,))
    for c in (1e-2, 1.0, 1e3):
        matrix = factorise(part, jnp.asarray(c))
        assert isinstance(matrix, TallStage if shape == "tall" else WideStage)
        assert isinstance(getattr(matrix, "jac", None), LayerJacobian) == (shape == "wide layers")
        exact = np.linalg.solve(dense_stage(problem, flow, share, damping, c), v)
        assert relative_error(matrix.solve(problem, v), exact) < 1e-9


@pytest.mark.parametrize("shape", ["wide", "wide function"])
def test_both_sides_and_the_matrix_free_form_agree(shape):
    problem = net(shape)
    part = low_rank_part(rg.LevenbergMarquardtFlow(0.3), 0.0, problem.w0, problem, problem.n)
    c, v = jnp.asarray(10.0), jax.random.normal(jax.random.key(1), (problem.p,))
    wide = factorise(part, c)
    free = MatrixFreeStage(problem.w0, wide.left, wide.right, wide.factor)
    padded = eqx.tree_at(
        lambda p: (p.jac, p.curvature),
        part,
        (jnp.pad(formed(part.jac), ((0, problem.p), (0, 0))), jnp.ones(problem.n + problem.p)),
    )
    tall = factorise(padded, c)
    assert isinstance(tall, TallStage)
    assert relative_error(free.solve(problem, v), wide.solve(problem, v)) < 1e-12
    assert relative_error(tall.solve(problem, v), wide.solve(problem, v)) < 1e-12


@pytest.mark.parametrize("name", ["gf", "lm", "interpolated"])
def test_on_a_linear_model_the_low_rank_part_is_the_whole_jacobian(name):
    flow, share, damping = GAINS[name]
    problem = rg.task.linear(6, 9, 10.0, key=jax.random.key(0))
    slope = jax.jacfwd(lambda w: parameter_velocity(flow, 0.0, w, problem, 6))(problem.w0)
    assert relative_error(np.eye(9) - 2.0 * slope, dense_stage(problem, flow, share, damping, 2.0)) < 1e-10


def test_gradient_flow_by_one_reverse_pass():
    problem = net("wide", logistic=True)
    full = rg.GradientFlow().velocity(0.0, problem.w0, problem, 8)[0]
    assert relative_error(parameter_velocity(rg.GradientFlow(), 0.0, problem.w0, problem, 8), full) < 1e-13


def test_a_loss_of_negative_curvature_leaves_the_stage_matrix_definite():
    problem = net("wide")
    part = low_rank_part(rg.GradientFlow(), 0.0, problem.w0, problem, 8)
    empty = eqx.tree_at(lambda p: p.curvature, part, jnp.zeros(8))
    v = jnp.ones(problem.p)
    assert np.allclose(factorise(empty, jnp.asarray(3.0)).solve(problem, v), v)


# --- the iteration ---------------------------------------------------------------------------------------------------


def stage(problem, h: float, diagonal: float = 0.26, flow=None):
    """Function, unknown and arguments of a stage as diffrax hands them to its root finder."""
    args = SimpleNamespace(
        problem=problem, flow=rg.GradientFlow() if flow is None else flow, rank=jnp.asarray(min(problem.n, problem.p))
    )
    # equinox partitions PyTrees: a namespace is a leaf without arrays, so the arguments stay a closure of this test's own function
    arguments = (jnp.asarray(1), jnp.asarray(diagonal), None, None, jnp.asarray(0.0), problem.w0, args, jnp.asarray(h))

    def excess(k, _):
        return k - parameter_velocity(args.flow, 0.0, problem.w0 + diagonal * h * k, problem, args.rank)

    return excess, jnp.zeros(problem.p), arguments


def updates(problem, h: float, finder: LowRankChord, diagonal: float = 0.26):
    """Number of updates, the last unknown, and whether the iteration says it converged."""
    excess, k, arguments = stage(problem, h, diagonal)
    state = jax.jit(lambda k: finder.init(None, k, arguments, {}, None, None, frozenset()))(k)

    @jax.jit
    def advance(k, state):
        k, state, _ = finder.step(lambda k, a: (excess(k, a), None), k, arguments, {}, state, frozenset())
        done, result = finder.terminate(None, k, arguments, {}, state, frozenset())
        return k, state, done, result == optx.RESULTS.successful

    for count in range(1, 11):
        k, state, done, successful = advance(k, state)
        if bool(done):
            return count, excess(k, None), bool(successful)
    return 11, excess(k, None), False


def test_one_update_solves_a_linear_stage():
    problem = rg.task.linear(6, 9, 10.0, key=jax.random.key(0))
    count, excess, converged = updates(problem, 1e3, LowRankChord(**TOLS))
    assert converged
    assert count == 2  # the second update is the proof that the first was exact
    assert float(jnp.max(jnp.abs(excess))) < 1e-9


def test_an_update_below_the_tolerance_ends_the_iteration_at_once():
    assert updates(net("wide"), 1e-10, LowRankChord(**TOLS))[0] == 1


def test_the_explicit_first_stage_factorises_nothing():
    problem = net("wide")
    excess, k, arguments = stage(problem, 1.0, diagonal=0.0)
    state = LowRankChord(**TOLS).init(None, k, arguments, {}, None, None, frozenset())
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.matrix))
    count, excess, converged = updates(problem, 1.0, LowRankChord(**TOLS), diagonal=0.0)
    assert (count, converged) == (1, True)
    assert np.allclose(excess, 0.0)


WRONG = {
    "sign": lambda m: eqx.tree_at(lambda m: m.left, m, -m.left),
    "step forgotten": lambda m: eqx.tree_at(lambda m: m.left, m, 0.0 * m.left),
    "half": lambda m: eqx.tree_at(lambda m: m.left, m, 0.5 * m.left),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_stage_matrix_is_seen(name, monkeypatch):
    problem, finder = net("wide"), LowRankChord(**TOLS)
    count, _, converged = updates(problem, 0.5, finder)
    assert converged
    monkeypatch.setattr(stiff, "factorise", lambda part, c: WRONG[name](factorise(part, c)))
    wrong_count, excess, wrong_converged = updates(problem, 0.5, finder)
    assert not wrong_converged or wrong_count >= count + 2
    assert wrong_converged or float(jnp.max(jnp.abs(excess))) > 1e-6


# --- whole solves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 5), (6, 20)])
def test_linear_gradient_flow_has_its_closed_form(shape):
    """`f_t - y = exp(-K t) (f_0 - y)` over 3e4 time scales of the fastest mode."""
    problem = rg.task.linear(*shape, 1e2, key=jax.random.key(0))
    ts = np.concatenate([[0.0], np.geomspace(1e-2, 3e4, 30)])
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=3e4, rtol=1e-7, atol=1e-9, ts=ts, step_to_ts=True)
    assert trajectory.stats["solver"] == "Kvaerno5"
    assert trajectory.stats["solver_reason"].startswith("stiff")
    values, vectors = np.linalg.eigh(np.asarray(problem.ntk(problem.w0)))
    start = vectors.T @ np.asarray(trajectory.outputs[0] - problem.y)
    exact = (np.exp(-np.outer(ts, np.maximum(values, 0.0))) * start) @ vectors.T
    assert relative_error(trajectory.outputs - problem.y, exact) < 1e-6
    assert trajectory.stats["num_steps"] < 400
    assert trajectory.stats["num_rejected_steps"] < 10


class Arguments(eqx.Module):
    problem: rg.Problem
    flow: rg.GradientFlow
    rank: jax.Array


def arguments_of(problem, flow=None):
    return Arguments(problem, rg.GradientFlow() if flow is None else flow, jnp.asarray(min(problem.n, problem.p)))


@eqx.filter_jit
def end(args, t1, solver, steps=None):
    """`w(t1)` by `steps` equal steps, or adaptive ones."""
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-9) if steps is None else diffrax.ConstantStepSize()

    def field(t, w, args):
        return parameter_velocity(args.flow, t, w, args.problem, args.rank)

    dt0 = None if steps is None else t1 / steps
    term, w0 = diffrax.ODETerm(field), args.problem.w0
    return diffrax.diffeqsolve(term, solver, 0.0, t1, dt0, w0, args, stepsize_controller=controller, max_steps=4096).ys[
        0
    ]


@pytest.mark.parametrize(("method", "order"), [(diffrax.Kvaerno3, 3), (diffrax.Kvaerno5, 5)])
def test_the_order_of_the_method_stays(method, order):
    args = arguments_of(net("tall"))
    t1 = jnp.asarray(0.1)
    exact = end(args, t1, diffrax.Dopri8())
    solver = method(root_finder=LowRankChord(1e-12, 1e-12, kappa=1e-2), root_find_max_steps=20)
    coarse, fine = (float(jnp.linalg.norm(end(args, t1, solver, jnp.asarray(steps)) - exact)) for steps in (8.0, 16.0))
    assert abs(math.log2(coarse / fine) - order) < 0.5


@pytest.mark.parametrize("curvature", ["gauss-newton", "exact"])
def test_low_rank_and_exact_stage_matrices_end_at_the_same_place(curvature):
    args = arguments_of(net("tall"))
    finder = diffrax.with_stepsize_controller_tols(LowRankChord)(curvature=curvature)
    assert (
        relative_error(
            end(args, jnp.asarray(1.0), diffrax.Kvaerno5(root_finder=finder)),
            end(args, jnp.asarray(1.0), diffrax.Dopri8()),
        )
        < 1e-7
    )


def test_levenberg_marquardt_takes_the_same_stage_solves():
    args = arguments_of(net("tall"), rg.LevenbergMarquardtFlow(0.3))
    finder = diffrax.with_stepsize_controller_tols(LowRankChord)()
    assert (
        relative_error(
            end(args, jnp.asarray(1.0), diffrax.Kvaerno3(root_finder=finder)),
            end(args, jnp.asarray(1.0), diffrax.Dopri8()),
        )
        < 1e-6
    )


def test_the_choice_of_solver_gives_its_reason():
    solver, reason = choose_solver(rg.GradientFlow(), 1.0, 1e6)
    assert isinstance(solver.root_finder, LowRankChord)
    assert reason.startswith("stiff: fastest rate 1 x horizon 1e+06")
    assert isinstance(choose_solver(rg.GradientFlow(), 1.0, 10.0)[0], diffrax.Dopri8)
    assert isinstance(choose_solver(rg.GaussNewtonFlow(), 1.0, 1e6)[0], diffrax.Dopri8)


# --- endings and bad input -------------------------------------------------------------------------------------------


def _until_one(params, x):
    """`w` as long as it is at most 1, NaN beyond."""
    w = params[0]
    return jnp.where(w <= 1.0, w, jnp.nan) * x[:, 0]


def test_nan_from_the_model_in_mid_flow_ends_with_a_code():
    problem = rg.Problem(_until_one, np.zeros(1), np.ones((2, 1)), 2 * np.ones(2))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=1e4, throw=False)
    assert trajectory.stats["solver"] == "Kvaerno5"
    assert trajectory.status == "step_collapsed"
    assert 0.99 < float(trajectory.params[-1, 0]) <= 1.0
    assert np.all(np.isfinite(trajectory.outputs))
    with pytest.raises(rg.SolveError):
        rg.solve(problem, rg.GradientFlow(), t1=1e4)


def _saddle(params, x):
    """`f = (a, b^2)` with target `(0, 4)` seen from small b: the residual curvature is negative there."""
    return x[:, 0] * jnp.stack([params[0], params[1] ** 2])


def test_an_indefinite_exact_stage_matrix_is_stepped_over():
    """`I - c dF/dw` is singular at `c = 1 / 8` near the start; the flow passes and ends at the minimum."""
    problem = rg.Problem(_saddle, np.array([1.0, 1e-3]), np.ones((2, 1)), np.array([0.0, 4.0]))
    solver = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)(curvature="exact"))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=20.0, solver=solver)
    assert trajectory.status == "successful"
    assert np.allclose(trajectory.params[-1], [0.0, 2.0], atol=1e-6)


def test_steps_used_up_in_a_stiff_solve_keep_the_trajectory():
    problem = rg.task.linear(20, 5, 1e2, key=jax.random.key(0))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=3e4, max_steps=5, throw=False)
    assert trajectory.status == "step_limit"
    assert 0 < float(trajectory.ts[-1]) < 3e4


def test_bad_arguments_are_rejected_in_one_sentence():
    with pytest.raises(ValueError, match="`curvature` must be 'gauss-newton' or 'exact', got 'dense'"):
        LowRankChord(1e-6, 1e-6, curvature="dense")
    with pytest.raises(ValueError, match="needs `args` of diffeqsolve with `problem`, `flow` and `rank`, got NoneType"):
        diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: -y),
            diffrax.Kvaerno5(root_finder=LowRankChord(1e-6, 1e-6)),
            0.0,
            1.0,
            0.1,
            jnp.ones(2),
        )
    with pytest.raises(ValueError, match="solves the stages of a diffrax implicit Runge-Kutta method"):
        optx.root_find(lambda y, args: y, LowRankChord(1e-6, 1e-6), jnp.ones(2))
