"""Checks of the items on flows with fewer parameters than outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import riemgn as rg
from paper_repro.cayci2024 import (
    alpha,
    conditioning,
    curvature,
    equivalence,
    housing,
    initialisation,
    last_iterate,
    logistic,
)
from paper_repro.cayci2024.optimum import newton, starts_around
from tests.papers import refusals, verdicts

# --- alpha -------------------------------------------------------------------------------------


ALPHA_STOP = {"result": "rank_lost", "alpha": 1.0, "seed": 0}


RUN = {"result": "successful", "alpha": 1e4, "seed": 0, "measured_rate": 1.0, "predicted_rate": 1.0, "theta_min": 0.995}


ALPHA = refusals(
    "alpha",
    lambda runs: alpha.checks(runs),
    [
        ([ALPHA_STOP, RUN], 0),
        ([RUN], 1),
        ([ALPHA_STOP, RUN, RUN | {"seed": 1, "predicted_rate": 1.01}], 1),
        ([ALPHA_STOP, RUN, RUN | {"seed": 1, "measured_rate": 0.993, "predicted_rate": 0.993}], 1),
        ([ALPHA_STOP, RUN, RUN | {"seed": 1, "measured_rate": 0.98, "predicted_rate": 0.98, "theta_min": 0.97}], 1),
        ([ALPHA_STOP, RUN | {"measured_rate": 0.5, "predicted_rate": 0.5}], 3),
    ],
)


# --- conditioning ------------------------------------------------------------------------------


def test_conditioning_refuses_a_gauss_newton_that_slows_down():
    good = {
        "cond": [1.0, 1e2, 1e4],
        "gn_reached": [3.4, 3.4, 3.4],
        "gf_reached": [1e5, 1e7, 1e10],
        "spreads": [[1e-9, 1e-8]] * 2,
    }
    assert all(verdicts(conditioning.checks(good)).values())
    assert not verdicts(conditioning.checks(good | {"spreads": [[1e-9, 1e-8], [1e-9, 1e-3]]}))[
        "GN outputs, spread over cond(A), worst seed"
    ]
    slow = good | {"gn_reached": [3.4, 34.0, 340.0], "gf_reached": [1e5, 1e5, 1e5]}
    assert list(verdicts(conditioning.checks(slow)).values()) == [True, False, False]


def test_conditioning_refuses_a_lost_gradient_flow():
    lost = {"cond": [1.0, 1e2], "gn_reached": [3.4, 3.4], "gf_reached": [np.nan, np.nan], "spreads": [[1e-9]]}
    assert not verdicts(conditioning.checks(lost))["GF time to 1e-3: slope in cond(A)"]


# --- curvature ---------------------------------------------------------------------------------


ALPHAS = np.array([1e2, 1e4, 1e6, 1e8])


def curvature_result(**changed):
    edge = {"above": {"status": "holds"}, "below": {"status": "not applicable"}}
    law, bound = 1.0 / ALPHAS, 1e3 / ALPHAS
    good = {
        "alphas": ALPHAS,
        "curvature": [law, 2 * law],
        "bound": [bound, bound],
        "rate": [np.ones(4)] * 2,
        "edges": [edge, edge],
    }
    return good | {"guaranteed": [curvature.guarantee(ALPHAS, 1e6)] * 2, "laws": ["holds", "holds"]} | changed


def edges(above, below):
    return [
        {"above": {"status": above}, "below": {"status": below}},
        {"above": {"status": "holds"}, "below": {"status": "not applicable"}},
    ]


CURVATURE = refusals(
    "curvature",
    lambda changed: curvature.checks(curvature_result(**changed)),
    [
        ({}, 0),
        ({"curvature": [1 / ALPHAS, ALPHAS**-0.85]}, 1),
        ({"curvature": [1 / ALPHAS, 1e4 / ALPHAS]}, 1),
        ({"laws": ["holds", "not applicable"]}, 1),
        ({"edges": edges("not applicable", "not applicable")}, 1),
        ({"edges": edges("holds", "holds")}, 1),
        ({"rate": [np.ones(4), np.full(4, 0.49)]}, 1),
    ],
)


# --- equivalence -------------------------------------------------------------------------------


def equivalence_a_run(**changed):
    run = {
        "gaps": [0.0, 1e-10],
        "rtols": [1e-4, 1e-10],
        "end_gaps": [[1e-5], [1e-10]],
        "distance": 1e-12,
        "contrast": [0.0, 0.5],
    }
    return run | changed


EQUIVALENCE = refusals(
    "equivalence",
    lambda changed: equivalence.checks([equivalence_a_run(**changed)]),
    [
        ({}, 0),
        ({"gaps": [0.0, 1e-7]}, 1),
        ({"gaps": [float("nan"), 0.0]}, 1),
        ({"end_gaps": [[1e-5], [1e-6]]}, 2),
        ({"contrast": [0.0, 1e-6]}, 1),
    ],
)


# --- housing -----------------------------------------------------------------------------------


def housing_a_run(**changed):
    times = np.linspace(0.0, 20.0, 61)
    run = {
        "times": times,
        "gaps": np.exp(-1.8 * times),
        "kappa": 0.9,
        "theta_min": 0.8,
        "late_rate": 0.81,
        "loss_gaps": [1e-13, 1e-13],
    }
    return run | {"slow_gaps": np.exp(-1e-4 * housing.CLOCK)} | changed


HOUSING = refusals(
    "housing",
    lambda changed: housing.checks([housing_a_run(), housing_a_run(**changed)], seeds=2),
    [
        ({}, 0),
        ({"loss_gaps": [1e-7, 1e-13]}, 1),
        ({"kappa": 0.95}, 1),
        ({"late_rate": 0.75}, 1),
        ({"slow_gaps": np.exp(-housing.CLOCK)}, 1),
        ({"loss_gaps": [float("nan"), 1e-13]}, 1),
    ],
)


def test_housing_refuses_a_missing_run():
    assert not verdicts(housing.checks([housing_a_run()], seeds=2))["runs that converge"]


# --- initialisation ----------------------------------------------------------------------------


INITIALISATION_STOP = {"result": "rank_lost"}


GOOD = {"result": "successful", "rate": 0.9, "theta_min": 0.89, "distance": 1e-2}


def initialisation_result(**changed):
    spectra = {name: [{"values": [1.0] * 49, "rank": 49, "output": 0.0}] for name in initialisation.STARTS}
    spectra["paired"] = [{"values": [1.0] * 49, "rank": 25, "output": 1e-16}]
    cells = [[[INITIALISATION_STOP]] * 4, [[INITIALISATION_STOP], [GOOD], [GOOD], [GOOD]]]
    return {"scales": [0.1, 1.0], "spectra": spectra, "cells": cells, "safe": [GOOD]} | changed


def spectra_with(name, **changed):
    spectra = initialisation_result()["spectra"]
    return spectra | {name: [spectra[name][0] | changed]}


INITIALISATION = refusals(
    "initialisation",
    lambda changed: initialisation.checks(initialisation_result(**changed)),
    [
        ({}, 0),
        ({"spectra": spectra_with("paired", rank=49)}, 1),
        ({"spectra": spectra_with("paired", output=0.1)}, 1),
        ({"spectra": spectra_with("independent", rank=48)}, 1),
        ({"cells": [[[GOOD]] * 4, [[GOOD]] * 4]}, 1),
        ({"cells": [[[INITIALISATION_STOP]] * 4, [[INITIALISATION_STOP], [GOOD], [INITIALISATION_STOP], [GOOD]]]}, 1),
        ({"cells": [[[INITIALISATION_STOP]] * 4, [[GOOD | {"rate": 0.8}]] * 4]}, 1),
        ({"safe": [GOOD | {"distance": 1.1}]}, 1),
    ],
)


def test_initialisation_refuses_a_stopped_run():
    with pytest.raises(KeyError):
        initialisation.checks(initialisation_result(safe=[INITIALISATION_STOP]))


# --- last_iterate ------------------------------------------------------------------------------


def last_iterate_a_run(**changed):
    times = 20 * last_iterate.SHARES
    run = {
        "times": times,
        "gaps": np.exp(-1.8 * times),
        "kappa": 0.9,
        "theta_min": 0.8,
        "late_rate": 0.81,
        "loss_gaps": [1e-13, 1e-13],
        "output_gaps": [1e-7, 1e-7],
    }
    return run | changed


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"loss_gaps": [1e-7, 1e-13]}, 1),
        ({"loss_gaps": [float("nan"), 1e-13]}, 1),
        ({"loss_gaps": [1e-13, 1e-3]}, 1),
        ({"output_gaps": [1e-3, 1e-7]}, 1),
        ({"kappa": 0.95}, 1),
        ({"late_rate": 0.75}, 1),
    ],
)
def test_last_iterate_refuses_another_optimum(changed, refused):
    depth = {"cases": [{"runs": [last_iterate_a_run()]}, {"runs": [last_iterate_a_run(**changed)]}]}
    assert sum(not holds for holds in verdicts(last_iterate.checks([depth], seeds=1)).values()) == refused


def test_last_iterate_refuses_a_lost_rank():
    depth = {"cases": [{"runs": []}, {"runs": [last_iterate_a_run()]}]}
    assert not verdicts(last_iterate.checks([depth], seeds=2))["runs at the larger alpha that converge"]


def test_random_starts_have_their_distance():
    import riemgn as rg

    problem = rg.task.circle()
    starts = starts_around(problem, 0.3, 4, seed=1)
    assert np.linalg.norm(starts - np.asarray(problem.w0), axis=1) == pytest.approx(0.3)


# --- logistic ----------------------------------------------------------------------------------


def logistic_a_run(gn=None, ggn=None, **changed):
    flows = {
        "gn": {"rate": 0.04, "loss_gap": 1e-12} | (gn or {}),
        "ggn": {"rate": 0.98, "loss_gap": 1e-12} | (ggn or {}),
    }
    return {"nu": 0.04, "theta": {"gn": 0.04, "ggn": 0.98}, "flows": flows} | changed


LOGISTIC = refusals(
    "logistic",
    lambda changed: logistic.checks([[logistic_a_run(), logistic_a_run(**changed)]]),
    [
        ({}, 0),
        ({"gn": {"loss_gap": 1e-7}}, 1),
        ({"ggn": {"loss_gap": float("nan")}}, 1),
        ({"gn": {"rate": 0.047}}, 1),
        ({"ggn": {"rate": 0.3}}, 2),
        ({"nu": 0.1}, 1),
    ],
)


def test_scaled_theta_agrees_with_the_dense_pencil():
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


def test_newton_solves_logistic_regression():
    x = np.random.default_rng(1).normal(size=(40, 3)) * [1.0, 10.0, 100.0]
    problem = rg.Problem(rg.LinearModel(), jnp.zeros(3), x, np.where(x[:, 0] > 0, 0.8, 0.2), rg.LogisticLoss())
    fit = newton(problem)
    assert (
        np.linalg.norm(np.asarray(x.T @ problem.loss_gradient(problem.outputs(jnp.asarray(fit.x)))))
        < 1e-6 * np.abs(x).sum()
    )


@pytest.mark.parametrize(
    ("checks", "arguments", "refused"), [*ALPHA, *CURVATURE, *EQUIVALENCE, *HOUSING, *INITIALISATION, *LOGISTIC]
)
def test_checks_refuse(checks, arguments, refused):
    assert sum(not holds for holds in verdicts(checks(*arguments)).values()) == refused
