"""GGN-SCORE and gradient descent at fixed smoothing and weight; the run they are made of."""

import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import synthetic, trajectories
from paper_repro.adeoye2024.network import problem_of
from paper_repro.adeoye2024.variants import (
    GD,
    GD_ARMIJO,
    GD_RELEASED,
    GD_WIDE,
    GGN,
    GGN_RELEASED,
    GGN_TAU,
    method_of,
    Setting,
)
from tests.papers import assert_reproduced, verdicts

TINY = Setting(12, 8, 3, 9)


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("adeoye2024/trajectories", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("adeoye2024/trajectories", tmp_path, quick=False)


@pytest.mark.parametrize("variant", [GGN, GGN_RELEASED, GGN_TAU, GD, GD_WIDE, GD_RELEASED, GD_ARMIJO])
def test_a_run_is_the_iteration_of_its_method(variant):
    net, params, data = synthetic.drawn(TINY, 1)
    problem = problem_of(net, params, data.x, data.y, variant.preset, gradient=variant.method == "GD")
    method = method_of(variant, TINY, 3.0, 1e-3)
    trajectory = rg.iterate(problem, method, steps=6, spectra=False)
    found = synthetic.run(TINY, variant, 1, (0, 2, 6), 3.0, 1e-3)
    np.testing.assert_allclose(found["train"], np.asarray(trajectory.losses)[[0, 2, 6]], rtol=1e-9)
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
        found["train"][-1] + 1e-3 * np.abs(w).sum(),
        found["train"][-1] + 1e-3 * sizes.sum(),
        np.linalg.norm(w),
    ]
    np.testing.assert_allclose(
        [found[key][-1] for key in ("test", "reported", "objective", "norm")], expected, rtol=1e-8
    )
    reported = trajectory.stats["per_step"]["step_size"]
    assert found["step_size"][-1] == pytest.approx(reported[-1]) and found["step_size"][0] == 0
    assert found["seconds"][0] >= 0 and np.all(np.diff(found["seconds"]) > 0)
    halvings = np.log2(float(method.step_size) / reported).sum() if variant == GD_ARMIJO else 0.0
    trials = 2 * 12 * 36 * (6 + halvings) if variant == GD_ARMIJO else 0
    plain = 12**2 * 36 + 12**3 / 3 + 12 * 12 * 36 if variant.method == "GGN" else 4 * 12 * 36
    assert found["flops"][-1] == pytest.approx(6 * plain + trials)


def a_result(**changes):
    """Median-like curves of ggn_score.md 7.2, one value for all three seeds."""
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


def test_the_measured_curves_are_accepted():
    assert all(verdicts(trajectories.checks(a_result(), quick=False)).values())


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
def test_a_curve_out_of_its_band_is_refused(variant, values, refused):
    result = a_result(tables={variant: values})
    failed = {name for name, holds in verdicts(trajectories.checks(result, quick=False)).items() if not holds}
    assert len(failed) == len(refused) and all(any(word in name for name in failed) for word in refused), failed


def test_one_seed_out_of_the_band_is_enough():
    result = a_result()
    result["runs"][0]["test"][2, 2] = 1e-2
    assert sum(not holds for holds in verdicts(trajectories.checks(result, quick=False)).values()) == 1
