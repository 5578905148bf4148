"""The loss Hessian inside Gauss-Newton."""

import numpy as np
import pytest

import riemgn as rg
from paper_repro.cayci2024 import generalised
from tests.papers import assert_reproduced, verdicts

NU = np.array([0.05, 0.01])


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/generalised", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/generalised", tmp_path, quick=False)


def a_result(law=1e-9, inside=2.0, plain=2.0, damped=1.5):
    """Rates as theory says them of two seeds, the last one of the Poisson loss replaced."""

    def replaced(usual, value):
        rows = {loss: np.array([usual, usual]) for loss in generalised.LOSSES}
        rows["Poisson"][1, 1] = value
        return rows

    rates = {
        "law": replaced([1e-9, 1e-9], law),
        "inside": replaced([2.0, 2.0], inside),
        "plain": replaced(2 * NU, plain * NU[1]),
    }
    return {"nu": NU, "factors": np.array([0.5]), "damped": np.array([[[1.4, damped]]]), **rates}


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"law": 1e-6}, 1),
        ({"law": np.nan}, 1),
        ({"inside": 1.97}, 1),
        ({"plain": 2.06}, 1),
        ({"damped": 1.3}, 1),
        ({"damped": 2.02}, 1),
    ],
)
def test_a_rate_that_sees_the_loss_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(generalised.checks(a_result(**changed))).values()) == refused


@pytest.mark.parametrize("loss", generalised.LOSSES)
def test_the_losses_have_the_modulus_asked_for_and_their_optimum_where_said(loss):
    problem, _ = generalised.problem_with(loss, 0.01, 0)
    best = generalised.optimum(problem)
    assert np.abs(np.asarray(problem.loss_gradient(best))).max() < 1e-15
    assert float(np.min(np.asarray(problem.loss_hessian(best)))) == pytest.approx(0.01)


def test_the_excess_of_a_loss_is_the_difference_where_that_is_no_rounding():
    problem, _ = generalised.problem_with("Poisson", 0.01, 0)
    traj = rg.solve(problem, rg.GaussNewtonFlow(), 1.0, ts=[0.0, 1.0])
    difference = np.asarray(traj.losses - problem.loss.infimum(problem.y))
    assert generalised.excess_losses(traj) == pytest.approx(difference, rel=1e-9)
    assert generalised.late_rate(np.linspace(0, 1, 5), np.exp(-3 * np.linspace(0, 1, 5))) == pytest.approx(3.0)
