"""The Riemannian gradient flow: orders of fixed steps, and `output_flow` against `solve`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import flow, output_flow, OutputManifold, riemannian_flow
from tests.geometry.examples import line, parabola, RADIUS, scaled, sphere, sphere_flow

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
ORDERS = {"euler": 1, "heun": 2, "rk4": 4}


def net(alpha: float = 3.0) -> rg.Problem:
    """n = 20, p = 9, cond(J) = 85 at the start."""
    return rg.teacher_student(n=20, width=2, cond=2.0, inputs=2, noise=0.1, alpha=alpha, key=jax.random.key(28))


# --- fixed steps ----------------------------------------------------------------------------------


def measured_order(method: str, retraction) -> float:
    sizes = 2.0 / np.array([16, 32, 64])
    ends = [
        riemannian_flow(sphere(), method, step_size=h, steps=round(2 / h), retraction=retraction).points[-1]
        for h in sizes
    ]
    errors = [np.linalg.norm(end - sphere_flow(2.0)) for end in ends]
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


@pytest.mark.parametrize(
    ("method", "retraction"),
    [
        *((method, retraction) for method in ORDERS for retraction in ("chart", "projection")),
        ("heun", "corrected"),
        ("euler", "exponential"),
        pytest.param("rk4", "exponential", marks=pytest.mark.slow),
    ],
)
def test_a_method_keeps_its_order_with_every_retraction(method, retraction):
    assert abs(measured_order(method, retraction) - ORDERS[method]) < 0.1


def test_a_map_that_is_no_retraction_has_no_order():
    assert abs(measured_order("heun", scaled(1.0)) - 2) < 0.1
    assert abs(measured_order("heun", scaled(1.1))) < 0.2


def test_a_step_along_a_geodesic_turns_by_its_length():
    traj = riemannian_flow(sphere(), "euler", step_size=0.3, steps=4, retraction="exponential")
    turned = RADIUS * np.arccos(np.sum(traj.points[:-1] * traj.points[1:], axis=1) / RADIUS**2)
    assert np.allclose(turned, 0.3 * traj.grad_norms[:-1], rtol=1e-9) and traj.flow.retraction == "exponential"


@pytest.mark.parametrize(
    ("method", "factor"), [("euler", 0.5), ("heun", 0.5 + 0.125), ("rk4", 0.5 + 0.125 - 0.5**3 / 6 + 0.5**4 / 24)]
)
def test_a_step_on_a_line_is_the_taylor_polynomial_of_exp(method, factor):
    traj = riemannian_flow(line(3.0), method, step_size=0.5, steps=3)
    decay = factor ** np.arange(4)
    assert np.allclose(traj.params[:, 0], decay, rtol=1e-9) and np.allclose(traj.grad_norms, decay, rtol=1e-9)
    assert np.allclose(traj.losses, (decay**2 + 9) / 2) and np.allclose(traj.sigma_min, 1.0)
    assert traj.ts.tolist() == [0.0, 0.5, 1.0, 1.5] and traj.succeeded
    assert (traj.flow.name, traj.flow.variant, traj.flow.retraction) == ("riemannian flow", method, "projection")
    assert (traj.stats["step_size"], traj.stats["num_steps"], traj.stats["rank"]) == (0.5, 3, 1)


def test_a_critical_point_is_never_left():
    traj = riemannian_flow(line(3.0, start=0.0), step_size=0.5, steps=70)
    assert traj.succeeded and traj.ts.size == 71 and not traj.params.any() and np.all(traj.losses == 4.5)


def test_a_trajectory_in_trouble_keeps_what_was_reached():
    wild = riemannian_flow(parabola(-1.0), "euler", step_size=1e160, steps=3, retraction="chart", throw=False)
    assert wild.status == "non_finite" and wild.ts.size == 1 and np.isfinite(wild.points).all()
    lost = riemannian_flow(parabola(-1.0), "euler", step_size=1 - 5e-6, steps=1, retraction="chart", throw=False)
    assert lost.status == "rank_lost" and lost.params[:, 0] == pytest.approx([1.0, 5e-6])  # J = 2 w
    near = riemannian_flow(parabola(-1.0), "euler", step_size=1 - 2e-5, steps=1, retraction="chart", throw=False)
    assert near.succeeded
    with pytest.raises(rg.SolveError, match=r"retraction failed.*\(stopped at t = 0; pass throw=False") as caught:
        riemannian_flow(line(), "heun", step_size=0.1, steps=5, retraction=scaled(np.nan))
    assert caught.value.trajectory.status == "retraction_failed" and caught.value.trajectory.ts.size == 1


@pytest.mark.parametrize(
    ("retraction", "stops"), [("chart", False), ("corrected", False), ("projection", True), ("exponential", True)]
)
def test_fixed_steps_at_the_edge_of_the_manifold(retraction, stops):
    """Steps in the parameters cross the edge, and then the loss rises (page of limits)."""
    traj = riemannian_flow(parabola(-1.0), "euler", step_size=0.1, steps=50, retraction=retraction, throw=False)
    assert traj.status == ("retraction_failed" if stops else "successful")
    assert bool(np.any(np.diff(traj.losses) > 0)) is not stops


# --- the flow as an ODE in the outputs (Statement C1) ---------------------------------------------


def gap(traj, other) -> float:
    """Largest distance of the outputs, relative to how far these travel."""
    travelled = np.linalg.norm(other.outputs - other.outputs[0], axis=1).max()
    return float(np.linalg.norm(traj.outputs - other.outputs, axis=1).max() / travelled)


def test_output_flow_follows_the_great_circle():
    traj = output_flow(sphere(), t1=4.0)
    exact = np.stack([sphere_flow(float(t)) for t in traj.ts])
    assert traj.succeeded and traj.ts.size == 129 and np.abs(traj.points - exact).max() < 1e-8
    assert 0 < traj.stats["distance"] < 1e-8 and 0 < traj.stats["drift"] < 1e-8
    off = np.abs(np.linalg.norm(traj.points, axis=1) - RADIUS).max()
    assert off == pytest.approx(traj.stats["distance"], rel=1e-3)


def test_outputs_decay_exponentially_on_a_line():
    traj = output_flow(line(3.0), t1=2.0, ts=[0.0, 0.5, 1.0], rtol=1e-8, atol=1e-10, error=True)
    times = np.array([0.0, 0.5, 1.0, 2.0])  # the end is always saved
    assert traj.ts == pytest.approx(times) and traj.points[:, 0] == pytest.approx(np.exp(-times), abs=1e-7)
    assert traj.losses == pytest.approx((np.exp(-2 * times) + 9) / 2)
    assert traj.grad_norms == pytest.approx(np.exp(-times), abs=1e-7) and traj.sigma_min == pytest.approx(np.ones(4))
    assert traj.tight.stats["rtol"] == pytest.approx(1e-10) and traj.tight.stats["atol"] == pytest.approx(1e-12)
    assert traj.error == pytest.approx(np.linalg.norm(traj.outputs - traj.tight.outputs, axis=1))
    assert output_flow(line(3.0), ts=[0.5, 20.0]).ts.tolist() == [0.5, 20.0]


@pytest.fixture(scope="module")
def gauss_newton() -> rg.Trajectory:
    return rg.solve(net(), rg.GaussNewtonFlow(), t1=3.0, **TIGHT)


def test_output_flow_is_the_gauss_newton_flow(gauss_newton):
    traj = output_flow(OutputManifold(net()), t1=3.0, **TIGHT)
    assert gap(traj, gauss_newton) <= 1e-8 and traj.stats["distance"] < 1e-8
    assert np.allclose(traj.losses, gauss_newton.losses, rtol=1e-8)
    assert np.allclose(traj.grad_norms, gauss_newton.grad_norms, rtol=1e-6)
    assert np.allclose(traj.sigma_min, gauss_newton.sigma_min, rtol=1e-6)
    assert gap(traj, rg.solve(net(), rg.GradientFlow(), t1=3.0)) > 1e-3


def test_rk4_converges_to_the_gauss_newton_flow(gauss_newton):
    end = riemannian_flow(OutputManifold(net()), step_size=3 / 64, steps=64, retraction="chart").outputs[-1]
    half = riemannian_flow(OutputManifold(net()), step_size=3 / 32, steps=32, retraction="chart").outputs[-1]
    errors = [np.linalg.norm(outputs - gauss_newton.outputs[-1]) for outputs in (half, end)]
    assert 3.5 < np.log2(errors[0] / errors[1]) < 4.5


def test_the_damped_manifold_carries_the_levenberg_marquardt_flow(gauss_newton):
    other = rg.solve(net(), rg.LevenbergMarquardtFlow(0.3), t1=3.0, **TIGHT)
    traj = output_flow(OutputManifold(net(), damping=0.3), t1=3.0, **TIGHT)
    assert gap(traj, other) <= 1e-8 and gap(gauss_newton, other) > 1e-3
    assert traj.points.shape == (129, 29) and np.array_equal(traj.outputs, traj.points[:, :20])


def test_both_flows_end_at_the_same_singular_point():
    problem = net(alpha=0.1)
    one = rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0, throw=False, **TIGHT)
    other = output_flow(OutputManifold(problem), t1=20.0, throw=False, **TIGHT)
    assert one.status == other.status == "rank_lost"
    assert float(other.ts[-1]) == pytest.approx(float(one.ts[-1]), rel=1e-4)


@pytest.mark.parametrize("rtol", [1e-10, 1e-6])
def test_output_flow_ends_at_the_edge_of_its_manifold(rtol):
    """`psi = y + (1 - y) e^-t` from 1 with y = -1 has no parameters below 0."""
    traj = output_flow(parabola(-1.0), t1=5.0, rtol=rtol, throw=False)
    reach = 2 * rtol**0.5
    assert traj.status == "rank_lost" and float(traj.ts[-1]) == pytest.approx(np.log(2), abs=4 * reach)
    assert np.all(traj.points[:-1, 0] > 0) and abs(float(traj.points[-1, 0])) <= reach * 1.001
    assert traj.stats["distance"] <= reach * 1.001 and abs(float(traj.params[-1, 0])) < 1e-3
    with pytest.raises(rg.SolveError, match="rank"):
        output_flow(parabola(-1.0), t1=5.0, rtol=rtol)


def test_output_flow_near_the_edge_goes_on():
    traj = output_flow(parabola(0.0), t1=5.0)
    assert traj.points[:, 0] == pytest.approx(np.exp(-np.asarray(traj.ts)), rel=1e-5)


def test_output_flow_without_steps_left_says_so(monkeypatch):
    monkeypatch.setattr(flow, "MAX_STEPS", 3)
    short = output_flow(parabola(4.0), t1=5.0, ts=[0.0, 4.0, 5.0], throw=False)
    assert short.status == "step_limit" and short.ts.size == 2 and 0 < short.ts[-1] < 5 and short.points[-1, 0] > 1


# --- bad input ------------------------------------------------------------------------------------


def endless() -> OutputManifold:
    return OutputManifold(rg.Problem(lambda w, x: w + jnp.inf, jnp.ones(1), jnp.zeros((1, 1)), jnp.zeros(1)))


BAD = {
    "method": (lambda: riemannian_flow(line(), "rk5", step_size=0.1, steps=3), "`method` .* got 'rk5'"),
    "step size": (lambda: riemannian_flow(line(), step_size=-0.1, steps=3), "`step_size` must be positive .* got -0.1"),
    "no steps": (lambda: riemannian_flow(line(), step_size=0.1, steps=0), "`steps` must be a positive integer, got 0"),
    "steps": (lambda: riemannian_flow(line(), step_size=0.1, steps=True), "`steps` must be a positive .* got True"),
    "retraction": (
        lambda: riemannian_flow(line(), step_size=0.1, steps=2, retraction="polar"),
        "`retraction` must be one of chart, .* got 'polar'",
    ),
    "manifold": (
        lambda: riemannian_flow(line().problem, step_size=0.1, steps=2),
        "`manifold` must be an OutputManifold, got Problem",
    ),
    "start": (lambda: riemannian_flow(line(start=1e200), step_size=0.5, steps=2), "start from finite outputs"),
    "t1": (lambda: output_flow(line(), t1=float("inf")), "`t1` must be positive and finite, got inf"),
    "ts": (lambda: output_flow(line(), t1=1.0, ts=[0.0, 2.0]), r"`ts` must increase within \[0, t1 = 1\]"),
    "rtol": (lambda: output_flow(line(), t1=1.0, rtol="small"), "`rtol` must be a number, got 'small'"),
    "infinite start": (lambda: output_flow(endless(), t1=1.0), "start from finite outputs and Jacobian"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_quoted(case):
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=sentence):
        call()
