"""Checks of the items on the penalty of GGN-SCORE and on its flow."""

import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import flow, smoothers, smoothing, weight
from paper_repro.adeoye2024.synthetic import drawn, run
from paper_repro.adeoye2024.variants import GGN, S2
from tests.papers import refusals, verdicts

# --- smoothing ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_smoothing_decides_the_loss_at_full_size():
    """400 steps, one seed."""
    small, large = (run(S2, GGN, 0, (400,), mu) for mu in (1e-2, 10.0))
    assert small["test"][0] >= 100 * large["test"][0]
    assert small["step_size"][0] < 0.01 and run(S2, GGN, 0, (10,), 1e-3)["step_size"][0] < 0.01


def smoothing_result(corrected, released, sizes):
    def one(preset, losses):
        test = np.tile(np.asarray(losses)[:, None, None], (1, 3, 1))
        return {"preset": preset, "test": test, "step_size": np.tile(np.asarray(sizes)[:, None, None], (1, 3, 1))}

    return {"points": smoothing.FEW, "steps": [400], "runs": [one("corrected", corrected), one("released", released)]}


SMOOTHING_GOOD = {
    "corrected": (3.0, 2e-2, 3e-2, 1e-3, 4e-5),
    "released": (0.1, 0.08, 0.9, 3e-2, 8e-6),
    "sizes": (1e-4, 3e-3, 0.1, 0.9, 0.95),
}


SMOOTHING = refusals(
    "smoothing",
    lambda changed: smoothing.checks(smoothing_result(**(SMOOTHING_GOOD | changed))),
    [
        ({}, 0),
        ({"corrected": (3.0, 2e-3, 3e-2, 1e-3, 4e-5)}, 1),
        ({"corrected": (3.0, 2e-2, 3e-2, 1e-4, 4e-5)}, 1),
        ({"released": (0.1, 8e-4, 0.9, 3e-2, 8e-5)}, 1),
        ({"sizes": (1e-4, 3e-2, 0.1, 0.9, 0.95)}, 1),
        ({"sizes": (1e-4, 3e-3, 0.1, 0.9, 0.5)}, 1),
        ({"corrected": (3.0, np.nan, 3e-2, 1e-3, 4e-5)}, 1),
    ],
)


# --- weight ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weight_decides_the_loss_at_full_size():
    """400 steps, one seed."""
    ends = {tau: run(S2, GGN, 0, (400,), None, tau) for tau in (1e-4, 1e-2, 1.0)}
    assert ends[1e-2]["test"][0] >= 20 * ends[1e-4]["test"][0]
    y = np.asarray(drawn(S2, 0)[2].y_test)
    assert ends[1.0]["test"][0] == pytest.approx(np.mean(y**2) / 2, rel=0.01) and ends[1.0]["norm"][0] < 1e-3


def weight_result(
    corrected=(4e-5, 4e-5, 6e-3, 6e-2, 6.7e-2),
    released=(4e-6, 4e-6, 5e-3, 2e-2, 4e-2),
    zeros=(111, 111, 145, 276, 180),
    norm=0.0,
):
    def one(preset, losses):
        test = np.tile(np.asarray(losses)[:, None, None], (1, 2, 1))
        norms = np.tile(np.array([20.0, 20.0, 15.0, 1.0, norm])[:, None, None], (1, 2, 1))
        return {
            "preset": preset,
            "test": test,
            "norm": norms,
            "zeros": np.tile(np.asarray(zeros, float)[:, None], (1, 2)),
        }

    return {
        "points": weight.FEW,
        "steps": [400],
        "runs": [one("corrected", corrected), one("released", released)],
        "half_square": [6.7e-2] * 2,
    }


WEIGHT = refusals(
    "weight",
    lambda changed: weight.checks(weight_result(**changed)),
    [
        ({}, 0),
        ({"corrected": (4e-5, 4e-5, 6e-4, 6e-2, 6.7e-2)}, 1),
        ({"corrected": (9e-5, 4e-5, 6e-3, 6e-2, 6.7e-2)}, 1),
        ({"corrected": (4e-5, 4e-5, 6e-3, 6e-2, 6.5e-2)}, 1),
        ({"released": (4e-6, 4e-4, 5e-3, 2e-2, 4e-2)}, 1),
        ({"zeros": (111, 145, 111, 276, 180)}, 1),
        ({"norm": 0.1}, 1),
        ({"norm": np.nan}, 1),
    ],
)


# --- smoothers ---------------------------------------------------------------------------------


def test_ratio_of_the_exponential_is_constant():
    penalty = rg.ExponentialPenalty(2.0)
    np.testing.assert_allclose(smoothers.ratio(penalty, 2.0, np.linspace(-1, 1, 5)), 0.5, rtol=1e-12)  # 1 / mu


def kind(order=2.6, tight=2.5, top=2.5, law=1.0, spare=0.1, status="holds"):
    ratios = [np.array([0.1, top]), np.array([0.1, law * tight * smoothers.OTHER ** (order / 2 - 2)])]
    steps = np.full((2, 3), 0.5)
    return {
        **{"order": order, "tight": tight, "released": 2.0, "ratios": ratios},
        **{"decrease": steps, "predicted_decrease": steps - spare, "certificate": ["holds", status]},
    }


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({}, 0),
        ({"top": 2.6}, 1),  # the constant is not true
        ({"top": 2.3}, 2),  # or not tight, and 2 would nearly do
        ({"law": 1.1}, 1),
        ({"spare": -1e-6}, 1),
        ({"status": "fails"}, 1),
        ({"top": np.nan}, 2),
    ],
)
def test_smoothers_refuse_wrong_constants(changed, refused):
    result = {"kinds": {"pseudo-Huber": kind(**changed), "Ostrovskii-Bach": kind()}}
    assert sum(not holds for holds in verdicts(smoothers.checks(result)).values()) == refused


# --- flow --------------------------------------------------------------------------------------


ALPHAS = (0.5, 0.1, 0.05, 0.02)


def flow_run(gap=1.0, local=2.0, bend=3.0, flow_error=1e-8, certificate="holds"):
    """A run whose distances are powers of the step size."""
    steps = [
        {
            "alpha": a,
            "first": a,
            "gap": 0.1 * a**gap,
            "local": bend * a**local,
            "predicted": 3.0 * a**2,
            "flow_error": flow_error,
        }
        for a in ALPHAS
    ]
    return {"steps": steps, "certificate": certificate}


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({}, []),
        ({"gap": 2.0}, ["slope of max"]),
        ({"gap": 0.9}, ["slope of max"]),
        ({"local": 1.9}, ["slope of |w_1", "|w_1 - w(s)| / "]),
        ({"bend": 3.3}, ["|w_1 - w(s)| / "]),
        ({"flow_error": 0.02}, ["error of the flow"]),
        ({"certificate": "fails"}, ["share of seeds"]),
        ({"certificate": "undecided"}, ["share of seeds"]),
    ],
)
def test_flow_refuses_another_order(other, refused):
    failed = [
        name for name, holds in verdicts(flow.checks([flow_run(), flow_run(**other)], ALPHAS)).items() if not holds
    ]
    assert len(failed) == len(refused) and all(
        name.startswith(start) for name, start in zip(failed, refused, strict=True)
    )


@pytest.mark.parametrize(("checks", "arguments", "refused"), [*SMOOTHING, *WEIGHT])
def test_checks_refuse(checks, arguments, refused):
    assert sum(not holds for holds in verdicts(checks(*arguments)).values()) == refused
