"""Bounds on parameters: the box and the exponential barriers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.penalty import BoxPenalty, ExponentialPenalty, OstrovskiiBachPenalty, PseudoHuberPenalty, SparseGroupPenalty
from tests.helpers import tanh_net
from tests.penalty.test_absolute import GRID, observed_constant, second_and_third

ABSOLUTE = {"pseudo-huber": PseudoHuberPenalty(0.7), "ostrovskii-bach": OstrovskiiBachPenalty(0.7)}
X = np.array([-9.0, -1.5, -1.0, -0.2, 1.2, 2.0, 2.3, 40.0])


@pytest.mark.parametrize("name", ABSOLUTE)
def test_box_is_zero_inside_and_a_smooth_distance_outside(name):
    box, w = BoxPenalty(ABSOLUTE[name], -1.0, 2.0), jnp.asarray(X)
    distance = np.where(X < -1, X + 1, np.where(X > 2, X - 2, 0.0))
    outside = distance != 0
    np.testing.assert_allclose(box.pointwise(w), ABSOLUTE[name].pointwise(jnp.asarray(distance)), rtol=1e-15)
    np.testing.assert_allclose(box.gradient(w), jax.vmap(jax.grad(box.pointwise))(w), rtol=1e-14)
    hessian = jax.vmap(jax.hessian(box.pointwise))(w)
    np.testing.assert_allclose(box.hessian_diagonal(w)[outside], hessian[outside], rtol=1e-11)
    np.testing.assert_allclose(box.hessian_diagonal(w)[~outside], 1e-3 / 0.7, rtol=1e-15)
    assert np.all(np.sign(box.gradient(w)) == np.sign(distance))


def test_pseudo_huber_box_has_closed_values():
    """`sqrt(mu^2 + d^2) - mu` with 3-4-5 triangles."""
    box, w = BoxPenalty(PseudoHuberPenalty(3.0), -1.0, [2.0, 2.0, 6.0]), jnp.array([-5.0, 6.0, 6.0])
    np.testing.assert_allclose(box.pointwise(w), [2.0, 2.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(box.gradient(w), [-0.8, 0.8, 0.0], rtol=1e-15)
    np.testing.assert_allclose(box.hessian_diagonal(w), [9 / 125, 9 / 125, 1e-3 / 3], rtol=1e-14)


@pytest.mark.parametrize(("bounds", "zero"), [((None, 0.0), [True, True, False]), ((0.0, None), [False, True, True])])
def test_missing_bound_has_no_effect(bounds, zero):
    box, w = BoxPenalty(PseudoHuberPenalty(), *bounds), jnp.array([-1e6, 0.0, 1e6])
    np.testing.assert_array_equal(box.pointwise(w) == 0, zero)
    assert np.all(np.isfinite(jax.grad(box)(w)))


def test_box_has_the_constant_of_pseudo_huber_outside():
    box = BoxPenalty(PseudoHuberPenalty(0.3), -1.0, 2.0)
    outside = np.concatenate([-1 - 0.3 * GRID[GRID > 0], 2 + 0.3 * GRID[GRID > 0]])
    ratio = observed_constant(box, 2.6, outside) / PseudoHuberPenalty.tight_constant(2.6)
    assert 0.99 < ratio <= 1 + 1e-9  # x - b is rounded
    assert observed_constant(box, 2.6, np.linspace(-1.0, 2.0, 11)) == 0.0


@pytest.mark.parametrize("bounds", [(-1.0, None), (None, 2.0), (-1.0, 2.0)])
@pytest.mark.parametrize("mu", [1e-2, 30.0])
def test_exponential_penalty_has_constant_one(bounds, mu):
    x = np.linspace(-1 - 20 * mu, 2 + 20 * mu, 401)
    second, third = (np.asarray(a) for a in second_and_third(ExponentialPenalty(mu, *bounds), jnp.asarray(x)))
    assert 0.99 < np.max(np.abs(third) * mu / np.where(second > 0, second, 1.0)) <= 1 + 1e-12


def test_local_norm_is_zero_far_from_a_barrier():
    assert float(ExponentialPenalty(1e-3, -1.0, 1.0).local_norm(jnp.zeros(3))) == 0.0


@pytest.mark.parametrize(
    "penalty",
    [SparseGroupPenalty(OstrovskiiBachPenalty(0.5), np.arange(51) % 5), BoxPenalty(PseudoHuberPenalty(0.1), -0.5, 0.5)],
    ids=["group", "box"],
)
def test_ggn_score_decreases_the_objective(penalty):
    problem = tanh_net(8, (3, 10, 1), loss=rg.SquaredLoss(mean=True))
    steps = rg.iterate(problem, rg.GGNScore(penalty, weight=1e-2), steps=6).stats["per_step"]
    assert np.all(steps["slope"] < 0)
    assert steps["objective"][-1] < steps["objective"][0]


@pytest.mark.parametrize(
    ("penalty", "unmet"),
    [
        (SparseGroupPenalty(OstrovskiiBachPenalty(), [0, 0, 0]), "the penalty is separable"),
        (BoxPenalty(PseudoHuberPenalty(constant=2.6), -0.1, 0.1), "M_h used for the sum"),
        (PseudoHuberPenalty(constant=2.19, order=2.5), "M_h used for the sum"),
        (PseudoHuberPenalty(constant=2.2, order=2.5), None),
    ],
)
def test_certificate_needs_a_valid_constant(penalty, unmet):
    """The smallest valid constant for order 2.5 and one parameter is 2.19429."""
    p = 3 if isinstance(penalty, SparseGroupPenalty) else 1
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, p)))
    problem = rg.Problem(rg.LinearModel(), jnp.full(p, 2.0), x, jnp.ones(5), loss=rg.SquaredLoss(mean=True))
    cert = rg.certify(
        "ggn_score_descent", rg.iterate(problem, rg.GGNScore(penalty, weight=1e-2, damping="tau"), steps=3)
    )
    failed = [h.name for h in cert.hypotheses if h.status != "holds"]
    assert (unmet is None and failed == []) or (len(failed) == 1 and unmet in failed[0]), cert
