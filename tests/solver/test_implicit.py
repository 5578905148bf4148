"""Implicit solver: stage matrices against dense solves, the iteration, and whole solves."""

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
from riemgn.solver import implicit
from riemgn.solver.implicit import (
    factorise,
    low_rank_part,
    LowRankChord,
    MatrixFreeStage,
    parameter_velocity,
    TallStage,
    WideStage,
)
from tests.helpers import relative_error, tanh_net

# name -> flow, (a, rho) of its gain s / (a s + rho)
GAINS = {
    "gf": (rg.GradientFlow(), 0.0, 1.0),
    "gn": (rg.GaussNewtonFlow(), 1.0, 0.0),
    "lm": (rg.LevenbergMarquardtFlow(0.3), 1.0, 0.3),
    "interpolated": (rg.InterpolatedFlow(0.4), 0.6, 0.4),
    "ggn damped": (rg.GeneralizedGaussNewtonFlow(0.2), 1.0, 0.2),
}
WIDE, TALL = (8, (3, 10, 1)), (40, (3, 4, 1))
SHAPES = {"wide": WIDE, "wide_layers": WIDE, "wide_function": WIDE, "tall": TALL}
TOLS = {"rtol": 1e-6, "atol": 1e-8}


def _network(params, x):
    """The network of "wide" as a function, so that its Jacobian is formed."""
    return rg.MLP(WIDE[1])(params, x)


def net(shape: str, logistic: bool = False) -> rg.Problem:
    n, sizes = SHAPES[shape]
    problem = tanh_net(n, sizes)
    if shape == "wide_function":
        problem = rg.Problem(_network, problem.params, problem.x, problem.y)
    targets = np.where(np.arange(n) % 2, 0.8, 0.2)
    return rg.Problem(problem.model, problem.params, problem.x, targets, rg.LogisticLoss()) if logistic else problem


def dense_stage(problem, flow, share, damping, c) -> np.ndarray:
    """`I + c (a J^T J + rho I)^{-1} J^T B J` with dense NumPy matrices."""
    point = problem.linearise(problem.w0)
    jac, b = np.asarray(point.jac), np.asarray(point.loss_hessian)
    if flow.whitens:
        jac, b = np.sqrt(b)[:, None] * jac, np.ones_like(b)
    inner = share * jac.T @ jac + damping * np.eye(problem.p)
    return np.eye(problem.p) + c * np.linalg.pinv(inner, rcond=1e-13, hermitian=True) @ jac.T @ (b[:, None] * jac)


# --- one stage matrix ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GAINS)
def test_stage_solve_equals_a_dense_solve(name, shape, monkeypatch):
    if shape == "wide_layers":
        monkeypatch.setattr(implicit, "LARGEST_FORMED", 0)
    flow, share, damping = GAINS[name]
    problem = net(shape, logistic=True)
    part = low_rank_part(flow, 0.0, problem.w0, problem, min(problem.n, problem.p))
    assert math.isclose(part.share, share, abs_tol=1e-100)
    assert math.isclose(part.damping, damping, abs_tol=1e-100, rel_tol=1e-12)
    v = jax.random.normal(jax.random.key(1), (problem.p,))
    for c in (1e-2, 1e3):
        matrix = factorise(part, jnp.asarray(c))
        assert isinstance(matrix, TallStage if shape == "tall" else WideStage)
        assert isinstance(getattr(matrix, "jac", None), LayerJacobian) == (shape == "wide_layers")
        assert (
            relative_error(matrix.solve(problem, v), np.linalg.solve(dense_stage(problem, flow, share, damping, c), v))
            < 1e-9
        )


@pytest.mark.parametrize("shape", ["wide", "wide_function"])
def test_all_forms_of_the_stage_matrix_agree(shape):
    problem = net(shape)
    part = low_rank_part(rg.LevenbergMarquardtFlow(0.3), 0.0, problem.w0, problem, problem.n)
    c, v = jnp.asarray(10.0), jax.random.normal(jax.random.key(1), (problem.p,))
    wide = factorise(part, c)
    free = MatrixFreeStage(problem.w0, wide.left, wide.right, wide.factor)
    padded = jnp.pad(formed(part.jac), ((0, problem.p), (0, 0))), jnp.ones(problem.n + problem.p)
    tall = factorise(eqx.tree_at(lambda p: (p.jac, p.curvature), part, padded), c)
    assert isinstance(tall, TallStage)
    for other in (free, tall):
        assert relative_error(other.solve(problem, v), wide.solve(problem, v)) < 1e-12


@pytest.mark.parametrize("name", ["gf", "lm", "interpolated"])
def test_low_rank_part_is_exact_on_a_linear_model(name):
    flow, share, damping = GAINS[name]
    problem = rg.task.linear(6, 9, 10.0, key=jax.random.key(0))
    slope = jax.jacfwd(lambda w: parameter_velocity(flow, 0.0, w, problem, 6))(problem.w0)
    assert relative_error(np.eye(9) - 2.0 * slope, dense_stage(problem, flow, share, damping, 2.0)) < 1e-10


def test_velocity_of_gradient_flow_needs_one_reverse_pass():
    problem = net("wide", logistic=True)
    full = rg.GradientFlow().velocity(0.0, problem.w0, problem, 8)[0]
    assert relative_error(parameter_velocity(rg.GradientFlow(), 0.0, problem.w0, problem, 8), full) < 1e-13


def test_zero_curvature_gives_the_identity():
    problem = net("wide")
    part = low_rank_part(rg.GradientFlow(), 0.0, problem.w0, problem, 8)
    empty = eqx.tree_at(lambda p: p.curvature, part, jnp.zeros(8))
    v = jnp.ones(problem.p)
    assert np.allclose(factorise(empty, jnp.asarray(3.0)).solve(problem, v), v)


# --- the iteration ---


def updates(problem, h: float, finder: LowRankChord, diagonal: float = 0.26):
    """Return the number of updates, the last excess, and whether the iteration converged."""
    flow, rank = rg.GradientFlow(), jnp.asarray(min(problem.n, problem.p))
    args = SimpleNamespace(problem=problem, flow=flow, rank=rank)
    arguments = (jnp.asarray(1), jnp.asarray(diagonal), None, None, jnp.asarray(0.0), problem.w0, args, jnp.asarray(h))

    def excess(k, _):
        return k - parameter_velocity(flow, 0.0, problem.w0 + diagonal * h * k, problem, rank)

    k = jnp.zeros(problem.p)
    state = jax.jit(lambda k: finder.init(None, k, arguments, {}, None, None, frozenset()))(k)
    if diagonal == 0.0:
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.matrix))

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
    assert converged and count == 2  # the second update shows that the first one was exact
    assert float(jnp.max(jnp.abs(excess))) < 1e-9


def test_explicit_first_stage_factorises_nothing():
    count, excess, converged = updates(net("wide"), 1.0, LowRankChord(**TOLS), diagonal=0.0)
    assert (count, converged) == (1, True) and np.allclose(excess, 0.0)


@pytest.mark.parametrize("factor", [-1.0, 0.5], ids=["sign", "half"])
def test_wrong_stage_matrix_does_not_pass_unnoticed(factor, monkeypatch):
    """The iteration corrects it in more updates, or reports that it failed."""
    problem, finder = net("wide"), LowRankChord(**TOLS)
    count, _, converged = updates(problem, 0.5, finder)
    assert converged
    wrong = lambda part, c: eqx.tree_at(lambda m: m.left, factorise(part, c), replace_fn=lambda v: factor * v)  # noqa: E731
    monkeypatch.setattr(implicit, "factorise", wrong)
    wrong_count, excess, wrong_converged = updates(problem, 0.5, finder)
    assert not wrong_converged or wrong_count >= count + 2
    assert wrong_converged or float(jnp.max(jnp.abs(excess))) > 1e-6


# --- whole solves ---


@pytest.mark.parametrize("shape", [(20, 5), (6, 20)], ids=["tall", "wide"])
def test_linear_gradient_flow_has_its_closed_form(shape):
    """`f_t - y = exp(-K t) (f_0 - y)` over 3e4 time scales of the fastest mode."""
    problem = rg.task.linear(*shape, 1e2, key=jax.random.key(0))
    ts = np.concatenate([[0.0], np.geomspace(1e-2, 3e4, 30)])
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=3e4, rtol=1e-7, atol=1e-9, ts=ts, step_to_ts=True)
    assert trajectory.stats["solver"] == "Kvaerno5" and trajectory.stats["solver_reason"].startswith("stiff")
    values, vectors = np.linalg.eigh(np.asarray(problem.ntk(problem.w0)))
    start = vectors.T @ np.asarray(trajectory.outputs[0] - problem.y)
    exact = (np.exp(-np.outer(ts, np.maximum(values, 0.0))) * start) @ vectors.T
    assert relative_error(trajectory.outputs - problem.y, exact) < 1e-6
    assert trajectory.stats["num_steps"] < 400 and trajectory.stats["num_rejected_steps"] < 10


class Arguments(eqx.Module):
    problem: rg.Problem
    flow: rg.GradientFlow
    rank: jax.Array


@eqx.filter_jit
def end(args, t1, solver, steps=None):
    """Return `w(t1)` by `steps` equal steps, or by adaptive ones."""
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-9) if steps is None else diffrax.ConstantStepSize()
    term = diffrax.ODETerm(lambda t, w, args: parameter_velocity(args.flow, t, w, args.problem, args.rank))
    dt0 = None if steps is None else t1 / steps
    options = {"stepsize_controller": controller, "max_steps": 4096}
    return diffrax.diffeqsolve(term, solver, 0.0, t1, dt0, args.problem.w0, args, **options).ys[0]


GRADIENT = Arguments(net("tall"), rg.GradientFlow(), jnp.asarray(21))


def test_order_of_the_method_stays():
    exact = end(GRADIENT, jnp.asarray(0.1), diffrax.Dopri8())
    solver = diffrax.Kvaerno5(root_finder=LowRankChord(1e-12, 1e-12, kappa=1e-2), root_find_max_steps=20)
    coarse, fine = (
        float(jnp.linalg.norm(end(GRADIENT, jnp.asarray(0.1), solver, jnp.asarray(steps)) - exact))
        for steps in (8.0, 16.0)
    )
    assert abs(math.log2(coarse / fine) - 5) < 0.5


@pytest.mark.parametrize("curvature", ["gauss-newton", "exact"])
def test_both_curvatures_end_at_the_same_point(curvature):
    finder = diffrax.with_stepsize_controller_tols(LowRankChord)(curvature=curvature)
    ends = (end(GRADIENT, jnp.asarray(1.0), each) for each in (diffrax.Kvaerno5(root_finder=finder), diffrax.Dopri8()))
    assert relative_error(*ends) < 1e-7


# --- endings and bad input ---


def _until_one(params, x):
    return jnp.where(params[0] <= 1.0, params[0], jnp.nan) * x[:, 0]


def test_nan_from_the_model_ends_with_a_status():
    problem = rg.Problem(_until_one, np.zeros(1), np.ones((2, 1)), 2 * np.ones(2))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=1e4, ts=[1e4], throw=False)
    assert (trajectory.stats["solver"], trajectory.status) == ("Kvaerno5", "step_collapsed")
    assert 0.99 < float(trajectory.params[-1, 0]) <= 1.0 and np.all(np.isfinite(trajectory.outputs))


def _saddle(params, x):
    return x[:, 0] * jnp.stack([params[0], params[1] ** 2])


def test_indefinite_exact_stage_matrix_is_passed():
    """`I - c dF/dw` is singular at `c = 1 / 8`, because the residual curvature is negative."""
    problem = rg.Problem(_saddle, np.array([1.0, 1e-3]), np.ones((2, 1)), np.array([0.0, 4.0]))
    solver = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)(curvature="exact"))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=20.0, ts=[20.0], solver=solver)
    assert trajectory.status == "successful"
    assert np.allclose(trajectory.params[-1], [0.0, 2.0], atol=1e-6)


def test_bad_arguments_are_rejected():
    with pytest.raises(ValueError, match="`curvature` must be 'gauss-newton' or 'exact', got 'dense'"):
        LowRankChord(1e-6, 1e-6, curvature="dense")
    solver, term = diffrax.Kvaerno5(root_finder=LowRankChord(1e-6, 1e-6)), diffrax.ODETerm(lambda t, y, args: -y)
    with pytest.raises(ValueError, match="needs `args` of diffeqsolve with `problem`, `flow` and `rank`, got NoneType"):
        diffrax.diffeqsolve(term, solver, 0.0, 1.0, 0.1, jnp.ones(2))
    with pytest.raises(ValueError, match="solves the stages of a diffrax implicit Runge-Kutta method"):
        optx.root_find(lambda y, args: y, LowRankChord(1e-6, 1e-6), jnp.ones(2))
