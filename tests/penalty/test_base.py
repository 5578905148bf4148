"""All penalties: derivatives, scaling, self-concordant bounds, wrong arguments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from riemgn.penalty import (
    AbstractPenalty,
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
    "pseudo-huber": PseudoHuberPenalty(0.2),
    "ostrovskii-bach": OstrovskiiBachPenalty(7.0),
    "exponential_lower": ExponentialPenalty(0.8, lower=-3.0),
    "exponential_upper": ExponentialPenalty(0.8, lower=None, upper=1.0),
    "exponential_bounds_per_parameter": ExponentialPenalty(
        0.8, lower=[-4.0, -1.0, -jnp.inf, 0.0, 1.0], upper=[1.0, jnp.inf, 2.0, 0.5, 6.0]
    ),
    "squared": SquaredPenalty(0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_equal_finite_differences(name):
    penalty, w = CASES[name], jnp.asarray(W)
    gradient, diagonal = np.asarray(penalty.gradient(w)), np.asarray(penalty.hessian_diagonal(w))
    by_value = np.diag(finite_difference(lambda w: penalty.pointwise(jnp.asarray(w)), W))
    by_gradient = np.diag(finite_difference(lambda w: penalty.gradient(jnp.asarray(w)), W))
    np.testing.assert_allclose(gradient, by_value, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(diagonal, by_gradient, rtol=1e-7, atol=1e-8)
    assert np.all(diagonal > 0)
    np.testing.assert_allclose(penalty(w), np.sum(penalty.pointwise(w)), rtol=1e-15)
    np.testing.assert_allclose(penalty.local_norm(w), np.sqrt(np.sum(gradient**2 / diagonal)), rtol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_smoothing_scales_the_penalty(name):
    """`h_mu(x) = mu h(x / mu)`."""
    penalty, w = CASES[name], jnp.asarray(W)
    mu = penalty.smoothing
    bounds = {name: getattr(penalty, name) / mu for name in ("lower", "upper") if hasattr(penalty, name)}
    unit = type(penalty)(1.0, **bounds)
    np.testing.assert_allclose(penalty.pointwise(w), mu * unit.pointwise(w / mu), rtol=1e-13, atol=1e-16)


def test_smoothing_can_vary_without_recompiling():
    traced = []

    @jax.jit
    def value(penalty, w):
        traced.append(1)
        return penalty(w)

    values = [float(value(PseudoHuberPenalty(mu), jnp.asarray(W))) for mu in (0.5, 1.0)]
    assert (len(traced), values[0] > values[1]) == (1, True)


def test_registry_has_every_penalty():
    assert set(PENALTIES.values()) == {type(p) for p in UNIT.values()} | {BoxPenalty, SparseGroupPenalty}


# --- constants of self-concordance


@pytest.mark.parametrize("name", UNIT)
def test_default_constants_are_those_of_the_released_code(name):
    assert UNIT[name].reference_constants == (None if name == "squared" else (UNIT[name].constant, UNIT[name].order))


@pytest.mark.parametrize(
    ("penalty", "p", "expected"),
    [
        (PseudoHuberPenalty(math.sqrt(500)), 3000, 1.1267167355),
        (PseudoHuberPenalty(1e-3), 3000, 1248.6888869),
        (PseudoHuberPenalty(10 * math.sqrt(128)), 2816, 0.3576292537),
        (PseudoHuberPenalty(10.0, constant=4.0), 3000, 2 * 1.9790385164),
        (OstrovskiiBachPenalty(math.sqrt(500)), 10500, 0.5981395125),
        (ExponentialPenalty(0.5), 9, 6.0),
        (SquaredPenalty(0.5), 9, 0.0),
    ],
)
def test_constant_of_the_sum(penalty, p, expected):
    assert float(penalty.self_concordance(p)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [2.0, 2.3, 2.6, 3.0])
@pytest.mark.parametrize("distance", [0.0, 1e-8, 0.99e-3, 1.01e-3, 0.5, 0.95])
def test_omega_equals_its_integral(order, distance):
    def weight(s):
        return math.exp(s * distance) if order == 2 else (1 - s * distance) ** (-2 / (order - 2))

    expected = quad(lambda s: (1 - s) * weight(s), 0, 1, epsabs=1e-13, epsrel=1e-13)[0]
    assert math.isclose(float(PseudoHuberPenalty(order=order).omega(jnp.asarray(distance))), expected, rel_tol=1e-11)


def test_omega_is_infinite_from_distance_one_unless_order_is_two():
    assert float(PseudoHuberPenalty(order=2.6).omega(jnp.asarray(1.0))) == math.inf
    assert float(PseudoHuberPenalty(order=3.0).omega(jnp.asarray(1.5))) == math.inf
    assert math.isclose(float(ExponentialPenalty().omega(jnp.asarray(1.5))), (math.exp(1.5) - 2.5) / 2.25)


def excess(penalty: AbstractPenalty, w: np.ndarray, d: np.ndarray) -> float:
    """`h(w + d)` minus its self-concordant upper bound, relative to `1 + h(w)`."""
    w, d = jnp.asarray(w), jnp.asarray(d)
    local = jnp.sqrt(jnp.sum(penalty.hessian_diagonal(w) * d**2))
    omega = penalty.omega(penalty.distance(w.size, jnp.linalg.norm(d), local))
    bound = penalty(w) + penalty.gradient(w) @ d + omega * local**2
    return float((penalty(w + d) - bound) / (1 + penalty(w)))


BOUNDED = {
    "pseudo-huber": PseudoHuberPenalty(0.5, constant=PseudoHuberPenalty.tight_constant(2.6)),
    "pseudo-huber_order_2": PseudoHuberPenalty(0.5, constant=1.5, order=2.0),
    "ostrovskii-bach": OstrovskiiBachPenalty(0.5),
    "exponential": ExponentialPenalty(0.5, lower=-1.0, upper=2.0),
    "squared": SquaredPenalty(0.5),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_penalty_stays_below_its_self_concordant_bound(name):
    rng = np.random.default_rng(0)
    for p in (1, 6):
        for scale in np.repeat([1e-2, 0.1, 0.5], 5):
            assert excess(BOUNDED[name], 2 * rng.standard_normal(p), scale * rng.standard_normal(p)) <= 1e-13


def test_bound_fails_for_a_constant_that_is_too_small():
    w, d = np.array([1.0]), np.array([-0.9])
    assert excess(PseudoHuberPenalty(0.3, constant=0.01), w, d) > 1e-3
    assert excess(ExponentialPenalty(0.5, constant=0.01), w, d) > 1e-3


# --- wrong arguments

HUBER = PseudoHuberPenalty()


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: PseudoHuberPenalty(0.0), "`smoothing` must be positive and finite, got 0.0"),
        (lambda: OstrovskiiBachPenalty(-1.0), "`smoothing` must be positive and finite, got -1.0"),
        (lambda: ExponentialPenalty(math.inf), "`smoothing` must be positive and finite, got inf"),
        (lambda: SquaredPenalty("wide"), "`smoothing` must be a number, got 'wide'"),
        (lambda: PseudoHuberPenalty(constant=-2.0), "`constant` must be >= 0 and finite, got -2.0"),
        (lambda: OstrovskiiBachPenalty(constant=math.nan), "`constant` must be >= 0 and finite, got nan"),
        (lambda: ExponentialPenalty(constant=-1.0), "`constant` must be >= 0 and finite, got -1.0"),
        (lambda: PseudoHuberPenalty(order=3.5), "`order` must be between 2 and 3, got 3.5"),
        (lambda: ExponentialPenalty(lower=math.nan), "`lower` must be less than `upper`, got nan and inf."),
        (lambda: ExponentialPenalty(lower=1.0, upper=1.0), "`lower` must be less than `upper`, got 1 and 1."),
        (lambda: ExponentialPenalty(lower=[0.0, 2.0], upper=1.0), "got 2 and 1 at parameter 1."),
        (lambda: ExponentialPenalty(lower=[0.0, 2.0], upper=[1.0, 3.0, 4.0]), r"one shape, got \(2,\) and \(3,\)."),
        (lambda: ExponentialPenalty(lower="low"), "`lower` must be a number, numbers of shape .* or None, got 'low'."),
        (lambda: ExponentialPenalty(upper=[[1.0]]), r"have shape \(p,\), got shape \(1, 1\)."),
        (
            lambda: ExponentialPenalty(lower=None),
            "Each parameter needs a finite bound, got lower = None and upper = No",
        ),
        (lambda: ExponentialPenalty(lower=[-math.inf, 0.0]), "Each parameter needs a finite bound"),
        (lambda: BoxPenalty(HUBER, lower=-math.inf, upper=-math.inf), "`lower` must be less than `upper`"),
        (lambda: BoxPenalty(HUBER, lower=math.inf), "`lower` must be less than `upper`"),
        (lambda: BoxPenalty(HUBER, 2.0, 1.0), "`lower` must be less than `upper`, got 2 and 1."),
        (lambda: BoxPenalty(HUBER, floor=0.0), "`floor` must be positive and finite, got 0.0"),
        (lambda: BoxPenalty(SquaredPenalty()), "must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got Squared"),
        (lambda: SparseGroupPenalty(2.0, [0]), "must be a PseudoHuberPenalty or an OstrovskiiBachPenalty, got float."),
        (lambda: SparseGroupPenalty(HUBER, [0.0, 1.0]), r"integers >= 0 of shape \(p,\), got .*, dtype float64"),
        (lambda: SparseGroupPenalty(HUBER, [0, -1]), "got shape .* and smallest value -1."),
        (lambda: SparseGroupPenalty(HUBER, []), r"got shape \(0,\)"),
        (lambda: SparseGroupPenalty(HUBER, [0, 1], [1.0, 2.0, 3.0]), r"one for each of the 2 groups, got shape \(3,\)"),
        (lambda: SparseGroupPenalty(HUBER, [0, 1], [1.0, -2.0]), r"must be >= 0 and finite, got \[1.0, -2.0\]."),
        (lambda: SparseGroupPenalty(HUBER, [0, 1])(jnp.ones(3)), r"2 labels, but got parameters of shape \(3,\)."),
    ],
)
def test_wrong_argument_is_one_sentence(make, fragment):
    with pytest.raises(ValueError, match=fragment) as error:
        make()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
