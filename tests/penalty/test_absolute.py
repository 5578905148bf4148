"""Penalties: derivatives, tables of ggn_score.md, their bounds, their limits; the constants are in test_self_concordance.py."""

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from riemgn.method import GGNScore
from riemgn.penalty import (
    AbstractPenalty,
    AbstractSeparablePenalty,
    BoxPenalty,
    ExponentialPenalty,
    OstrovskiiBachPenalty,
    PENALTIES,
    PseudoHuberPenalty,
    SparseGroupPenalty,
    SquaredPenalty,
)
from tests.helpers import finite_difference

W = np.array([-2.0, -0.1, 0.0, 0.3, 5.0])
UNIT = {
    "pseudo-huber": PseudoHuberPenalty(),
    "ostrovskii-bach": OstrovskiiBachPenalty(),
    "exponential": ExponentialPenalty(),
    "squared": SquaredPenalty(),
}
CASES = {
    **UNIT,
    "pseudo-huber, mu 0.2": PseudoHuberPenalty(0.2),
    "ostrovskii-bach, mu 7": OstrovskiiBachPenalty(7.0),
    "exponential, lower -3": ExponentialPenalty(0.8, lower=-3.0),
    "exponential, upper 1": ExponentialPenalty(0.8, lower=None, upper=1.0),
    "exponential, a box each": ExponentialPenalty(
        0.8, lower=[-4.0, -1.0, -jnp.inf, 0.0, 1.0], upper=[1.0, jnp.inf, 2.0, 0.5, 6.0]
    ),
    "squared, mu 0.5": SquaredPenalty(0.5),
}


def derivatives_agree(penalty: AbstractSeparablePenalty, slope, curvature) -> bool:
    by_value = np.diag(finite_difference(lambda w: penalty.pointwise(jnp.asarray(w)), W))
    by_slope = np.diag(finite_difference(lambda w: penalty.gradient(jnp.asarray(w)), W))
    return np.allclose(slope, by_value, rtol=1e-7, atol=1e-8) and np.allclose(curvature, by_slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_slope_and_curvature_are_the_derivatives(name):
    penalty, w = CASES[name], jnp.asarray(W)
    slope, curvature = np.asarray(penalty.gradient(w)), np.asarray(penalty.hessian_diagonal(w))
    assert derivatives_agree(penalty, slope, curvature)
    assert not derivatives_agree(penalty, slope * (1 + 1e-5), curvature)
    assert not derivatives_agree(penalty, slope, curvature * (1 + 1e-5))
    assert np.all(curvature > 0)
    np.testing.assert_allclose(penalty(w), np.sum(penalty.pointwise(w)), rtol=1e-15)
    np.testing.assert_allclose(penalty.local_norm(w), np.sqrt(np.sum(slope**2 / curvature)), rtol=1e-14)


TABLE = {
    "pseudo-huber": [
        [1.23606798, 0.00498756, 0, 0.04403065, 4.09901951],
        [-0.89442719, -0.09950372, 0, 0.28734789, 0.98058068],
        [0.08944272, 0.98518534, 1, 0.87873971, 0.00754293],
    ],
    "ostrovskii-bach": [
        [1.09124599, 0.00497533, 0, 0.04318376, 3.67030181],
        [-0.78077641, -0.09901951, 0, 0.27698396, 0.90498756],
        [0.09468305, 0.97096622, 1, 0.79170597, 0.01800993],
    ],
}


@pytest.mark.parametrize("name", TABLE)
def test_values_of_the_table(name):
    penalty, w = UNIT[name], jnp.asarray(W)
    for got, expected in zip((penalty.pointwise(w), penalty.gradient(w), penalty.hessian_diagonal(w)), TABLE[name], strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=5.1e-9)


@pytest.mark.parametrize("make", [PseudoHuberPenalty, OstrovskiiBachPenalty])
def test_smoothed_absolute_values(make):
    """`h(0) = h'(0) = 0`, `h''(0) = 1/mu`, `|h'| < 1`, `h -> |x|`, and the digits survive near 0 and far away."""
    penalty = make(0.25)
    zero, near, far = (jnp.array([x]) for x in (0.0, 1e-9, 1e9))
    assert (float(penalty.pointwise(zero)[0]), float(penalty.gradient(zero)[0]), float(penalty.hessian_diagonal(zero)[0])) == (
        0.0,
        0.0,
        4.0,
    )
    np.testing.assert_allclose(penalty.pointwise(near), 0.5e-18 / 0.25, rtol=1e-12)
    np.testing.assert_allclose(penalty.pointwise(far), 1e9, rtol=1e-7)
    assert np.all(np.abs(penalty.gradient(jnp.asarray(W))) < 1)


def test_ostrovskii_bach_equals_the_released_closed_form():
    x, mu = np.array([-2.0, 0.3, 5.0]), 0.7
    s = np.sqrt(mu**2 + 4 * x**2)
    released = (s - mu) / 2 + mu / 2 * np.log(mu * (s - mu) / (2 * x**2))  # divides by x
    np.testing.assert_allclose(OstrovskiiBachPenalty(mu).pointwise(jnp.asarray(x)), released, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_scaling_by_the_smoothing(name):
    """`h_mu(x) = mu h(x / mu)`."""
    penalty = CASES[name]
    mu, w = penalty.smoothing, jnp.asarray(W)
    options = (
        {"lower": penalty.lower / mu, "upper": penalty.upper / mu} if isinstance(penalty, ExponentialPenalty) else {}
    )
    unit = type(penalty)(1.0, **options)
    np.testing.assert_allclose(penalty.pointwise(w), mu * unit.pointwise(w / mu), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize(
    ("p", "mu", "pseudo_huber", "ostrovskii_bach"),
    [
        (3000, math.sqrt(500), 1.1267167355, 0.5981395125),
        (10500, math.sqrt(500), 1.4475326022, 0.5981395125),
        (3000, 1e-3, 1248.6888869, 89.4427191),
        (3000, 10.0, 1.9790385164, 0.8944271910),
        (2816, 10 * math.sqrt(128), 0.3576292537, 0.2659147948),
    ],
)
def test_constants_of_the_sum(p, mu, pseudo_huber, ostrovskii_bach):
    assert math.isclose(float(PseudoHuberPenalty(mu).self_concordance(p)), pseudo_huber, rel_tol=1e-9)
    assert math.isclose(float(OstrovskiiBachPenalty(mu).self_concordance(p)), ostrovskii_bach, rel_tol=1e-9)


def test_constants_of_the_other_penalties():
    assert math.isclose(float(ExponentialPenalty(0.5).self_concordance(9)), 3 / 0.5)  # p^(1/2) / mu
    assert float(SquaredPenalty(0.5).self_concordance(9)) == 0.0
    assert math.isclose(
        float(PseudoHuberPenalty(constant=4.0).self_concordance(9)), 2 * float(PseudoHuberPenalty().self_concordance(9))
    )


@pytest.mark.parametrize("order", [2.0, 2.3, 2.6, 3.0])
@pytest.mark.parametrize("distance", [0.0, 1e-8, 0.99e-3, 1.01e-3, 0.1, 0.5, 0.95])
def test_growth_is_its_integral(order, distance):
    def weight(s):
        return math.exp(s * distance) if order == 2 else (1 - s * distance) ** (-2 / (order - 2))

    expected = quad(lambda s: (1 - s) * weight(s), 0, 1, epsabs=1e-13, epsrel=1e-13)[0]
    assert math.isclose(float(PseudoHuberPenalty(order=order).omega(jnp.asarray(distance))), expected, rel_tol=1e-11)


def test_growth_ends_at_distance_one_except_at_order_two():
    assert float(PseudoHuberPenalty(order=2.6).omega(jnp.asarray(1.0))) == math.inf
    assert float(PseudoHuberPenalty(order=3.0).omega(jnp.asarray(1.5))) == math.inf
    assert math.isclose(
        float(ExponentialPenalty().omega(jnp.asarray(1.5))), (math.exp(1.5) - 2.5) / 2.25, rel_tol=1e-14
    )


def excess(penalty: AbstractPenalty, w: np.ndarray, d: np.ndarray) -> float:
    """`h(w + d)` minus its self-concordant upper bound, relative to `1 + h(w)`; positive where the bound fails."""
    w, d = jnp.asarray(w), jnp.asarray(d)
    local = jnp.sqrt(jnp.sum(penalty.hessian_diagonal(w) * d**2))
    bound = (
        penalty(w) + penalty.gradient(w) @ d + penalty.omega(penalty.distance(w.size, jnp.linalg.norm(d), local)) * local**2
    )
    return float((penalty(w + d) - bound) / (1 + penalty(w)))


BOUNDED = {
    "pseudo-huber, tight constant": PseudoHuberPenalty(0.5, constant=PseudoHuberPenalty.tight_constant(2.6)),
    "pseudo-huber, order 2": PseudoHuberPenalty(0.5, constant=1.5, order=2.0),
    "pseudo-huber, order 2.5": PseudoHuberPenalty(0.5, constant=PseudoHuberPenalty.tight_constant(2.5), order=2.5),
    "ostrovskii-bach": OstrovskiiBachPenalty(0.5),
    "exponential": ExponentialPenalty(0.5, lower=-1.0),
    "exponential, both bounds": ExponentialPenalty(0.5, lower=-1.0, upper=2.0),
    "squared": SquaredPenalty(0.5),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_penalty_stays_below_its_self_concordant_bound(name):
    rng = np.random.default_rng(0)
    for p in (1, 6):
        for scale in (1e-2, 0.1, 0.5):
            for _ in range(10):
                assert excess(BOUNDED[name], 2 * rng.standard_normal(p), scale * rng.standard_normal(p)) <= 1e-13


def test_the_bound_fails_for_a_constant_that_is_too_small():
    w, d = np.array([1.0]), np.array([-0.9])
    assert excess(PseudoHuberPenalty(0.3, constant=0.01), w, d) > 1e-3
    assert excess(ExponentialPenalty(0.5, constant=0.01), w, d) > 1e-3


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: PseudoHuberPenalty(0.0), "`smoothing` must be positive and finite, got 0.0"),
        (lambda: OstrovskiiBachPenalty(-1.0), "`smoothing` must be positive and finite, got -1.0"),
        (lambda: ExponentialPenalty(math.inf), "got inf"),
        (lambda: SquaredPenalty("wide"), "`smoothing` must be a number, got 'wide'"),
        (lambda: PseudoHuberPenalty(constant=-2.0), "`constant` must be >= 0 and finite, got -2.0"),
        (lambda: OstrovskiiBachPenalty(constant=math.nan), "got nan"),
        (lambda: PseudoHuberPenalty(order=3.5), r"`order` must lie in \[2, 3\], got 3.5"),
        (lambda: ExponentialPenalty(lower=math.nan), "`lower` must be less than `upper`, got nan and inf."),
        (lambda: ExponentialPenalty(lower=1.0, upper=1.0), "`lower` must be less than `upper`, got 1 and 1."),
        (
            lambda: ExponentialPenalty(lower=[0.0, 2.0], upper=1.0),
            "`lower` must be less than `upper`, got 2 and 1 at parameter 1.",
        ),
        (
            lambda: ExponentialPenalty(lower=[0.0, 2.0], upper=[1.0, 3.0, 4.0]),
            r"must have one shape, got \(2,\) and \(3,\).",
        ),
        (lambda: ExponentialPenalty(lower="low"), "`lower` must be a number, numbers of shape .* or None, got 'low'."),
        (
            lambda: ExponentialPenalty(upper=[[1.0]]),
            r"`upper` must be a number or have shape \(p,\), got shape \(1, 1\).",
        ),
        (
            lambda: ExponentialPenalty(lower=None),
            "Each parameter needs a finite bound, got lower = None and upper = None.",
        ),
        (lambda: ExponentialPenalty(lower=[-math.inf, 0.0]), "Each parameter needs a finite bound"),
        (
            lambda: BoxPenalty(PseudoHuberPenalty(), lower=-math.inf, upper=-math.inf),
            "`lower` must be less than `upper`",
        ),
        (lambda: BoxPenalty(PseudoHuberPenalty(), 2.0, 1.0), "`lower` must be less than `upper`, got 2 and 1."),
        (lambda: BoxPenalty(PseudoHuberPenalty(), floor=0.0), "`floor` must be positive and finite, got 0.0"),
        (
            lambda: BoxPenalty(SquaredPenalty()),
            "`absolute` must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got SquaredPenalty.",
        ),
        (
            lambda: SparseGroupPenalty(2.0, [0]),
            "`absolute` must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got float.",
        ),
        (
            lambda: SparseGroupPenalty(PseudoHuberPenalty(), [0.0, 1.0]),
            r"whole numbers >= 0 of shape \(p,\), got shape \(2,\), dtype float64",
        ),
        (lambda: SparseGroupPenalty(PseudoHuberPenalty(), [0, -1]), "got shape .* and least value -1."),
        (lambda: SparseGroupPenalty(PseudoHuberPenalty(), []), r"got shape \(0,\)"),
        (
            lambda: SparseGroupPenalty(PseudoHuberPenalty(), [0, 1], [1.0, 2.0, 3.0]),
            r"one for each of the 2 groups, got shape \(3,\)",
        ),
        (
            lambda: SparseGroupPenalty(PseudoHuberPenalty(), [0, 1], [1.0, -2.0]),
            r"`weights` must be >= 0 and finite, got \[1.0, -2.0\].",
        ),
        (
            lambda: SparseGroupPenalty(PseudoHuberPenalty(), [0, 1])(jnp.ones(3)),
            r"2 labels and got parameters of shape \(3,\).",
        ),
        (lambda: GGNScore(PseudoHuberPenalty(), weight=-1e-4), "`weight` must be >= 0 and finite, got -0.0001."),
        (lambda: GGNScore(PseudoHuberPenalty(), weight=math.nan), "`weight` must be >= 0 and finite, got nan."),
    ],
)
def test_what_is_out_of_range_is_rejected_in_one_sentence(make, fragment):
    with pytest.raises(ValueError, match=fragment) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("make", [PseudoHuberPenalty, OstrovskiiBachPenalty, ExponentialPenalty, SquaredPenalty])
@pytest.mark.parametrize("mu", [0.0, -1.0, math.nan])
def test_a_smoothing_that_is_not_positive_is_rejected_by_every_penalty(make, mu):
    with pytest.raises(ValueError, match=rf"^`smoothing` must be positive and finite, got {mu}.$"):
        make(mu)


def test_the_registry_holds_every_penalty():
    assert set(PENALTIES.values()) == {type(p) for p in UNIT.values()} | {BoxPenalty, SparseGroupPenalty}


@pytest.mark.parametrize("name", UNIT)
def test_the_defaults_are_the_reference_constants(name):
    assert UNIT[name].reference_constants == (None if name == "squared" else (UNIT[name].constant, UNIT[name].order))


FAR = [(0.0, 1.0), (1e-200, 1.0), (1e200, 1.0), (-1.7e308, 1.0), (1e-3, 1e200), (1e200, 1e200), (1e-300, 1e-200)]


@pytest.mark.parametrize("make", [PseudoHuberPenalty, OstrovskiiBachPenalty])
@pytest.mark.parametrize(("x", "mu"), FAR)
def test_nothing_overflows_or_becomes_nan_on_the_way(make, x, mu):
    """Against the closed forms in Python's `decimal`, whose exponents do not end."""
    decimal.getcontext().prec = 60
    big, m = decimal.Decimal(x), decimal.Decimal(mu)
    if make is PseudoHuberPenalty:
        r = (m**2 + big**2).sqrt()
        expected = (big**2 / (r + m), big / r, m**2 / r**3)
    else:
        s = (m**2 + 4 * big**2).sqrt()
        half = 2 * big**2 / (s + m)
        log = (1 + half / m).ln()
        expected = (half - m / 2 * log, 2 * big / (s + m), 2 * m / (s * (s + m)))
    w, penalty = jnp.array([x]), make(mu)
    for got, true in zip((penalty(w), penalty.gradient(w)[0], penalty.hessian_diagonal(w)[0]), expected, strict=True):
        assert math.isclose(float(got), float(true), rel_tol=1e-12, abs_tol=1e-307)


def test_the_local_norm_of_a_wall_far_away_is_zero():
    assert float(ExponentialPenalty(1e-3, -1.0, 1.0).local_norm(jnp.zeros(3))) == 0.0
    near = jnp.array([-0.9, 0.3])
    expected = np.sqrt(np.sum((np.exp(near - 1) - np.exp(-near - 1)) ** 2 / (np.exp(near - 1) + np.exp(-near - 1))))
    np.testing.assert_allclose(ExponentialPenalty(1.0, -1.0, 1.0).local_norm(near), expected, rtol=1e-13)


def test_the_smoothing_is_an_argument_of_one_compilation():
    traced = []

    @jax.jit
    def value(penalty, w):
        traced.append(1)
        return penalty(w)

    values = [float(value(PseudoHuberPenalty(mu), jnp.asarray(W))) for mu in (0.5, 1.0)]
    assert (len(traced), values[0] > values[1]) == (1, True)
