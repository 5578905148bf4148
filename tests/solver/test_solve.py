"""Solves against exact laws, closed forms and SciPy; events, statuses and bad input."""

import dataclasses
import inspect
import math
import os
import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.solver.plan import saved_times, Settings
from tests.helpers import relative_error, TwoLayerTanh

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SEED, ALPHA = 0, 10.0  # a start from which the Gauss-Newton flow keeps its rank
GN = rg.GaussNewtonFlow()
LINEAR = rg.task.linear(20, 5, 1e2, key=jax.random.key(0))


def small_net(seed: int, alpha: float = 1.0) -> rg.Problem:
    """n = 20, p = 13: nearly every test solves this shape, so that few programs compile."""
    return rg.teacher_student(n=20, width=3, cond=10.0, inputs=2, noise=0.1, alpha=alpha, key=jax.random.key(seed))


def over_parameterised(distance: float, loss=None, targets=None) -> rg.Problem:
    rng = np.random.default_rng(0)
    x = rg.near_duplicates(rng.standard_normal((6, 3)), distance, key=jax.random.key(0))
    net = rg.MLP((3, 16, 1))
    y = rng.standard_normal(12) if targets is None else targets
    return rg.Problem(net, net.init(key=jax.random.key(0)), x, y, loss)


# --- exact laws ---


@pytest.mark.parametrize(("distance", "cond"), [(1.0, 1e4), (0.01, 1e8)], ids=["cond_1e4", "cond_1e8"])
def test_exact_residual_law(distance, cond):
    """Statement C6: `f_t - y = exp(-t) (f_0 - y)` for every condition number of the kernel."""
    problem = over_parameterised(distance)
    assert 0.2 < np.linalg.cond(problem.jac(problem.w0)) ** 2 / cond < 5
    trajectory = rg.solve(problem, GN, t1=10.0, **TIGHT)
    residual = np.asarray(trajectory.outputs - problem.y)
    exact = np.exp(-np.asarray(trajectory.ts))[:, None] * residual[0]
    assert trajectory.succeeded
    assert np.linalg.norm(residual - exact, axis=1).max() / np.linalg.norm(residual[0]) <= 1e-8


def test_generalised_law():
    """Statement C16: `grad g(f_t) = exp(-t) grad g(f_0)` with the loss Hessian inside."""
    problem = over_parameterised(1.0, rg.LogisticLoss(), np.where(np.arange(12) % 2, 0.8, 0.2))
    trajectory = rg.solve(problem, rg.GeneralizedGaussNewtonFlow(), t1=10.0, **TIGHT)
    gradient = np.asarray(jax.vmap(problem.loss_gradient)(trajectory.outputs))
    exact = np.exp(-np.asarray(trajectory.ts))[:, None] * gradient[0]
    assert np.linalg.norm(gradient - exact, axis=1).max() / np.linalg.norm(gradient[0]) <= 1e-7


def test_gauss_newton_is_invariant_to_the_coordinates():
    """Statement C3: the outputs for cond(A) = 1 and 1e6 agree; those of gradient flow do not."""
    plain = small_net(SEED, ALPHA)
    moved = rg.task.reparametrised(plain, 1e6, key=jax.random.key(1))
    for flow, t1, same in ((GN, 3.0, True), (rg.GradientFlow(), 0.1, False)):
        one, other = (rg.solve(problem, flow, t1=t1, rtol=1e-7).outputs for problem in (plain, moved))
        gap = np.linalg.norm(one - other, axis=1).max() / np.linalg.norm(one, axis=1).max()
        assert gap < 1e-6 if same else gap > 0.1


def test_loss_falls_at_the_rate_of_the_riemannian_gradient():
    """Statement C2: `g(f_0) - g(f_T)` is the integral of `|P grad g|^2`."""
    ts = np.linspace(0.0, 3.0, 2049)  # the speed has a narrow feature
    trajectory = rg.solve(small_net(SEED, ALPHA), GN, t1=3.0, ts=ts, **TIGHT)
    t, speed = np.asarray(trajectory.ts), np.asarray(trajectory.grad_norms) ** 2
    simpson = np.sum((t[2::2] - t[:-2:2]) / 6 * (speed[:-2:2] + 4 * speed[1::2] + speed[2::2]))
    assert math.isclose(simpson, trajectory.losses[0] - trajectory.losses[-1], rel_tol=1e-8)


# --- closed forms ---


def linear_exact(problem, ts, factor):
    """Return the residuals with each mode of `K = X X^T` multiplied by `factor(eigenvalue, t)`."""
    x = np.asarray(problem.x)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    r0 = x @ np.asarray(problem.w0) - np.asarray(problem.y)
    modes = u.T @ r0
    return np.stack([r0 - u @ modes + u @ (factor(s**2, t) * modes) for t in np.asarray(ts)])


EXPONENTIAL = rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.5, 2.0))


@pytest.mark.parametrize(("flow", "factor"), [
    (GN, lambda s, t: np.exp(-t) * np.ones_like(s)),
    (rg.GradientFlow(), lambda s, t: np.exp(-s * t)),
    (rg.LevenbergMarquardtFlow(0.1), lambda s, t: np.exp(-s / (s + 0.1) * t)),
    (EXPONENTIAL, lambda s, t: ((s + 0.5) / (s * np.exp(2.0 * t) + 0.5)) ** (1 / 2.0)),
], ids=["gn", "gf", "lm", "lm_exponential"])  # fmt: skip
def test_linear_model(flow, factor):
    trajectory = rg.solve(LINEAR, flow, t1=10.0, **TIGHT)
    exact = linear_exact(LINEAR, trajectory.ts, factor)
    assert np.abs(np.asarray(trajectory.outputs - LINEAR.y) - exact).max() < 1e-8
    assert trajectory.stats["solver_reason"].startswith("not stiff")


def test_stiff_gradient_flow_takes_the_implicit_solver():
    problem = rg.task.linear(20, 5, 1e3, key=jax.random.key(0))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=1e4)
    assert trajectory.stats["solver"] == "Kvaerno5" and trajectory.stats["solver_reason"].startswith("stiff: fastest")
    exact = linear_exact(problem, trajectory.ts, lambda s, t: np.exp(-s * t))
    assert relative_error(trajectory.outputs - problem.y, exact) < 1e-5


def test_circle_and_sphere():
    trajectory = rg.solve(rg.task.circle(radius=2.0, target=1.0, angle=1.0), GN, t1=10.0, **TIGHT)
    exact = 2 * np.arctan(np.tan(0.5) * np.exp(-0.5 * np.asarray(trajectory.ts)))
    assert np.abs(np.asarray(trajectory.params[:, 0]) - exact).max() < 1e-8
    sphere = rg.task.sphere(radius=1.0, target=0.5, polar=1.2, azimuth=0.7)
    trajectory = rg.solve(sphere, GN, t1=5.0, **TIGHT)
    polar = 2 * np.arctan(np.tan(0.6) * np.exp(-0.5 * np.asarray(trajectory.ts)))
    assert np.abs(np.asarray(trajectory.params) - np.stack([polar, np.full_like(polar, 0.7)], 1)).max() < 1e-8


# --- an independent integrator ---

DIRECTIONS = {
    "gf": (rg.GradientFlow(), 0.2, lambda jac, r: -jac.T @ r),
    "gn": (GN, 3.0, lambda jac, r: -np.linalg.lstsq(jac, r, rcond=None)[0]),
    "lm": (rg.LevenbergMarquardtFlow(0.1), 3.0, lambda j, r: -np.linalg.solve(j.T @ j + 0.1 * np.eye(13), j.T @ r)),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_scipy_gives_the_same_path_for_a_handwritten_network(name):
    flow, t1, direction = DIRECTIONS[name]
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, flow, t1=t1, **TIGHT)
    net, w0, y = TwoLayerTanh(problem.x, 3), np.asarray(problem.w0), np.asarray(problem.y)
    start = net.outputs(w0)

    def right_hand_side(t, w):
        return direction(ALPHA * net.jac(w), ALPHA * (net.outputs(w) - start) - y)

    reference = solve_ivp(right_hand_side, (0, t1), w0, "DOP853", np.asarray(trajectory.ts), rtol=1e-10, atol=1e-12)
    outputs = np.stack([ALPHA * (net.outputs(w) - start) for w in reference.y.T])
    assert reference.success and trajectory.succeeded
    assert relative_error(trajectory.outputs, outputs) < 1e-6
    assert relative_error(trajectory.params, reference.y.T) < 1e-6
    assert np.all(np.diff(trajectory.losses) < 0)


def test_layered_jacobian_gives_the_same_flow_as_the_formed_one():
    by_layers = over_parameterised(0.1)
    net = by_layers.model
    formed = rg.Problem(lambda params, x: net(params, x), by_layers.params, by_layers.x, by_layers.y)
    assert by_layers.has_layer_jacobian and not formed.has_layer_jacobian
    one, other = (rg.solve(problem, GN, t1=5.0, **TIGHT) for problem in (by_layers, formed))
    assert one.stats["direction"] == other.stats["direction"] == "corrected Cholesky"
    assert one.stats["num_steps"] == other.stats["num_steps"]
    for name, tolerance in (("outputs", 1e-10), ("sigma_min", 1e-8), ("grad_norms", 1e-10)):
        assert relative_error(getattr(one, name), getattr(other, name)) < tolerance


# --- what a trajectory holds ---


def test_large_problems_save_fewer_times_by_default():
    assert saved_times(over_parameterised(1.0), GN)[0] == 129
    net = rg.MLP((19, 1000, 1), bias=False)
    shapes = jax.eval_shape(lambda key: net.init(key=key), jax.random.key(0))
    params = [{"weight": np.zeros(layer["weight"].shape)} for layer in shapes]
    large = rg.Problem(net, params, np.zeros((2000, 19)), np.zeros(2000))
    count, reason = saved_times(large, GN)
    assert count == 17 and reason.startswith("a spectrum at each takes about")
    assert saved_times(large, rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree()))[0] == 129


def test_trajectory_holds_shapes_quantities_and_stats():
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, GN, t1=3.0)
    assert trajectory.ts.shape == trajectory.losses.shape == trajectory.grad_norms.shape == (129,)
    assert trajectory.params.shape == (129, problem.p) and trajectory.outputs.shape == (129, problem.n)
    assert (float(trajectory.ts[0]), float(trajectory.ts[-1]), trajectory.error) == (0.0, 3.0, None)
    assert np.array_equal(trajectory.params[0], problem.w0)
    jac = np.asarray(problem.jac(trajectory.params[-1]))
    gradient = np.asarray(trajectory.outputs[-1] - problem.y)
    assert math.isclose(trajectory.losses[-1], 0.5 * np.sum(gradient**2), rel_tol=1e-12)
    assert math.isclose(trajectory.grad_norms[-1], np.linalg.norm(jac @ np.linalg.pinv(jac) @ gradient), rel_tol=1e-6)
    assert math.isclose(trajectory.sigma_min[-1], np.linalg.svd(jac, compute_uv=False)[-1], rel_tol=1e-9)
    assert trajectory.stats["rank"] == problem.p
    assert math.isclose(trajectory.stats["cond"], np.linalg.cond(problem.jac(problem.w0)), rel_tol=1e-6)
    assert trajectory.stats["num_steps"] >= trajectory.stats["num_accepted_steps"] > 0


def test_error_estimate_follows_the_tolerance():
    problem = small_net(SEED, ALPHA)
    loose, tight = (rg.solve(problem, GN, t1=3.0, rtol=r, atol=1e-2 * r, error=True) for r in (1e-4, 1e-9))
    assert loose.error.shape == tight.error.shape == (129,)
    assert float(tight.error.max()) < min(1e-6, 1e-2 * float(loose.error.max()))
    true_error = np.linalg.norm(loose.outputs - tight.outputs, axis=1)
    assert 0.5 < float(loose.error.max()) / true_error.max() < 2


def test_dense_output_passes_through_the_saved_times():
    ts = np.array([0.0, 0.3, 1.0, 2.5])
    trajectory = rg.solve(small_net(SEED, ALPHA), GN, t1=3.0, ts=ts, dense=True)
    assert np.array_equal(trajectory.ts, [*ts, 3.0]) and trajectory.stats["saved_times"] == "chosen by the caller"
    for t, w in zip(trajectory.ts, trajectory.params, strict=True):
        assert relative_error(trajectory.evaluate(float(t)), w) < 1e-7


def test_dense_output_holds_the_parameters_alone():
    """The outputs would take n numbers in every stage of `max_steps` steps."""
    problem, flow = small_net(SEED, ALPHA), rg.LevenbergMarquardtFlow(0.1)
    limits = {"loss_tol": 0.3 * float(problem.objective(problem.w0)), "ball_radius": 1e3}
    plain, dense = (rg.solve(problem, flow, t1=3.0, **limits, dense=dense) for dense in (False, True))
    shapes = [leaf.shape for leaf in jax.tree.leaves(dense.interpolation)]
    assert sum(shape[:1] == (4096,) for shape in shapes) >= 3
    assert all(shape[1:] == () or shape[-1] == problem.p for shape in shapes)
    assert plain.status == dense.status == "loss_tolerance_met"
    assert math.isclose(dense.ts[-1], plain.ts[-1], rel_tol=1e-9)
    assert relative_error(dense.params, plain.params) < 1e-9
    assert relative_error(dense.evaluate(float(dense.ts[-1])), dense.params[-1]) < 1e-9


def test_you_can_pass_a_diffrax_solver():
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, GN, t1=3.0, solver=diffrax.Tsit5())
    assert (trajectory.stats["solver"], trajectory.stats["solver_reason"]) == ("Tsit5", "chosen by the caller")
    assert relative_error(trajectory.outputs, rg.solve(problem, GN, t1=3.0).outputs) < 1e-5


# --- statuses ---


def test_limits_end_the_solve_at_the_right_place():
    problem, flow = small_net(SEED, ALPHA), rg.LevenbergMarquardtFlow(0.1)
    free = rg.solve(problem, flow, t1=3.0)
    loss_tol = 0.5 * float(free.losses[0] + free.losses[-1])
    radius = 0.5 * float(jnp.linalg.norm(free.params[-1] - problem.w0))
    # both limits in each solve, so that they share a program
    on_loss = rg.solve(problem, flow, t1=3.0, loss_tol=loss_tol, ball_radius=1e3)
    on_ball = rg.solve(problem, flow, t1=3.0, loss_tol=1e-12, ball_radius=radius)
    assert (on_loss.status, on_ball.status) == ("loss_tolerance_met", "ball_left")
    assert math.isclose(on_loss.losses[-1], loss_tol, rel_tol=1e-6)
    assert math.isclose(jnp.linalg.norm(on_ball.params[-1] - problem.w0), radius, rel_tol=1e-6)
    for trajectory in (on_loss, on_ball):
        assert trajectory.stats["event_time"] == float(trajectory.ts[-1]) < 3.0
    met = rg.solve(problem, flow, t1=3.0, loss_tol=1e6)
    assert (met.status, met.ts.shape, met.stats["num_steps"]) == ("loss_tolerance_met", (1,), 0)


def fold(w, x):
    return jnp.stack([w[0] ** 2, 2 * w[1]])


@pytest.mark.parametrize("solver", [None, diffrax.Tsit5(), diffrax.Kvaerno5()], ids=["default", "tsit5", "kvaerno5"])
def test_flow_stops_at_a_fold(solver):
    """Statement C14: `f = (w1^2, 2 w2)` folds at `w1 = 0`, reached at `log(1 + 1 / depth)`."""
    for depth in (0.25, 4.0):
        problem = rg.Problem(fold, jnp.array([1.0, 0.5]), jnp.zeros((2, 1)), jnp.array([-depth, 0.0]))
        traj = rg.solve(problem, GN, t1=5.0, throw=False, solver=solver)
        assert traj.status == "rank_lost"
        assert abs(traj.stats["event_time"] - math.log(1 + 1 / depth)) < 1e-6
        assert traj.stats.get("drift", 0.0) < 1e-6


def test_loss_of_rank_keeps_the_trajectory():
    problem = rg.teacher_student(n=100, width=5, cond=3.0, key=jax.random.key(1), alpha=1.0, noise=0.3)
    with pytest.raises(rg.SolveError, match=r"singular set.*stopped at t = 0\.00703") as caught:
        rg.solve(problem, GN)
    trajectory = caught.value.trajectory
    assert trajectory.status == "rank_lost" and not trajectory.succeeded
    assert abs(trajectory.stats["event_time"] / 0.00703 - 1) < 2e-3
    assert trajectory.ts.size >= 2 and np.all(np.isfinite(trajectory.params))
    assert float(trajectory.sigma_min[-1]) < 0.1 * float(trajectory.sigma_min[0])


def test_step_limit_keeps_the_trajectory():
    with pytest.raises(rg.SolveError, match="max_steps") as caught:
        rg.solve(small_net(SEED, ALPHA), GN, t1=3.0, max_steps=4)
    trajectory = caught.value.trajectory
    assert (trajectory.status, trajectory.stats["num_steps"]) == ("step_limit", 4)
    assert 0 < float(trajectory.ts[-1]) < 3.0 and np.all(np.isfinite(trajectory.outputs))


def test_every_run_ends_with_a_status():
    statuses = set()
    for seed in range(12):
        trajectory = rg.solve(small_net(seed, ALPHA if seed % 2 == 0 else 1.0), GN, t1=20.0, throw=False)
        assert np.all(np.isfinite(trajectory.params)) and np.all(np.diff(trajectory.ts) > 0), seed
        statuses.add(trajectory.status)
    assert statuses == {"successful", "rank_lost"}


def test_zero_jacobian_ends_at_the_start():
    problem = rg.Problem(lambda w, x: 0 * x[:, 0] * w[0], np.ones(1), np.ones((3, 1)), np.ones(3))
    trajectory = rg.solve(problem, GN, throw=False)
    assert (trajectory.status, trajectory.stats["rank"]) == ("rank_lost", 0)


# --- compilation and precision ---


def test_other_values_compile_nothing():
    compiled = []

    def listener(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    for seed, options in ((0, {"t1": 3.0}), (1, {"t1": 2.0, "rtol": 1e-6, "atol": 1e-8})):
        rg.solve(small_net(seed, ALPHA), rg.LevenbergMarquardtFlow(0.1 + seed), **options)
    jax.monitoring.register_event_duration_secs_listener(listener)
    rg.solve(small_net(2, 3 * ALPHA), rg.LevenbergMarquardtFlow(0.3), t1=1.0, rtol=1e-7)
    assert compiled == []


SINGLE = """
import jax, riemgn as rg
problem = rg.task.linear(20, 5, 10.0, key=jax.random.key(0))
trajectory = rg.solve(problem, rg.LevenbergMarquardtFlow(0.1), t1=5.0)
assert problem.x.dtype == trajectory.params.dtype == "float32", trajectory.params.dtype
print(trajectory.status, trajectory.stats["dtype"], trajectory.stats["accuracy"])
"""


def test_single_precision_raises_the_tolerance():
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    done = subprocess.run([sys.executable, "-c", SINGLE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "successful float32 float32: rtol raised from 1e-08 to 1e-05"


@pytest.mark.parametrize(("flow", "settings"), [
    (rg.LevenbergMarquardtFlow(1e-2), {"loss_tol": 1e-9}), (rg.GradientFlow(), {"t1": 1e5})
], ids=["explicit_with_event", "stiff"])  # fmt: skip
def test_every_program_of_a_solve_is_cached(flow, settings):
    """A program with a callback to Python is never cached, and would be compiled again."""
    events = []

    def listen(event: str, **_) -> None:
        events.append(event.rpartition("/")[2])

    problem = small_net(SEED, ALPHA)
    rg.solve(problem, flow, throw=False, **settings)
    jax.clear_caches()
    jax.monitoring.register_event_listener(listen)
    try:
        rg.solve(problem, flow, throw=False, **settings)
    finally:
        jax.monitoring.unregister_event_listener(listen)
    assert events.count("cache_hits") == events.count("compile_requests_use_cache") > 2


# --- bad input ---

BAD_ARGUMENTS = {
    "t1_zero": ({"t1": 0.0}, "`t1` must be positive and finite, got 0.0"),
    "t1_text": ({"t1": "long"}, "`t1` must be a number, got 'long'"),
    "rtol_negative": ({"rtol": -1e-8}, "`rtol` must be positive and finite, got -1e-08"),
    "atol_zero": ({"atol": 0}, "`atol` must be positive and finite, got 0"),
    "ball_radius": ({"ball_radius": -1.0}, "`ball_radius` must be positive and finite, got -1.0"),
    "loss_tol": ({"loss_tol": math.nan}, "`loss_tol` must be positive and finite, got nan"),
    "ts_decreasing": ({"ts": [1.0, 0.5]}, r"`ts` must increase within \[0, t1 = 20\], got times from 1 to 0.5"),
    "ts_late": ({"ts": [0.0, 21.0]}, "got times from 0 to 21"),
    "ts_empty": ({"ts": []}, r"`ts` must be a non-empty one-dimensional array of times, got shape \(0,\)"),
    "max_steps_zero": ({"max_steps": 0}, "`max_steps` must be a positive integer, got 0"),
    "max_steps_float": ({"max_steps": 1e3}, "got 1000.0"),
    "solver_name": ({"solver": "Tsit5"}, "`solver` must be a diffrax solver .* got 'Tsit5'"),
    "flow_name": ({"flow": "gn"}, r"`flow` must be a flow such as GaussNewtonFlow\(\), got 'gn'"),
    "problem": ({"problem": 3}, "`problem` must be a riemgn.Problem, got int"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_rejected_in_one_sentence(name):
    changed, fragment = BAD_ARGUMENTS[name]
    with pytest.raises(ValueError, match=fragment) as caught:
        rg.solve(**{"problem": LINEAR, "flow": GN, **changed})
    assert "\n" not in str(caught.value)


def test_infinite_start_is_rejected():
    problem = rg.Problem(lambda w, x: jnp.exp(w[0] * x[:, 0]), np.array([1e4]), np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="must start from finite outputs and Jacobian, got a loss of inf"):
        rg.solve(problem, rg.GradientFlow())


def test_solve_and_solve_batch_have_the_same_defaults():
    parameters = inspect.signature(rg.solve).parameters
    for field in dataclasses.fields(Settings):
        assert parameters[field.name].default == field.default, field.name
    assert parameters["throw"].default is inspect.signature(rg.solve_batch).parameters["throw"].default is True
