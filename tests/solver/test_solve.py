"""Solves against exact laws, closed forms and an independent integrator; events, errors, bad input."""

import math
import os
import subprocess
import sys
import time

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.result import NAMES
from riemgn.solver.plan import saved_times
from tests.helpers import relative_error, TwoLayerTanh

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SEED, ALPHA = 0, 10.0  # a start from which the Gauss-Newton flow keeps its rank


def small_net(seed: int, alpha: float = 1.0, loss=None) -> rg.Problem:
    """n = 20, p = 13: nearly every test solves this shape, so that few compile."""
    return rg.teacher_student(
        n=20, width=3, cond=10.0, inputs=2, noise=0.1, alpha=alpha, loss=loss, key=jax.random.key(seed)
    )


def over_parameterised(distance: float, loss=None, targets=None) -> rg.Problem:
    rng = np.random.default_rng(0)
    x = rg.near_duplicates(rng.standard_normal((6, 3)), distance, key=jax.random.key(0))
    net = rg.MLP((3, 16, 1))
    y = rng.standard_normal(12) if targets is None else targets
    return rg.Problem(net, net.init(key=jax.random.key(0)), x, y, loss)


def name_of(trajectory) -> str:
    return trajectory.status


# --- exact laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "cond"), [(1.0, 1e4), (0.01, 1e8)])
def test_exact_residual_law(distance, cond):
    """C6: `f_t - y = exp(-t) (f_0 - y)` whatever the conditioning of the kernel."""
    problem = over_parameterised(distance)
    assert 0.2 < np.linalg.cond(problem.jac(problem.w0)) ** 2 / cond < 5
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=10.0, **TIGHT)
    residual = np.asarray(trajectory.outputs - problem.y)
    exact = np.exp(-np.asarray(trajectory.ts))[:, None] * residual[0]
    worst = np.linalg.norm(residual - exact, axis=1).max() / np.linalg.norm(residual[0])
    assert trajectory.succeeded
    assert worst <= 1e-8
    assert np.linalg.norm(residual - 1.001 * exact, axis=1).max() / np.linalg.norm(residual[0]) > 1e-4  # can say no


def test_generalised_law():
    """C16: `grad g(f_t) = exp(-t) grad g(f_0)` with the loss Hessian inside."""
    problem = over_parameterised(1.0, rg.LogisticLoss(), np.where(np.arange(12) % 2, 0.8, 0.2))
    trajectory = rg.solve(problem, rg.GeneralizedGaussNewtonFlow(), t1=10.0, **TIGHT)
    gradient = np.asarray(jax.vmap(problem.loss_gradient)(trajectory.outputs))
    exact = np.exp(-np.asarray(trajectory.ts))[:, None] * gradient[0]
    assert np.linalg.norm(gradient - exact, axis=1).max() / np.linalg.norm(gradient[0]) <= 1e-7


def diabetes(cond: float, alpha: float) -> rg.Problem:
    x, y = rg.load_data("diabetes")
    net = rg.MLP((10, 3, 1))
    params = net.init(key=jax.random.key(0))
    problem = rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, x, y)
    return rg.task.reparametrised(problem, cond, key=jax.random.key(1))


def test_gauss_newton_does_not_see_the_coordinates_and_gradient_flow_does():
    """C3 on measured data: outputs for cond(A) = 1, 1e3, 1e6 agree."""
    conds = (1.0, 1e3, 1e6)
    outputs = [rg.solve(diabetes(c, 1e3), rg.GaussNewtonFlow(), t1=5.0).outputs for c in conds]
    for other in outputs[1:]:
        assert np.linalg.norm(other - outputs[0], axis=1).max() / np.linalg.norm(outputs[0], axis=1).max() < 1e-6
    outputs = [rg.solve(diabetes(c, 1.0), rg.GradientFlow(), t1=0.1, rtol=1e-6).outputs for c in conds]
    for other in outputs[1:]:
        assert np.linalg.norm(other - outputs[0], axis=1).max() / np.linalg.norm(outputs[0], axis=1).max() > 0.1


# --- closed forms ----------------------------------------------------------------------------------------------------

LINEAR = rg.task.linear(20, 5, 1e2, key=jax.random.key(0))


def linear_exact(problem, ts, factor):
    """Residuals with each mode of `K = X X^T` multiplied by `factor(eigenvalue, t)`, from NumPy's SVD."""
    x = np.asarray(problem.x)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    r0 = x @ np.asarray(problem.w0) - np.asarray(problem.y)
    modes = u.T @ r0
    return np.stack([r0 - u @ modes + u @ (factor(s**2, t) * modes) for t in np.asarray(ts)])


@pytest.mark.parametrize(
    ("flow", "factor"),
    [
        (rg.GaussNewtonFlow(), lambda s, t: np.exp(-t) * np.ones_like(s)),
        (rg.GradientFlow(), lambda s, t: np.exp(-s * t)),
        (rg.LevenbergMarquardtFlow(0.1), lambda s, t: np.exp(-s / (s + 0.1) * t)),
        (
            rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.5, 2.0)),
            lambda s, t: ((s + 0.5) / (s * np.exp(2.0 * t) + 0.5)) ** (1 / 2.0),
        ),
    ],
    ids=["gn", "gf", "lm", "lm exponential"],
)
def test_linear_model(flow, factor):
    trajectory = rg.solve(LINEAR, flow, t1=10.0, **TIGHT)
    exact = linear_exact(LINEAR, trajectory.ts, factor)
    assert np.abs(np.asarray(trajectory.outputs - LINEAR.y) - exact).max() < 1e-8


def test_stiff_gradient_flow_takes_the_implicit_solver_and_is_right():
    problem = rg.task.linear(20, 5, 1e3, key=jax.random.key(0))
    trajectory = rg.solve(problem, rg.GradientFlow(), t1=1e4)
    assert trajectory.stats["solver"] == "Kvaerno5"
    assert trajectory.stats["solver_reason"].startswith("stiff: fastest rate")
    exact = linear_exact(problem, trajectory.ts, lambda s, t: np.exp(-s * t))
    assert relative_error(trajectory.outputs - problem.y, exact) < 1e-5
    short = rg.solve(LINEAR, rg.GradientFlow(), t1=10.0, **TIGHT)
    assert short.stats["solver"] == "Dopri8"
    assert short.stats["solver_reason"].startswith("not stiff")


def test_circle():
    problem = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=10.0, **TIGHT)
    exact = 2 * np.arctan(np.tan(0.5) * np.exp(-0.5 * np.asarray(trajectory.ts)))
    assert np.abs(np.asarray(trajectory.params[:, 0]) - exact).max() < 1e-8


def test_sphere():
    problem = rg.task.sphere(radius=1.0, target=0.5, polar=1.2, azimuth=0.7)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=5.0, **TIGHT)
    polar = 2 * np.arctan(np.tan(0.6) * np.exp(-0.5 * np.asarray(trajectory.ts)))
    assert np.abs(np.asarray(trajectory.params[:, 0]) - polar).max() < 1e-8
    assert np.abs(np.asarray(trajectory.params[:, 1]) - 0.7).max() < 1e-8


# --- an independent integrator ---------------------------------------------------------------------------------------

DIRECTIONS = {
    "gf": (rg.GradientFlow(), 0.2, lambda jac, r: -jac.T @ r),
    "gn": (rg.GaussNewtonFlow(), 3.0, lambda jac, r: -np.linalg.lstsq(jac, r, rcond=None)[0]),
    "lm": (
        rg.LevenbergMarquardtFlow(0.1),
        3.0,
        lambda jac, r: -np.linalg.solve(jac.T @ jac + 0.1 * np.eye(13), jac.T @ r),
    ),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_agrees_with_scipy_on_a_network_written_by_hand(name):
    flow, t1, direction = DIRECTIONS[name]
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, flow, t1=t1, **TIGHT)
    net, w0, y = TwoLayerTanh(problem.x, 3), np.asarray(problem.w0), np.asarray(problem.y)
    start = net.outputs(w0)

    def right_hand_side(t, w):
        return direction(ALPHA * net.jac(w), ALPHA * (net.outputs(w) - start) - y)

    times = np.asarray(trajectory.ts)
    reference = solve_ivp(right_hand_side, (0, t1), w0, "DOP853", times, rtol=1e-10, atol=1e-12)
    outputs = np.stack([ALPHA * (net.outputs(w) - start) for w in reference.y.T])
    assert reference.success
    assert trajectory.succeeded
    assert relative_error(trajectory.outputs, outputs) < 1e-6
    assert relative_error(trajectory.params, reference.y.T) < 1e-6
    assert np.all(np.diff(trajectory.losses) < 0)


# --- Jacobians kept by layers ----------------------------------------------------------------------------------------


def test_a_flow_by_layers_is_the_flow_with_the_formed_jacobian():
    by_layers = over_parameterised(0.1)
    net = by_layers.model
    formed = rg.Problem(lambda params, x: net(params, x), by_layers.params, by_layers.x, by_layers.y)
    assert by_layers.has_layer_jacobian
    assert not formed.has_layer_jacobian
    one, other = (rg.solve(problem, rg.GaussNewtonFlow(), t1=5.0, **TIGHT) for problem in (by_layers, formed))
    assert one.stats["direction"] == other.stats["direction"] == "corrected Cholesky"
    assert one.stats["num_steps"] == other.stats["num_steps"]
    assert relative_error(one.outputs, other.outputs) < 1e-10
    assert relative_error(one.sigma_min, other.sigma_min) < 1e-8
    assert relative_error(one.grad_norms, other.grad_norms) < 1e-10
    assert relative_error(one.sigma_min[-1], np.linalg.svd(formed.jac(one.params[-1]), compute_uv=False)[-1]) < 1e-8


def test_large_problems_save_fewer_times_by_default():
    small = over_parameterised(1.0)
    assert saved_times(small, rg.GaussNewtonFlow())[0] == 129
    net = rg.MLP((19, 1000, 1), bias=False)
    shapes = jax.eval_shape(lambda key: net.init(key=key), jax.random.key(0))
    large = rg.Problem(
        net, [{"weight": np.zeros(layer["weight"].shape)} for layer in shapes], np.zeros((2000, 19)), np.zeros(2000)
    )
    count, reason = saved_times(large, rg.GaussNewtonFlow())
    assert count == 17
    assert reason.startswith("a spectrum at each takes about")
    free = rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree())
    assert saved_times(large, free)[0] == 129
    assert rg.solve(small, rg.GaussNewtonFlow(), t1=0.1, ts=[0.1]).stats["saved_times"] == "chosen by the caller"


# --- what a trajectory holds -----------------------------------------------------------------------------------------


def test_trajectory_shapes_and_quantities():
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0)
    assert trajectory.ts.shape == trajectory.losses.shape == trajectory.grad_norms.shape == (129,)
    assert trajectory.params.shape == (129, problem.p)
    assert trajectory.outputs.shape == (129, problem.n)
    assert (float(trajectory.ts[0]), float(trajectory.ts[-1])) == (0.0, 3.0)
    assert np.array_equal(trajectory.params[0], problem.w0)
    jac = np.asarray(problem.jac(trajectory.params[-1]))
    gradient = np.asarray(trajectory.outputs[-1] - problem.y)
    assert math.isclose(trajectory.losses[-1], 0.5 * np.sum(gradient**2), rel_tol=1e-12)
    assert math.isclose(trajectory.grad_norms[-1], np.linalg.norm(jac @ np.linalg.pinv(jac) @ gradient), rel_tol=1e-6)
    assert math.isclose(trajectory.sigma_min[-1], np.linalg.svd(jac, compute_uv=False)[-1], rel_tol=1e-9)
    assert trajectory.stats["rank"] == problem.p
    assert math.isclose(trajectory.stats["cond"], np.linalg.cond(problem.jac(problem.w0)), rel_tol=1e-6)
    assert trajectory.stats["num_steps"] >= trajectory.stats["num_accepted_steps"] > 0
    assert trajectory.error is None
    assert "successful" in str(trajectory)
    with pytest.raises(ValueError, match="dense=True"):
        trajectory.evaluate(1.0)


def test_loss_falls_at_the_rate_of_the_riemannian_gradient():
    """C2: `g(f_0) - g(f_T)` is the integral of `|P grad g|^2`."""
    ts = np.linspace(0.0, 3.0, 2049)  # the speed has a narrow feature: coarser quadrature sees 1e-6
    trajectory = rg.solve(small_net(SEED, ALPHA), rg.GaussNewtonFlow(), t1=3.0, ts=ts, **TIGHT)
    t, speed = np.asarray(trajectory.ts), np.asarray(trajectory.grad_norms) ** 2
    simpson = np.sum((t[2::2] - t[:-2:2]) / 6 * (speed[:-2:2] + 4 * speed[1::2] + speed[2::2]))
    assert math.isclose(simpson, trajectory.losses[0] - trajectory.losses[-1], rel_tol=1e-8)


def test_error_estimate_follows_the_tolerance():
    problem = small_net(SEED, ALPHA)
    loose, tight = (
        rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, rtol=r, atol=1e-2 * r, error=True) for r in (1e-4, 1e-9)
    )
    assert loose.error.shape == tight.error.shape == (129,)
    assert float(tight.error.max()) < 1e-6
    assert float(tight.error.max()) < 1e-2 * float(loose.error.max())
    true_error = np.linalg.norm(loose.outputs - tight.outputs, axis=1)
    assert 0.5 < float(loose.error.max()) / true_error.max() < 2


def test_times_asked_for_are_the_times_saved_and_dense_output_lies_on_them():
    problem = small_net(SEED, ALPHA)
    ts = np.array([0.0, 0.3, 1.0, 2.5])
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, ts=ts, dense=True)
    assert np.array_equal(trajectory.ts, [*ts, 3.0])
    for t, w in zip(trajectory.ts, trajectory.params, strict=True):
        assert relative_error(trajectory.evaluate(float(t)), w) < 1e-7
    for t in (-0.1, 3.1, math.nan):
        with pytest.raises(ValueError, match=f"`t` must lie in .* got {t}"):
            trajectory.evaluate(t)


def test_dense_output_holds_the_parameters_alone():
    """The outputs carried beside them, n numbers in every stage of `max_steps` steps, are left out; events are located without them."""
    problem, flow = small_net(SEED, ALPHA), rg.LevenbergMarquardtFlow(0.1)
    free = rg.solve(problem, flow, t1=3.0)
    limits = {"loss_tol": 0.5 * float(free.losses[0] + free.losses[-1]), "ball_radius": 1e3}
    plain, dense = rg.solve(problem, flow, t1=3.0, **limits), rg.solve(problem, flow, t1=3.0, **limits, dense=True)
    shapes = [leaf.shape for leaf in jax.tree.leaves(dense.interpolation)]
    assert sum(shape[:1] == (4096,) for shape in shapes) >= 3
    assert all(shape[1:] == () or shape[-1] == problem.p for shape in shapes)
    assert name_of(dense) == "loss_tolerance_met"
    assert math.isclose(dense.ts[-1], plain.ts[-1], rel_tol=1e-9)
    assert relative_error(dense.params, plain.params) < 1e-9
    assert relative_error(dense.evaluate(float(dense.ts[-1])), dense.params[-1]) < 1e-9


def test_a_solver_of_the_callers_choice():
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, solver=diffrax.Tsit5())
    assert (trajectory.stats["solver"], trajectory.stats["solver_reason"]) == ("Tsit5", "chosen by the caller")
    assert relative_error(trajectory.outputs, rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0).outputs) < 1e-5


# --- endings ---------------------------------------------------------------------------------------------------------


def test_limits_asked_for_end_the_solve_at_the_right_place():
    problem = small_net(SEED, ALPHA)
    flow = rg.LevenbergMarquardtFlow(0.1)
    free = rg.solve(problem, flow, t1=3.0)
    loss_tol = 0.5 * float(free.losses[0] + free.losses[-1])
    radius = 0.5 * float(jnp.linalg.norm(free.params[-1] - problem.w0))
    # both limits in each solve: one compiled program
    on_loss = rg.solve(problem, flow, t1=3.0, loss_tol=loss_tol, ball_radius=1e3)
    on_ball = rg.solve(problem, flow, t1=3.0, loss_tol=1e-12, ball_radius=radius)
    assert name_of(on_loss) == "loss_tolerance_met"
    assert name_of(on_ball) == "ball_left"
    assert math.isclose(on_loss.losses[-1], loss_tol, rel_tol=1e-6)
    assert math.isclose(jnp.linalg.norm(on_ball.params[-1] - problem.w0), radius, rel_tol=1e-6)
    for trajectory in (on_loss, on_ball):
        assert trajectory.stats["event_time"] == float(trajectory.ts[-1]) < 3.0
        assert np.all(np.isfinite(trajectory.outputs))
    met = rg.solve(problem, flow, t1=3.0, loss_tol=1e6)
    assert (name_of(met), met.ts.shape, met.stats["num_steps"]) == ("loss_tolerance_met", (1,), 0)


@pytest.mark.parametrize("solver", [None, diffrax.Tsit5(), diffrax.Kvaerno5()], ids=["default", "tsit5", "kvaerno5"])
@pytest.mark.parametrize("depth", [0.25, 1.0, 4.0])
def test_a_flow_stops_at_a_fold_and_does_not_leap_over_it(depth, solver):
    """f = (w1^2, 2 w2) folds at w1 = 0, where the outputs arrive at t = log(1 + 1 / d); the outputs alone pass it smoothly (theory.md C14)."""
    fold = rg.Problem(
        lambda w, x: jnp.stack([w[0] ** 2, 2 * w[1]]),
        jnp.array([1.0, 0.5]),
        jnp.zeros((2, 1)),
        jnp.array([-depth, 0.0]),
    )
    traj = rg.solve(fold, rg.GaussNewtonFlow(), t1=5.0, throw=False, solver=solver)
    assert traj.status == "rank_lost"
    assert abs(traj.stats["event_time"] - math.log(1 + 1 / depth)) < 1e-6  # a leap of sqrt(eps) counts as rounding
    assert traj.stats.get("drift", 0.0) < 1e-6


def test_loss_of_rank_is_an_event_with_the_trajectory_kept():
    problem = rg.teacher_student(n=100, width=5, cond=3.0, key=jax.random.key(1), alpha=1.0, noise=0.3)
    with pytest.raises(rg.SolveError, match=r"singular set.*stopped at t = 0\.00703") as caught:
        rg.solve(problem, rg.GaussNewtonFlow())
    trajectory = caught.value.trajectory
    assert name_of(trajectory) == "rank_lost"
    assert abs(trajectory.stats["event_time"] / 0.00703 - 1) < 2e-3
    assert trajectory.ts.size >= 2
    assert np.all(np.isfinite(trajectory.params))
    assert float(trajectory.sigma_min[-1]) < 0.1 * float(trajectory.sigma_min[0])
    quiet = rg.solve(problem, rg.GaussNewtonFlow(), throw=False)
    assert name_of(quiet) == "rank_lost"
    assert not quiet.succeeded


def test_step_limit_keeps_the_trajectory():
    problem = small_net(SEED, ALPHA)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, max_steps=4, throw=False)
    assert name_of(trajectory) == "step_limit"
    assert 0 < float(trajectory.ts[-1]) < 3.0
    assert np.all(np.isfinite(trajectory.outputs))
    assert trajectory.stats["num_steps"] == 4
    with pytest.raises(rg.SolveError, match="max_steps"):
        rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, max_steps=4)


def test_every_run_of_a_hundred_ends_quickly_with_a_named_result():
    seen = set()
    rg.solve(small_net(0), rg.GaussNewtonFlow(), t1=20.0, throw=False)  # compile
    for seed in range(100):
        began = time.perf_counter()
        trajectory = rg.solve(small_net(seed), rg.GaussNewtonFlow(), t1=20.0, throw=False)
        assert time.perf_counter() - began < 10, seed
        assert name_of(trajectory) in NAMES, seed
        assert np.all(np.isfinite(trajectory.params)), seed
        assert np.all(np.isfinite(trajectory.losses)), seed
        assert np.all(np.diff(trajectory.ts) > 0), seed
        seen.add(name_of(trajectory))
    assert {"successful", "rank_lost"} <= seen <= {"successful", "rank_lost"}


def test_a_problem_without_any_slope_says_so():
    problem = rg.Problem(lambda w, x: 0 * x[:, 0] * w[0], np.ones(1), np.ones((3, 1)), np.ones(3))
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), throw=False)
    assert (name_of(trajectory), trajectory.stats["rank"]) == ("rank_lost", 0)


# --- compilation and precision ---------------------------------------------------------------------------------------


def test_new_values_compile_nothing():
    compiled = []

    def listener(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    cases = [
        (small_net(SEED, ALPHA), 0.1, {"t1": 3.0}),
        (small_net(SEED + 1, 2 * ALPHA), 0.2, {"t1": 2.0, "rtol": 1e-6, "atol": 1e-8}),
        (small_net(SEED + 2, 3 * ALPHA), 0.3, {"t1": 1.0, "rtol": 1e-7}),
    ]
    for problem, rho, options in cases[:2]:
        rg.solve(problem, rg.LevenbergMarquardtFlow(rho), **options)
    jax.monitoring.register_event_duration_secs_listener(listener)
    problem, rho, options = cases[2]
    rg.solve(problem, rg.LevenbergMarquardtFlow(rho), **options)
    assert compiled == []
    jax.jit(lambda v: v * 1.2345)(jnp.ones(3))
    assert compiled  # the counter counts


SINGLE = """
import jax, riemgn as rg
problem = rg.task.linear(20, 5, 10.0, key=jax.random.key(0))
trajectory = rg.solve(problem, rg.LevenbergMarquardtFlow(0.1), t1=5.0)
assert problem.x.dtype == trajectory.params.dtype == "float32", trajectory.params.dtype
print(trajectory.status, trajectory.stats["dtype"], trajectory.stats["accuracy"])
"""


def test_single_precision_works_and_says_so():
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    done = subprocess.run([sys.executable, "-c", SINGLE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["successful", "float32"]
    assert "float32: rtol raised from 1e-08 to 1e-05" in done.stdout


# --- bad input -------------------------------------------------------------------------------------------------------

BAD_ARGUMENTS = {
    "t1 zero": ({"t1": 0.0}, "`t1` must be positive and finite, got 0.0"),
    "t1 negative": ({"t1": -1}, "got -1"),
    "t1 NaN": ({"t1": math.nan}, "got nan"),
    "t1 infinite": ({"t1": math.inf}, "got inf"),
    "t1 text": ({"t1": "long"}, "`t1` must be a number, got 'long'"),
    "t1 None": ({"t1": None}, "`t1` must be a number, got None"),
    "rtol negative": ({"rtol": -1e-8}, "`rtol` must be positive and finite, got -1e-08"),
    "rtol NaN": ({"rtol": math.nan}, "`rtol` must be positive"),
    "atol zero": ({"atol": 0}, "`atol` must be positive and finite, got 0"),
    "rank_tol": ({"rank_tol": 0.0}, "`rank_tol` must be positive"),
    "ball_radius": ({"ball_radius": -1.0}, "`ball_radius` must be positive and finite, got -1.0"),
    "loss_tol": ({"loss_tol": 0.0}, "`loss_tol` must be positive and finite, got 0.0"),
    "ts falling": ({"ts": [1.0, 0.5]}, r"`ts` must increase within \[0, t1 = 20\], got times from 1 to 0.5"),
    "ts repeated": ({"ts": [0.5, 0.5]}, "`ts` must increase"),
    "ts late": ({"ts": [0.0, 21.0]}, "got times from 0 to 21"),
    "ts early": ({"ts": [-1.0, 1.0]}, "got times from -1 to 1"),
    "ts NaN": ({"ts": [0.0, math.nan]}, "`ts` must increase"),
    "ts empty": ({"ts": []}, r"`ts` must be a non-empty one-dimensional array of times, got shape \(0,\)"),
    "ts scalar": ({"ts": 1.0}, r"got shape \(\)"),
    "ts text": ({"ts": ["a"]}, "dtype <U1"),
    "max_steps zero": ({"max_steps": 0}, "`max_steps` must be a positive integer, got 0"),
    "max_steps float": ({"max_steps": 1e3}, "got 1000.0"),
    "solver name": ({"solver": "Tsit5"}, "`solver` must be a diffrax solver .* got 'Tsit5'"),
    "solver class": ({"solver": diffrax.Tsit5}, "`solver` must be a diffrax solver"),
    "flow name": ({"flow": "gn"}, r"`flow` must be a flow such as GaussNewtonFlow\(\), got 'gn'"),
    "flow class": ({"flow": rg.GaussNewtonFlow}, "`flow` must be a flow"),
    "problem": ({"problem": 3}, "`problem` must be a riemgn.Problem, got int"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_rejected_in_one_sentence(name):
    changed, fragment = BAD_ARGUMENTS[name]
    with pytest.raises(ValueError, match=fragment) as caught:
        rg.solve(**{"problem": LINEAR, "flow": rg.GaussNewtonFlow(), **changed})
    assert "\n" not in str(caught.value)


def test_a_start_with_infinite_outputs_is_rejected():
    problem = rg.Problem(lambda w, x: jnp.exp(w[0] * x[:, 0]), np.array([1e4]), np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match="must start from finite outputs and Jacobian, got a loss of inf"):
        rg.solve(problem, rg.GradientFlow())


PROGRAMS = {
    "explicit": (rg.GaussNewtonFlow(), {}),
    "watched": (rg.LevenbergMarquardtFlow(1e-2), {"loss_tol": 1e-9}),
    "stiff": (rg.GradientFlow(), {"t1": 1e5}),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_process_finds_every_program_of_a_solve(name):
    """A program that calls back to Python, as diffrax's checks do, is kept in no cache and would be compiled again."""
    (flow, settings), events = PROGRAMS[name], []

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
