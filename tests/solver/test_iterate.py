"""The driver of the discrete methods: what it saves, when it stops, what it compiles."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.method import AbstractMethod, MethodState
from riemgn.method.base import first_state
from tests.helpers import matrix_problem, matrix_with, tanh_net

STEPS = 6
NET = tanh_net(8, (3, 10, 1))
GN = rg.GaussNewton(0.5)


def run(problem=NET, method=GN, steps=STEPS, **options):
    return rg.iterate(problem, method, steps=steps, **options)


@pytest.fixture(scope="module")
def full() -> rg.Trajectory:
    """Six half steps of Gauss-Newton on a network."""
    return run()


# --- what is saved ---


def test_trajectory_holds_every_point_and_its_quantities(full):
    assert (full.flow, full.succeeded, full.error, full.tight) == (GN, True, None, None)
    np.testing.assert_allclose(full.ts, 0.5 * np.arange(STEPS + 1), rtol=1e-15)
    assert full.params.shape == (STEPS + 1, NET.p) and np.array_equal(full.params[0], NET.w0)
    for k in (0, STEPS):
        point = NET.linearise(full.params[k])
        np.testing.assert_allclose(full.outputs[k], point.outputs, rtol=1e-13)
        np.testing.assert_allclose(full.losses[k], NET.objective(full.params[k]), rtol=1e-13)
        np.testing.assert_allclose(full.sigma_min[k], np.linalg.svd(point.jac, compute_uv=False)[-1], rtol=1e-9)
        np.testing.assert_allclose(full.grad_norms[k], np.linalg.norm(point.loss_gradient), rtol=1e-9)  # full row rank
    stats = full.stats
    assert (stats["num_steps"], stats["rank"], stats["event_time"], stats["dtype"]) == (STEPS, 8, None, "float64")
    np.testing.assert_allclose(stats["cond"], np.linalg.cond(NET.jac(NET.w0)), rtol=1e-9)
    np.testing.assert_array_equal(stats["per_step"]["step_size"], np.full(STEPS, 0.5))


def test_save_every_keeps_the_report_of_every_step():
    method = rg.LevenbergMarquardt(rg.ExponentialDamping(0.3), 0.5)
    every, third = run(method=method), run(method=method, save_every=3)
    np.testing.assert_allclose(third.params, every.params[::3], rtol=1e-13)
    np.testing.assert_allclose(third.ts, every.ts[::3], rtol=1e-15)
    assert third.stats["num_steps"] == STEPS
    for name, values in every.stats["per_step"].items():
        assert values.shape == (STEPS,)
        np.testing.assert_allclose(third.stats["per_step"][name], values, rtol=1e-13)


def test_random_batches_depend_on_the_key_alone():
    method = rg.GramGaussNewton(3, 0.5, order="subset")
    one, same, other = (run(method=method, key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.params, same.params) and not np.allclose(one.params, other.params)


# --- statuses ---


def test_loss_tolerance_ends_the_iteration(full):
    tolerance = 1.5 * float(full.losses[3])
    short = run(loss_tol=tolerance)
    assert short.status == "loss_tolerance_met"
    assert float(short.losses[-1]) <= tolerance < float(short.losses[-2])
    np.testing.assert_allclose(short.params, full.params[:4], rtol=1e-13)
    stats = short.stats
    assert (stats["num_steps"], len(stats["per_step"]["step_size"]), stats["event_time"]) == (3, 3, 1.5)
    assert run(loss_tol=1e-30).status == "successful"
    at_start = run(loss_tol=1e3)
    assert (at_start.status, at_start.stats["num_steps"], at_start.ts.tolist()) == ("loss_tolerance_met", 0, [0.0])


def test_step_tolerance_ends_the_iteration(full):
    norms = np.maximum(np.linalg.norm(full.params[1:], axis=1), 1.0)
    lengths = np.linalg.norm(np.diff(full.params, axis=0), axis=1) / norms
    short = run(step_tol=1.01 * lengths[3])
    assert short.status == "step_tolerance_met"
    assert short.stats["num_steps"] == 1 + int(np.argmax(lengths < 1.01 * lengths[3])) < STEPS
    np.testing.assert_allclose(short.params, full.params[: len(short.params)], rtol=1e-13)
    assert run(step_tol=1e-10).status == "successful"


def test_end_between_two_saved_points_is_saved(full):
    short = run(save_every=3, loss_tol=1.5 * float(full.losses[4]))
    np.testing.assert_allclose(short.ts, [0.0, 1.5, 2.0], rtol=1e-15)
    np.testing.assert_allclose(short.params[-1], full.params[4], rtol=1e-13)
    assert short.stats["num_steps"] == 4


def test_loss_tolerance_is_above_the_infimum():
    """`inf g` of the logistic loss is not 0 for targets inside (0, 1)."""
    matrix, targets = matrix_with(7, 10, np.geomspace(1, 0.1, 7)), np.linspace(0.2, 0.8, 7)
    problem = matrix_problem(matrix, rg.LogisticLoss(), targets=targets)
    trajectory = run(problem, rg.GaussNewton(2.0), steps=60, save_every=6, loss_tol=1e-6)
    assert trajectory.status == "loss_tolerance_met"
    assert 0 <= float(trajectory.losses[-1] - problem.loss.infimum(problem.y)) <= 1e-6


def sigmoid_valley(params, x):
    return jnp.tanh(params[0] * x[:, 0])


def test_lost_rank_ends_the_iteration():
    """The slope `1 / cosh(w)^2` nearly vanishes where the step leads."""
    problem = rg.Problem(sigmoid_valley, jnp.array([1.5]), [[1.0]], [-0.9])
    with pytest.raises(rg.SolveError, match=r"singular set.*stopped at t = ") as caught:
        run(problem, rg.GaussNewton())
    trajectory = caught.value.trajectory
    assert trajectory.status == "rank_lost"
    assert float(trajectory.sigma_min[-1]) < 1e-5 * float(trajectory.sigma_min[0]) <= float(trajectory.sigma_min[-2])
    assert len(trajectory.stats["per_step"]["step_size"]) == trajectory.stats["num_steps"] == trajectory.ts.size - 1
    assert run(problem, rg.LevenbergMarquardt(0.5)).status == "successful"


def test_zero_jacobian_ends_before_the_first_step():
    problem = rg.Problem(lambda params, x: 0 * x @ params, jnp.ones(2), jnp.ones((3, 2)), jnp.ones(3))
    trajectory = run(problem, rg.GradientDescent(1.0), throw=False)
    assert (trajectory.status, trajectory.ts.tolist(), trajectory.stats["num_steps"]) == ("rank_lost", [0.0], 0)


@pytest.mark.parametrize("save_every", [1, 3])
def test_overflow_ends_the_iteration(save_every):
    problem = rg.Problem(lambda w, x: jnp.exp(x @ w), jnp.array([1.0]), [[1.0], [2.0]], [-1.0, 50.0])
    with pytest.raises(rg.SolveError, match="infinite or NaN") as caught:
        run(problem, rg.GradientDescent(1.0), save_every=save_every)
    trajectory = caught.value.trajectory
    assert trajectory.status == "non_finite"
    assert all(np.all(np.isfinite(values)) for values in trajectory.arrays().values())
    assert trajectory.stats["num_steps"] == len(trajectory.stats["per_step"]["step_size"]) < STEPS


# --- the error ---


def test_error_has_the_size_of_rounding():
    trajectory = run(error=True)
    error, scale = np.asarray(trajectory.error), np.linalg.norm(trajectory.outputs, axis=1)
    eps = np.finfo(float).eps
    assert np.all((error >= 8 * eps * scale) & (error <= 1e4 * eps * scale))
    expected = np.linalg.norm(trajectory.outputs - trajectory.tight.outputs, axis=1) + 8 * eps * scale
    np.testing.assert_allclose(error, expected)


def test_error_shows_a_chaotic_iteration():
    """Full steps to a point far outside the circle iterate the chaotic map `phi - 4 sin(phi)`."""
    chaos = run(rg.task.circle(radius=1.0, target=4.0, angle=1.0), rg.GaussNewton(), steps=60, error=True)
    assert float(chaos.error[0]) < 1e-14 and np.asarray(chaos.error).max() > 1e-6


# --- compilation and precision ---


def test_data_and_numbers_compile_once():
    traced = []

    def model(params, x):
        traced.append(1)
        return jnp.tanh(x @ params)

    rng = np.random.default_rng(0)

    def traces(scale, eta=0.5, weight=1e-3, mu=1.0, alpha=0.9, steps=STEPS):
        problem = rg.Problem(model, rng.standard_normal(5), scale * rng.standard_normal((4, 5)), rng.standard_normal(4))
        before = len(traced)  # a new problem traces its shape
        run(problem, rg.GaussNewton(eta), steps, throw=False)
        run(problem, rg.GGNScore(rg.PseudoHuberPenalty(mu), weight, alpha), steps)
        return len(traced) - before

    assert traces(1.0) > 0
    assert traces(2.0, eta=0.3, weight=1e-2, mu=0.5, alpha=0.4) == 0
    assert traces(1.0, steps=STEPS + 1) > 0


def test_single_precision_is_reported():
    with jax.enable_x64(False):
        problem = rg.teacher_student(n=6, width=3, cond=2.0, inputs=2, key=jax.random.key(0))
        trajectory = run(problem)
        assert trajectory.params.dtype == jnp.float32
        assert (trajectory.stats["dtype"], trajectory.stats["accuracy"]) == ("float32", "float32 rounding")


class Drift(AbstractMethod):
    """Adds the step size to every parameter."""

    step_size: jax.Array
    inverts: bool = eqx.field(static=True, default=False)
    stochastic: bool = eqx.field(static=True, default=False)
    name = "drift"
    matrix_free = None

    def init(self, problem, w, rank) -> MethodState:
        return first_state(w, None, "twice")

    def step(self, problem, w, state, key):
        return w + self.step_size, state.after(None, {"step_size": self.step_size, "twice": 2 * self.step_size})


def test_you_can_pass_your_own_method():
    trajectory = run(method=Drift(jnp.asarray(0.25)))
    np.testing.assert_allclose(trajectory.params[-1], NET.w0 + 0.25 * STEPS, rtol=1e-14)
    np.testing.assert_array_equal(trajectory.stats["per_step"]["twice"], np.full(STEPS, 0.5))


# --- bad input ---

BATCHED = rg.GramGaussNewton(3)


@pytest.mark.parametrize(("options", "fragment"), [
    ({"problem": "problem"}, "`problem` must be a riemgn.Problem, got str"),
    ({"method": rg.GaussNewtonFlow()}, "`method` must be a discrete method such as .*, got GaussNewtonFlow"),
    ({"steps": 0}, "`steps` must be a positive integer, got 0"),
    ({"steps": 2.0}, "`steps` must be a positive integer, got 2.0"),
    ({"steps": True}, "got True"),
    ({"step_tol": -1.0}, "`step_tol` must be positive and finite, got -1.0"),
    ({"steps": 4, "save_every": 3}, "`steps` must be a multiple of `save_every`, got 4 and 3"),
    ({"save_every": -1}, "`save_every` must be a positive integer, got -1"),
    ({"rank_tol": 0.0}, "`rank_tol` must be positive and finite, got 0.0"),
    ({"loss_tol": math.nan}, "`loss_tol` must be positive and finite, got nan"),
    ({"loss_tol": "tiny"}, "`loss_tol` must be a number, got 'tiny'"),
    ({"method": BATCHED}, "`key` must be a JAX random key"),
    ({"method": BATCHED, "key": 7}, "`key` must be a JAX random key such as .*, got 7"),
    ({"problem": NET.with_params(1e200 * NET.w0)}, "finite outputs and Jacobian, got a loss of"),
])  # fmt: skip
def test_wrong_arguments_are_quoted(options, fragment):
    with pytest.raises(ValueError, match=fragment):
        run(**options)
