"""Images of digits: what both items share, and the bundled set."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.cayci2024 import images
from paper_repro.cayci2024.schedules import SCHEDULES
from tests.papers import assert_reproduced, verdicts

COND = np.array([6e3, 1e4])


def test_it_holds_at_quick_size_and_matches_its_golden_numbers(tmp_path):
    assert_reproduced("cayci2024/digits", tmp_path)


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cayci2024/digits", tmp_path, quick=False)


def a_result(worst=(), **changed):
    """Two seeds as theory says them, with some numbers replaced."""
    good = {
        "law": 1e-9,
        "excess": 1.0,
        "departure": 1e-2,
        "residual_ratio": 0.6,
        "path": 0.3,
        "quadratic": 1e-3,
        "contraction": 0.5,
    }
    reached = {name: np.full(2, 13.8) for name in SCHEDULES} | {"gf": 0.7 * 13.8 * COND}
    result = {
        "cond": COND,
        "gf_left": [0.75, 0.8],
        "order": [1.8, 2.1],
        "worst": good | dict(worst),
        "reached": reached,
    }
    return result | changed


@pytest.mark.parametrize(
    ("worst", "changed", "refused"),
    [
        ({}, {}, 0),
        ({"law": 1e-6}, {}, 1),
        ({"excess": 1.01}, {}, 1),
        ({"departure": 0.06}, {}, 1),
        ({"departure": np.nan}, {}, 1),
        ({"residual_ratio": 1.01}, {}, 1),
        ({"path": 1.01}, {}, 1),
        ({"quadratic": 1.01}, {}, 1),
        ({"contraction": 0.51}, {}, 1),
        ({}, {"gf_left": [0.75, 0.05]}, 1),
        ({}, {"order": [2.0, 1.0]}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": 13.8 * COND * [0.7, 0.2]}}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": 13.8 * COND * [0.7, 1.1]}}, 1),
        ({}, {"reached": {"gn": np.full(2, 13.8), "gf": [np.nan, np.nan]}}, 2),
    ],
)
def test_a_result_that_departs_from_theory_is_refused_by_its_check(worst, changed, refused):
    assert sum(not holds for holds in verdicts(images.checks(a_result(worst, **changed))).values()) == refused


def test_the_images_are_centred_and_of_unit_size_and_the_digits_standardised():
    x, y = images.images("digits", 50)
    assert x.shape == (50, 64)
    assert np.abs(x.mean(axis=0)).max() < 1e-14
    assert float(jnp.mean(x**2)) == pytest.approx(1.0)
    assert (float(y.mean()), float(y.std())) == pytest.approx((0.0, 1.0), abs=1e-14)
    assert len(np.unique(y)) == 10


def test_the_order_is_that_of_the_iteration():
    assert images.order([1.0, 1e-2, 1e-6]) == pytest.approx(2.0)
    assert images.order([1.0, 1e-2, 1e-4]) == pytest.approx(1.0)


def test_the_share_of_the_path_is_one_on_a_straight_line_and_less_where_the_residual_waits():
    def share(x, y):
        problem = rg.Problem(rg.LinearModel(), jnp.zeros(2), x, y)
        return images.path_share(rg.solve(problem, rg.GaussNewtonFlow(), 8.0, ts=np.linspace(0, 8, 80)))

    assert share(jnp.diag(jnp.array([2.0, 0.5])), jnp.array([0.0, 1.0])) == pytest.approx(1.0, abs=1e-7)
    assert share(jnp.diag(jnp.array([2.0, 0.5])), jnp.array([1.0, 0.0])) == pytest.approx(0.25, abs=1e-7)


def test_the_length_of_a_curved_path_is_extrapolated():
    """A quarter of a circle of radius R in the parameters, under a residual that is theirs: the share is the arc over the fall of the residual."""
    angles = np.linspace(0.0, np.pi / 2, 41)
    points = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    problem = rg.Problem(rg.LinearModel(), points[0], jnp.eye(2), jnp.array([0.0, 0.9]))
    start = rg.solve(problem, rg.GaussNewtonFlow(), 1.0, ts=np.linspace(0, 1, 41))
    path = eqx.tree_at(lambda traj: (traj.params, traj.outputs, traj.sigma_min), start, (points, points, jnp.ones(41)))
    fall = np.hypot(1, 0.9) - 0.1
    assert images.path_share(path) == pytest.approx(np.pi / 2 / fall, rel=1e-7)
