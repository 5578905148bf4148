"""Sparse group lasso: derivatives, extreme numbers, constants of self-concordance."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from riemgn.penalty import OstrovskiiBachPenalty, PseudoHuberPenalty, SparseGroupPenalty

ABSOLUTE = {"pseudo-huber": PseudoHuberPenalty(0.7), "ostrovskii-bach": OstrovskiiBachPenalty(0.7)}
LABELS = [0, 1, 0, 2, 1, 0, 4]  # no parameter has label 3
WEIGHTS = [2.0, 0.5, 1.0, 3.0, 0.0]
POINTS = {
    "zero": np.zeros(7),
    "one_member": np.array([0.3, 0, 0, 0, 0, 0, 0]),
    "ties": np.array([0.7, 0.35, -0.7, 0.7, -0.35, 0.7, 0.35]),
    "mixed": np.random.default_rng(0).standard_normal(7),
}


@jax.jit
def by_differentiation(penalty, w):
    """Gradient and Hessian of the value, and the Jacobian of the diagonal in two ways."""
    diagonal = jax.jacobian(lambda w: jnp.diag(jax.hessian(penalty)(w)))
    return jax.grad(penalty)(w), jax.hessian(penalty)(w), diagonal(w), jax.jacobian(penalty.hessian_diagonal)(w)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", ABSOLUTE)
def test_derivatives_equal_automatic_ones(name, point):
    penalty, w = SparseGroupPenalty(ABSOLUTE[name], LABELS, WEIGHTS), jnp.asarray(POINTS[point])
    gradient, hessian, third, third_of_diagonal = by_differentiation(penalty, w)
    np.testing.assert_allclose(penalty.gradient(w), gradient, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(penalty.hessian_diagonal(w), jnp.diag(hessian), rtol=1e-12)
    np.testing.assert_allclose(third_of_diagonal, third, rtol=1e-10, atol=1e-12)
    assert float(jnp.min(penalty.hessian_diagonal(w))) > 0 and np.linalg.eigvalsh(hessian)[0] > 0


@pytest.mark.parametrize("name", ABSOLUTE)
def test_value_is_the_sum_over_parameters_and_groups(name):
    w, absolute = POINTS["mixed"], ABSOLUTE[name]
    norms = np.array([np.linalg.norm(w[np.array(LABELS) == g]) for g in range(5)])
    expected = absolute(jnp.asarray(w)) + np.sum(WEIGHTS * np.asarray(absolute.pointwise(jnp.asarray(norms))))
    np.testing.assert_allclose(SparseGroupPenalty(absolute, LABELS, WEIGHTS)(jnp.asarray(w)), expected, rtol=1e-14)


def test_hessian_couples_only_members_of_a_group():
    w = jnp.asarray(POINTS["mixed"])
    hessian = by_differentiation(SparseGroupPenalty(ABSOLUTE["pseudo-huber"], LABELS, WEIGHTS), w)[1]
    assert abs(float(hessian[0, 2])) > 1e-3 and float(hessian[0, 1]) == 0.0


def test_default_weights_are_the_roots_of_the_sizes():
    penalty = SparseGroupPenalty(PseudoHuberPenalty(), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(penalty.weights, [2.0, 1.0])
    np.testing.assert_allclose(SparseGroupPenalty(PseudoHuberPenalty(), [0, 1, 2], 0.3).weights, 0.3)


@pytest.mark.parametrize("name", ABSOLUTE)
@pytest.mark.parametrize("ratio", [1e3, 1e9])
def test_diagonal_is_accurate_if_one_member_dominates(name, ratio):
    """Compared with `1 - w_i^2 / t^2` in extended precision."""
    mu, w = np.longdouble(0.7), np.array([ratio, 1.0, -0.5], dtype=np.longdouble)
    others = np.sum(w**2) - w**2
    others[0] = w[1] ** 2 + w[2] ** 2
    if name == "pseudo-huber":
        r, own = np.sqrt(mu**2 + np.sum(w**2)), mu**2 / np.sqrt(mu**2 + w**2) ** 3
        group = (mu**2 + others) / r**3
    else:
        m = mu / 2
        r, s = np.sqrt(m**2 + np.sum(w**2)), np.sqrt(m**2 + w**2)
        own, group = m / (s * (s + m)), (m * (r + m) + others) / (r * (r + m) ** 2)
    observed = SparseGroupPenalty(ABSOLUTE[name], [0, 0, 0], 2.0).hessian_diagonal(jnp.asarray(w.astype(float)))
    np.testing.assert_allclose(observed, (own + 2 * group).astype(float), rtol=1e-13)


@pytest.mark.parametrize("name", ABSOLUTE)
@pytest.mark.parametrize("x", [0.0, 1e-200, 1e200])
def test_extreme_numbers_do_not_overflow(name, x):
    penalty, w = SparseGroupPenalty(ABSOLUTE[name], [0, 0, 1], 2.0), jnp.full(3, x)
    norm = np.array([np.sqrt(2) * x, x])
    np.testing.assert_allclose(penalty(w), (3 * x + 2 * norm.sum()) if x > 1 else 0.0, rtol=1e-14)
    np.testing.assert_allclose(penalty.gradient(w)[:2], 1 + np.sqrt(2) if x > 1 else 3 * x / 0.7, rtol=1e-14)
    assert not np.any(np.isnan(penalty.hessian_diagonal(w)))
    assert np.all(np.isfinite(jax.grad(penalty)(w)))


# --- constants of self-concordance


@partial(jax.jit, static_argnums=1)
@partial(jnp.vectorize, excluded=(0, 1), signature="(p),(p),(p)->()")
def in_directions(penalty, order: float, w, v, u):
    """`|D^3 h[v, u, u]| / (|u|_w^2 |v|_w^{nu-2} |v|^{3-nu})`, scaled to `mu = 1`."""

    def second(w, u):
        return jax.jvp(lambda w: penalty.gradient(w) @ u, (w,), (u,))[1]

    third = jax.jvp(lambda w: second(w, u), (w,), (v,))[1]
    bound = second(w, u) * second(w, v) ** (order / 2 - 1) * jnp.linalg.norm(v) ** (3 - order)
    return jnp.abs(third) / bound * penalty.smoothing ** (2 - order / 2)


GROUPS = np.array([0, 0, 0, 1, 1, 2])


@settings(max_examples=12, deadline=None)
@given(
    pair=st.sampled_from(
        [
            (PseudoHuberPenalty, 2.0),
            (OstrovskiiBachPenalty, 2.0),
            (OstrovskiiBachPenalty, 2.6),
            (OstrovskiiBachPenalty, 3.0),
        ]
    ),
    log_mu=st.floats(-3, 3),
    log_size=st.floats(-2, 5),
    weights=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_tight_constant_is_valid(pair, log_mu, log_size, weights, seed):
    make, order = pair
    mu, rng = 10**log_mu, np.random.default_rng(seed)
    penalty = SparseGroupPenalty(make(mu), GROUPS, weights)
    w, v, u = (jnp.asarray(rng.standard_normal((200, 6)) * 10 ** rng.uniform(-2, 2, (200, 6))) for _ in range(3))
    ratios = in_directions(penalty, order, mu * 10**log_size * w, v, u)
    assert float(jnp.max(ratios)) <= penalty.tight_constant(order) * (1 + 1e-6)


def test_constant_of_pseudo_huber_is_attained():
    penalty = SparseGroupPenalty(PseudoHuberPenalty(0.7), GROUPS)
    w, e = 0.7 * jnp.eye(6)[0], jnp.eye(6)[0]
    assert float(in_directions(penalty, 2.0, w, e, e)) == pytest.approx(1.5, rel=1e-12)


def test_pseudo_huber_has_no_constant_for_order_2_6():
    """Across the vector of a group the ratio grows as `t^0.3`."""
    penalty = SparseGroupPenalty(PseudoHuberPenalty(), [0, 0], 1.0)
    along, across = jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])
    ratios = [float(in_directions(penalty, 2.6, t * along, across, across + t * along)) for t in (1e3, 1e5, 1e7)]
    assert penalty.tight_constant(2.6) == math.inf
    np.testing.assert_allclose(np.divide(ratios[1:], ratios[:-1]), 100**0.3, rtol=0.05)
