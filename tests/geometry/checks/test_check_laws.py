"""What each check measures: errors, the sizes behind their rounding levels, bounds and notes, against closed forms on flat spaces."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from riemgn.geometry.checks import curves as curvelaw, laws as checks
from riemgn.geometry.checks.curves import array, length, number, on_submanifold, rounding_unit, tangential
from riemgn.geometry.checks.laws import (
    check_geodesic,
    check_gradient,
    check_hessian,
    check_metric,
    check_projection,
    check_retraction,
)
from riemgn.geometry.checks.manifold_view import ManifoldView
from riemgn.geometry.checks.slope import SlopeLaw, step_grid

X, U, V = np.array([2.0, -1.0, 2.0]), np.array([3.0, 0.0, 4.0]), np.array([1.0, 2.0, -2.0])
PLANE = np.array([1.0, 0.0, 1.0])  # the diagonal of a projector that keeps U
SYMBOLS = np.arange(27.0).reshape(3, 3, 3) / 10
STEPS = np.array([1e-3, 0.1, 0.125, 0.25])


def norm(v):
    return float(np.linalg.norm(v))


def move(x, u):
    return x + u


AMBIENT = ManifoldView(move, to_tangent=lambda x, a: a * PLANE)
COORDINATES = ManifoldView(move, christoffels=lambda x: SYMBOLS)
BARE = ManifoldView(move)


@dataclass
class Measured:
    """A law before anything is measured: what a check asked `measure_slope` for."""

    name: str
    remainder: Any
    expected: float
    steps: Any
    eps: float = 0.5
    noise: float = 0.0
    tolerance: float = 0.1
    contrast: float = 1e3
    passed: bool = True

    def at(self, t):
        return [float(value) for value in self.remainder(t)]


@pytest.fixture
def asked(monkeypatch):
    for module in (checks, curvelaw):
        monkeypatch.setattr(module, "measure_slope", lambda *args, **options: Measured(*args, **options))


def gamma(a, b):
    return np.array([a @ symbols @ b for symbols in SYMBOLS])


# --- laws of curves --------------------------------------------------------------------------------------------------

BEND, TWIST = np.array([0.5, 1.0, -2.0]), np.array([1.0, 3.0, 0.5])


def cubic(t):
    return X + t * U + t**2 * BEND + t**3 * TWIST


@pytest.mark.parametrize("t", [0.0, 0.5, 2.0])
def test_a_curve_starts_along_its_direction(asked, t):
    law = curvelaw.start_law(AMBIENT, X, U, cubic, STEPS, {"eps": 0.25, "noise": 3.0})
    assert law.at(t) == pytest.approx([norm(cubic(t) - X - t * U), norm(cubic(t)) + 3.0, 5 * t])
    assert (law.name, law.expected, law.eps, law.noise) == ("starts along u", 2, 0.25, 3.0) and law.steps is STEPS


@pytest.mark.parametrize("t", [0.0, 0.5, 2.0])
def test_a_curve_has_no_tangential_acceleration_at_its_start(asked, t):
    gap = t**2 * BEND + t**3 * TWIST
    for view, part in ((AMBIENT, gap * PLANE), (COORDINATES, gap + t**2 / 2 * gamma(U, U))):
        law = curvelaw.second_order_law(view, X, U, cubic, STEPS, {"eps": 0.25})
        assert law.at(t) == pytest.approx([norm(part), 6 + 5 * t, 5 * t])
        assert (law.name, law.expected, law.eps) == ("no tangential acceleration at the start", 3, 0.25)
    assert curvelaw.second_order_law(BARE, X, U, cubic, STEPS, {}) is None


@pytest.mark.parametrize("h", [0.0, 0.25, 1.0])
def test_velocity_speed_and_acceleration_inside_a_curve(asked, h):
    s, chord = 0.5, cubic(0.5 + h) - cubic(0.5 - h)
    stays = curvelaw.velocity_law(AMBIENT, cubic, s, STEPS, {"eps": 0.25})
    assert stays.at(h) == pytest.approx([abs(chord[1]), 2 * norm(cubic(s)), norm(chord)])
    assert (stays.name, stays.expected, stays.eps) == ("stays on the manifold: tangent velocity", 3, 0.25)

    speed = curvelaw.speed_law(AMBIENT, cubic, s, 5.0, STEPS, {"eps": 0.25})
    assert speed.at(h) == pytest.approx([norm(chord) - 10 * h, 4 * norm(cubic(s + h)), 10 * h])
    assert (speed.name, speed.expected, speed.eps) == ("speed 5 at s = 0.5", 3, 0.25)

    second = cubic(s + h) - 2 * cubic(s) + cubic(s - h)
    for view, part in ((AMBIENT, second * PLANE), (COORDINATES, second + gamma(chord / 2, chord / 2))):
        turned = curvelaw.acceleration_law(view, cubic, s, STEPS, {"eps": 0.25})
        assert turned.at(h) == pytest.approx([norm(part), 4 * norm(cubic(s)), norm(chord) / 2])
        assert (turned.name, turned.expected, turned.eps) == ("no tangential acceleration at s = 0.5", 4, 0.25)


@pytest.mark.parametrize("t", [0.0, 0.5, 2.0])
def test_a_connection_preserves_its_metric(asked, t):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, -1.0, 1.0])

    def inner(x, u, v):
        return (1 + x[0]) * (u @ v)

    def turned(x, v):
        return v * PLANE * np.array([1 + x[0] - X[0], 1.0, 1.0])

    flat, turning = (eqx.tree_at(lambda v: v.inner, view, inner) for view in (COORDINATES, AMBIENT))
    turning = eqx.tree_at(lambda v: v.to_tangent, turning, turned)
    there, scale = 1 + X[0] + t * U[0], 1 + X[0]
    law = curvelaw.compatibility_law(flat, X, U, a, b, STEPS, {"eps": 0.25})
    rate = t * scale * (gamma(U, a) @ b + a @ gamma(U, b))
    size = abs(there * (a @ b)) + abs(scale * (a @ b)) + scale * norm(a) * norm(b)
    assert law.at(t) == pytest.approx([(there - scale) * (a @ b) - rate, size, 0.0])
    assert (law.name, law.expected, law.eps) == ("the connection preserves the metric", 2, 0.25)

    law = curvelaw.compatibility_law(turning, X, U, a, b, STEPS, {})
    xa, yb, xt, yt = a * PLANE, b * PLANE, turned(X + t * U, a), turned(X + t * U, b)
    rate = scale * ((xt - xa) @ yb + xa @ (yt - yb))
    size = abs(there * (xt @ yt)) + abs(scale * (xa @ yb)) + scale * norm(xa) * norm(yb)
    assert law.at(t) == pytest.approx([there * (xt @ yt) - scale * (xa @ yb) - rate, size, 0.0])


def test_symbols_take_their_vectors_in_order():
    assert curvelaw.bend(COORDINATES, X, U, V) == pytest.approx(gamma(U, V)) and gamma(U, V) != pytest.approx(
        gamma(V, U)
    )


# --- small things ----------------------------------------------------------------------------------------------------


def test_numbers_and_arrays_come_in_many_forms():
    assert [number(value) for value in (2, 2.0, np.float32(2), jnp.array(2), np.array([2.0]), jnp.array([[2]]))] == [
        2.0
    ] * 6
    with pytest.raises(ValueError, match="size 1"):
        number(np.ones(2))
    mine = np.ones(3, np.float32)
    assert array(mine).dtype == float and array(jnp.ones(2, int)).dtype == float
    array(X)[0] = 7.0
    assert X[0] == 2.0


def test_the_coarsest_rounding_unit_counts():
    double, single, half = (float(jnp.finfo(kind).eps) for kind in (np.float64, np.float32, jnp.bfloat16))
    assert (
        rounding_unit(1.0) == rounding_unit(3) == rounding_unit(np.ones(2, np.int32)) == rounding_unit(1.0, X) == double
    )
    assert (
        rounding_unit(X, jnp.float32(1))
        == rounding_unit(np.float32(1), 1.0)
        == rounding_unit(np.float32(1), np.arange(3))
        == single
    )
    assert rounding_unit(jnp.ones(2, jnp.bfloat16), np.float32(1)) == half


def test_tangent_vectors_are_ambient_only_without_coordinates():
    both = eqx.tree_at(lambda v: v.christoffels, AMBIENT, lambda x: SYMBOLS, is_leaf=lambda leaf: leaf is None)
    assert [on_submanifold(view) for view in (AMBIENT, COORDINATES, BARE, both)] == [True, False, False, False]
    assert np.array_equal(tangential(AMBIENT, X, V), V * PLANE)
    assert all(np.array_equal(tangential(view, X, V), V) for view in (COORDINATES, BARE, both))


def test_a_length_in_an_indefinite_metric_is_positive():
    view = eqx.tree_at(lambda v: v.inner, BARE, lambda x, u, v: -4 * (u @ v))
    assert length(view, X, U) == 10.0


# --- what the checks ask for -----------------------------------------------------------------------------------------

HESSIAN = np.diag([1.0, 2.0, 3.0])


def cost(x):
    return 0.5 * x @ HESSIAN @ x + x[0] ** 3


def grad(x):
    return HESSIAN @ x + np.array([3 * x[0] ** 2, 0, 0])


def hessp(x, u):
    return HESSIAN @ u + np.array([6 * x[0] * u[0], 0, 0])


def test_what_the_check_of_a_gradient_measures(asked):
    check = check_gradient(BARE, X, cost, grad, direction=U, noise=0.5, tolerance=0.3)
    (law,), slope = check.laws, grad(X) @ U
    assert (check.name, law.name, law.expected, law.noise, law.tolerance) == (
        "check_gradient",
        "linear model of the cost",
        2,
        0.5,
        0.3,
    )
    assert law.eps == np.finfo(float).eps and np.array_equal(law.steps, step_grid())
    for t in (0.0, 0.5, 2.0):
        there = cost(X + t * U)
        size = abs(there) + abs(cost(X)) + abs(t * slope) + 3 * norm(grad(X))
        assert law.at(t) == pytest.approx([there - cost(X) - t * slope, size, t * slope])
    single = check_gradient(BARE, X, lambda x: np.float32(cost(x)), grad, direction=U, steps=STEPS).laws[0]
    assert (
        single.eps == np.finfo(np.float32).eps
        and np.array_equal(single.steps, STEPS)
        and (single.noise, single.tolerance) == (0.0, 0.1)
    )


@pytest.mark.parametrize("view", [AMBIENT, COORDINATES, BARE], ids=["ambient", "coordinates", "bare"])
def test_what_is_tangent_is_told_where_there_is_a_normal(asked, view):
    check = check_gradient(view, X, cost, grad, direction=U)
    tangent = check.laws[1:]
    if view is AMBIENT:
        assert [law.name for law in tangent] == ["gradient is tangent"] and check.notes == ()
        assert tangent[0].error == pytest.approx(abs(grad(X)[1]) / norm(grad(X))) and tangent[0].bound == pytest.approx(
            2.0**-26
        )
    else:
        assert tangent == () and check.notes == (
            ("not measured whether the gradient is tangent: no `to_tangent`",) if view is BARE else ()
        )


@pytest.mark.parametrize(("contrast", "noted"), [(10.0, False), (np.nextafter(10.0, 0), True)])
def test_a_hidden_term_is_noted_below_a_contrast_of_ten(monkeypatch, contrast, noted):
    monkeypatch.setattr(checks, "measure_slope", lambda *args, **options: Measured(*args, **options, contrast=contrast))
    assert any("could hide" in note for note in check_gradient(COORDINATES, X, cost, grad, direction=U).notes) is noted
    assert check_gradient(COORDINATES, X, cost, lambda x: 0 * x, direction=U).notes == ()  # no term, nothing to hide
    assert any("could hide" in note for note in check_hessian(BARE, X, cost, grad, hessp, direction=U).notes) is noted


def test_what_the_check_of_a_hessian_measures(asked):
    check = check_hessian(AMBIENT, X, cost, grad, hessp, direction=U, noise=0.5, tolerance=0.3)
    law, slope, second = check.laws[0], grad(X) @ U, U @ hessp(X, U)
    assert (check.name, law.name, law.expected, law.noise, law.tolerance) == (
        "check_hessian",
        "quadratic model of the cost",
        3,
        0.5,
        0.3,
    )
    assert [other.name for other in check.laws[1:]] == [
        "Hessian is tangent",
        "Hessian is symmetric",
        "Hessian is linear",
    ] and check.notes == ()
    for t in (0.0, 0.5, 2.0):
        there = cost(X + t * U)
        size = abs(there) + abs(cost(X)) + abs(t * slope) + abs(t**2 * second) + 3 * norm(grad(X))
        assert law.at(t) == pytest.approx([there - cost(X) - t * slope - t**2 / 2 * second, size, t**2 / 2 * second])
    bare = check_hessian(BARE, X, cost, grad, hessp, direction=U)
    assert len(bare.laws) == 1 and bare.notes == (
        "taken on trust that the retraction is of second order: no `to_tangent` and no `christoffels`",
        "not measured whether the Hessian is tangent: no `to_tangent`",
    )
    inside = check_hessian(COORDINATES, X, cost, grad, hessp, direction=U)
    assert [law.name for law in inside.laws[1:]] == ["Hessian is symmetric", "Hessian is linear"] and inside.notes == ()


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_how_far_a_hessian_is_from_symmetric_and_linear(monkeypatch, asked, size):
    matrix = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [1.0, 0.0, 2.0]])
    v = size * checks.chosen_direction(COORDINATES, X, None, jr.fold_in(jr.key(5), 1))
    monkeypatch.setattr(
        checks, "chosen_direction", lambda view, point, direction, key: v if direction is None else direction
    )

    def twisted(x, u):
        return matrix @ u + 0.1 * (u @ u) * U

    _, symmetric, linear = check_hessian(COORDINATES, X, cost, grad, twisted, direction=U, key=jr.key(5)).laws
    hu, hv, both = twisted(X, U), twisted(X, v), twisted(X, U - 2 * v)
    assert symmetric.error == pytest.approx(abs(hu @ v - U @ hv) / (norm(hu) * norm(v) + norm(U) * norm(hv)))
    assert linear.error == pytest.approx(norm(both - hu + 2 * hv) / np.hypot(norm(hu), norm(hv)))
    assert symmetric.bound == linear.bound == pytest.approx(2.0**-26)
    none = check_hessian(COORDINATES, X, cost, grad, lambda x, u: 0 * u, direction=U).laws
    assert (none[1].error, none[2].error) == (0.0, 0.0)


def slow_to_turn(law_passes):
    """A stand-in for a measured law of second order."""
    return lambda *args: (
        None if law_passes is None else Measured("turns", lambda t: (0, 0, 0), 3, STEPS, passed=law_passes)
    )


@pytest.mark.parametrize(("law", "exp", "used", "said"), [
    (True, None, 1.0, ""),
    (True, lambda x, u: x + 2 * u, 1.0, ""),
    (None, lambda x, u: x + 2 * u, 2.0, ""),
    (False, lambda x, u: x + 2 * u, 2.0, ""),
    (False, None, 1.0, "the retraction is of first order"),
    (None, None, 1.0, "taken on trust"),
])  # fmt: skip
def test_a_hessian_is_looked_at_along_the_best_curve_there_is(monkeypatch, asked, law, exp, used, said):
    monkeypatch.setattr(checks, "second_order_law", slow_to_turn(law))
    view = eqx.tree_at(lambda v: v.exp, COORDINATES, exp, is_leaf=lambda leaf: leaf is None)
    check = check_hessian(view, X, cost, grad, hessp, direction=U)
    model = cost(X) + 0.5 * (grad(X) @ U) + 0.125 * (U @ hessp(X, U))
    assert check.laws[0].at(0.5)[0] == pytest.approx(cost(X + used * 0.5 * U) - model)
    assert len(check.notes) == (said != "") and said in "".join(check.notes)


def test_what_the_check_of_a_retraction_measures(asked):
    view = eqx.tree_at(lambda v: v.exp, AMBIENT, lambda x, u: x + u + (u @ u) * BEND, is_leaf=lambda leaf: leaf is None)
    for order in (1, 2):
        check = check_retraction(view, X, order=order, direction=U, noise=0.5, tolerance=0.3)
        gap, *others = check.laws
        named = ["no tangential acceleration at the start"] * (order == 2) + ["starts along u", "starts at the point"]
        assert [law.name for law in others] == [*named, "stays on the manifold: tangent velocity"] and check.notes == ()
        assert (check.name, gap.name, gap.expected) == (
            f"check_retraction (order {order})",
            "distance to the geodesic",
            order + 1,
        )
        assert gap.at(0.5) == pytest.approx([0.25 * 25 * norm(BEND), norm(X + U / 2) + 3.0, 2.5])
        assert all((law.noise, law.tolerance, law.eps) == (0.5, 0.3, 2.0**-52) for law in (gap, others[0], others[-1]))
        assert others[-1].at(0.1) == pytest.approx(
            [0.0, 2 * norm(X + U / 4), 1.0], abs=1e-15
        )  # at a quarter of the curve
        assert others[-2].error == 0.0 and others[-2].bound == 2.0**-26 + 0.5
    assert check_retraction(view, X, direction=U).name == "check_retraction (order 1)"


def test_a_retraction_without_an_exponential_map_or_a_normal_is_measured_less(asked):
    first, second = (check_retraction(BARE, X, order=order, direction=U) for order in (1, 2))
    assert (
        [law.name for law in first.laws]
        == [law.name for law in second.laws]
        == ["starts along u", "starts at the point"]
    )
    assert first.notes == ("not compared with the exponential map: there is none",)
    assert second.notes == (*first.notes, "tangential acceleration not measured: no `to_tangent` and no `christoffels`")
    inside = check_retraction(COORDINATES, X, order=2, direction=U)
    assert [law.name for law in inside.laws] == [
        "no tangential acceleration at the start",
        "starts along u",
        "starts at the point",
    ]
    away = check_retraction(BARE, X, lambda x, u: x + u + np.array([0, 3.0, 0]), direction=U).laws[-1]
    assert away.error == pytest.approx(1.0) and not away.passed


@pytest.mark.parametrize(("given", "seen"), [
    ([0.01, 0.02, 0.05, 0.1, 0.25], 5), ([0.025, 0.05, 0.1, 0.25, 1.0], 4), ([0.026, 0.05, 0.1, 0.25, 1.0], 0), ([0.01, 0.02, 0.25, 0.3], 0)
])  # fmt: skip
def test_central_differences_stay_inside_the_curve(asked, given, seen):
    steps = check_retraction(AMBIENT, X, direction=U, steps=given).laws[-1].steps
    assert np.array_equal(steps, given[:seen] if seen else step_grid(1e-8, 0.25)) and steps[-1] == pytest.approx(0.25)


def test_what_the_check_of_a_projection_measures(asked):
    check = check_projection(AMBIENT, X, dim=2, key=jr.key(4))
    a, _ = (np.asarray(jr.normal(k, (3,))) for k in jr.split(jr.key(4)))
    law, names = check.laws[0], [law.name for law in check.laws]
    assert names == [
        "range holds the velocities of curves",
        "idempotent",
        "linear",
        "symmetric",
        "trace is the dimension 2",
    ]
    assert (
        check.passed
        and check.notes == ()
        and law.expected == 2
        and np.array_equal(law.steps, step_grid())
        and law.eps == 2.0**-52
    )
    assert law.at(0.5) == pytest.approx([0.0, 3.0, norm(a * PLANE) / 2])
    assert [other.bound for other in check.laws[1:]] == [2.0**-26] * 3 + [3 * 2.0**-26]
    lifted = eqx.tree_at(lambda v: v.retract, AMBIENT, lambda x, u: x + u + np.array([0, 2.0, 0]))
    assert check_projection(lifted, X, dim=2).laws[0].at(0.5)[0] == pytest.approx(2.0)


def test_how_far_a_map_is_from_a_projector(asked):
    matrix = np.array([[0.9, 0.1, 0.0], [0.3, 0.2, 0.0], [0.0, 0.0, 1.0]])

    def project(x, a):
        return matrix @ a + 0.1 * (a @ a) * V

    view = eqx.tree_at(lambda v: v.inner, AMBIENT, lambda x, u, v: 4 * (u @ v))
    check = check_projection(view, X, project, dim=3)
    a, b = (np.asarray(jr.normal(k, (3,))) for k in jr.split(jr.key(0)))
    pa, pb = project(X, a), project(X, b)
    expected = {
        "idempotent": norm(project(X, pa) - pa) / norm(a),
        "linear": norm(project(X, a - 2 * b) - pa + 2 * pb) / norm(a),
        "symmetric": abs(pa @ b - a @ pb) / (norm(a) * norm(b)),
        "trace is the dimension 3": abs(2.1 + 0.1 * V.sum() - 3),
    }
    assert {law.name: law.error for law in check.laws[1:]} == pytest.approx(expected)


def test_the_trace_is_summed_up_to_512_numbers(asked):
    def project(x, a):
        return a

    noted = [
        check_projection(ManifoldView(move, to_tangent=project), np.ones(shape), dim=512).notes
        for shape in (512, (2, 256), 513)
    ]
    assert noted == [(), (), ("trace not compared: more than 512 ambient numbers",)]
    assert check_projection(AMBIENT, X).notes == ("trace not compared: no `dim` is known",)
    assert check_projection(ManifoldView(move, to_tangent=project), np.ones((2, 2)), dim=4).passed


METRIC = np.diag([1.0, 4.0, 9.0])


def stretched(view, matrix=METRIC, **more):
    view = eqx.tree_at(lambda v: v.inner, view, lambda x, u, v: u @ matrix @ v)
    for name, value in more.items():
        view = eqx.tree_at(lambda v, name=name: getattr(v, name), view, value, is_leaf=lambda leaf: leaf is None)
    return view


def test_what_the_check_of_a_metric_measures(asked):
    names = ("symmetric", "positive definite (condition number of the Gram matrix)")
    whole = stretched(
        COORDINATES, dist=lambda x, y: 7 * norm(y - x), christoffels=lambda x: SYMBOLS + SYMBOLS.swapaxes(1, 2)
    )
    check = check_metric(whole, X, direction=U, noise=0.5, tolerance=0.3)
    agrees, *values, away = check.laws
    assert [law.name for law in check.laws] == [
        "the connection preserves the metric",
        *names,
        "free of torsion",
        "distance is length",
    ]
    assert (
        check.notes == ()
        and values[1].error == pytest.approx(9.0)
        and values[1].bound == pytest.approx(0.01 / 2.0**-52)
    )
    assert max(values[0].error, values[2].error) < 1e-15 and values[0].bound == values[2].bound == 2.0**-26
    assert check_metric(whole, X).laws[2].error == pytest.approx(9.0)  # three draws, no two alike, span the space
    speed = np.sqrt(U @ METRIC @ U)
    assert away.at(0.5) == pytest.approx([17.5 - speed / 2, speed / 2, speed / 2]) and away.expected == 2
    assert np.allclose(away.steps, np.logspace(-3, 0, 16)) and np.array_equal(agrees.steps, step_grid())
    assert all((law.noise, law.tolerance, law.eps) == (0.5, 0.3, 2.0**-52) for law in (agrees, away))
    given = check_metric(whole, X, direction=U, steps=STEPS)
    assert np.array_equal(given.laws[0].steps, STEPS) and np.array_equal(given.laws[-1].steps, STEPS)
    bare = check_metric(stretched(BARE), X, direction=U)
    assert [law.name for law in bare.laws] == list(names) and bare.laws[1].error == 1.0  # one vector is all there is
    assert bare.notes == (
        "compatibility with the connection not measured: no `to_tangent` and no `christoffels`",
        "length not compared with a distance: there is none",
    )
    ambient = check_metric(stretched(AMBIENT), X, direction=U)
    assert [law.name for law in ambient.laws] == ["the connection preserves the metric", *names]
    assert ambient.laws[2].error == pytest.approx(9.0)  # of the plane alone: three tangent vectors span no more


def test_how_far_symbols_and_products_are_from_symmetric(asked):
    skew = np.array([[1.0, 0.5, 0.0], [-0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    values = {law.name: law for law in check_metric(stretched(COORDINATES, skew), X, direction=U).laws}
    twist = SYMBOLS - SYMBOLS.swapaxes(1, 2)
    assert values["free of torsion"].error == pytest.approx(norm(twist.ravel()) / norm(SYMBOLS.ravel()))
    assert values["symmetric"].error == pytest.approx(norm((skew - skew.T).ravel()) / norm(skew.ravel()))
    degenerate = check_metric(stretched(COORDINATES, np.diag([1.0, 1.0, 0.0])), X, direction=U)
    indefinite = check_metric(stretched(COORDINATES, np.diag([1.0, 1.0, -1.0])), X, direction=U)
    assert not degenerate.laws[2].passed and indefinite.laws[2].error == np.inf


def test_what_the_check_of_a_geodesic_measures(asked):
    view = stretched(AMBIENT, np.eye(3), exp=lambda x, u: x + u)
    check = check_geodesic(view, X, direction=U, noise=0.5, tolerance=0.3)
    assert [law.name for law in check.laws] == [
        "no tangential acceleration at s = 0.25", "no tangential acceleration at s = 0.6", "speed 5 at s = 0.25", "speed 5 at s = 0.6",
        "starts at the point",
    ]  # fmt: skip
    assert all((law.noise, law.tolerance, law.eps) == (0.5, 0.3, 2.0**-52) for law in check.laws[:4])
    assert np.allclose(check.laws[0].steps, step_grid(1e-5, 0.2)) and check.laws[-1].bound == 1e-6 and check.notes == ()
    given = check_geodesic(view, X, lambda t: X + t * U + t * V, direction=U, steps=STEPS)
    assert [law.name for law in given.laws[5:]] == ["is exp(s u) at s = 0.25", "is exp(s u) at s = 1"]
    assert [law.error for law in given.laws[5:]] == pytest.approx([3 / 5, 3 / 5]) and np.array_equal(
        given.laws[0].steps, STEPS
    )
    late = check_geodesic(view, X, lambda t: X + np.array([0, 0, 3e-6]) + t * U, direction=U)
    assert late.laws[4].error == pytest.approx(1e-6)
    single = check_geodesic(view, X.astype(np.float32), lambda t: (X + t * U).astype(np.float32), direction=U)
    assert single.laws[4].bound == pytest.approx(np.sqrt(np.finfo(np.float32).eps))
    with pytest.raises(ValueError, match=r"must not exceed 0.25 .* got 0.251"):
        check_geodesic(view, X, direction=U, steps=[1e-3, 1e-2, 0.1, 0.251])


def test_what_may_be_missing_is_tried_on_a_thousandth_of_the_direction(asked, monkeypatch):
    """U has length 5."""
    seen = []

    def exp(x, u):
        seen.append(norm(u))
        return x + u

    def dist(x, y):
        seen.append(norm(y - x))
        return norm(y - x)

    monkeypatch.setattr(
        checks, "second_order_law", lambda *args: Measured("turns", lambda t: (0, 0, 0), 3, STEPS, passed=False)
    )
    view = stretched(AMBIENT, np.eye(3), exp=exp, dist=dist)
    for check in (check_retraction, check_metric, check_geodesic):
        seen.clear()
        check(view, X, direction=U)
        assert seen[0] == pytest.approx(5e-3)
    seen.clear()
    check_hessian(view, X, cost, grad, lambda x, u: u, direction=U)
    assert seen[0] == pytest.approx(5e-3)


def test_a_random_geodesic_is_as_short_as_its_curve_bends():
    """The retraction is straight, the exponential map bends by more than half of any length over 1/4."""
    seen = []

    def exp(x, u):
        seen.append(norm(u))
        return x + u + 2 * norm(u) ** 2 * np.array([0, 1.0, 0])

    check_geodesic(stretched(AMBIENT, np.eye(3), exp=exp), X)
    assert seen[0] == pytest.approx(1e-3) and seen[1:4] == pytest.approx([1, 0.5, 0.25]) and max(seen[4:]) <= 0.25
    seen.clear()
    check_geodesic(stretched(AMBIENT, np.eye(3), exp=exp), X, direction=U)
    assert max(seen) == 4  # what is given is not shortened


def test_the_default_key_is_key_0(asked):
    view = stretched(AMBIENT, np.eye(3), exp=lambda x, u: x + u)
    for check, more in (
        (check_gradient, (cost, grad)),
        (check_hessian, (cost, grad, hessp)),
        (check_retraction, ()),
        (check_geodesic, ()),
    ):
        default, zero, one = (check(view, X, *more, key=key).laws[0].at(0.2) for key in (None, jr.key(0), jr.key(1)))
        assert default == zero != one
    default, zero, one = (check_metric(view, X, key=key).laws[0].at(0.2) for key in (None, jr.key(0), jr.key(1)))
    assert default == zero != one


def test_a_constant_cost_has_the_gradient_zero():
    """Nothing is subtracted here, and the error is exactly nothing."""
    check = check_gradient(AMBIENT, X, lambda x: 0.0, lambda x: 0 * x)
    assert check.passed and isinstance(check.slope, SlopeLaw) and check.slope.exact
