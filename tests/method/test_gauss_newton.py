"""Gauss-Newton: exact laws on linear models, quadratic convergence."""

import numpy as np
import pytest

from riemgn import GaussNewton, iterate
from tests.helpers import matrix_problem, matrix_with, relative_error
from tests.method.shared import is_quadratic, modes, residuals, STEPS, TALL, WIDE, wide_net


@pytest.mark.parametrize(
    ("matrix", "tolerance"),
    [(TALL, 1e-13), (matrix_with(7, 10, np.geomspace(1, 1e-6, 7)), 1e-9), (matrix_with(12, 5, [1, 0.3, 1e-3]), 1e-11)],
    ids=["tall", "ill_conditioned", "rank_deficient"],
)
def test_full_step_solves_a_linear_model(matrix, tolerance):
    trajectory = iterate(matrix_problem(matrix), GaussNewton(), steps=STEPS)
    norms, w = np.asarray(trajectory.grad_norms), np.asarray(trajectory.params)
    assert np.all(norms[1:] <= tolerance * norms[0])
    minimum_norm_step = -np.linalg.pinv(matrix, rcond=1e-10) @ residuals(trajectory)[0]
    assert relative_error(w[1] - w[0], minimum_norm_step) < 1e-9


@pytest.mark.parametrize("matrix", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("eta", [0.5, 1.9])
def test_damped_step_contracts_by_one_minus_eta(matrix, eta):
    trajectory = iterate(matrix_problem(matrix), GaussNewton(step_size=eta), steps=STEPS)
    _, observed = modes(matrix, residuals(trajectory))
    assert relative_error(observed, (1 - eta) ** np.arange(STEPS + 1)[:, None] * observed[0]) < 1e-12
    np.testing.assert_allclose(trajectory.ts, eta * np.arange(STEPS + 1), rtol=1e-14)


def test_full_steps_converge_quadratically():
    """Statement D13, with a constant that falls with the width."""
    measured = {}
    for width in (64, 256):
        problem, lipschitz = wide_net(width)
        trajectory = iterate(problem, GaussNewton(), steps=STEPS)
        norms = np.linalg.norm(residuals(trajectory), axis=1)
        measured[width] = norms[1] / norms[0] ** 2
        assert is_quadratic(trajectory, lipschitz / (2 * np.asarray(trajectory.sigma_min[:-1]) ** 2))
        assert norms[3] <= 1e-10 * norms[0]
    assert 1e-4 < measured[256] <= measured[64] / 2  # far above rounding
    shorter = iterate(problem, GaussNewton(0.9), steps=STEPS)
    assert not is_quadratic(shorter, lipschitz / (2 * np.asarray(shorter.sigma_min[:-1]) ** 2))
