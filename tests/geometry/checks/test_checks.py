"""Checks of gradients, Hessians, retractions, projections, metrics and geodesics: each says yes to the truth and no to a likely mistake."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import OutputManifold
from riemgn.geometry.checks.curves import relative, second_order_law
from riemgn.geometry.checks.laws import (
    check_geodesic,
    check_gradient,
    check_hessian,
    check_metric,
    check_projection,
    check_retraction,
)
from riemgn.geometry.checks.manifold_view import chart_view, manifold_view, ManifoldView
from riemgn.geometry.checks.slope import Check, measure_slope, step_grid
from riemgn.geometry.interop import geomstats_import as door
from tests.helpers import tanh_net

# --- the unit sphere in plain NumPy, with formulas that share no code with the package --------------------------------

MATRIX = np.diag([1.0, 2.0, 4.0]) + 0.3
POINT = np.array([0.36, 0.48, 0.8])
KEYS = [jr.key(seed) for seed in range(3)]


def norm(v):
    return float(np.linalg.norm(v))


def project(x, a):
    return a - (x @ a) / (x @ x) * x


def retract(x, u):
    return (x + u) / norm(x + u)


def exp(x, u):
    return np.cos(norm(u)) * x + np.sinc(norm(u) / np.pi) * u


def dist(x, y):
    return 2 * np.arcsin(min(1.0, norm(x - y) / 2))


def turning(x, u):
    """A first-order retraction: it turns away from the geodesic as it moves."""
    return retract(x, u + 0.2 * norm(u) * np.cross(x, u))


TANGENT = project(POINT, np.array([1.0, 0, 0]))
SPHERE = ManifoldView(retract, to_tangent=project, exp=exp, dist=dist)
NO_EXP = ManifoldView(retract, to_tangent=project)
BARE = ManifoldView(retract)


def cost(x):
    return 0.5 * x @ MATRIX @ x + np.sin(x[0])


def euclidean_grad(x):
    return MATRIX @ x + np.array([np.cos(x[0]), 0, 0])


def grad(x):
    return project(x, euclidean_grad(x))


def flat_hessp(x, u):
    return project(x, MATRIX @ u - np.array([np.sin(x[0]) * u[0], 0, 0]))


def hessp(x, u):
    return flat_hessp(x, u) - (x @ euclidean_grad(x)) * u


def names(check):
    return [law.name for law in check.laws if not law.passed]


# --- the slope -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_power_has_its_order(order):
    law = measure_slope("power", lambda t: (3 * t**order, 1.0, t), order, step_grid())
    assert law.passed and abs(law.order - order) < 1e-6 and abs(law.constant - 3) < 1e-6
    assert not measure_slope("power", lambda t: (3 * t**order, 1.0, t), order + 1, step_grid()).passed


def test_a_higher_order_than_expected_passes():
    assert measure_slope("cubic", lambda t: (t**3, 1.0, t), 2, step_grid()).passed


def test_exact_zeros_are_exact_and_give_no_nan():
    law = measure_slope("zero", lambda t: (0.0, 1.0, t), 2, step_grid())
    assert law.exact and law.passed and law.window is None and np.all(law.errors > 0) and "exact" in str(law)


def test_zeros_between_errors_do_not_spoil_the_slope():
    """Pymanopt's own check returns nan here: the logarithm of an error that is exactly zero."""
    law = measure_slope("some zeros", lambda t: (t**3 if t > 1e-5 else 0.0, 1.0, t), 3, step_grid())
    assert law.passed and abs(law.order - 3) < 0.01


def test_errors_at_rounding_level_are_exact_and_those_above_it_are_not():
    rng = np.random.default_rng(0)
    noise = 4e-16 * rng.standard_normal(1000)
    draws = iter(noise)
    assert measure_slope("rounding", lambda t: (next(draws), 1.0, 0.0), 2, step_grid()).exact
    draws = iter(1e4 * noise)
    law = measure_slope("noise", lambda t: (next(draws) if t > 1e-12 else 0.0, 1.0, 0.0), 2, step_grid())
    assert not law.passed and "no slope can be read" in str(law)


def test_a_known_noise_level_is_left_out():
    draws = iter(1e-9 * np.random.default_rng(0).standard_normal(1000))
    law = measure_slope("solver", lambda t: (t**2 + next(draws), 1.0, t), 2, step_grid(), noise=1e-9)
    assert law.passed and law.window[0] > 1e-5


def test_the_window_is_asymptotic_not_the_straightest():
    law = measure_slope("crossover", lambda t: (1e-4 * t + t**2, 1.0, t), 2, step_grid())
    assert not law.passed and abs(law.order - 1) < 0.05 and law.window[1] < 1e-4


def test_the_window_lies_clear_of_rounding_and_before_the_curve_bends():
    rng = np.random.default_rng(1)
    law = measure_slope(
        "sine", lambda t: (np.sin(t) - t + 1e-16 * rng.standard_normal(), 1.0, t), 3, step_grid(1e-8, 10.0)
    )
    first, last = law.window
    inside = (law.steps >= first) & (law.steps <= last)
    assert np.all(law.errors[inside] > 10 * law.floor[inside]) and last < 1 and abs(law.order - 3) < 0.02


def test_steps_that_fail_are_left_out_and_a_failure_everywhere_is_raised():
    def failing(t, limit):
        if t > limit:
            raise RuntimeError("too far")
        return t**2, 1.0, t

    law = measure_slope("near", lambda t: failing(t, 0.1), 2, step_grid())
    assert law.passed and np.isnan(law.errors[-1])
    with pytest.raises(RuntimeError, match="too far"):
        measure_slope("far", lambda t: failing(t, -1.0), 2, step_grid())


def test_nan_everywhere_is_no_pass():
    law = measure_slope("nan", lambda t: (np.nan, 1.0, t), 2, step_grid())
    assert not law.passed and "no finite value" in str(law)
    assert measure_slope(
        "zero where it is a number", lambda t: (0.0 if t < 0.1 else np.nan, 1.0, t), 2, step_grid()
    ).exact


@pytest.mark.parametrize(
    "steps", [[1e-3, 1e-2], [1e-2, 1e-3, 1e-4, 1e-5], [0.0, 1e-3, 1e-2, 1.0], [0.1, 0.2, 0.3, 0.4], [[1e-3]]]
)
def test_steps_must_span_a_decade(steps):
    with pytest.raises(ValueError, match="`steps` must be"):
        check_gradient(SPHERE, POINT, cost, grad, steps=steps)


# --- each check on the sphere: yes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_the_truth_passes_on_the_sphere(key):
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
    assert check_retraction(SPHERE, POINT, exp, order=2, key=key).slope.exact
    assert check_projection(SPHERE, POINT, dim=2, key=key).passed
    assert check_metric(SPHERE, POINT, key=key).passed
    assert check_geodesic(SPHERE, POINT, key=key).passed
    assert check_geodesic(NO_EXP, POINT, lambda t: exp(POINT, t * TANGENT), direction=TANGENT).passed


# --- each check on the sphere: no -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("factor", [1.01, -1.0, 0.0, 1 + 1e-4])
def test_a_scaled_gradient_is_refused(factor, key):
    check = check_gradient(SPHERE, POINT, cost, lambda x: factor * grad(x), key=key)
    assert not check.passed and abs(check.order - 1) < 0.1


def test_a_gradient_without_projection_is_refused():
    check = check_gradient(SPHERE, POINT, cost, euclidean_grad)
    assert names(check) == ["gradient is tangent"]


@pytest.mark.parametrize("key", KEYS)
def test_a_hessian_without_the_curvature_term_is_refused(key):
    check = check_hessian(SPHERE, POINT, cost, grad, flat_hessp, key=key)
    assert names(check) == ["quadratic model of the cost"] and abs(check.order - 2) < 0.05


def test_a_hessian_that_is_not_tangent_symmetric_or_linear_is_refused():
    def twisted(x, u):
        return hessp(x, u) + 0.1 * np.cross(x, u)

    assert names(check_hessian(SPHERE, POINT, cost, grad, twisted)) == ["Hessian is symmetric"]
    assert "Hessian is tangent" in names(
        check_hessian(SPHERE, POINT, cost, grad, lambda x, u: hessp(x, u) + 0.1 * norm(u) * x)
    )
    assert "Hessian is linear" in names(
        check_hessian(SPHERE, POINT, cost, grad, lambda x, u: norm(u) ** 2 * hessp(x, u))
    )


def test_a_first_order_retraction_cannot_show_a_hessian_unless_at_a_critical_point():
    view = ManifoldView(turning, to_tangent=project)
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


def test_the_exponential_map_replaces_a_first_order_retraction():
    view = ManifoldView(turning, to_tangent=project, exp=exp)
    assert check_hessian(view, POINT, cost, grad, hessp).passed


def test_the_second_order_law_measures_the_tangential_part():
    law = second_order_law(SPHERE, POINT, TANGENT, lambda t: turning(POINT, t * TANGENT), step_grid(), {})
    expected = [norm(project(POINT, turning(POINT, t * TANGENT) - POINT - t * TANGENT)) for t in law.steps]
    assert law.errors == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_a_relative_difference_from_nothing_is_the_difference():
    assert relative(np.array([3.0, 4.0]), np.array([0.0, 2.0])) == 2.5
    assert relative(np.array([3.0, 4.0]), np.zeros(2)) == 5.0


@pytest.mark.parametrize("key", KEYS)
def test_a_level_added_to_the_cost_only_adds_rounding(key):
    check = check_hessian(SPHERE, POINT, lambda x: cost(x) + 1e3, grad, hessp, key=key)
    assert check.passed and np.all(check.slope.floor >= 1.9e3 * np.finfo(float).eps)


@pytest.mark.parametrize("view", [SPHERE, NO_EXP], ids=["exp", "no exp"])
def test_a_first_order_retraction_is_no_second_order_one(view):
    check = check_retraction(view, POINT, turning, order=2)
    assert not check.passed and abs(check.order - 2) < 0.05


RETRACTION_MISTAKES = {
    "leaves the manifold": (lambda x, u: x + u, "stays on the manifold: tangent velocity"),
    "Taylor polynomial of the geodesic": (
        lambda x, u: x + u - 0.5 * (u @ u) * x,
        "stays on the manifold: tangent velocity",
    ),
    "twice as fast": (lambda x, u: retract(x, 2 * u), "starts along u"),
    "starts elsewhere": (lambda x, u: retract(x, u + np.array([1e-3, 0, 0])), "starts at the point"),
}


@pytest.mark.parametrize(("wrong", "complaint"), RETRACTION_MISTAKES.values(), ids=RETRACTION_MISTAKES)
def test_what_is_no_retraction_is_refused(wrong, complaint):
    assert complaint in names(check_retraction(NO_EXP, POINT, wrong))


PROJECTION_MISTAKES = {
    "oblique": (lambda x, a: a - a.sum() / x.sum() * x, "symmetric"),
    "identity": (lambda x, a: a, "trace is the dimension 2"),
    "not idempotent": (lambda x, a: 0.9 * project(x, a), "idempotent"),
    "another plane": (lambda x, a: project(np.array([0.6, 0.0, 0.8]), a), "range holds the velocities of curves"),
    "not linear": (lambda x, a: norm(a) * project(x, a), "linear"),
}


@pytest.mark.parametrize(("wrong", "complaint"), PROJECTION_MISTAKES.values(), ids=PROJECTION_MISTAKES)
def test_what_is_no_orthogonal_projector_is_refused(wrong, complaint):
    assert complaint in names(check_projection(SPHERE, POINT, wrong, dim=2))


METRIC_MISTAKES = {
    "depends on the point": (lambda x, u, v: (1 + x[0]) * (u @ v), "the connection preserves the metric"),
    "wrong unit": (lambda x, u, v: 1.02 * (u @ v), "distance is length"),
    "degenerate": (lambda x, u, v: u[0] * v[0], "positive definite (condition number of the Gram matrix)"),
    "indefinite": (
        lambda x, u, v: u[1] * v[1] + u[2] * v[2] - u[0] * v[0],
        "positive definite (condition number of the Gram matrix)",
    ),
    "not symmetric": (lambda x, u, v: u @ v + 0.1 * (x @ np.cross(u, v)), "symmetric"),
}


@pytest.mark.parametrize(("wrong", "complaint"), METRIC_MISTAKES.values(), ids=METRIC_MISTAKES)
def test_what_is_no_metric_is_refused(wrong, complaint):
    view = eqx.tree_at(lambda v: v.inner, SPHERE, wrong)
    assert complaint in names(check_metric(view, POINT))


def test_curves_that_are_no_geodesics_are_refused():
    u = 0.8 * TANGENT
    secant = check_geodesic(
        SPHERE, POINT, lambda t: retract(POINT, t * u), direction=u
    )  # a great circle, but at a changing speed
    assert any("speed" in name for name in names(secant)) and any("exp" in name for name in names(secant))
    parallel = check_geodesic(SPHERE, POINT, lambda t: turning(POINT, t * u), direction=u)
    assert any("acceleration" in name for name in names(parallel))
    half = check_geodesic(
        SPHERE, POINT, lambda t: exp(POINT, 0.5 * t * u), direction=u
    )  # a geodesic, of another length
    assert all("acceleration" not in name for name in names(half)) and any("speed" in name for name in names(half))


# --- what is not there is said ---------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_noted():
    u = TANGENT
    assert "not measured" in check_gradient(BARE, POINT, cost, grad, direction=u).notes[0]
    assert "there is none" in check_retraction(NO_EXP, POINT).notes[0]
    assert "no `dim` is known" in check_projection(SPHERE, POINT).notes[0]
    assert "not measured" in check_metric(BARE, POINT, direction=u).notes[0]
    assert any("taken on trust" in note for note in check_hessian(BARE, POINT, cost, grad, hessp, direction=u).notes)


BAD_INPUT = {
    "no direction": (lambda: check_gradient(BARE, POINT, cost, grad), "Give a `direction`"),
    "no functions": (lambda: check_gradient(SPHERE, POINT), "Give `cost` and `grad`: a ManifoldView has no objective"),
    "zero direction": (
        lambda: check_gradient(SPHERE, POINT, cost, grad, direction=np.zeros(3)),
        "finite and not zero, got",
    ),
    "short direction": (
        lambda: check_gradient(SPHERE, POINT, cost, grad, direction=np.ones(2)),
        "shape of the embedded point, .3,., got .2,.",
    ),
    "no projector": (lambda: check_projection(BARE, POINT), "needs a `to_tangent`"),
    "no curve": (lambda: check_geodesic(NO_EXP, POINT), "needs a `curve`"),
    "no normal": (
        lambda: check_geodesic(BARE, POINT, lambda t: POINT, direction=np.ones(3)),
        "`to_tangent` or `christoffels`",
    ),
    "long steps": (lambda: check_geodesic(SPHERE, POINT, steps=np.logspace(-4, 0, 20)), "must not exceed 0.25"),
    "order": (lambda: check_retraction(SPHERE, POINT, order=3), "must be 1 or 2, got 3"),
    "no manifold": (lambda: check_metric("sphere", POINT), "got str"),
    "no slope": (lambda: Check("mine", ()).order, "measures no slope"),
}


@pytest.mark.parametrize(("call", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_term_that_is_hidden_by_its_remainder_is_noted():
    def wiggle(x):
        return 1e-9 * x[0] + np.cos(1e4 * x[0])  # its third order hides its first wherever rounding lets one look

    at = np.array([0.0, 0.6, 0.8])
    check = check_gradient(
        SPHERE, at, wiggle, lambda x: project(x, np.array([1e-9, 0, 0])), direction=np.array([1.0, 0, 0])
    )
    assert "could hide" in check.notes[0]


def test_a_check_reads_like_a_report():
    text = str(check_gradient(SPHERE, POINT, cost, lambda x: 1.01 * grad(x)))
    assert (
        text.startswith("check_gradient failed.")
        and "NO  linear model of the cost: order 1.00 (at least 2 expected) on steps" in text
    )
    check = check_projection(SPHERE, POINT, dim=2)
    assert check.slope is check.laws[0] and check.complaints == () and check.order == check.slope.order


def test_single_precision_is_seen_as_such():
    point, matrix = jnp.asarray(POINT, jnp.float32), jnp.asarray(MATRIX, jnp.float32)
    view = ManifoldView(lambda x, u: (x + u) / jnp.linalg.norm(x + u), to_tangent=project)

    def value(x):
        return 0.5 * x @ matrix @ x

    true = check_gradient(view, point, value, lambda x: project(x, matrix @ x), key=KEYS[0])
    wrong = check_gradient(view, point, value, lambda x: 1.05 * project(x, matrix @ x), key=KEYS[0])
    assert true.passed and true.slope.window[0] > 1e-4 and not wrong.passed


# --- output manifolds -------------------------------------------------------------------------------------------------

MANIFOLDS = {
    "torus": lambda: OutputManifold(rg.task.torus()),
    "network": lambda: OutputManifold(tanh_net(30, (2, 3, 1))),
    "damped network": lambda: OutputManifold(tanh_net(8, (3, 4, 1)), damping=0.1),
    "rank one": lambda: OutputManifold(rg.task.rank_one(3, 2, key=jr.key(2))),
}


@pytest.fixture(scope="module", params=MANIFOLDS)
def manifold(request):
    return MANIFOLDS[request.param]()


def test_an_output_manifold_passes_in_one_line(manifold):
    params = manifold.problem.params
    for check in (check_gradient, check_hessian, check_projection):
        done = check(manifold, params, key=jr.key(1))
        assert done.passed, str(done)


@pytest.mark.parametrize("name", ["torus", "damped network", "rank one"])
def test_retractions_of_an_output_manifold_have_their_order(name):
    manifold = MANIFOLDS[name]()
    params = manifold.problem.params
    view = eqx.tree_at(lambda v: v.exp, manifold_view(manifold), None, is_leaf=lambda x: x is None)
    for kind, order in (("chart", 1), ("corrected", 2), ("projection", 2)):
        done = check_retraction(
            view, params, lambda w, u, kind=kind: manifold.retract(w, u, retraction=kind), order=order
        )
        assert done.passed, str(done)
    assert not check_retraction(view, params, lambda w, u: manifold.retract(w, u, retraction="chart"), order=2).passed


def test_geodesics_and_metric_of_an_output_manifold_and_its_chart():
    manifold = MANIFOLDS["torus"]()
    w = manifold.problem.w0
    chart, ambient = (
        chart_view(manifold),
        eqx.tree_at(lambda v: v.dist, manifold_view(manifold), None),
    )  # distances take long: once
    for done in (
        check_geodesic(ambient, w),
        check_metric(ambient, w),
        check_geodesic(chart, w),
        check_metric(chart, w),
    ):
        assert done.passed, str(done)


def test_a_straight_line_of_parameters_is_no_geodesic():
    manifold = MANIFOLDS["torus"]()
    w, a = manifold.problem.w0, jnp.array([0.3, 0.4])
    on_surface = check_geodesic(manifold, w, lambda t: w + t * a, direction=manifold.push_forward(w, a))
    in_chart = check_geodesic(chart_view(manifold), w, lambda t: w + t * a, direction=a)
    for check in (on_surface, in_chart):
        assert not check.passed and abs(check.order - 2) < 0.05


def test_wrong_christoffel_symbols_are_refused():
    view, w = chart_view(MANIFOLDS["torus"]()), MANIFOLDS["torus"]().problem.w0
    doubled = eqx.tree_at(lambda v: v.christoffels, view, lambda x: 2 * np.asarray(view.christoffels(x)))
    twisted = eqx.tree_at(
        lambda v: v.christoffels,
        view,
        lambda x: np.asarray(view.christoffels(x)) + np.array([[[0, 0.1], [-0.1, 0]]] * 2),
    )
    assert (
        "the connection preserves the metric" in names(check_metric(doubled, w))
        and not check_geodesic(doubled, w).passed
    )
    assert "free of torsion" in names(check_metric(twisted, w))


def test_mistakes_on_an_output_manifold_are_refused():
    manifold = MANIFOLDS["torus"]()
    params = manifold.problem.params
    problem = manifold.problem

    def gauss_newton_hessp(w, u):
        return manifold.to_tangent(w, problem.loss_hessian(manifold.embed(w)) * u)

    assert not check_gradient(manifold, params, grad=lambda w: 1.01 * manifold.riemannian_grad(w)).passed
    assert not check_gradient(manifold, params, grad=lambda w: problem.loss_gradient(manifold.embed(w))).passed
    assert names(check_hessian(manifold, params, hessp=gauss_newton_hessp)) == ["quadratic model of the cost"]


def test_a_rank_deficient_chart_is_no_coordinate_system():
    with pytest.raises(ValueError, match="no coordinates"):
        chart_view(MANIFOLDS["rank one"]())


# --- manifolds of other packages ---------------------------------------------------------------------------------------


def test_a_pymanopt_problem_passes():
    pymanopt = pytest.importorskip("pymanopt")
    sphere = pymanopt.manifolds.Sphere(3)
    symmetric = (MATRIX + MATRIX.T) / 2
    made = [pymanopt.function.numpy(sphere)(f) for f in (
        lambda x: 0.5 * x @ symmetric @ x, lambda x: symmetric @ x, lambda x, u: symmetric @ u, lambda x: 1.01 * symmetric @ x)]  # fmt: skip
    problem = pymanopt.Problem(sphere, made[0], euclidean_gradient=made[1], euclidean_hessian=made[2])
    for done in (check_gradient(problem, POINT), check_hessian(problem, POINT), check_retraction(sphere, POINT, order=2),
                 check_projection(sphere, POINT), check_geodesic(sphere, POINT), check_metric(sphere, POINT)):  # fmt: skip
        assert done.passed, str(done)
    assert not check_gradient(pymanopt.Problem(sphere, made[0], euclidean_gradient=made[3]), POINT).passed


class SphereWithoutExp:
    """Shaped like pymanopt's manifolds, whose missing methods exist and raise."""

    dim = 2

    def inner_product(self, x, u, v):
        return u @ v

    def projection(self, x, a):
        return project(x, a)

    def retraction(self, x, u):
        return retract(x, u)

    def exp(self, x, u):
        raise NotImplementedError

    dist = exp


def test_a_method_that_says_it_is_not_implemented_counts_as_missing():
    sphere = SphereWithoutExp()
    assert check_retraction(sphere, POINT, order=2).passed and check_projection(sphere, POINT).passed
    assert check_hessian(sphere, POINT, cost, grad, hessp).passed
    assert "there is none" in check_metric(sphere, POINT).notes[0]


def test_a_geomstats_hypersphere_passes():
    sphere = door.load("geomstats.geometry.hypersphere").Hypersphere(2)
    assert check_gradient(sphere, POINT, cost, grad).passed
    assert check_hessian(sphere, POINT, cost, grad, hessp).passed
    assert (
        check_projection(sphere, POINT).passed
        and check_geodesic(sphere, POINT).passed
        and check_metric(sphere, POINT).passed
    )
    assert not check_gradient(sphere, POINT, cost, lambda x: 1.01 * grad(x)).passed
