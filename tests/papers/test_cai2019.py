"""Checks of the items on Gram-Gauss-Newton."""

import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.cai2019 import adaptive, minibatch, overhead, quadratic, training
from tests.papers import refusals, verdicts

# --- adaptive ----------------------------------------------------------------------------------


def test_largest_step_meets_its_condition_with_equality():
    eta, bend, c, mu = adaptive.largest_step(0.3, 2.0, 0.25), 0.3, 2.0, 0.25
    assert eta * (bend / (1 + c) + mu * (1 + bend * eta / (2 * (1 + c))) ** 2) == pytest.approx(1.0)
    assert adaptive.largest_step(0.0, 1.0, 0.25) == pytest.approx(4.0)


def adaptive_result(ladder=None, **changed):
    runs = []
    for loss in adaptive.LOSSES:
        for c in adaptive.FACTORS:
            for cond in (1e2, 1e8):
                runs.append(
                    {
                        "loss": loss,
                        "c": c,
                        "ratio": [0.9],
                        "status": ["holds"],
                        "condition": [0.95],
                        "cond": [cond],
                        "factor": [0.5],
                    }
                )
    runs[-1] |= changed
    return {"runs": runs, "ladder": {"condition": [0.95, 2.0], "status": ["holds", "not applicable"]} | (ladder or {})}


ADAPTIVE = refusals(
    "adaptive",
    lambda changed: adaptive.checks(adaptive_result(**changed)),
    [
        ({}, 0),
        ({"ratio": [1.001]}, 1),
        ({"ratio": [np.nan]}, 1),
        ({"condition": [1.1]}, 1),
        ({"status": ["not applicable"]}, 1),
        ({"cond": [1e4]}, 0),
        ({"factor": [0.8]}, 1),  # slower at the worst conditioning
        ({"ladder": {"status": ["holds", "holds"]}}, 1),  # confirmed where its hypothesis fails
        ({"ladder": {"condition": [0.95, 0.96]}}, 1),
    ],
)


def test_adaptive_refuses_equal_conditioning():
    result = adaptive_result()
    for entry in result["runs"]:
        entry["cond"] = [1e4]
    assert not verdicts(adaptive.checks(result))["decades of cond(K)"]


# --- minibatch ---------------------------------------------------------------------------------


def test_one_sweep_of_gauss_seidel_by_hand():
    kernel = np.array(
        [[2.0, 1.0], [1.0, 3.0]]
    )  # first r_1 -> 0, r_2 -> r_2 - r_1 / 2, then r_2 -> 0 and r_1 by what that moves
    assert np.allclose(minibatch.gauss_seidel(kernel, 1) @ [1.0, 0.0], [1 / 6, 0.0])
    assert np.allclose(minibatch.gauss_seidel(kernel, 2), 0.0)


def test_the_energy_is_that_of_the_inverse_kernel():
    factor, r = jnp.array([[2.0, 0.0], [1.0, 3.0]]), np.array([1.0, -2.0])
    assert minibatch.energy(factor, r) == pytest.approx(r @ np.linalg.inv(factor @ factor.T) @ r)


def random_run(**changed):
    curve = 0.9 ** np.arange(21)
    return {"mean": curve, "predicted": curve, "bound": 0.95 ** np.arange(21), "largest_factor": 1.0} | changed


def minibatch_result(run=None, cyclic=None, sweep=None, power=-1.0, certificate="holds"):
    sweep = {
        "lambdas": (0.4, 0.5, 1.0),
        "measured": [[2.25, 1.0, 1.0], [1.0, 1.0, 1.0]],
        "predicted": [[2.25, 1.0, 1.0], [1.0, 1.0, 1.0]],
    } | (sweep or {})
    return {
        "cyclic": [{"map_error": 1e-14, "radius": 0.9, "predicted_radius": 0.9} | (cyclic or {})],
        "random": {"random": random_run(**(run or {})), "subset": random_run()},
        "certificate": certificate,
        "sweep": sweep,
        "widths": (64, 256, 1024),
        "networks": [{"distance": np.array([1.0, 2.0]) * width**power} for width in (64, 256, 1024)],
    }


MINIBATCH = refusals(
    "minibatch",
    lambda changed: minibatch.checks(minibatch_result(**changed)),
    [
        ({}, 0),
        ({"cyclic": {"map_error": 1e-6}}, 1),
        ({"cyclic": {"radius": 0.9001}}, 1),
        ({"run": {"mean": 0.91 ** np.arange(21)}}, 1),  # a rate off by a tenth, though the factor is off by a hundredth
        ({"run": {"mean": 0.8 ** np.arange(21)}}, 2),
        ({"run": {"bound": 0.89 ** np.arange(21)}}, 1),
        ({"run": {"largest_factor": 1.001}}, 1),
        ({"sweep": {"measured": [[2.25, 1.01, 1.0], [1.0, 1.0, 1.0]]}}, 2),
        ({"sweep": {"measured": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}}, 2),
        ({"certificate": "undecided"}, 1),
        ({"power": -0.3}, 1),
    ],
)


# --- overhead ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GGN", "SGD"])
def test_what_is_timed_takes_a_step(method):
    run = overhead.stepper(method, 32, 8)
    (w, state), start = run(), run.args[1]
    assert int(state.count) == 1
    assert jnp.all(jnp.isfinite(w)) and float(jnp.linalg.norm(w - start)) > 0


def overhead_result(**ggn):
    runs = [
        {"dtype": dtype, "batch": overhead.REFERENCE, "width": 256, "ggn": ggn.get(dtype, 1.5), "sgd": 1.0}
        for dtype in overhead.LOOKS
    ]
    return {"runs": runs, "width": 256}


OVERHEAD = refusals(
    "overhead", lambda ratio: overhead.checks(overhead_result(float32=ratio)), [(1.5, 0), (4.1, 1), (np.nan, 1)]
)


# --- quadratic ---------------------------------------------------------------------------------


WIDTHS = (64, 256, 1024)


def quadratic_result(slopes=(-1.0, -0.5), share=0.02, certificate="holds"):
    """Two cases, with and without cancellation, whose factors fall with the given slopes."""
    cases = []
    for (activation, signs), power in zip((("tanh", "random"), quadratic.UNCANCELLED), slopes, strict=True):
        first = np.asarray(WIDTHS, float)[:, None] ** power * np.array([1.0, 2.0])
        cases.append({"activation": activation, "signs": signs, "first": first, "share": np.array([[0.01, share]])})
    return {"widths": WIDTHS, "cases": cases, "certificate": certificate}


QUADRATIC = refusals(
    "quadratic",
    lambda changed: quadratic.checks(quadratic_result(**changed)),
    [
        ({}, 0),
        ({"share": 1.01}, 1),
        ({"share": np.nan}, 1),
        ({"certificate": "undecided"}, 1),
        ({"slopes": (-0.7, -0.5)}, 1),
        ({"slopes": (-1.0, -0.7)}, 1),
        ({"slopes": (-1.0, -0.3)}, 2),
        ({"slopes": (-0.3, -0.5)}, 2),
    ],
)


# --- training ----------------------------------------------------------------------------------


def training_result(ggn=0.1, sgd=0.3, adam=0.2, test=0.4):
    ends = {"SGD": sgd, "Adam": adam, "GGN": ggn}
    runs = [
        {"task": task, "method": method, "train": np.array([[1.0, end]] * 3), "test": np.array([[1.0, test]] * 3)}
        for task in training.TASKS
        for method, end in ends.items()
    ]
    return {"runs": runs}


TRAINING = refusals(
    "training",
    lambda changed: training.checks(training_result(**changed)),
    [({}, 0), ({"ggn": 0.25}, 2), ({"ggn": 0.35}, 4), ({"ggn": np.nan}, 4), ({"test": 1.5}, 2), ({"adam": 0.09}, 2)],
)


@pytest.mark.parametrize(("checks", "arguments", "refused"), [*ADAPTIVE, *MINIBATCH, *OVERHEAD, *QUADRATIC, *TRAINING])
def test_checks_refuse(checks, arguments, refused):
    assert sum(not holds for holds in verdicts(checks(*arguments)).values()) == refused
