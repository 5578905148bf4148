"""Tests of the six checks on the sphere: each passes on the truth and fails on likely mistakes."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from riemgn.geometry import (
    check_geodesic,
    check_gradient,
    check_hessian,
    check_metric,
    check_projection,
    check_retraction,
    ManifoldFunctions,
)
from tests.geometry.checks.sphere import (
    BARE,
    cost,
    euclidean_grad,
    exp,
    flat_hessp,
    grad,
    hessp,
    MATRIX,
    NO_EXP,
    norm,
    POINT,
    project,
    retract,
    SPHERE,
    TANGENT,
    turning,
)

KEYS = [jr.key(seed) for seed in range(3)]


def failed(check):
    return [law.name for law in check.laws if not law.passed]


@pytest.mark.parametrize("key", KEYS)
def test_the_truth_passes(key):
    gradient, hessian = (
        check_gradient(SPHERE, POINT, cost, grad, key=key),
        check_hessian(SPHERE, POINT, cost, grad, hessp, key=key),
    )
    assert gradient.passed and abs(gradient.order - 2) < 0.05, str(gradient)
    assert hessian.passed and abs(hessian.order - 3) < 0.1, str(hessian)
    for view in (SPHERE, NO_EXP):
        done = check_retraction(view, POINT, order=2, key=key)
        assert done.passed and abs(done.order - 3) < 0.05, str(done)
    assert check_retraction(SPHERE, POINT, turning, order=1, key=key).passed
    assert check_retraction(SPHERE, POINT, exp, order=2, key=key).slopes[0].exact
    assert check_projection(SPHERE, POINT, dim=2, key=key).passed
    assert check_metric(SPHERE, POINT, key=key).passed
    assert check_geodesic(SPHERE, POINT, key=key).passed
    assert check_geodesic(NO_EXP, POINT, lambda t: exp(POINT, t * TANGENT), direction=TANGENT).passed


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("factor", [1.01, -1.0, 0.0, 1 + 1e-4])
def test_a_scaled_gradient_fails(factor, key):
    check = check_gradient(SPHERE, POINT, cost, lambda x: factor * grad(x), key=key)
    assert not check.passed and abs(check.order - 1) < 0.1


def test_a_gradient_without_projection_fails():
    check = check_gradient(SPHERE, POINT, cost, euclidean_grad)
    assert failed(check) == ["gradient is tangent"]


@pytest.mark.parametrize("key", KEYS)
def test_a_hessian_without_the_curvature_term_fails(key):
    check = check_hessian(SPHERE, POINT, cost, grad, flat_hessp, key=key)
    assert failed(check) == ["quadratic model of the cost"] and abs(check.order - 2) < 0.05


def test_a_hessian_is_tangent_symmetric_and_linear():
    def twisted(x, u):
        return hessp(x, u) + 0.1 * np.cross(x, u)

    assert failed(check_hessian(SPHERE, POINT, cost, grad, twisted)) == ["Hessian is symmetric"]
    assert "Hessian is tangent" in failed(
        check_hessian(SPHERE, POINT, cost, grad, lambda x, u: hessp(x, u) + 0.1 * norm(u) * x)
    )
    assert "Hessian is linear" in failed(
        check_hessian(SPHERE, POINT, cost, grad, lambda x, u: norm(u) ** 2 * hessp(x, u))
    )


def test_a_first_order_retraction_needs_a_critical_point():
    view = ManifoldFunctions(turning, to_tangent=project)
    check = check_hessian(view, POINT, cost, grad, hessp)
    assert not check.passed and any("retraction is of first order" in note for note in check.notes)
    top = np.array([0.0, 0.0, 1.0])

    def height(x):
        return x[2] ** 2 + 0.5 * x[0] ** 2 + x[0] ** 3

    def height_grad(x):
        return project(x, np.array([x[0] + 3 * x[0] ** 2, 0, 2 * x[2]]))

    def height_hessp(x, u):
        return project(x, np.array([1, 0, 2.0]) * u) - 2 * u  # at the top only, where <x, grad> = 2

    assert check_hessian(view, top, height, height_grad, height_hessp).passed


def test_exp_replaces_a_first_order_retraction():
    view = ManifoldFunctions(turning, to_tangent=project, exp=exp)
    assert check_hessian(view, POINT, cost, grad, hessp).passed


@pytest.mark.parametrize("key", KEYS)
def test_a_constant_in_the_cost_only_adds_rounding(key):
    check = check_hessian(SPHERE, POINT, lambda x: cost(x) + 1e3, grad, hessp, key=key)
    assert check.passed and np.all(check.slopes[0].floor >= 1.9e3 * np.finfo(float).eps)


@pytest.mark.parametrize("view", [SPHERE, NO_EXP], ids=["exp", "no exp"])
def test_a_first_order_retraction_has_not_order_two(view):
    check = check_retraction(view, POINT, turning, order=2)
    assert not check.passed and abs(check.order - 2) < 0.05


RETRACTION_MISTAKES = {
    "leaves the manifold": (lambda x, u: x + u, "stays on the manifold: tangent velocity"),
    "Taylor polynomial of the geodesic": (
        lambda x, u: x + u - 0.5 * (u @ u) * x,
        "stays on the manifold: tangent velocity",
    ),
    "twice as fast": (lambda x, u: retract(x, 2 * u), "starts with velocity u"),
    "starts elsewhere": (lambda x, u: retract(x, u + np.array([1e-3, 0, 0])), "starts at the point"),
}


@pytest.mark.parametrize(("wrong", "complaint"), RETRACTION_MISTAKES.values(), ids=RETRACTION_MISTAKES)
def test_a_wrong_retraction_fails(wrong, complaint):
    assert complaint in failed(check_retraction(NO_EXP, POINT, wrong))


PROJECTION_MISTAKES = {
    "oblique": (lambda x, a: a - a.sum() / x.sum() * x, "symmetric"),
    "identity": (lambda x, a: a, "trace is the dimension 2"),
    "not idempotent": (lambda x, a: 0.9 * project(x, a), "idempotent"),
    "another plane": (lambda x, a: project(np.array([0.6, 0.0, 0.8]), a), "range holds the velocities of curves"),
    "not linear": (lambda x, a: norm(a) * project(x, a), "linear"),
}


@pytest.mark.parametrize(("wrong", "complaint"), PROJECTION_MISTAKES.values(), ids=PROJECTION_MISTAKES)
def test_a_wrong_projector_fails(wrong, complaint):
    assert complaint in failed(check_projection(SPHERE, POINT, wrong, dim=2))


METRIC_MISTAKES = {
    "depends on the point": (lambda x, u, v: (1 + x[0]) * (u @ v), "the connection preserves the metric"),
    "wrong unit": (lambda x, u, v: 1.02 * (u @ v), "distance is length"),
    "degenerate": (lambda x, u, v: u[0] * v[0], "positive definite (condition number)"),
    "indefinite": (lambda x, u, v: u[1] * v[1] + u[2] * v[2] - u[0] * v[0], "positive definite (condition number)"),
    "not symmetric": (lambda x, u, v: u @ v + 0.1 * (x @ np.cross(u, v)), "symmetric"),
}


@pytest.mark.parametrize(("wrong", "complaint"), METRIC_MISTAKES.values(), ids=METRIC_MISTAKES)
def test_a_wrong_metric_fails(wrong, complaint):
    view = eqx.tree_at(lambda v: v.inner, SPHERE, wrong)
    assert complaint in failed(check_metric(view, POINT))


def test_a_wrong_geodesic_fails():
    u = 0.8 * TANGENT
    secant = check_geodesic(
        SPHERE, POINT, lambda t: retract(POINT, t * u), direction=u
    )  # a great circle, but at a changing speed
    assert any("speed" in name for name in failed(secant)) and any("exp" in name for name in failed(secant))
    parallel = check_geodesic(SPHERE, POINT, lambda t: turning(POINT, t * u), direction=u)
    assert any("acceleration" in name for name in failed(parallel))
    half = check_geodesic(
        SPHERE, POINT, lambda t: exp(POINT, 0.5 * t * u), direction=u
    )  # a geodesic, of another length
    assert all("acceleration" not in name for name in failed(half)) and any("speed" in name for name in failed(half))


def test_a_law_that_cannot_be_measured_is_noted():
    u = TANGENT
    assert "not measured" in check_gradient(BARE, POINT, cost, grad, direction=u).notes[0]
    assert "the manifold has none" in check_retraction(NO_EXP, POINT).notes[0]
    assert "no `dim` is known" in check_projection(SPHERE, POINT).notes[0]
    assert "not measured" in check_metric(BARE, POINT, direction=u).notes[0]
    assert any("of second order" in note for note in check_hessian(BARE, POINT, cost, grad, hessp, direction=u).notes)


BAD_INPUT = {
    "no direction": (lambda: check_gradient(BARE, POINT, cost, grad), "Pass a `direction`"),
    "no functions": (lambda: check_gradient(SPHERE, POINT), "Pass `cost` and `grad`: a ManifoldFunctions has no"),
    "zero direction": (
        lambda: check_gradient(SPHERE, POINT, cost, grad, direction=np.zeros(3)),
        "finite and not zero, got",
    ),
    "short direction": (
        lambda: check_gradient(SPHERE, POINT, cost, grad, direction=np.ones(2)),
        "shape of the embedded point, .3,., got .2,.",
    ),
    "no projector": (lambda: check_projection(BARE, POINT), "needs `to_tangent`"),
    "no curve": (lambda: check_geodesic(NO_EXP, POINT), "needs a `curve`"),
    "no normal": (
        lambda: check_geodesic(BARE, POINT, lambda t: POINT, direction=np.ones(3)),
        "`to_tangent` or `christoffels`",
    ),
    "long steps": (lambda: check_geodesic(SPHERE, POINT, steps=np.logspace(-4, 0, 20)), "must not exceed 0.25"),
    "order": (lambda: check_retraction(SPHERE, POINT, order=3), "must be 1 or 2, got 3"),
    "no manifold": (lambda: check_metric("sphere", POINT), "Got str;"),
}


@pytest.mark.parametrize(("call", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_term_smaller_than_its_remainder_is_noted():
    def wiggle(x):
        return 1e-9 * x[0] + np.cos(1e4 * x[0])  # its third order hides its first wherever rounding lets one look

    at = np.array([0.0, 0.6, 0.8])
    check = check_gradient(
        SPHERE, at, wiggle, lambda x: project(x, np.array([1e-9, 0, 0])), direction=np.array([1.0, 0, 0])
    )
    assert "could hide" in check.notes[0]


def test_float32_has_its_own_rounding_level():
    point, matrix = jnp.asarray(POINT, jnp.float32), jnp.asarray(MATRIX, jnp.float32)
    view = ManifoldFunctions(lambda x, u: (x + u) / jnp.linalg.norm(x + u), to_tangent=project)

    def value(x):
        return 0.5 * x @ matrix @ x

    true = check_gradient(view, point, value, lambda x: project(x, matrix @ x), key=KEYS[0])
    wrong = check_gradient(view, point, value, lambda x: 1.05 * project(x, matrix @ x), key=KEYS[0])
    assert true.passed and true.slopes[0].window[0] > 1e-4 and not wrong.passed
