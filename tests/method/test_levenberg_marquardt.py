"""Levenberg-Marquardt: contraction on linear models, damping schedules, matrix-free steps."""

import numpy as np
import pytest

import riemgn as rg
from riemgn import iterate, LevenbergMarquardt
from tests.helpers import matrix_problem, matrix_with, relative_error
from tests.method.shared import is_quadratic, modes, NET, residuals, STEPS, TALL, WIDE, wide_net


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
    "options", [{"damping": rg.TrustRegion()}, {"damping": 0.1, "step_size": 8.0, "line_search": True}]
)
def test_matrix_free_steps_equal_the_dense_ones(options):
    dense = iterate(NET, LevenbergMarquardt(**options), steps=5)
    matrix_free = iterate(NET, LevenbergMarquardt(**options, matrix_free=rg.MatrixFree(rtol=1e-12)), steps=5)
    assert relative_error(matrix_free.params, dense.params) < 1e-8


def test_damped_steps_do_not_need_the_rank():
    doubled = matrix_problem(np.repeat(matrix_with(4, 10, np.geomspace(1, 0.1, 4)), 2, axis=0))  # rank 4 of 8
    one, other = (iterate(doubled, LevenbergMarquardt(1e-9), steps=2, spectra=spectra) for spectra in (True, False))
    assert relative_error(other.outputs, one.outputs) < 1e-6
