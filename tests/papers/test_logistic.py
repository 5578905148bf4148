"""Logistic loss: with and without the loss Hessian inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import riemgn as rg
from paper_repro.cayci2024 import logistic
from paper_repro.cayci2024.optimum import newton
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/logistic", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/logistic", tmp_path, quick=False)


def a_run(gn=None, ggn=None, **changed):
    flows = {
        "gn": {"rate": 0.04, "loss_gap": 1e-12} | (gn or {}),
        "ggn": {"rate": 0.98, "loss_gap": 1e-12} | (ggn or {}),
    }
    return {"nu": 0.04, "theta": {"gn": 0.04, "ggn": 0.98}, "flows": flows} | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"gn": {"loss_gap": 1e-7}}, 1),
        ({"ggn": {"loss_gap": float("nan")}}, 1),
        ({"gn": {"rate": 0.047}}, 1),
        ({"ggn": {"rate": 0.3}}, 2),
        ({"nu": 0.1}, 1),
    ],
)
def test_another_optimum_and_another_rate_are_refused(changed, refused):
    assert sum(not holds for holds in verdicts(logistic.checks([[a_run(), a_run(**changed)]])).values()) == refused


def test_the_least_theta_with_the_loss_hessian_inside_is_that_of_the_dense_pencil():
    x = np.random.default_rng(0).normal(size=(20, 3))
    problem = rg.Problem(
        rg.MLP((3, 1, 1)),
        rg.MLP((3, 1, 1)).init(key=jax.random.key(0)),
        x,
        np.linspace(0.1, 0.9, 20),
        rg.LogisticLoss(),
    )
    w = problem.w0 + 0.1
    jac, weights = np.asarray(problem.jac(w)), np.asarray(problem.loss_hessian(problem.outputs(w)))
    hessian = np.asarray(jax.hessian(problem.objective)(w))
    dense = scipy.linalg.eigh(hessian, jac.T @ (weights[:, None] * jac), eigvals_only=True)[0]
    assert float(logistic.scaled_theta(problem, w)) == pytest.approx(dense, rel=1e-8)


def test_newton_finds_the_optimum_of_a_linear_logistic_model():
    x = np.random.default_rng(1).normal(size=(40, 3)) * [1.0, 10.0, 100.0]
    problem = rg.Problem(rg.LinearModel(), jnp.zeros(3), x, np.where(x[:, 0] > 0, 0.8, 0.2), rg.LogisticLoss())
    found = newton(problem)
    assert (
        np.linalg.norm(np.asarray(x.T @ problem.loss_gradient(problem.outputs(jnp.asarray(found.x)))))
        < 1e-6 * np.abs(x).sum()
    )
