"""Damping schedules: values against their formulas, and bad input."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from tests.helpers import matrix_problem, matrix_with

T = 0.25
A = matrix_with(20, 5, [1.0, 1e-3, 1e-6])
PROBLEM = matrix_problem(A, rg.PseudoHuberLoss())
POINT = PROBLEM.linearise(PROBLEM.w0)
RESIDUAL = np.linalg.norm(A @ np.asarray(PROBLEM.w0) - np.asarray(PROBLEM.y))
GRADIENT = np.linalg.norm(POINT.loss_gradient)


@pytest.mark.parametrize(("schedule", "expected"), [
    (rg.ConstantDamping(0.7), 0.7),
    (rg.ExponentialDamping(0.0), 0.0),
    (rg.ExponentialDamping(2.0, 0.0), 2.0),
    (rg.ExponentialDamping(2.0, 3.0), 2.0 * math.exp(-3.0 * T)),
    (rg.ExponentialDamping(2.0), 2.0 * math.exp(-T)),
    (rg.SpectralDamping(4.0), 4e-12),  # the smallest of the three non-zero singular values
    (rg.ResidualDamping(0.0), 0.0),
    (rg.ResidualDamping(0.5, 0.0), 0.5),
    (rg.ResidualDamping(0.5, 2.0), 0.5 * RESIDUAL**2),
    (rg.GradientDamping(0.5), 0.5 * GRADIENT),
    (rg.GradientDamping(0.5, 1.5), 0.5 * GRADIENT**1.5),
], ids=repr)  # fmt: skip
def test_schedule_has_the_value_of_its_formula(schedule, expected):
    np.testing.assert_allclose(schedule(T, POINT, 3), expected, rtol=1e-8)


def test_spectral_damping_needs_a_jacobian():
    diagonal = rg.Problem(rg.LinearModel(), jnp.ones(3), np.diag([3.0, 2.0, 0.5]), np.zeros(3))
    point = diagonal.linearise(diagonal.w0)
    assert [float(rg.SpectralDamping()(T, point, rank)) for rank in (1, 2, 3)] == pytest.approx([9.0, 4.0, 0.25])
    with pytest.raises(ValueError, match="SpectralDamping needs the singular values of J"):
        rg.SpectralDamping()(T, diagonal.without_jacobian(diagonal.outputs(diagonal.w0)), 3)


def test_repr_shows_numbers():
    assert repr(rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.01, rate=2))) == (
        "LevenbergMarquardtFlow(damping=ExponentialDamping(rho0=0.01, rate=2))"
    )


@pytest.mark.parametrize(("make", "fragment"), [
    (lambda: rg.ConstantDamping(math.inf), "`rho` must be >= 0 and finite, got inf"),
    (lambda: rg.ExponentialDamping(-1.0), "`rho0` must be"),
    (lambda: rg.ExponentialDamping(1.0, -1.0), "`rate` must be"),
    (lambda: rg.SpectralDamping(-1.0), "`factor` must be"),
    (lambda: rg.ResidualDamping(1.0, math.nan), "`power` must be"),
    (lambda: rg.GradientDamping(math.inf), "`factor` must be"),
])  # fmt: skip
def test_numbers_out_of_range_are_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
