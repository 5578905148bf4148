"""Paths on manifolds whose steps have closed forms: what is accepted, where they end and what they say."""

import re
from types import SimpleNamespace

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import flow as integrator, OutputManifold
from riemgn.geometry.flow import _ending, output_flow, riemannian_flow
from riemgn.geometry.gradient_descent import _at, _flat_step, _next, _Search, riemannian_gradient_descent
from riemgn.geometry.path import (
    checked_retraction,
    checked_steps,
    finished,
    gradient_at,
    least_singular_value,
    PathError,
    room,
)
from riemgn.geometry.retraction import ChartRetraction, RETRACTIONS
from tests.helpers import Stretched


def scaled(factor) -> Stretched:
    return Stretched(jnp.array(float(factor)))


def on_a_line(w, x):
    return jnp.stack([w[0], 0.0 * w[0]])


def square(w, x):
    return w**2


def line(height: float = 0.0, start: float = 1.0) -> OutputManifold:
    """`psi = (w, 0)` and the target (0, height): the loss is `(w^2 + height^2) / 2`, the exact step 1."""
    return OutputManifold(rg.Problem(on_a_line, jnp.array([start]), jnp.zeros((2, 1)), jnp.array([0.0, height])))


def parabola(target: float) -> OutputManifold:
    """`psi = w^2` from w = 1: the chart is singular at 0."""
    return OutputManifold(rg.Problem(square, jnp.ones(1), jnp.zeros((1, 1)), jnp.array([target])))


LINE = line()
EPS = float(np.finfo(float).eps)


def descended(manifold=LINE, factor=1.0, **options):
    return riemannian_gradient_descent(manifold, retraction=scaled(factor), **{"throw": False, **options})


# --- Armijo's rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "most"), [("armijo", 1 + 0.5**0.5), ("barzilai_borwein", 1 + (1 - 2e-4) ** 0.5)])
def test_a_step_gains_its_share_of_the_slope(step, most):
    """The loss `(1 - factor t)^2 / 2` is low enough where it is at most `1/2 - c t`."""
    longest, too_long = (descended(step=step, factor=most + more, steps=1) for more in (-1e-6, 1e-6))
    assert longest.step_sizes.tolist() == [1.0] and longest.stats["num_evaluations"] == 1
    assert too_long.step_sizes.tolist() == [0.5] and too_long.stats["num_evaluations"] == 2


@pytest.mark.parametrize(("step", "most"), [("armijo", 1.5), ("barzilai_borwein", 1.9998)])
def test_the_slope_decides_where_rounding_hides_the_loss(step, most):
    """`1 - factor t >= 2 c - 1`, beside a level of 5e17."""
    longest, too_long = (descended(line(1e9), step=step, factor=most + more, steps=1) for more in (-1e-6, 1e-6))
    assert longest.step_sizes.tolist() == [1.0] and too_long.step_sizes.tolist() == [0.5]


@pytest.mark.parametrize(("height", "accepted"), [(1.7e7, 1.0), (2.1e7, 0.5)])
def test_a_difference_is_hidden_below_eight_rounding_units_of_the_level(height, accepted):
    """A factor of 1.6 is low enough by the loss, which falls by 0.32, and too long by the slope; 8 eps of the levels are 0.26 and 0.39."""
    assert descended(line(height), factor=1.6, steps=1).step_sizes.tolist() == [accepted]


def test_the_next_trial_is_twice_the_step_before():
    path = descended(factor=0.5)
    assert (
        path.step_sizes.tolist() == [1.0, 2.0]
        and path.ts.tolist() == [0.0, 1.0, 3.0]
        and path.losses.tolist() == [0.5, 0.125, 0.0]
    )
    assert path.params[:, 0].tolist() == path.grad_norms.tolist() == [1.0, 0.5, 0.0] and path.points.tolist() == [
        [1, 0],
        [0.5, 0],
        [0, 0],
    ]
    assert path.stats == {
        "method": "gradient descent (armijo)",
        "retraction": "stretched",
        "num_steps": 2,
        "num_evaluations": 2,
    }


def test_a_trial_is_halved_fifty_times_at_most():
    assert (
        descended(factor=-1.0).stats["num_evaluations"] == 50 and descended(factor=-1.0).result == "line_search_failed"
    )
    last = descended(factor=2.0**49, steps=1)
    assert last.stats["num_evaluations"] == 50 and last.step_sizes.tolist() == [2.0**-49]
    assert descended(factor=2.0**51, steps=1).result == "line_search_failed"


# --- other rules -----------------------------------------------------------------------------------------------------


def test_a_fixed_step_is_taken_uphill_too():
    path = descended(step=0.5, factor=-1.0, steps=3)
    assert (
        path.result == "step_limit"
        and path.params[:, 0].tolist() == [1.0, 1.5, 2.25, 3.375]
        and path.step_sizes.tolist() == [0.5] * 3
    )
    assert (
        path.stats["num_evaluations"] == path.stats["num_steps"] == 3
        and path.stats["method"] == "gradient descent (fixed)"
    )


def test_zhang_and_hagers_level_is_a_mean_that_forgets():
    immersion = LINE.immersion
    old, new = (_at(immersion, jnp.array([w])) for w in (1.0, 0.5))
    before = _Search(jnp.array(9.0), jnp.array(2.0), jnp.array(3.0))
    search = _next(immersion, "barzilai_borwein", old, new, before, jnp.array(0.5), jnp.array(1))
    assert float(search.weight) == pytest.approx(0.85 * 3 + 1) and float(search.level) == pytest.approx(
        (0.85 * 3 * 2 + 0.125) / 3.55
    )
    assert float(search.trial) == pytest.approx(1.0)  # s = -u / 2, y = -u / 2
    assert [
        float(_next(immersion, rule, old, new, before, jnp.array(0.5), jnp.array(1)).trial)
        for rule in ("fixed", "armijo")
    ] == [9.0, 1.0]
    for rule in ("fixed", "armijo"):
        search = _next(immersion, rule, old, new, before, jnp.array(0.5), jnp.array(1))
        assert (float(search.level), float(search.weight)) == (0.125, 3.0)


def test_secant_trials_take_turns_along_the_last_step():
    """On a flat manifold `s = -t u` and `y` is the change of the gradient, here of a logistic loss."""
    problem = rg.Problem(rg.LinearModel(), jnp.ones(2), np.eye(2), np.array([1.0, 0.0]), rg.LogisticLoss())
    immersion = OutputManifold(problem).immersion
    old, new = (_at(immersion, jnp.array(w)) for w in ([1.0, 2.0], [1.5, -1.0]))
    s, y = -0.5 * np.asarray(old.gradient), np.asarray(new.gradient - old.gradient)
    before = _Search(jnp.array(9.0), jnp.array(2.0), jnp.array(3.0))
    trials = [
        float(_next(immersion, "barzilai_borwein", old, new, before, jnp.array(0.5), jnp.array(count)).trial)
        for count in (0, 1)
    ]
    assert s @ y > 0 and trials == pytest.approx([s @ s / (s @ y), s @ y / (y @ y)])


def test_the_first_trial_is_exact_on_a_flat_manifold():
    def logistic(matrix):
        problem = rg.Problem(rg.LinearModel(), jnp.ones(2), matrix, np.array([1.0, 0.0]), rg.LogisticLoss())
        manifold = OutputManifold(problem)
        return manifold, _at(manifold.immersion, manifold.problem.w0)

    manifold, place = logistic(np.diag([1.0, 2.0]))
    u, outputs = np.asarray(place.gradient), np.array([1.0, 2.0])
    share = 1 / (1 + np.exp(-outputs))
    assert float(_flat_step(manifold.immersion, place)) == pytest.approx(u @ u / np.sum(share * (1 - share) * u**2))
    still = eqx.tree_at(lambda p: p.gradient, place, jnp.zeros(2))
    assert float(_flat_step(manifold.immersion, still)) == 1.0


# --- how a descent ends ----------------------------------------------------------------------------------------------


def test_a_descent_ends_where_the_gradient_has_fallen_as_asked():
    halves = {"step": 1.0, "factor": 0.5}
    assert [descended(grad_tol=tol, **halves).ts.size for tol in (0.25, 0.2500001, 0.2499999)] == [3, 3, 4]
    assert (
        descended(grad_tol=0.25, **halves).result == "gradient_tolerance_met"
        and descended(grad_tol=0.25, **halves).succeeded
    )
    assert descended(grad_tol=0.25, steps=2, **halves).result == "gradient_tolerance_met"
    assert descended(grad_tol=0.24, steps=2, **halves).result == "step_limit"
    assert descended(**halves).ts.size == 28  # 2^-27 < 1e-8, the default
    slow = descended(step=0.01)
    assert (slow.result, slow.stats["num_steps"]) == ("step_limit", 500)
    resting = descended(line(start=0.0), grad_tol=0.0)
    assert (resting.result, resting.ts.tolist(), resting.step_sizes.size) == ("gradient_tolerance_met", [0.0], 0)


@pytest.mark.parametrize(("share", "result"), [(2e-5, "step_limit"), (0.5e-5, "rank_lost")])
def test_rank_is_lost_below_a_hundred_thousandth(share, result):
    """The step 1 - share leads from w = 1 to w = share, and J = 2 w."""
    for path in (
        riemannian_gradient_descent(parabola(-1.0), step=1 - share, retraction="chart", steps=1, throw=False),
        riemannian_flow(parabola(-1.0), "euler", step_size=1 - share, steps=1, retraction="chart", throw=False),
    ):
        assert path.result == ("successful" if path.step_sizes is None and result == "step_limit" else result)
        assert path.params[:, 0] == pytest.approx([1.0, share]) and path.ts == pytest.approx([0.0, 1 - share])
        assert path.losses == pytest.approx([2.0, (1 + share**2) ** 2 / 2]) and path.stats["num_steps"] == 1


def test_what_does_not_arrive_or_is_not_finite_is_left_out():
    lost, wild = descended(step=1.0, factor=np.nan), descended(step=1e200, factor=1.0)
    assert (lost.result, lost.ts.tolist()) == ("retraction_failed", [0.0]) and (wild.result, wild.ts.size) == (
        "non_finite",
        1,
    )
    with pytest.raises(PathError, match="did not arrive"):
        descended(step=1.0, factor=np.nan, throw=True)
    assert descended(steps=1, factor=0.5, throw=True).result == "step_limit"  # no trouble


@pytest.mark.parametrize(
    "wrong",
    [{"grad_tol": 1.0}, {"grad_tol": -1e-9}, {"grad_tol": np.nan}, {"steps": 0}, {"steps": True}, {"step": -1.0}],
)
def test_limits_of_the_arguments(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must"):
        descended(**wrong)


def test_a_start_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        descended(line(start=1e200))
    assert descended(line(start=1e100), steps=1).result == "gradient_tolerance_met"


# --- fixed steps of the flow -----------------------------------------------------------------------------------------

FACTORS = {
    "euler": 1 - 0.5,
    "heun": 1 - 0.5 + 0.5**2 / 2,
    "rk4": 1 - 0.5 + 0.5**2 / 2 - 0.5**3 / 6 + 0.5**4 / 24,
    "geodesic_euler": 1 - 0.5,
}


@pytest.mark.parametrize("method", FACTORS)
def test_a_step_on_a_line_is_that_of_the_exponential_function(method):
    path = riemannian_flow(LINE, method, step_size=0.5, steps=3)
    expected = FACTORS[method] ** np.arange(4)
    assert np.allclose(path.params[:, 0], expected, rtol=1e-9) and np.allclose(path.grad_norms, expected, rtol=1e-9)
    assert (
        np.allclose(path.losses, expected**2 / 2, rtol=1e-9)
        and path.ts.tolist() == [0.0, 0.5, 1.0, 1.5]
        and path.succeeded
    )
    name = "exponential" if method == "geodesic_euler" else "projection"
    assert path.stats == {"method": method, "retraction": name, "step_size": 0.5, "num_steps": 3}
    assert path.step_sizes is path.drift is path.distance is path.tight is None


def test_the_flow_is_of_fourth_order_with_the_projection_by_default():
    path = riemannian_flow(LINE, step_size=0.5, steps=1)
    assert (path.stats["method"], path.stats["retraction"], path.ts.size) == ("rk4", "projection", 2)
    resting = riemannian_flow(line(3.0, start=0.0), step_size=0.5, steps=70)
    assert (
        resting.succeeded and resting.ts.size == 71 and np.all(resting.params == 0.0) and np.all(resting.losses == 4.5)
    )


def test_trouble_of_a_flow_is_raised_unless_asked_otherwise():
    with pytest.raises(PathError, match="retraction left the chart"):
        riemannian_flow(LINE, "heun", step_size=0.5, steps=2, retraction=scaled(np.nan))
    wild = riemannian_flow(parabola(-1.0), "euler", step_size=1e160, steps=3, retraction="chart", throw=False)
    assert (wild.result, wild.ts.size) == ("non_finite", 1)
    with pytest.raises(ValueError, match="start from finite outputs"):
        riemannian_flow(line(start=1e200), step_size=0.5, steps=2)


# --- the flow in the outputs -----------------------------------------------------------------------------------------


def test_outputs_decay_exponentially_on_a_line():
    path = output_flow(line(3.0), t1=2.0, ts=[0.0, 0.5, 1.0])
    times = np.array([0.0, 0.5, 1.0, 2.0])  # the end is always there
    assert np.allclose(path.ts, times) and np.allclose(
        path.points, np.stack([np.exp(-times), 0 * times], axis=1), atol=1e-9
    )
    assert np.allclose(path.losses, (np.exp(-2 * times) + 9) / 2) and np.allclose(
        path.grad_norms, np.exp(-times), atol=1e-9
    )
    assert (
        np.allclose(path.params[:, 0], path.points[:, 0], atol=1e-12)
        and np.all(path.distance < 1e-9)
        and np.all(path.drift < 1e-9)
    )
    assert path.result == "successful" and path.tight is None and path.stats["num_steps"] > 0
    assert (path.stats["rtol"], path.stats["atol"]) == (1e-10, 1e-12) and path.stats["method"].startswith(
        "output flow ("
    )
    assert output_flow(line(3.0), ts=[0.5, 2.0, 20.0]).ts.tolist() == [
        0.5,
        2.0,
        20.0,
    ]  # to t = 20 by default, and no point twice


@pytest.mark.parametrize("most", [0, 1, 2, 16])
def test_the_foot_of_a_state_is_found_by_newtons_method(monkeypatch, most):
    """Half the squared distance of (3, 0) from the circle is `5 - 3 cos(w)`: steps `w -> w - tan(w)`, until one starts where `3 |sin(w)| <= tol`."""
    monkeypatch.setattr(integrator, "NEWTON_STEPS", most)
    circle = rg.Problem(
        lambda w, x: jnp.stack([jnp.cos(w[0]), jnp.sin(w[0])]), jnp.zeros(1), jnp.zeros((2, 1)), jnp.zeros(2)
    )
    for tol in (1e-1, 1e-9):
        w, count, moving = 0.5, 0, True
        while moving and count < most:
            w, count, moving = w - np.tan(w), count + 1, 3 * abs(np.sin(w)) > tol
        args = integrator._Args(OutputManifold(circle).immersion, jnp.asarray(tol), jnp.asarray(0.0), jnp.asarray(1.0))
        found = integrator._foot(jnp.array([3.0, 0.0]), jnp.array([0.5]), args)
        assert float(found[0]) == pytest.approx(w, rel=1e-9, abs=1e-15)


def test_the_tight_path_is_a_hundred_times_tighter():
    path = output_flow(line(3.0), t1=1.0, ts=[0.5, 0.75, 1.0], rtol=1e-4, atol=1e-6, error=True)
    assert (
        path.tight.stats["rtol"] == pytest.approx(1e-6)
        and path.tight.stats["atol"] == pytest.approx(1e-8)
        and path.tight.tight is None
    )
    assert path.tight.ts.tolist() == [0.5, 0.75, 1.0]


def test_what_a_flow_in_the_outputs_is_asked_for(monkeypatch):
    """`psi_0 = (3, 0)`, `J = (1, 0)`: the projection to a hundredth of `atol` or 16 roundings of `1 + |psi_0|`, the least sigma, how far from M."""
    asked, integrate = [], integrator._integrate
    monkeypatch.setattr(
        integrator, "_integrate", lambda args, *rest: (asked.append((args, *rest)), integrate(args, *rest))[1]
    )
    for rtol, atol, tol in ((1e-10, 1e-12, 64 * EPS), (1e-6, 1e-8, 1e-10)):
        output_flow(line(start=3.0), t1=2.0, ts=[1.0], rtol=rtol, atol=atol)
        args, times, t1, *tolerances, _, most = asked[-1]
        assert float(args.tol) == pytest.approx(tol) and float(args.least_sigma) == pytest.approx(1e-5)
        assert float(args.farthest) == pytest.approx(4 * rtol**0.5) and [*map(float, tolerances)] == pytest.approx(
            [rtol, atol]
        )
        assert (times.tolist(), float(t1), most) == ([1.0], 2.0, 4096)
    parts = {"psi": jnp.array([3.0, 4.0]), "w": jnp.array([np.inf])}
    assert float(integrator._ambient_norm(parts)) == pytest.approx(12.5**0.5)
    assert float(integrator._ambient_norm({"psi": jnp.array([np.nan, 1.0])})) > 1e300


def test_a_flow_out_of_steps_or_out_of_range_says_so(monkeypatch):
    solution = {"event_mask": False, "result": diffrax.RESULTS.successful}
    limit, other = {"result": diffrax.RESULTS.max_steps_reached}, {"result": diffrax.RESULTS.dt_min_reached}
    cases = [
        ({}, 1.0, True, "successful"), ({"event_mask": True}, 0.0999, False, "rank_lost"), ({}, 1.0, False, "non_finite"),
        ({"event_mask": True}, 0.1, True, "retraction_failed"),
        (limit, 0.1, True, "step_limit"), (limit, 0.0999, True, "rank_lost"), (other, 1.0, True, "step_collapsed"), (other, 0.01, True, "rank_lost"),
        ({}, 0.01, True, "successful"),
    ]  # fmt: skip
    for changes, sigma, finite, expected in cases:
        assert _ending(SimpleNamespace(**{**solution, **changes}), sigma, 1.0, finite) == expected
    args = integrator._Args(parabola(0.0).immersion, jnp.asarray(1e-12), jnp.asarray(0.5), jnp.asarray(2.0))
    states = [(w, w**2) for w in (1.0, 0.25, 0.125, jnp.nan)]
    margins = [
        float(integrator._margin(0.0, {"w": jnp.array([w]), "psi": jnp.array([psi])}, args)) for w, psi in states
    ]
    assert margins == [1.0, 0.0, -0.5, -1.0]  # of J = 2 w
    for distance, margin in ((1.0, 0.5), (2.0, 0.0), (3.0, -0.5)):
        off = {"w": jnp.array([0.0]), "psi": jnp.array([0.0, distance])}
        assert float(
            integrator._margin(0.0, off, eqx.tree_at(lambda args: args.immersion, args, LINE.immersion))
        ) == pytest.approx(margin)
    monkeypatch.setattr(integrator, "MAX_STEPS", 3)
    short = output_flow(parabola(4.0), t1=5.0, ts=[0.0, 4.0, 5.0], throw=False)
    assert short.result == "step_limit" and short.ts.size == 2 and 0 < short.ts[-1] < 5 and short.points[-1, 0] > 1
    endless = rg.Problem(lambda w, x: w + jnp.inf, jnp.ones(1), jnp.zeros((1, 1)), jnp.zeros(1))
    with pytest.raises(ValueError, match="start from finite outputs and Jacobian"):
        output_flow(OutputManifold(endless), t1=1.0)


# --- what a path says ------------------------------------------------------------------------------------------------


def test_a_path_on_a_graph_has_the_outputs_first():
    path = riemannian_flow(OutputManifold(rg.task.circle(), damping=0.5), "euler", step_size=0.1, steps=1)
    assert path.points.shape == (2, 3) and np.array_equal(path.outputs, path.points[:, :2])


def test_a_path_reads_like_a_sentence():
    path = descended(factor=0.5)
    assert (
        str(path)
        == "gradient descent (armijo) on an output manifold of dimension 1: loss 0.5 -> 0 at t = 3 in 2 steps; gradient_tolerance_met"
    )
    assert path.message.startswith("The Riemannian gradient fell to") and path.succeeded
    stuck = descended(factor=-1.0)
    assert not stuck.succeeded and str(PathError(stuck)).endswith(
        "(stopped at t = 0; pass throw=False to get the path)"
    )


def test_what_was_expected_is_no_trouble():
    stuck = descended(factor=-1.0)
    assert finished(stuck, False) is stuck and finished(stuck, True, ("line_search_failed",)) is stuck
    with pytest.raises(PathError):
        finished(stuck, True)


def test_runs_share_their_room():
    assert [room(steps) for steps in (1, 63, 64, 65, 128, 129)] == [65, 65, 65, 129, 129, 257]
    assert checked_steps(1) == 1
    for wrong in (0, -1, 1.0, True, "3"):
        with pytest.raises(ValueError, match=re.escape(f"`steps` must be a positive integer, got {wrong!r}")):
            checked_steps(wrong)


def test_retractions_are_known_by_name():
    own = scaled(1.0)
    assert checked_retraction(own) is own and {checked_retraction(name).name for name in RETRACTIONS} == set(
        RETRACTIONS
    )
    assert isinstance(checked_retraction("chart"), ChartRetraction)
    for wrong in ("Chart", None, 1, ["chart"]):
        with pytest.raises(ValueError, match="or a retraction of your own, got"):
            checked_retraction(wrong)


@pytest.mark.parametrize(("target", "rtol"), [(-1.0, 1e-10), (-0.5, 1e-10), (-1.0, 1e-6)])
def test_a_flow_ends_at_the_edge_of_its_manifold(target, rtol):
    """`psi' = -(psi - y)` from 1: `psi = y + (1 - y) e^-t`, which has no parameters below 0."""
    path = output_flow(parabola(target), t1=5.0, rtol=rtol, throw=False)
    reach = 2 * rtol**0.5
    assert path.result == "rank_lost" and float(path.ts[-1]) == pytest.approx(np.log(1 - 1 / target), abs=4 * reach)
    assert np.all(np.asarray(path.points[:-1, 0]) > 0) and abs(float(path.points[-1, 0])) <= reach * 1.001
    assert path.distance.max() <= reach * 1.001 and abs(float(path.params[-1, 0])) < 1e-3
    early = output_flow(parabola(target), t1=5.0, ts=[4.0], rtol=rtol, throw=False)
    assert early.ts == pytest.approx(path.ts[-1:]) and abs(float(early.params[-1, 0])) < 1e-3
    with pytest.raises(PathError, match="rank"):
        output_flow(parabola(target), t1=5.0, rtol=rtol)


@pytest.mark.parametrize(
    ("retraction", "stops"), [("chart", False), ("corrected", False), ("projection", True), ("exponential", True)]
)
def test_what_fixed_steps_do_at_the_edge(retraction, stops):
    """As the page of limits says: steps in the parameters go over it, and then the loss rises."""
    path = riemannian_flow(parabola(-1.0), "euler", step_size=0.1, steps=50, retraction=retraction, throw=False)
    assert (
        path.result == ("retraction_failed" if stops else "successful")
        and bool(np.any(np.diff(path.losses) > 0)) is not stops
    )


def test_a_flow_that_comes_near_the_edge_goes_on():
    path = output_flow(parabola(0.0), t1=5.0)
    assert path.points[:, 0] == pytest.approx(np.exp(-np.asarray(path.ts)), rel=1e-5) and path.distance.max() < 1e-12


def test_gradient_and_least_singular_value_in_an_ambient_metric():
    """`psi = (w_1, 2 w_2, 0)`, the metric diag(1, 9, 1): singular values 1 and 6, the gradient Q^-1 dg on the plane."""
    problem = rg.Problem(
        lambda w, x: jnp.stack([w[0], 2 * w[1], 0 * w[0]]), jnp.ones(2), jnp.zeros((3, 1)), jnp.zeros(3)
    )
    immersion = OutputManifold(problem, ambient=np.array([1.0, 9.0, 1.0])).immersion
    frame = immersion.frame(problem.w0)
    gradient, size = gradient_at(immersion, frame, jnp.array([3.0, 18.0, 5.0]))
    assert gradient == pytest.approx([3.0, 2.0, 0.0]) and float(size) == pytest.approx(np.sqrt(9 + 36))
    assert float(least_singular_value(frame)) == pytest.approx(1.0)
