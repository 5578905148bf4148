"""The driver of the discrete methods: what is kept, when it ends, how it fails, what it compiles."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.method import (
    AbstractMethod,
    GaussNewton,
    GGNScore,
    GradientDescent,
    GramGaussNewton,
    LevenbergMarquardt,
    MethodState,
)
from riemgn.method.base import first_state
from riemgn.penalty import PseudoHuberPenalty
from riemgn.result import NAMES
from riemgn.solver import solve as solve_function
from riemgn.solver.iterate import iterate
from riemgn.trajectory import SolveError
from tests.helpers import matrix_problem, matrix_with, tanh_net

STEPS = 6
NET = tanh_net(8, (3, 10, 1))


def name_of(trajectory) -> str:
    return trajectory.status


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_trajectory_holds_every_point_and_its_quantities():
    method = GaussNewton(0.5)
    trajectory = iterate(NET, method, steps=STEPS)
    assert (trajectory.flow, trajectory.succeeded, trajectory.error, trajectory.tight) == (method, True, None, None)
    np.testing.assert_allclose(trajectory.ts, 0.5 * np.arange(STEPS + 1), rtol=1e-15)
    assert trajectory.params.shape == (STEPS + 1, NET.p)
    assert np.array_equal(trajectory.params[0], NET.w0)
    for k in (0, STEPS):
        w = trajectory.params[k]
        point = NET.linearise(w)
        np.testing.assert_allclose(trajectory.outputs[k], point.outputs, rtol=1e-13)
        np.testing.assert_allclose(trajectory.losses[k], NET.objective(w), rtol=1e-13)
        np.testing.assert_allclose(trajectory.sigma_min[k], np.linalg.svd(point.jac, compute_uv=False)[-1], rtol=1e-9)
        np.testing.assert_allclose(
            trajectory.grad_norms[k], np.linalg.norm(point.loss_gradient), rtol=1e-9
        )  # full row rank
    stats = trajectory.stats
    assert (stats["num_steps"], stats["rank"], stats["event_time"], stats["dtype"]) == (STEPS, 8, None, "float64")
    np.testing.assert_allclose(stats["cond"], np.linalg.cond(NET.jac(NET.w0)), rtol=1e-9)
    np.testing.assert_array_equal(stats["per_step"]["step_size"], np.full(STEPS, 0.5))
    assert set(trajectory.arrays()) == {"ts", "params", "outputs", "losses", "grad_norms", "sigma_min"}
    assert f"{STEPS} steps" in str(trajectory)
    assert "gauss-newton" in str(trajectory)


def test_every_third_point_is_kept_and_every_step_is_reported():
    method = LevenbergMarquardt(rg.ExponentialDamping(0.3), 0.5)
    every, third = iterate(NET, method, steps=STEPS), iterate(NET, method, steps=STEPS, save_every=3)
    np.testing.assert_allclose(third.params, every.params[::3], rtol=1e-13)
    np.testing.assert_allclose(third.ts, every.ts[::3], rtol=1e-15)
    assert third.stats["num_steps"] == STEPS
    for name, values in every.stats["per_step"].items():
        assert values.shape == (STEPS,)
        np.testing.assert_allclose(third.stats["per_step"][name], values, rtol=1e-13)


def test_randomness_is_the_key():
    method = GramGaussNewton(3, 0.5, order="subset")
    one, same, other = (iterate(NET, method, steps=STEPS, key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.params, same.params)
    assert not np.allclose(one.params, other.params)
    cyclic = GramGaussNewton(3, 0.5, order="cyclic")
    assert np.array_equal(
        iterate(NET, cyclic, steps=STEPS).params, iterate(NET, cyclic, steps=STEPS, key=jax.random.key(5)).params
    )


# --- endings ---------------------------------------------------------------------------------------------------------


def test_the_loss_tolerance_ends_the_iteration():
    full = iterate(NET, GaussNewton(0.5), steps=STEPS)
    tolerance = 1.5 * float(full.losses[3])
    short = iterate(NET, GaussNewton(0.5), steps=STEPS, loss_tol=tolerance)
    assert name_of(short) == "loss_tolerance_met"
    assert float(short.losses[-1]) <= tolerance < float(short.losses[-2])
    np.testing.assert_allclose(short.params, full.params[:4], rtol=1e-13)
    assert (short.stats["num_steps"], len(short.stats["per_step"]["step_size"]), short.stats["event_time"]) == (
        3,
        3,
        1.5,
    )
    assert name_of(iterate(NET, GaussNewton(0.5), steps=STEPS, loss_tol=1e-30)) == "successful"
    at_rest = iterate(NET, GaussNewton(0.5), steps=STEPS, loss_tol=1e3)
    assert (name_of(at_rest), at_rest.stats["num_steps"], at_rest.ts.tolist()) == ("loss_tolerance_met", 0, [0.0])


def test_a_step_shorter_than_the_step_tolerance_ends_the_iteration():
    full = iterate(NET, GaussNewton(0.5), steps=STEPS)
    lengths = np.linalg.norm(np.diff(full.params, axis=0), axis=1) / np.maximum(
        np.linalg.norm(full.params[1:], axis=1), 1.0
    )
    short = iterate(NET, GaussNewton(0.5), steps=STEPS, step_tol=1.01 * lengths[3])
    assert name_of(short) == "step_tolerance_met"
    assert short.stats["num_steps"] == 1 + int(np.argmax(lengths < 1.01 * lengths[3])) < STEPS
    np.testing.assert_allclose(short.params, full.params[: len(short.params)], rtol=1e-13)
    assert name_of(iterate(NET, GaussNewton(0.5), steps=STEPS, step_tol=1e-10)) == "successful"


def test_the_loss_tolerance_between_two_points_kept_keeps_the_end():
    full = iterate(NET, GaussNewton(0.5), steps=STEPS)
    short = iterate(NET, GaussNewton(0.5), steps=STEPS, save_every=3, loss_tol=1.5 * float(full.losses[4]))
    np.testing.assert_allclose(short.ts, [0.0, 1.5, 2.0], rtol=1e-15)
    np.testing.assert_allclose(short.params[-1], full.params[4], rtol=1e-13)
    assert short.stats["num_steps"] == 4


def test_the_loss_tolerance_is_above_the_infimum():
    """`inf g` of the logistic loss is not 0 for targets inside (0, 1)."""
    problem = matrix_problem(
        matrix_with(7, 10, np.geomspace(1, 0.1, 7)), rg.LogisticLoss(), targets=np.linspace(0.2, 0.8, 7)
    )
    infimum = float(problem.loss.infimum(problem.y))
    trajectory = iterate(problem, GaussNewton(2.0), steps=60, save_every=6, loss_tol=1e-6)
    assert name_of(trajectory) == "loss_tolerance_met"
    assert infimum > 1
    assert float(trajectory.losses[-1]) - infimum <= 1e-6


def sigmoid_valley(params, x):
    """One output that flattens where the step leads: `J = 1 / cosh(w)^2` is next to nothing far away."""
    return jnp.tanh(params[0] * x[:, 0])


def test_a_jacobian_that_loses_its_rank_ends_the_iteration():
    problem = rg.Problem(sigmoid_valley, jnp.array([1.5]), [[1.0]], [-0.9])
    trajectory = iterate(problem, GaussNewton(), steps=STEPS, throw=False)
    assert name_of(trajectory) == "rank_lost"
    assert float(trajectory.sigma_min[-1]) < 1e-5 * float(trajectory.sigma_min[0]) <= float(trajectory.sigma_min[-2])
    assert len(trajectory.stats["per_step"]["step_size"]) == trajectory.stats["num_steps"] == trajectory.ts.size - 1
    assert name_of(iterate(problem, LevenbergMarquardt(0.5), steps=STEPS)) == "successful"
    with pytest.raises(rg.SolveError, match=r"singular set.*stopped at t = ") as caught:
        iterate(problem, GaussNewton(), steps=STEPS)
    assert np.array_equal(caught.value.trajectory.params, trajectory.params)


def test_a_jacobian_of_rank_zero_ends_before_the_first_step():
    problem = rg.Problem(lambda params, x: 0 * x @ params, jnp.ones(2), jnp.ones((3, 2)), jnp.ones(3))
    trajectory = iterate(problem, GradientDescent(1.0), steps=STEPS, throw=False)
    assert (name_of(trajectory), trajectory.ts.tolist(), trajectory.stats["num_steps"]) == ("rank_lost", [0.0], 0)


def exponential(params, x):
    return jnp.exp(x @ params)


@pytest.mark.parametrize("save_every", [1, 3])
def test_outputs_that_overflow_end_the_iteration(save_every):
    problem = rg.Problem(exponential, jnp.array([1.0]), [[1.0], [2.0]], [-1.0, 50.0])
    trajectory = iterate(problem, GradientDescent(1.0), steps=STEPS, save_every=save_every, throw=False)
    assert name_of(trajectory) == "non_finite"
    assert all(np.all(np.isfinite(values)) for values in trajectory.arrays().values())
    assert trajectory.stats["num_steps"] == len(trajectory.stats["per_step"]["step_size"]) < STEPS
    with pytest.raises(SolveError, match="infinite or NaN"):
        iterate(problem, GradientDescent(1.0), steps=STEPS, save_every=save_every)


def test_every_ending_has_a_name():
    assert {"successful", "rank_lost", "non_finite", "loss_tolerance_met"} <= set(NAMES)
    assert rg.SolveError is SolveError
    assert solve_function.__module__ == "riemgn.solver.solve"


# --- the error bar ---------------------------------------------------------------------------------------------------


def test_the_error_bar_is_of_the_size_of_rounding_and_follows_the_sensitivity():
    trajectory = iterate(NET, GaussNewton(0.5), steps=STEPS, error=True)
    error, scale = np.asarray(trajectory.error), np.linalg.norm(trajectory.outputs, axis=1)
    eps = np.finfo(float).eps
    assert np.all((error >= 8 * eps * scale) & (error <= 1e4 * eps * scale))
    assert trajectory.tight.flow == trajectory.flow
    expected = np.linalg.norm(trajectory.outputs - trajectory.tight.outputs, axis=1) + 8 * eps * scale
    np.testing.assert_allclose(error, expected)
    # full steps towards a point far outside the circle are the map phi - 4 sin(phi): chaos, which a perturbation of rounding size shows
    chaos = iterate(rg.task.circle(radius=1.0, target=4.0, angle=1.0), GaussNewton(), steps=60, error=True)
    assert float(chaos.error[0]) < 1e-14
    assert np.asarray(chaos.error).max() > 1e-6


def test_the_error_is_infinite_where_the_perturbed_run_had_ended():
    problem = matrix_problem(matrix_with(7, 10, np.geomspace(1, 0.1, 7)))
    start = float(problem.objective(problem.w0))
    trajectory = iterate(problem, GaussNewton(0.5), steps=STEPS, error=True, loss_tol=start / 16 * (1 + 1e-16))
    sizes = trajectory.ts.size, trajectory.tight.ts.size
    assert np.isinf(trajectory.error).sum() == max(0, sizes[0] - sizes[1])


# --- one compilation -------------------------------------------------------------------------------------------------


def test_data_and_swept_numbers_compile_once():
    traced = []

    def model(params, x):
        traced.append(1)
        return jnp.tanh(x @ params)

    rng = np.random.default_rng(0)

    def run(scale, **changes):
        problem = rg.Problem(model, rng.standard_normal(5), scale * rng.standard_normal((4, 5)), rng.standard_normal(4))
        made = len(traced)  # building a problem traces its shape
        options = {"eta": 0.5, "weight": 1e-3, "mu": 1.0, "alpha": 0.9, "steps": STEPS} | changes
        iterate(problem, GaussNewton(options["eta"]), steps=options["steps"], throw=False)
        iterate(
            problem,
            GGNScore(PseudoHuberPenalty(options["mu"]), options["weight"], options["alpha"]),
            steps=options["steps"],
        )
        return len(traced) - made

    first = run(1.0)
    assert first > 0
    assert run(2.0, eta=0.3, weight=1e-2, mu=0.5, alpha=0.4) == 0
    assert run(1.0, steps=STEPS + 1) > 0  # can say no: another shape


def test_float32_works_and_says_so():
    with jax.enable_x64(False):
        problem = rg.teacher_student(n=6, width=3, cond=2.0, inputs=2, key=jax.random.key(0))
        trajectory = iterate(problem, GaussNewton(0.5), steps=STEPS)
        assert trajectory.params.dtype == jnp.float32
        assert (trajectory.stats["dtype"], trajectory.stats["accuracy"]) == ("float32", "float32 rounding")


# --- a method of one's own -------------------------------------------------------------------------------------------


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


def test_a_method_of_ones_own():
    trajectory = iterate(NET, Drift(jnp.asarray(0.25)), steps=STEPS)
    np.testing.assert_allclose(trajectory.params[-1], NET.w0 + 0.25 * STEPS, rtol=1e-14)
    np.testing.assert_array_equal(trajectory.stats["per_step"]["twice"], np.full(STEPS, 0.5))


# --- bad input -------------------------------------------------------------------------------------------------------

GN = GaussNewton()


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: iterate("problem", GN, steps=1), "`problem` must be a riemgn.Problem, got str"),
        (
            lambda: iterate(NET, rg.GaussNewtonFlow(), steps=1),
            "`method` must be a discrete method such as .*, got GaussNewtonFlow",
        ),
        (lambda: iterate(NET, GN, steps=0), "`steps` must be a positive integer, got 0"),
        (lambda: iterate(NET, GN, steps=2.0), "`steps` must be a positive integer, got 2.0"),
        (lambda: iterate(NET, GN, steps=True), "got True"),
        (lambda: iterate(NET, GN, steps=4, step_tol=-1.0), "`step_tol` must be positive and finite, got -1.0"),
        (lambda: iterate(NET, GN, steps=4, save_every=3), "`steps` must be a multiple of `save_every`, got 4 and 3"),
        (lambda: iterate(NET, GN, steps=4, save_every=-1), "`save_every` must be a positive integer, got -1"),
        (lambda: iterate(NET, GN, steps=4, rank_tol=0.0), "`rank_tol` must be positive and finite, got 0.0"),
        (lambda: iterate(NET, GN, steps=4, loss_tol=math.nan), "`loss_tol` must be positive and finite, got nan"),
        (lambda: iterate(NET, GN, steps=4, loss_tol="tiny"), "`loss_tol` must be a number, got 'tiny'"),
        (
            lambda: iterate(NET, GramGaussNewton(3), steps=4),
            "'gram-gauss-newton' draws its batches: `key` must be a JAX random key, got None",
        ),
        (lambda: iterate(NET, GramGaussNewton(3), steps=4, key=7), "`key` must be a JAX random key such as .*, got 7"),
        (lambda: iterate(NET.with_params(1e200 * NET.w0), GN, steps=4), "finite outputs and Jacobian, got a loss of"),
    ],
)
def test_wrong_arguments_are_quoted(call, fragment):
    with pytest.raises(ValueError, match=fragment):
        call()
