"""Levenberg-Marquardt: contraction, damping schedules, matrix-free steps, the trust region."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import riemgn as rg
from riemgn import GaussNewton, iterate, LevenbergMarquardt, TrustRegion
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net
from tests.method.shared import FAR, is_quadratic, modes, NET, residuals, STEPS, TALL, VALLEY, WIDE, wide_net


@pytest.mark.parametrize("matrix", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("c", [0.25, 4.0])
def test_spectral_damping_contracts_every_mode(matrix, c):
    """Every mode contracts at least by `c / (1 + c)`, the slowest exactly (Statement C9)."""
    trajectory = iterate(matrix_problem(matrix), LevenbergMarquardt(rg.SpectralDamping(c)), steps=STEPS)
    eigenvalues, observed = modes(matrix, residuals(trajectory))
    factor = observed[1:] / observed[:-1]
    np.testing.assert_allclose(factor[:, -1], c / (1 + c), rtol=1e-8)
    assert np.all(np.abs(factor) <= c / (1 + c) + 1e-8)
    np.testing.assert_allclose(trajectory.stats["per_step"]["damping"], c * eigenvalues[-1], rtol=1e-10)


@pytest.mark.parametrize(
    ("schedule", "rho"),
    [
        (0.3, lambda t, r: 0.3),
        (rg.ExponentialDamping(0.3, 2.0), lambda t, r: 0.3 * np.exp(-2.0 * t)),
        (rg.ResidualDamping(0.1, 2.0), lambda t, r: 0.1 * r @ r),
    ],
    ids=["number", "exponential", "residual"],
)
def test_schedule_gets_the_time_and_the_point(schedule, rho):
    trajectory = iterate(matrix_problem(WIDE), LevenbergMarquardt(schedule, step_size=0.7), steps=STEPS)
    w, y, t = np.asarray(trajectory.params[0]), np.asarray(trajectory.problem.y), 0.0
    for k in range(STEPS):
        r = WIDE @ w - y
        w = w - 0.7 * WIDE.T @ np.linalg.solve(WIDE @ WIDE.T + rho(t, r) * np.eye(7), r)
        t += 0.7
        assert relative_error(trajectory.params[k + 1], w) < 1e-11


@pytest.mark.parametrize(("damping", "holds"), [(rg.ResidualDamping(0.1), True), (0.1, False)])
def test_residual_damping_converges_quadratically(damping, holds):
    """Statement D13: `rho = c |r|` gives `|r+| <= (2 c + L) / (2 sigma^2) |r|^2`."""
    problem, lipschitz = wide_net(64)
    trajectory = iterate(problem, LevenbergMarquardt(damping), steps=STEPS)
    assert is_quadratic(trajectory, (0.2 + lipschitz) / (2 * np.asarray(trajectory.sigma_min[:-1]) ** 2)) == holds


def test_spectral_damping_decreases_the_loss(eta=0.5, c=1.0):
    """Statement D14: `g_{k+1} <= (1 - eta / (1 + c)) g_k` under its condition on the step."""
    problem, lipschitz = wide_net(1024)
    trajectory = iterate(problem, LevenbergMarquardt(rg.SpectralDamping(c), eta), steps=STEPS)
    norms = np.linalg.norm(residuals(trajectory), axis=1)[:-1]
    curvature = lipschitz / np.asarray(trajectory.sigma_min[:-1]) ** 2 * norms / (1 + c)
    assert np.all(eta * (curvature + (1 + eta * curvature / 2) ** 2) <= 1)
    ratios = np.asarray(trajectory.losses[1:] / trajectory.losses[:-1])
    assert np.all(ratios <= 1 - eta / (1 + c))


@pytest.mark.parametrize(
    "options", [{"damping": TrustRegion()}, {"damping": 0.1, "step_size": 8.0, "line_search": True}]
)
def test_matrix_free_steps_equal_the_dense_ones(options):
    dense = iterate(NET, LevenbergMarquardt(**options), steps=5)
    matrix_free = iterate(NET, LevenbergMarquardt(**options, matrix_free=rg.MatrixFree(rtol=1e-12)), steps=5)
    assert relative_error(matrix_free.params, dense.params) < 1e-8


def test_damped_steps_do_not_need_the_rank():
    doubled = matrix_problem(np.repeat(matrix_with(4, 10, np.geomspace(1, 0.1, 4)), 2, axis=0))  # rank 4 of 8
    one, other = (iterate(doubled, LevenbergMarquardt(1e-9), steps=2, spectra=spectra) for spectra in (True, False))
    assert relative_error(other.outputs, one.outputs) < 1e-6


UNDER = rg.teacher_student(n=40, width=2, cond=3.0, key=jax.random.key(3), alpha=1.0, noise=0.1)  # n = 40, p = 13


def trusted(**options) -> LevenbergMarquardt:
    return LevenbergMarquardt(TrustRegion(**options))


def test_steps_follow_the_gain_ratio():
    """The gain, the acceptance and the next damping by their definitions, with a NumPy Jacobian."""
    trajectory = iterate(VALLEY, trusted(start=1e-3, increase=3.0, decrease=5.0), steps=12)
    step, w, rho, time = trajectory.stats["per_step"], np.array([-1.2, 1.0]), 1e-3, 0.0
    for k in range(12):
        jac = np.array([[-20 * w[0], 10.0], [-1.0, 0.0]])
        r = np.array([10 * (w[1] - w[0] ** 2), 1 - w[0]])
        d = -np.linalg.solve(jac.T @ jac + rho * np.eye(2), jac.T @ r)
        trial = w + d
        after = np.array([10 * (trial[1] - trial[0] ** 2), 1 - trial[0]])
        gain = (r @ r - after @ after) / (r @ r - np.sum((r + jac @ d) ** 2))
        np.testing.assert_allclose([step["damping"][k], step["gain"][k]], [rho, gain], rtol=1e-6)
        accepted = after @ after < r @ r
        assert step["accepted"][k] == step["step_size"][k] == accepted
        w, time = (trial, time + 1) if accepted else (w, time)
        fall = min(1 / 5, np.sqrt(after @ after / (r @ r)))
        rho = rho * 3 if gain < 0.25 else rho * fall if gain > 0.75 else rho
        np.testing.assert_allclose(trajectory.params[k + 1], w, rtol=1e-7)
        assert trajectory.ts[k + 1] == time
    taken = step["accepted"].sum()
    assert 0 < taken < 12
    assert (trajectory.stats["num_accepted_steps"], trajectory.stats["num_rejected_steps"]) == (taken, 12 - taken)


@pytest.mark.parametrize("problem", [FAR, VALLEY, UNDER], ids=["circle", "rosenbrock", "rank_loss_without_damping"])
def test_loss_never_increases_and_ends_as_in_minpack(problem):
    trajectory = iterate(problem, trusted(), steps=200)
    losses = np.asarray(trajectory.losses)
    assert np.all(np.diff(losses) <= 1e-15 * losses[0])  # the rounding of two programs
    undamped = iterate(problem, GaussNewton(), steps=60, throw=False)
    assert np.any(np.diff(undamped.losses) > 0)
    assert problem is not UNDER or undamped.status == "rank_lost"
    residual = jax.jit(lambda w: problem.outputs(w) - problem.y)
    jac = jax.jit(lambda w: problem.jac(w))
    minpack = least_squares(residual, trajectory.params[10], jac=jac, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert abs(losses[-1] - minpack.cost) <= 1e-11 * (1 + minpack.cost)


def test_convergence_is_quadratic_when_the_residual_vanishes():
    """`|r_{k+1}| / |r_k|^2` tends to a constant; it grows with a fixed damping."""
    problem = tanh_net(8, (3, 30, 1))

    def ratios(method) -> np.ndarray:
        norms = np.linalg.norm(iterate(problem, method, steps=20).outputs - problem.y, axis=1)
        return (norms[1:] / norms[:-1] ** 2)[(norms[:-1] < 0.1 * norms[0]) & (norms[1:] > 1e-11)]

    adaptive, fixed = ratios(trusted()), ratios(LevenbergMarquardt(1e-3))
    assert len(adaptive) >= 3
    assert adaptive.max() < 2 * adaptive.min()
    assert fixed.max() > 100 * fixed.min()


def test_damping_stays_within_its_bounds():
    low = iterate(matrix_problem(WIDE), trusted(start=1.0, lower=1e-2), steps=12).stats["per_step"]["damping"]
    high = iterate(VALLEY, trusted(start=1e-3, upper=2e-3), steps=12).stats["per_step"]["damping"]
    assert (low.min(), high.max()) == (1e-2, 2e-3)


def test_rejected_step_does_not_meet_the_step_tolerance():
    stats = iterate(VALLEY, trusted(start=1e-3), steps=12, step_tol=1e-12).stats
    assert stats["num_rejected_steps"] > 0 and stats["num_steps"] == 12


def test_overflowing_outputs_are_rejected():
    problem = rg.Problem(lambda params, x: jnp.exp(x @ params), jnp.array([-5.0]), [[1.0], [150.0]], [20.0, 1.0])
    trajectory = iterate(problem, trusted(start=1e-9), steps=40)
    assert not np.isfinite(problem.objective(problem.w0 + 15.0))
    assert trajectory.stats["num_rejected_steps"] > 0
    assert np.all(np.diff(trajectory.losses) <= 1e-15 * trajectory.losses[0])
    assert trajectory.losses[-1] < trajectory.losses[0]


def test_gain_uses_the_hessian_of_the_loss():
    """Logistic regression, whose quadratic model has the Hessian of the loss."""
    matrix, targets = matrix_with(12, 4, np.geomspace(1, 0.1, 4)), np.where(np.arange(12) % 2, 0.7, 0.3)
    problem = matrix_problem(matrix, rg.LogisticLoss(), targets=targets)
    trajectory = iterate(problem, trusted(), steps=80)
    assert trajectory.grad_norms[-1] < 1e-6 * trajectory.grad_norms[0]
    point = problem.linearise(problem.w0)
    change = np.asarray(point.jac @ (trajectory.params[1] - trajectory.params[0]))
    predicted = -np.asarray(point.loss_gradient) @ change - np.asarray(point.loss_hessian) @ change**2 / 2
    gain = (trajectory.losses[0] - trajectory.losses[1]) / predicted
    np.testing.assert_allclose(trajectory.stats["per_step"]["gain"][0], gain, rtol=1e-9)
