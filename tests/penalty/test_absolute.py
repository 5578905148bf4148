"""Smooth absolute values: tables, limits, and the tight constants of self-concordance."""

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from riemgn.penalty import (
    AbstractSeparablePenalty,
    BoxPenalty,
    ExponentialPenalty,
    OstrovskiiBachPenalty,
    PseudoHuberPenalty,
    SquaredPenalty,
)

W = np.array([-2.0, -0.1, 0.0, 0.3, 5.0])
ABSOLUTE = [PseudoHuberPenalty, OstrovskiiBachPenalty]
TABLE = {
    PseudoHuberPenalty: [
        [1.23606798, 0.00498756, 0, 0.04403065, 4.09901951],
        [-0.89442719, -0.09950372, 0, 0.28734789, 0.98058068],
        [0.08944272, 0.98518534, 1, 0.87873971, 0.00754293],
    ],
    OstrovskiiBachPenalty: [
        [1.09124599, 0.00497533, 0, 0.04318376, 3.67030181],
        [-0.78077641, -0.09901951, 0, 0.27698396, 0.90498756],
        [0.09468305, 0.97096622, 1, 0.79170597, 0.01800993],
    ],
}


def values(penalty: AbstractSeparablePenalty, w) -> tuple:
    """Value, first and second derivative, entry by entry."""
    w = jnp.asarray(w)
    return penalty.pointwise(w), penalty.gradient(w), penalty.hessian_diagonal(w)


@pytest.mark.parametrize("make", ABSOLUTE)
def test_values_equal_a_table(make):
    np.testing.assert_allclose(values(make(), W), TABLE[make], rtol=0, atol=5.1e-9)


@pytest.mark.parametrize("make", ABSOLUTE)
def test_limits_at_zero_and_infinity(make):
    """`h(0) = h'(0) = 0`, `h''(0) = 1/mu`, `|h'| < 1` and `h -> |x|`."""
    penalty = make(0.25)
    assert [float(value) for value in values(penalty, 0.0)] == [0.0, 0.0, 4.0]
    np.testing.assert_allclose(penalty.pointwise(jnp.array([1e-9])), 0.5e-18 / 0.25, rtol=1e-12)
    np.testing.assert_allclose(penalty.pointwise(jnp.array([1e9])), 1e9, rtol=1e-7)
    assert np.all(np.abs(penalty.gradient(jnp.asarray(W))) < 1)


def test_ostrovskii_bach_equals_the_released_formula():
    x, mu = np.array([-2.0, 0.3, 5.0]), 0.7
    s = np.sqrt(mu**2 + 4 * x**2)
    released = (s - mu) / 2 + mu / 2 * np.log(mu * (s - mu) / (2 * x**2))  # divides by x
    np.testing.assert_allclose(OstrovskiiBachPenalty(mu).pointwise(jnp.asarray(x)), released, rtol=1e-12)


@pytest.mark.parametrize("make", ABSOLUTE)
@pytest.mark.parametrize(
    ("x", "mu"),
    [(0.0, 1.0), (1e-200, 1.0), (1e200, 1.0), (-1.7e308, 1.0), (1e-3, 1e200), (1e200, 1e200), (1e-300, 1e-200)],
)
def test_extreme_numbers_do_not_overflow(make, x, mu):
    """Compared with the formulas in Python's `decimal`."""
    decimal.getcontext().prec = 60
    big, m = decimal.Decimal(x), decimal.Decimal(mu)
    if make is PseudoHuberPenalty:
        r = (m**2 + big**2).sqrt()
        expected = (big**2 / (r + m), big / r, m**2 / r**3)
    else:
        s = (m**2 + 4 * big**2).sqrt()
        half = 2 * big**2 / (s + m)
        expected = (half - m / 2 * (1 + half / m).ln(), 2 * big / (s + m), 2 * m / (s * (s + m)))
    for observed, exact in zip(values(make(mu), x), expected, strict=True):
        assert math.isclose(float(observed), float(exact), rel_tol=1e-12, abs_tol=1e-307)


# --- tight constants

GRID = np.geomspace(1e-6, 1e12, 20_001)  # x / mu
GRID = np.concatenate([-GRID[::-1], [0.0], GRID])


@jax.jit
def second_and_third(penalty: AbstractSeparablePenalty, x):
    return penalty.hessian_diagonal(x), jax.grad(lambda x: jnp.sum(penalty.hessian_diagonal(x)))(x)


def observed_constant(penalty: AbstractSeparablePenalty, order: float, x: np.ndarray) -> float:
    """`max |h'''| / (h'')^(nu/2)` on a grid, scaled to `mu = 1`."""
    second, third = (np.asarray(a) for a in second_and_third(penalty, jnp.asarray(x)))
    return float(np.max(np.abs(third) / second ** (order / 2)) * float(penalty.smoothing) ** (2 - order / 2))


@pytest.mark.parametrize(
    ("make", "order", "expected"),
    [
        (PseudoHuberPenalty, 2.0, 1.5),
        (PseudoHuberPenalty, 2.6, 3 * math.sqrt(10) * 11**-0.55),
        (PseudoHuberPenalty, 8 / 3, 3.0),
        (PseudoHuberPenalty, 3.0, math.inf),
        (OstrovskiiBachPenalty, 2.6, 2.00807),
        (OstrovskiiBachPenalty, 3.0, 2 * math.sqrt(2)),
        (OstrovskiiBachPenalty, 3 - 1e-9, 2 * math.sqrt(2)),
        (OstrovskiiBachPenalty, 3.1, math.inf),
        (ExponentialPenalty, 2.0, 1.0),
        (ExponentialPenalty, 2.6, math.inf),
        (SquaredPenalty, 2.6, 0.0),
        (BoxPenalty, 2.6, math.inf),
    ],
)
def test_tight_constant_has_its_closed_form(make, order, expected):
    assert make.tight_constant(order) == pytest.approx(expected, rel=4e-6)


@settings(max_examples=25, deadline=None)
@given(make=st.sampled_from(ABSOLUTE), log_mu=st.floats(-6, 6), order=st.floats(2, 8 / 3))
def test_tight_constant_is_the_supremum(make, log_mu, order):
    penalty = make(10**log_mu)
    assert 0.99 < observed_constant(penalty, order, 10**log_mu * GRID) / penalty.tight_constant(order) <= 1 + 1e-12


@pytest.mark.parametrize("order", [2.7, 2.85, 3.0])
def test_only_ostrovskii_bach_has_a_constant_above_8_thirds(order):
    ratio = observed_constant(OstrovskiiBachPenalty(), order, GRID) / OstrovskiiBachPenalty.tight_constant(order)
    assert 0.99 < ratio <= 1 + 1e-12
    near, far = (observed_constant(PseudoHuberPenalty(), order, GRID[np.abs(GRID) < top]) for top in (1e6, 1e12))
    assert far > 1.5 * near


@pytest.mark.parametrize(("make", "valid"), [(PseudoHuberPenalty, False), (OstrovskiiBachPenalty, True)])
def test_released_constant_of_pseudo_huber_is_too_small(make, valid):
    constant, order = make.reference_constants
    assert (observed_constant(make(), order, GRID) <= constant * (1 + 1e-12)) == valid


def test_released_constant_of_pseudo_huber_suffices_for_four_parameters():
    penalty, tight = PseudoHuberPenalty(), PseudoHuberPenalty.tight_constant(2.6)
    assert float(penalty.self_concordance(3)) < tight < float(penalty.self_concordance(4))


@pytest.mark.parametrize(
    ("make", "order"), [(PseudoHuberPenalty, 2.0), *((OstrovskiiBachPenalty, order) for order in (2.0, 2.6, 3.0))]
)
def test_norm_has_the_constant_of_a_number(make, order):
    """The supremum of `|D^3 h(|x|)[v, u, u]|`: over `u` in closed form, over `v` on a grid.

    For `m = 1` the Hessian is `s` along `x` and `q` across it. With `A = |h'''| / s^{3/2}`,
    `B = |q'| / (q sqrt(s))`, `a` the component of `v` along `x` in the local norm and
    `b^2 = 1 - a^2`, it is the largest eigenvalue of `[[A a, B b], [B b, B a]]`.
    """
    t = np.geomspace(1e-4, 1e7, 1501)[:, None]
    a = np.append(0.0, np.geomspace(1e-7, 1.0, 1200))[None]
    r = np.sqrt(1 + t**2)
    if make is PseudoHuberPenalty:
        mu, s, q, third, q_slope = 1.0, 1 / r**3, 1 / r, 3 * t / r**5, t / r**3
    else:
        mu, s, q = 2.0, 1 / (r * (r + 1)), 1 / (r + 1)
        third, q_slope = t * (2 * r + 1) / (r**3 * (r + 1) ** 2), t / (r * (r + 1) ** 2)
    big, small = third / s**1.5, q_slope / (q * np.sqrt(s))
    largest = a * (big + small) / 2 + np.sqrt((a * (big - small) / 2) ** 2 + small**2 * (1 - a**2))
    supremum = np.max(largest / (a**2 / s + (1 - a**2) / q) ** ((3 - order) / 2)) * mu ** (2 - order / 2)
    assert supremum == pytest.approx(make().radial_constant(order), rel=1e-4)
