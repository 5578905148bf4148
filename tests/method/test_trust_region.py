"""Trust-region damping: the gain ratio, what it guarantees, and what happens without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import riemgn as rg
from riemgn import GaussNewton, iterate, LevenbergMarquardt, TrustRegion
from tests.helpers import matrix_problem, matrix_with, tanh_net
from tests.method.shared import WIDE

FAR = rg.task.circle(radius=1.0, target=4.0, angle=1.0)  # the target is outside the circle, so full steps overshoot


def rosenbrock(params, x):
    return jnp.stack([10 * (params[1] - params[0] ** 2), 1 - params[0]])


VALLEY = rg.Problem(rosenbrock, jnp.array([-1.2, 1.0]), jnp.zeros(2), jnp.zeros(2))
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
