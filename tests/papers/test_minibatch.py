"""Mini-batches: block Gauss-Seidel and block Kaczmarz."""

import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.cai2019 import minibatch
from tests.papers import assert_reproduced, verdicts


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cai2019/minibatch", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cai2019/minibatch", tmp_path, quick=False)


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


def a_result(run=None, cyclic=None, sweep=None, power=-1.0, certificate="holds"):
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


@pytest.mark.parametrize(
    ("changed", "refused"),
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
def test_each_departure_from_the_linear_theory_is_refused(changed, refused):
    assert sum(not holds for holds in verdicts(minibatch.checks(a_result(**changed))).values()) == refused
