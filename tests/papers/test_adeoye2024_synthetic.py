"""Checks of the items on synthetic data with GGN-SCORE."""

import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import comparison, epochs, synthetic, trajectories
from paper_repro.adeoye2024.network import problem_of
from paper_repro.adeoye2024.variants import (
    GD,
    GD_ARMIJO,
    GD_FROM_ONE,
    GD_RELEASED,
    GD_WIDE,
    GGN,
    GGN_RELEASED,
    GGN_TAU,
    method_of,
    Setting,
)
from tests.papers import verdicts

# --- trajectories ------------------------------------------------------------------------------


TINY = Setting(12, 8, 3, 9)


@pytest.mark.parametrize("variant", [GGN, GGN_RELEASED, GGN_TAU, GD, GD_WIDE, GD_RELEASED, GD_ARMIJO])
def test_a_run_is_the_iteration_of_its_method(variant):
    net, params, data = synthetic.drawn(TINY, 1)
    problem = problem_of(net, params, data.x, data.y, variant.preset, gradient=variant.method == "GD")
    method = method_of(variant, TINY, 3.0, 1e-3)
    trajectory = rg.iterate(problem, method, steps=6, spectra=False)
    curves = synthetic.run(TINY, variant, 1, (0, 2, 6), 3.0, 1e-3)
    np.testing.assert_allclose(curves["train"], np.asarray(trajectory.losses)[[0, 2, 6]], rtol=1e-9)
    w = np.asarray(trajectory.params[-1])
    test = (
        np.mean(
            (np.asarray(net(problem.unflatten(jnp.asarray(w)), data.x_test)).reshape(-1) - np.asarray(data.y_test)) ** 2
        )
        / 2
    )
    sizes = np.sqrt(9 + w**2) - 3
    expected = [
        test,
        curves["train"][-1] + 1e-3 * np.abs(w).sum(),
        curves["train"][-1] + 1e-3 * sizes.sum(),
        np.linalg.norm(w),
    ]
    np.testing.assert_allclose(
        [curves[key][-1] for key in ("test", "reported", "objective", "norm")], expected, rtol=1e-8
    )
    reported = trajectory.stats["per_step"]["step_size"]
    assert curves["step_size"][-1] == pytest.approx(reported[-1]) and curves["step_size"][0] == 0
    assert curves["seconds"][0] >= 0 and np.all(np.diff(curves["seconds"]) > 0)
    halvings = np.log2(float(method.step_size) / reported).sum() if variant == GD_ARMIJO else 0.0
    trials = 2 * 12 * 36 * (6 + halvings) if variant == GD_ARMIJO else 0
    plain = 12**2 * 36 + 12**3 / 3 + 12 * 12 * 36 if variant.method == "GGN" else 4 * 12 * 36
    assert curves["flops"][-1] == pytest.approx(6 * plain + trials)


def trajectories_result(**changes):
    """Curves near the measured medians, the same for all three seeds."""
    kappa, counts = 500**-0.5, [0, 1, 10, 20, 50, 80, 100, 200, 500, 2000]
    factor = (1 - 0.95 * kappa) ** 2
    tables = {
        GGN: [3.0, 0.7, 2e-3, 1e-3, 7e-5, 6e-5, 5e-5, 4e-5, 3e-5],
        GGN_RELEASED: [3.0, 2.7, 1.4, 1.0, factor**30, factor**60, 1e-3, 1e-5, 3e-6],
        GGN_TAU: [3.0, 0.06, 4e-3, 2e-3, 5e-3, 5e-3, 2e-3, 1e-3, 1e-3],
        GD: [3.0, 2.0, 0.9, 0.5, 0.1, 0.05, 4e-3, 2e-3, 2e-4, 5.5e-5],
    }
    tables |= changes.get("tables", {})
    runs = [
        {
            "variant": variant.label,
            "steps": counts[: len(values)],
            "test": np.tile(values, (3, 1)),
            "train": np.tile(values, (3, 1)),
        }
        for variant, values in tables.items()
    ]
    return {"runs": runs, "kappa": kappa}


def test_trajectories_accept_the_measured_curves():
    assert all(verdicts(trajectories.checks(trajectories_result(), quick=False)).values())


@pytest.mark.parametrize(
    ("variant", "values", "refused"),
    [
        (GGN, [3.0, 0.7, 2e-2, 1e-3, 7e-5, 6e-5, 5e-5, 4e-5, 3e-5], {"at 10,"}),
        (GGN, [3.0, 0.7, 2e-3, 1e-3, 7e-5, 6e-5, 5e-5, 4e-5, 5e-5], {"checkpoint before"}),
        (GGN, [3.0, 0.7, 2e-3, 1e-3, 7e-5, 6.5e-5, 6e-5, 4e-5, 5e-6], {"at 500, least", "GGN corrected at 100 /"}),
        (GGN_RELEASED, [3.0, 2.7, 1.4, 1.0, 0.3, 0.1, 1e-3, 1e-5, 3e-6], {"factor of f per step"}),
        (
            GGN_RELEASED,
            [3.0, 2.7, 1.4, 1.0, 0.07, 0.92**60, 5e-3, 1e-4, 2e-5],
            {"at 100, largest", "at 200, largest", "at 500, largest"},
        ),
        (GGN_TAU, [3.0, 0.06, 4e-3, 2e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3], {"least before"}),
        (
            GD,
            [3.0, 2.0, 0.9, 0.5, 0.1, 0.05, 1e-3, 2e-4, 1e-4, 2e-5],
            {"at 100, least", "at 2000, least", "GGN corrected at 100 /"},
        ),
        (
            GD,
            [np.nan] * 10,
            {"at 100, least", "at 100, largest", "at 2000, least", "at 2000, largest", "GGN corrected at 100 /"},
        ),
    ],
)
def test_trajectories_refuse_a_curve_out_of_its_band(variant, values, refused):
    result = trajectories_result(tables={variant: values})
    failed = {name for name, holds in verdicts(trajectories.checks(result, quick=False)).items() if not holds}
    assert len(failed) == len(refused) and all(any(word in name for name in failed) for word in refused), failed


def test_trajectories_refuse_one_seed_out_of_its_band():
    result = trajectories_result()
    result["runs"][0]["test"][2, 2] = 1e-2
    assert sum(not holds for holds in verdicts(trajectories.checks(result, quick=False)).values()) == 1


# --- comparison --------------------------------------------------------------------------------


COUNTS = [0, 1, 10, 20, 50, 100, 200, 500]


GGN_CURVE = [3.0, 0.7, 2e-3, 1e-3, 7e-5, 5e-5, 4e-5, 3e-5]


COMPARISON_GOOD = {
    GGN: GGN_CURVE,
    GD_WIDE: [0.9 * loss for loss in GGN_CURVE],
    GD: [3.0, 2.0, 0.9, 0.5, 0.1, 5e-3, 2e-3, 3e-4],
    GD_ARMIJO: [3.0, 0.2, 1e-3, 1e-4, 3e-5, 2e-5, 1e-5, 3e-6],
    GGN_RELEASED: [3.0, 2.7, 1.4, 0.9, 6e-2, 1e-3, 1e-5, 4e-6],
    GGN_TAU: [3.0, 0.06, 4e-3, 2e-3, 5e-3, 2e-3, 1e-3, 1e-3],
    GD_FROM_ONE: [3.0, 2.0, 0.9, 0.5, 0.1, 5e-3],
}


def comparison_result(changes=(), halvings=0.0, ratio=100.0):
    runs = []
    for variant, values in (COMPARISON_GOOD | dict(changes)).items():
        steps = COUNTS[: len(values)]
        work = np.array(steps, float) * (ratio if variant.method == "GGN" else 1.0)
        losses = np.tile(values, (3, 1))
        entry = {
            "variant": variant.label,
            "steps": steps,
            "test": losses,
            "train": losses,
            "flops": np.tile(work, (3, 1)),
        }
        runs.append(entry | {"halvings": np.full(losses.shape, halvings)})
    return {"runs": runs}


def refused(result):
    return {name for name, holds in verdicts(comparison.checks(result)).items() if not holds}


def test_comparison_accepts_the_measured_curves():
    assert refused(comparison_result()) == set()


@pytest.mark.parametrize(
    ("variant", "values", "words"),
    [
        (GD, GGN_CURVE, {"GGN corrected c = 1 / GD step 1,"}),
        (GD_WIDE, [1.2 * loss for loss in GGN_CURVE], {"GD step 1/kappa / GGN corrected c = 1, test loss after 100"}),
        (GD_WIDE, [0.4 * loss for loss in GGN_CURVE], {"farthest from 1"}),
        (
            GD_ARMIJO,
            [2 * loss for loss in GGN_CURVE],
            {
                "GD Armijo from 16/kappa / GGN corrected c = 1",
                "corrected at 100: GD Armijo / GGN",
                "released at 500: GD Armijo / GGN",
            },
        ),
        (GD_ARMIJO, [*COMPARISON_GOOD[GD_ARMIJO][:-1], 5e-6], {"released at 500: GD Armijo / GGN"}),
        (GGN_RELEASED, GGN_CURVE, {"GGN released c = 1 / GGN corrected c = 1, test loss after 10 "}),
        (
            GGN_RELEASED,
            [*COMPARISON_GOOD[GGN_RELEASED][:-1], 4e-5],
            {"GGN released c = 1 / GGN corrected c = 1, test loss after 500"},
        ),
        (GGN_TAU, GGN_CURVE, {"least before"}),
    ],
)
def test_comparison_refuses_another_finding(variant, values, words):
    failed = refused(comparison_result({variant: values}))
    assert len(failed) == len(words) and all(any(word in name for name in failed) for word in words), failed


def test_comparison_refuses_equal_costs_and_halvings():
    assert len(refused(comparison_result(ratio=1.0))) == 2  # both ratios of arithmetic
    assert refused(comparison_result(halvings=1.0)) == {"halvings of Armijo's line search from 1, all steps"}


# --- epochs ------------------------------------------------------------------------------------


def epochs_result(steps, released):
    values = {GGN: 1e-4, GGN_RELEASED: released, GD: 2e-4, GD_RELEASED: 3e-5}
    runs = [
        {"variant": v.label, "steps": [0, *steps], "test": np.array([[3.0] + [value] * len(steps)])}
        for v, value in values.items()
    ]
    return {"runs": runs}


@pytest.mark.parametrize(("quick", "steps"), [(True, (200, 1000)), (False, (600, 10_000))])
@pytest.mark.parametrize(("released", "refused"), [(2e-5, 0), (5e-5, 1), (np.nan, 1)])
def test_epochs_refuses_a_better_gradient_descent(quick, steps, released, refused):
    assert (
        sum(not holds for holds in verdicts(epochs.checks(epochs_result(steps, released), quick)).values()) == refused
    )
