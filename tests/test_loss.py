"""Losses: derivatives, constants, infima and domains."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.loss import LOSSES
from tests.helpers import finite_difference, relative_error

Y = np.array([0.2, 0.8, 0.5, 0.0, 1.0])
F = np.array([0.3, -1.2, 2.0, 0.7, -0.4])
CASES = {
    **{name: make() for name, make in LOSSES.items()},
    "pseudo-huber, delta 0.5": rg.PseudoHuberLoss(0.5),
    **{f"{name}, mean": make(mean=True) for name, make in LOSSES.items()},
}
RADIUS = 1.5


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_match_finite_differences(name):
    loss = CASES[name]
    gradient = finite_difference(lambda f: loss(jnp.asarray(f), Y), F)
    assert relative_error(loss.gradient(jnp.asarray(F), Y), gradient) < 1e-8
    hessian = finite_difference(lambda f: loss.gradient(jnp.asarray(f), Y), F)
    np.testing.assert_allclose(np.diag(loss.hessian(jnp.asarray(F), Y)), hessian, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_curvature_range_is_attained(name):
    loss = CASES[name]
    offsets = np.linspace(-RADIUS, RADIUS, 301)
    y = np.full(offsets.size, 0.6)
    f = offsets if isinstance(loss, rg.LogisticLoss | rg.PoissonLoss) else y + offsets
    hessian = np.asarray(loss.hessian(jnp.asarray(f), jnp.asarray(y)))
    nu, mu = loss.strong_convexity(f.size, RADIUS), loss.smoothness(f.size, RADIUS)
    assert math.isclose(hessian.min(), nu, rel_tol=1e-12)
    assert math.isclose(hessian.max(), mu, rel_tol=1e-12)


def test_constants_on_the_whole_space():
    n = 4
    assert (rg.SquaredLoss().strong_convexity(n), rg.SquaredLoss().smoothness(n)) == (1.0, 1.0)
    assert (rg.PseudoHuberLoss().strong_convexity(n), rg.PseudoHuberLoss().smoothness(n)) == (0.0, 1.0)
    assert (rg.LogisticLoss().strong_convexity(n), rg.LogisticLoss().smoothness(n)) == (0.0, 0.25)
    assert (rg.PoissonLoss().strong_convexity(n), rg.PoissonLoss().smoothness(n)) == (0.0, math.inf)
    for radius in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"radius.*got {radius}"):
            rg.SquaredLoss().smoothness(n, radius)


@pytest.mark.parametrize("name", CASES)
def test_infimum_is_a_bound_and_is_approached(name):
    loss = CASES[name]
    infimum = float(loss.infimum(jnp.asarray(Y)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert float(loss(jnp.asarray(3 * rng.standard_normal(Y.size)), Y)) >= infimum - 1e-12
    with np.errstate(divide="ignore"):
        best = Y
        if isinstance(loss, rg.LogisticLoss):
            best = np.clip(np.log(Y) - np.log(1 - Y), -40, 40)
        if isinstance(loss, rg.PoissonLoss):
            best = np.clip(np.log(Y), -40, None)
    assert abs(float(loss(jnp.asarray(best), Y)) - infimum) < 1e-12


@pytest.mark.parametrize("name", LOSSES)
def test_mean_divides_all_quantities_by_n(name):
    total, mean, f, n = LOSSES[name](), LOSSES[name](mean=True), jnp.asarray(F), F.size
    np.testing.assert_allclose(mean(f, Y) * n, total(f, Y), rtol=1e-14)
    np.testing.assert_allclose(mean.gradient(f, Y) * n, total.gradient(f, Y), rtol=1e-14)
    np.testing.assert_allclose(mean.hessian(f, Y) * n, total.hessian(f, Y), rtol=1e-14)
    np.testing.assert_allclose(mean.infimum(Y) * n, total.infimum(Y), rtol=1e-14)
    assert math.isclose(mean.strong_convexity(n, 1.0) * n, total.strong_convexity(n, 1.0))
    assert math.isclose(mean.smoothness(n, 1.0) * n, total.smoothness(n, 1.0))


def test_pseudo_huber_keeps_its_digits_near_and_far():
    loss = rg.PseudoHuberLoss()
    assert math.isclose(float(loss(jnp.array([1e-9]), jnp.zeros(1))), 0.5e-18, rel_tol=1e-12)
    assert math.isclose(float(loss(jnp.array([1e9]), jnp.zeros(1))), 1e9, rel_tol=1e-8)


@pytest.mark.parametrize(
    ("loss", "y", "fragment"),
    [
        (rg.LogisticLoss(), [0.0, 1.5], r"\[0, 1\], got values from 0 to 1.5"),
        (rg.LogisticLoss(), [-1.0, 1.0], "got values from -1 to 1"),
        (rg.PoissonLoss(), [3.0, -2.0], "targets >= 0, got a smallest value of -2"),
    ],
)
def test_targets_outside_the_domain_are_rejected(loss, y, fragment):
    with pytest.raises(ValueError, match=fragment):
        rg.Problem(rg.LinearModel(), np.ones(1), np.ones((2, 1)), y, loss)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, math.nan])
def test_delta_must_be_positive_and_finite(delta):
    with pytest.raises(ValueError, match=f"`delta` must be positive and finite, got {delta}"):
        rg.PseudoHuberLoss(delta)
