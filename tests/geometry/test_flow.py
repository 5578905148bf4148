"""Integrators on the output manifold: orders against closed forms, the output-space flow against solve, descent against known minimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from paper_repro.cayci2024 import equivalence
from riemgn.experiment.verdict import judge
from riemgn.geometry import OutputManifold
from riemgn.geometry.flow import output_flow, PathError, riemannian_flow
from riemgn.geometry.gradient_descent import _secant_step, riemannian_gradient_descent
from tests.helpers import Stretched

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
RADIUS, REACH = 2.0, 3.0
TARGET = REACH * np.array([0.6, 0.0, 0.8])


def stereographic(params, x):
    u, v = params
    square = u**2 + v**2
    return RADIUS * jnp.stack([2 * u, 2 * v, 1 - square]) / (1 + square)


def sphere() -> rg.Problem:
    """The sphere in a chart whose straight lines are no geodesics and that is regular around the target's foot."""
    return rg.Problem(stereographic, jnp.array([0.1, 0.7]), jnp.zeros((3, 1)), TARGET)


def sphere_flow(t: float) -> np.ndarray:
    """theory.md section 4: along the great circle through the target, `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`."""
    start, pole = np.asarray(sphere().outputs(sphere().w0)) / RADIUS, TARGET / REACH
    phi = 2 * np.arctan(np.tan(np.arccos(start @ pole) / 2) * np.exp(-REACH / RADIUS * t))
    side = start - (start @ pole) * pole
    return RADIUS * (np.cos(phi) * pole + np.sin(phi) * side / np.linalg.norm(side))


def net(alpha: float = 3.0) -> rg.Problem:
    """n = 20, p = 9, cond(J) = 85 at the start."""
    return rg.teacher_student(n=20, width=2, cond=2.0, inputs=2, noise=0.1, alpha=alpha, key=jax.random.key(28))


def stretched() -> tuple[OutputManifold, np.ndarray]:
    """A linear model in an ambient metric of condition 1000, which makes the squared loss ill-conditioned on `M`; and its minimiser."""
    problem = rg.task.linear(20, 5, 1e2, key=jax.random.key(0))
    matrix, y = np.asarray(problem.x), np.asarray(problem.y)
    return OutputManifold(problem, ambient=np.logspace(0, 3, 20)), matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]


def slope(sizes, errors) -> float:
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


# --- fixed steps -----------------------------------------------------------------------------------------------------

ORDERS = {"euler": 1, "heun": 2, "rk4": 4}
COUNTS = {"euler": (16, 32, 64), "heun": (16, 32, 64), "rk4": (16, 32, 64)}


def measured_order(problem, exact, method, retraction, t1) -> float:
    manifold, counts = OutputManifold(problem), COUNTS[method]
    ends = [
        riemannian_flow(manifold, method, step_size=t1 / n, steps=n, retraction=retraction).points[-1] for n in counts
    ]
    return slope([t1 / n for n in counts], [np.linalg.norm(end - exact) for end in ends])


# along geodesics the stages compile for long: Euler's method, which needs none, stands for them by default
CASES = [
    pytest.param(
        method, retraction, marks=pytest.mark.slow if retraction == "exponential" and method != "euler" else ()
    )
    for method in ORDERS
    for retraction in ("chart", "corrected", "projection", "exponential")
]


@pytest.mark.parametrize(("method", "retraction"), CASES)
def test_a_method_keeps_its_order_with_every_retraction(method, retraction):
    assert abs(measured_order(sphere(), sphere_flow(2.0), method, retraction, 2.0) - ORDERS[method]) < 0.1


def test_a_map_that_is_no_retraction_has_no_order():
    assert abs(measured_order(sphere(), sphere_flow(2.0), "heun", Stretched(jnp.array(1.0)), 2.0) - 2) < 0.1
    assert abs(measured_order(sphere(), sphere_flow(2.0), "heun", Stretched(jnp.array(1.1)), 2.0)) < 0.2


def test_rk4_converges_to_the_parameter_flow_of_a_network():
    exact = rg.solve(net(), rg.GaussNewtonFlow(), t1=1.0, rtol=1e-12, atol=1e-13).outputs[-1]
    assert abs(measured_order(net(), exact, "rk4", "projection", 1.0) - 4) < 0.1


def test_geodesic_euler_is_euler_along_geodesics():
    manifold = OutputManifold(sphere())
    one, other = (
        riemannian_flow(manifold, name, step_size=0.3, steps=4, retraction="exponential")
        for name in ("geodesic_euler", "euler")
    )
    assert np.array_equal(one.points, other.points) and one.stats["retraction"] == "exponential"
    # every step turns by h |grad| / R along a great circle
    turned = RADIUS * np.arccos(np.sum(one.points[:-1] * one.points[1:], axis=1) / RADIUS**2)
    assert np.allclose(turned, 0.3 * one.grad_norms[:-1], rtol=1e-9)
    chart = riemannian_flow(manifold, "euler", step_size=0.3, steps=4, retraction="chart")
    assert np.abs(chart.points - one.points).max() > 1e-3


def test_a_path_in_trouble_keeps_what_was_reached():
    manifold = OutputManifold(sphere())
    path = riemannian_flow(manifold, "euler", step_size=1e200, steps=5, retraction="chart", throw=False)
    assert path.result == "non_finite" and np.isfinite(path.points).all() and path.ts.size == path.points.shape[0] < 6
    lost = riemannian_flow(
        manifold, "heun", step_size=0.1, steps=5, retraction=Stretched(jnp.array(jnp.nan)), throw=False
    )
    assert lost.result == "retraction_failed" and lost.ts.size == 1
    with pytest.raises(PathError, match=r"did not arrive .* \(stopped at t = 0; pass throw=False") as caught:
        riemannian_flow(manifold, "heun", step_size=0.1, steps=5, retraction=Stretched(jnp.array(jnp.nan)))
    assert caught.value.path.result == "retraction_failed"


# --- the flow as an ODE in the outputs (C1) ---------------------------------------------------------------------------


def gap(path, trajectory) -> float:
    """Largest distance of the two in the outputs, relative to how far these travel."""
    travelled = np.linalg.norm(trajectory.outputs - trajectory.outputs[0], axis=1).max()
    return float(np.linalg.norm(path.outputs - trajectory.outputs, axis=1).max() / travelled)


def test_output_flow_follows_the_great_circle():
    path = output_flow(OutputManifold(sphere()), t1=4.0)
    exact = np.stack([sphere_flow(float(t)) for t in path.ts])
    assert path.succeeded and np.abs(path.points - exact).max() < 1e-8
    assert np.abs(path.distance).max() < 1e-8 and np.abs(path.drift).max() < 1e-8
    assert np.abs(np.linalg.norm(path.points, axis=1) - RADIUS).max() == pytest.approx(
        float(path.distance.max()), rel=1e-3
    )


EQUIVALENT = {"tanh network": net, "rank one": lambda: rg.task.rank_one(4, 3, key=jax.random.key(2))}


@pytest.mark.parametrize("name", ["tanh network", pytest.param("rank one", marks=pytest.mark.slow)])
def test_equivalence(name):
    """C1: the outputs of the Gauss-Newton flow are the Riemannian gradient flow. Other problems: paper_repro/cayci2024/equivalence.py."""
    problem = EQUIVALENT[name]()
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=3.0, **TIGHT)
    path = output_flow(OutputManifold(problem), t1=3.0, **TIGHT)
    assert gap(path, trajectory) <= 1e-8
    assert path.distance.max() < 1e-8 and np.allclose(path.losses, trajectory.losses, rtol=1e-8)
    assert np.allclose(path.grad_norms, trajectory.grad_norms, rtol=1e-6)


def test_equivalence_says_no_to_gradient_flow():
    path = output_flow(OutputManifold(net()), t1=3.0, **TIGHT)
    assert gap(path, rg.solve(net(), rg.GradientFlow(), t1=3.0)) > 1e-3


def test_the_graph_carries_the_levenberg_marquardt_flow():
    rho = 0.3
    trajectory = rg.solve(net(), rg.LevenbergMarquardtFlow(rho), t1=3.0, **TIGHT)
    assert gap(output_flow(OutputManifold(net(), damping=rho), t1=3.0, **TIGHT), trajectory) <= 1e-8
    assert gap(output_flow(OutputManifold(net(), damping=1.01 * rho), t1=3.0, **TIGHT), trajectory) > 1e-5
    assert gap(output_flow(OutputManifold(net()), t1=3.0, **TIGHT), trajectory) > 1e-3


def test_the_item_says_no_to_a_gap_that_does_not_fall():
    good = {
        "gaps": [0.0, 1e-9],
        "rtols": [1e-6, 1e-8, 1e-10],
        "end_gaps": [[1e-7], [1e-9], [1e-11]],
        "distance": 1e-10,
        "contrast": [0.5],
    }

    def verdicts(**changed):
        return [judge(check)["holds"] for check in equivalence.checks([good, {**good, **changed}])]

    assert verdicts() == [True] * 5
    assert verdicts(gaps=[0.0, 1e-6]) == [False, True, True, True, True]
    assert verdicts(end_gaps=[[1e-7], [1e-7], [1e-7]]) == [True, False, True, False, True]
    assert verdicts(distance=float("nan"), gaps=[float("nan")])[:3] == [False, True, False]
    assert not judge(equivalence.checks([{**good, "contrast": [1e-9]}])[-1])["holds"]


def test_both_flows_end_at_the_same_singular_point():
    problem = net(alpha=0.1)
    trajectory = rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0, throw=False, **TIGHT)
    path = output_flow(OutputManifold(problem), t1=20.0, throw=False, **TIGHT)
    assert (trajectory.status, path.result) == ("rank_lost", "rank_lost")
    assert float(path.ts[-1]) == pytest.approx(float(trajectory.ts[-1]), rel=1e-4)
    with pytest.raises(PathError, match="singular set"):
        output_flow(OutputManifold(problem), t1=20.0, **TIGHT)


# --- descent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["armijo", "barzilai_borwein", 0.5])
def test_descent_finds_the_foot_of_the_target(step):
    on_sphere = riemannian_gradient_descent(OutputManifold(sphere()), step=step)
    assert on_sphere.result == "gradient_tolerance_met"
    assert np.abs(on_sphere.points[-1] - RADIUS * TARGET / REACH).max() < 1e-7
    assert (
        np.allclose(np.diff(on_sphere.ts), on_sphere.step_sizes) and on_sphere.step_sizes.size == on_sphere.ts.size - 1
    )
    assert {len(values) for values in (on_sphere.params, on_sphere.points, on_sphere.losses, on_sphere.grad_norms)} == {
        on_sphere.ts.size
    }
    if step == "armijo":
        on_torus = riemannian_gradient_descent(OutputManifold(rg.task.torus()), step=step, retraction="chart")
        assert np.abs(on_torus.points[-1] - np.array([2.7, 0.0, 0.0])).max() < 1e-7


def test_armijo_never_increases_the_loss_and_barzilai_borwein_is_faster():
    manifold, minimiser = stretched()
    armijo, secant = (
        riemannian_gradient_descent(manifold, step=step, retraction="chart") for step in ("armijo", "barzilai_borwein")
    )
    for path in (armijo, secant):
        assert path.result == "gradient_tolerance_met"
        assert np.abs(path.points[-1] - minimiser).max() < 1e-7
    rounding = 16 * np.finfo(float).eps * armijo.losses[0]
    assert np.diff(armijo.losses).max() <= rounding < np.diff(secant.losses).max()
    assert 2 * secant.stats["num_steps"] < armijo.stats["num_steps"]


def test_a_descent_says_how_it_ended():
    manifold, _ = stretched()
    short = riemannian_gradient_descent(manifold, retraction="chart", steps=3)
    assert short.result == "step_limit" and short.step_sizes.size == 3 and not short.succeeded
    manifold = OutputManifold(sphere())
    assert riemannian_gradient_descent(manifold, grad_tol=0.5).ts.size < riemannian_gradient_descent(manifold).ts.size
    wild = riemannian_gradient_descent(manifold, step=1e200, retraction="chart", throw=False)
    assert wild.result == "non_finite" and np.isfinite(wild.points).all()
    uphill, nowhere = (
        riemannian_gradient_descent(manifold, retraction=Stretched(jnp.array(f)), throw=False) for f in (-1.0, jnp.nan)
    )
    assert (uphill.result, nowhere.result) == ("line_search_failed", "line_search_failed")
    assert uphill.ts.size == 1 and uphill.stats["num_evaluations"] == 50
    with pytest.raises(PathError, match="lowered the loss"):
        riemannian_gradient_descent(manifold, retraction=Stretched(jnp.array(-1.0)))
    unreachable = riemannian_gradient_descent(manifold, grad_tol=0.0, steps=60)
    assert unreachable.result == "step_limit" and unreachable.grad_norms[-1] < 1e-12


# --- bad input -------------------------------------------------------------------------------------------------------

BAD = [
    (
        lambda m: riemannian_flow(m, "rk5", step_size=0.1, steps=3),
        "`method` must be one of euler, heun, rk4, geodesic_euler, got 'rk5'",
    ),
    (lambda m: riemannian_flow(m, step_size=-0.1, steps=3), "`step_size` must be positive and finite, got -0.1"),
    (lambda m: riemannian_flow(m, step_size=0.1, steps=0), "`steps` must be a positive integer, got 0"),
    (
        lambda m: riemannian_flow(m, step_size=0.1, steps=2, retraction="polar"),
        "`retraction` must be one of chart, .* got 'polar'",
    ),
    (lambda m: riemannian_flow(m.problem, step_size=0.1, steps=2), "`manifold` must be an OutputManifold, got Problem"),
    (lambda m: output_flow(m, t1=float("inf")), "`t1` must be positive and finite, got inf"),
    (
        lambda m: output_flow(m, t1=1.0, ts=[0.0, 2.0]),
        r"`ts` must increase within \[0, t1 = 1\], got times from 0 to 2",
    ),
    (lambda m: output_flow(m, t1=1.0, rtol="small"), "`rtol` must be a number, got 'small'"),
    (
        lambda m: riemannian_gradient_descent(m, step="wolfe"),
        "`step` must be one of armijo, barzilai_borwein or a positive number, got 'wolfe'",
    ),
    (lambda m: riemannian_gradient_descent(m, step=0.0), "`step` must be positive and finite, got 0.0"),
    (lambda m: riemannian_gradient_descent(m, grad_tol=2.0), r"`grad_tol` must lie in \[0, 1\), got 2.0"),
]


@pytest.mark.parametrize(("call", "sentence"), BAD)
def test_bad_input_is_quoted(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(OutputManifold(sphere()))


@pytest.mark.parametrize(
    "form",
    [None, jnp.array([1.0, 2.0, 3.0]), jnp.diag(jnp.array([1.0, 2.0, 3.0]))],
    ids=["euclidean", "diagonal", "matrix"],
)
def test_secant_steps_take_turns_and_stay_near_the_flat_one(form):
    s, y = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.5, 1.0, 1.0])
    q = np.ones(3) if form is None else np.array([1.0, 2.0, 3.0])
    ss, sy, yy = (float(np.sum(q * a * b)) for a, b in ((s, s), (s, y), (y, y)))
    if sy > 0:
        assert [float(_secant_step(form, s, y, 1.0, count)) for count in range(3)] == pytest.approx(
            [ss / sy, sy / yy, ss / sy]
        )
    assert float(_secant_step(form, s, -y if sy > 0 else y, 0.3, 0)) == 0.3  # no positive curvature: the flat step
    assert float(_secant_step(form, s, 0 * y, 0.3, 1)) == 0.3
    assert float(_secant_step(form, s, 1e-9 * s, 1.0, 0)) == 1e4
    assert float(_secant_step(form, s, 1e9 * s, 1.0, 1)) == 1e-4
