"""The slope that a check reads, and the directions and views it looks through: exact thresholds, windows, endings, sentences."""

from types import SimpleNamespace

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry.checks.direction import BEND, chosen_direction, HALVINGS, shortened, working
from riemgn.geometry.checks.manifold_view import chart_view, manifold_view, ManifoldView, own_objective
from riemgn.geometry.checks.slope import (
    Check,
    checked_steps,
    CLEAR,
    find_window,
    measure_slope,
    SlopeLaw,
    step_grid,
    STRAIGHT,
    ValueLaw,
)

EPS = float(np.finfo(float).eps)
GRID = step_grid()


# --- laws and verdicts -----------------------------------------------------------------------------------------------


def law_of_order(order, tolerance=0.25, exact=False):
    ones = np.ones(4)
    return SlopeLaw("mine", ones, ones, ones, 2.0, tolerance, order, 1.0, (1e-3, 1e-2), 1.0, exact)


def test_a_law_holds_up_to_its_bound_and_no_further():
    assert (
        ValueLaw("at", 0.5, 0.5).passed
        and not ValueLaw("above", np.nextafter(0.5, 1), 0.5).passed
        and not ValueLaw("nan", np.nan, 0.5).passed
    )
    assert law_of_order(1.75).passed and not law_of_order(np.nextafter(1.75, 0)).passed and law_of_order(3.0).passed
    assert (
        not law_of_order(np.nan).passed
        and law_of_order(np.nan, exact=True).passed
        and not law_of_order(1.9, tolerance=0.0).passed
    )


def test_a_check_collects_its_laws():
    good, bad, slope = ValueLaw("good", 1e-3, 1.0), ValueLaw("bad", 2.0, 1.0), law_of_order(1.0)
    check = Check("mine", (good, bad, slope), ("a note",))
    assert check.slopes == (slope,) and check.slope is slope and check.order == 1.0 and not check.passed
    assert (
        check.complaints == (str(bad), str(slope)) and Check("empty", ()).passed and Check("mine", (good,)).notes == ()
    )
    assert str(check) == (
        "mine failed.\n  ok  good: 1.0e-03 (at most 1.0e+00)\n  NO  bad: 2.0e+00 (at most 1.0e+00)\n"
        "  NO  mine: order 1.00 (at least 2 expected) on steps 1.0e-03 to 1.0e-02\n  --  a note"
    )
    assert str(Check("mine", (good,))).startswith("mine passed.")


def test_the_grid_has_ten_steps_a_decade():
    assert GRID.size == 81 and (GRID[0], GRID[-1]) == (1e-8, 1.0) and np.allclose(GRID[10:] / GRID[:-10], 10)
    assert np.allclose(step_grid(1e-3, 1e-1), np.logspace(-3, -1, 21))


GOOD_STEPS = ([1e-3, 2e-3, 5e-3, 1e-2], [1, 2, 3, 10])
BAD_STEPS = (
    [1e-3, 5e-3, 1e-2],
    [1, 2, 3, 9.99],
    [1, 2, 2, 10],
    [0, 1, 2, 10],
    [-10, -3, -2, -1],
    [1, 3, 2, 10],
    1.0,
    [[1, 2, 3, 10]],
)


def test_four_steps_over_a_decade_are_the_fewest():
    for steps in GOOD_STEPS:
        assert np.array_equal(checked_steps(steps), steps) and checked_steps(steps).dtype == float
    for steps in BAD_STEPS:
        with pytest.raises(ValueError, match=r"at least 4 positive, increasing numbers that span a decade, got"):
            checked_steps(steps)


# --- measuring -------------------------------------------------------------------------------------------------------


def test_the_rounding_level_is_size_probes_and_noise():
    eps, seen = 2.0**-30, []

    def remainder(t):
        seen.append(t)
        return (t**2 if t > 100 * eps else 1e-9 if t == 10 * eps else 0.0), 1 + t, 5 * t

    law = measure_slope("mine", remainder, 2, GRID, eps=eps, noise=3e-9)
    assert sorted(seen)[:5] == pytest.approx([0.0, eps, 3 * eps, 10 * eps, GRID[0]]) and 30 * eps in seen
    assert np.allclose(law.floor, 4 * eps * (1 + GRID) + 1e-9 + 3e-9, rtol=1e-12, atol=0)
    assert np.allclose(
        law.errors,
        np.where(GRID > 100 * eps, np.maximum(GRID**2, eps * (1 + GRID)), eps * (1 + GRID)),
        rtol=1e-12,
        atol=0,
    )
    assert law.tolerance == 0.1 and law.expected == 2.0 and law.passed
    first, last = law.window
    assert first == GRID[np.argmax(GRID**2 > CLEAR * law.floor)] and last == pytest.approx(100 * first)
    assert (
        law.contrast == pytest.approx(5 / first)
        and law.constant == pytest.approx(1.0)
        and law.order == pytest.approx(2.0)
    )


def test_the_rounding_unit_is_that_of_float64_and_there_is_no_noise_by_default():
    law = measure_slope("mine", lambda t: (t, 1.0, t), 1, GRID)
    assert np.allclose(law.floor, 4 * EPS + 30 * EPS, rtol=1e-12, atol=0)


def test_probes_that_fail_count_for_nothing():
    def remainder(t):
        if t == 0.0:
            raise ZeroDivisionError
        return t**2, 1.0, t

    law = measure_slope("mine", remainder, 2, GRID)
    assert law.passed and np.allclose(law.floor, 4 * EPS, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("share", "exact"), [(0.999, True), (1.001, False)])
def test_an_error_is_exact_up_to_ten_rounding_levels_or_half_the_digits_of_the_change(share, exact):
    flat = measure_slope("level", lambda t: (share * CLEAR * 4 * EPS if t > 1e-9 else 0.0, 1.0, 0.0), 2, GRID)
    half = measure_slope("half the digits", lambda t: (share * EPS**0.5 * t if t > 1e-9 else 0.0, 0.0, t), 2, GRID)
    assert flat.exact is half.exact is exact
    assert (flat.order, half.order) == (
        (np.inf, np.inf) if exact else (pytest.approx(0.0, abs=1e-9), pytest.approx(1.0))
    )
    if exact:
        assert flat.window is None and np.isnan(flat.constant) and flat.contrast == np.inf
        assert str(flat) == f"level: exact, no error above {share * CLEAR * 4 * EPS:.1e}"


def test_an_error_that_rises_once_is_not_exact():
    assert not measure_slope("once", lambda t: (1e-3 if t == 1.0 else 0.0, 1.0, 0.0), 2, GRID).exact
    tiny = measure_slope("no size", lambda t: (0.0, 0.0, 0.0), 2, GRID)
    assert tiny.exact and np.all(tiny.errors == np.finfo(float).tiny)


def test_what_solvers_raise_leaves_a_step_out_and_all_else_is_raised():
    for failure in (RuntimeError, ZeroDivisionError, FloatingPointError, np.linalg.LinAlgError):

        def remainder(t, failure=failure):
            if t > 0.5:
                raise failure("here")
            return t**2, 1.0, t

        law = measure_slope("mine", remainder, 2, GRID)
        assert law.passed and np.array_equal(np.isnan(law.errors), GRID > 0.5)
    for failure in (NotImplementedError, ValueError, TypeError):

        def broken(t, failure=failure):
            if t > 0.5:
                raise failure("here")
            return t**2, 1.0, t

        with pytest.raises(failure, match="here"):
            measure_slope("mine", broken, 2, GRID)


def test_signs_do_not_matter():
    law = measure_slope("mine", lambda t: (-(t**2), -1.0, -t), 2, GRID)
    assert law.passed and np.all(law.errors > 0) and np.all(law.floor > 0) and law.contrast > 0


# --- the window ------------------------------------------------------------------------------------------------------

TENTHS = np.logspace(-3, 0, 31)


def clear_on(first, last):
    """Floors that leave the errors t^2 clear on these steps alone."""
    inside = (np.arange(31) >= first) & (np.arange(31) <= last)
    return TENTHS**2 / np.where(inside, CLEAR * 1.001, CLEAR)


@pytest.mark.parametrize(
    ("clear", "window"),
    [
        ((0, 30), (0, 20)),  # the first two decades
        ((4, 30), (4, 24)),
        ((4, 24), (4, 24)),
        ((4, 23), (4, 14)),  # no two decades: the first one
        ((7, 17), (7, 17)),
        ((7, 16), (7, 12)),  # no decade: the first half of one
        ((25, 30), (25, 30)),
        ((26, 30), None),
        ((7, 11), None),
    ],
)
def test_the_window_is_the_first_of_the_widest_kind_that_is_clear(clear, window):
    assert find_window(TENTHS, TENTHS**2, clear_on(*clear)) == window


@pytest.mark.parametrize(("bend", "found"), [(0.99, True), (1.06, False)])
def test_a_window_keeps_near_its_line(bend, found):
    zigzag = 10.0 ** (bend * STRAIGHT * (-1.0) ** np.arange(31))
    assert (find_window(TENTHS, TENTHS**2 * zigzag, np.zeros(31)) == (0, 20)) is found
    assert found or find_window(TENTHS, TENTHS**2 * zigzag, np.zeros(31)) is None


def test_a_missing_error_or_floor_is_in_no_window():
    errors, floor = TENTHS**2, np.zeros(31)
    assert find_window(TENTHS, np.where(np.arange(31) == 3, np.nan, errors), floor) == (4, 24)
    assert find_window(TENTHS, errors, np.where(np.arange(31) == 3, np.inf, floor)) == (4, 24)


def test_a_law_without_a_window_says_why():
    def zigzag(from_tenth):  # one decade up, one down, on the last steps
        return lambda t: (
            10.0 ** (round(10 * np.log10(t)) % 2) if t > 1e-9 and round(10 * np.log10(t)) >= from_tenth else 0.0,
            0.0,
            0.0,
        )

    few, many = (str(measure_slope("mine", zigzag(tenth), 2, GRID)) for tenth in (-4, -5))
    assert few == "mine: no slope can be read, less than half a decade of steps has an error clear of rounding (largest error 1.0e+01): " \
        "give larger `steps`"  # fmt: skip
    assert many.startswith(
        "mine: no slope can be read, the errors follow no power of the step over half a decade: give smaller `steps`"
    )
    assert "no finite value came back" in str(measure_slope("mine", lambda t: (t, np.inf, t), 2, GRID))


# --- directions ------------------------------------------------------------------------------------------------------

START = np.array([1.0, 2.0, 2.0])
FLAT = ManifoldView(lambda x, u: x + u, to_tangent=lambda x, a: np.asarray(a) * np.array([1.0, 1.0, 0.0]))


def bent(share):
    """A curve that ends `share` times the length of u beside x + u."""
    return lambda x, u: x + u + share * np.linalg.norm(u) * np.array([0.0, 0.0, 1.0])


def test_a_direction_is_halved_until_the_curve_is_nearly_straight():
    u = np.array([4.0, 0.0, 0.0])
    assert BEND == 0.5 and HALVINGS == 30
    assert np.array_equal(shortened(FLAT, START, u, bent(BEND)), u)
    assert np.array_equal(shortened(FLAT, START, u, bent(BEND + 1e-3)), u / 2**30)
    assert np.array_equal(
        shortened(FLAT, START, u, lambda x, u: x + u + np.array([0, 0, np.linalg.norm(u) ** 2 / 4])), u / 2
    )


@pytest.mark.parametrize("failure", [RuntimeError, ZeroDivisionError, np.linalg.LinAlgError])
def test_a_curve_that_does_not_arrive_is_too_far(failure):
    def move(x, u):
        if np.linalg.norm(u) > 1.5:
            raise failure
        return x + u

    assert np.array_equal(shortened(FLAT, START, np.array([8.0, 0, 0]), move), [1.0, 0, 0])
    with pytest.raises(TypeError):
        shortened(FLAT, START, START, lambda x, u: None + u)


def test_a_random_direction_is_tangent_of_length_one_in_the_metric_and_drawn_with_its_key():
    view = eqx.tree_at(lambda v: v.inner, FLAT, lambda x, u, v: 4 * (np.asarray(u) @ np.asarray(v)))
    u = chosen_direction(view, START, None, jr.key(3))
    drawn = np.asarray(jr.normal(jr.key(3), (3,))) * [1, 1, 0]
    assert u[2] == 0 and np.allclose(u, drawn / (2 * np.linalg.norm(drawn)), rtol=1e-12)
    curved = eqx.tree_at(lambda v: v.retract, FLAT, lambda x, u: x + u + np.array([0, 0, np.linalg.norm(u) ** 2 * 0.9]))
    assert np.linalg.norm(chosen_direction(curved, START, None, jr.key(3))) == pytest.approx(0.5)


def test_a_given_direction_is_taken_as_it_is():
    u = jnp.array([3.0, 0, 0])
    assert chosen_direction(FLAT, START, u, None) is u and isinstance(
        chosen_direction(FLAT, START, [3.0, 0, 0], None), np.ndarray
    )
    assert chosen_direction(FLAT, START, (1e-100, 0, 0), None)[0] == 1e-100
    for wrong in ([np.inf, 0, 0], [np.nan, 0, 0], [0, 0, 0]):
        with pytest.raises(ValueError, match="must be finite and not zero"):
            chosen_direction(FLAT, START, wrong, None)
    with pytest.raises(ValueError, match="shape of the embedded point"):
        chosen_direction(FLAT, START, [np.inf, 0], None)


def test_a_function_works_where_it_is_there_and_answers():
    def missing(*args):
        raise NotImplementedError

    assert working(np.add, 1, 2) is np.add
    assert working(None, 1) is working(missing, 1) is working(lambda x: None, 1) is None
    with pytest.raises(RuntimeError):
        working(lambda: (_ for _ in ()).throw(RuntimeError))


# --- views -----------------------------------------------------------------------------------------------------------


def test_a_bare_view_is_euclidean_and_its_points_are_arrays():
    view = ManifoldView(np.add)
    assert view.inner(START, np.ones((2, 2)), [[1, 2], [3, 4]]) == 10 and view.embed(START) is START
    assert (view.to_tangent, view.exp, view.dist, view.christoffels) == (None,) * 4 and manifold_view(view) is view


def pymanopt_like(**more):
    return SimpleNamespace(inner_product="inner", retraction="retraction", projection="projection", **more)


def test_a_manifold_is_known_by_its_methods():
    bare, full = manifold_view(pymanopt_like()), manifold_view(pymanopt_like(embed="embed", exp="exp", dist="dist"))
    for view in (bare, full):
        assert (view.retract, view.inner, view.to_tangent, view.christoffels) == (
            "retraction",
            "inner",
            "projection",
            None,
        )
    assert (
        bare.embed(START) is START
        and (bare.exp, bare.dist) == (None, None)
        and (full.embed, full.exp, full.dist) == ("embed", "exp", "dist")
    )
    assert (
        manifold_view(SimpleNamespace(manifold=pymanopt_like(exp="of the problem"), cost=None)).exp == "of the problem"
    )
    part = {"inner_product": 0, "retraction": 0, "projection": 0}
    for name in part:
        with pytest.raises(ValueError, match="got SimpleNamespace"):
            manifold_view(SimpleNamespace(**{key: value for key, value in part.items() if key != name}))
    with pytest.raises(ValueError, match="got SimpleNamespace"):
        manifold_view(SimpleNamespace(manifold=pymanopt_like()))


def test_a_geomstats_space_is_seen_in_its_own_order_of_arguments():
    metric = SimpleNamespace(
        exp=lambda u, x: ("exp", u, x), inner_product=lambda u, v, x: (u, v, x), dist="dist", christoffels="symbols"
    )
    space = SimpleNamespace(metric=metric, to_tangent=lambda a, x: (a, x))
    for view in (manifold_view(space), manifold_view(SimpleNamespace(**vars(space), intrinsic=False))):
        assert view.retract("x", "u") == view.exp("x", "u") == ("exp", "u", "x") and view.inner("x", "u", "v") == (
            "u",
            "v",
            "x",
        )
        assert view.to_tangent("x", "a") == ("a", "x") and view.christoffels is None and view.dist == "dist"
    inside = manifold_view(SimpleNamespace(**vars(space), intrinsic=True))
    assert inside.to_tangent is None and inside.christoffels == "symbols"
    with pytest.raises(ValueError, match="got SimpleNamespace"):
        manifold_view(SimpleNamespace(metric=metric))


def test_objectives_come_with_problems_and_output_manifolds():
    problem = SimpleNamespace(
        manifold=None,
        cost="cost",
        riemannian_gradient=lambda x: ("grad", x),
        riemannian_hessian=lambda x, u: ("hess", x, u),
    )
    cost, grad, hessp = own_objective(problem)
    assert cost == "cost" and grad("x") == ("grad", "x") and hessp("x", "u") == ("hess", "x", "u")
    assert own_objective(SimpleNamespace(cost="cost")) == own_objective(FLAT) == (None, None, None)
    manifold = rg.OutputManifold(rg.task.torus())
    assert own_objective(manifold) == (manifold.objective, manifold.riemannian_grad, manifold.riemannian_hessp)


def test_an_output_manifold_is_seen_from_outside_and_in_its_chart():
    manifold = rg.OutputManifold(rg.task.torus(), damping=0.5)
    w, a, b = manifold.problem.w0, jnp.array([0.2, -0.1]), jnp.array([0.5, 0.3])
    jac = np.asarray(manifold.problem.jac(w))
    outside, inside = manifold_view(manifold), chart_view(manifold)
    u, v = manifold.push_forward(w, a), manifold.push_forward(w, b)
    expected = float(a @ (jac.T @ jac + 0.5 * np.eye(2)) @ b)
    assert outside.inner(w, u, v) == pytest.approx(expected) and inside.inner(w, a, b) == pytest.approx(expected)
    assert np.array_equal(outside.retract(w, u), manifold.retract(w, u, retraction="corrected")) and np.array_equal(
        inside.retract(w, a), w + a
    )
    assert np.array_equal(outside.embed(w), manifold.embed(w)) and np.array_equal(inside.embed(w), w)
    assert outside.christoffels is None and inside.to_tangent is None
    with pytest.raises(ValueError, match="dimension 6, but 7 parameters"):
        chart_view(rg.OutputManifold(rg.task.rank_one(4, 3, key=jr.key(0))))
