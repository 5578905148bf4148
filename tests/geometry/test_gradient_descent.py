"""Riemannian gradient descent: accepted steps in closed form, minimisers, and endings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.geometry import OutputManifold, riemannian_gradient_descent
from tests.geometry.examples import line, parabola, RADIUS, REACH, scaled, sphere, TARGET

LINE = line()


def descend(manifold=LINE, factor=1.0, **options) -> rg.Trajectory:
    return riemannian_gradient_descent(manifold, retraction=scaled(factor), **{"throw": False, **options})


def steps_of(traj: rg.Trajectory) -> list[float]:
    return traj.stats["per_step"]["step_size"].tolist()


def ill_conditioned() -> tuple[OutputManifold, np.ndarray]:
    """A linear model in an ambient metric of condition 1000, and the minimiser."""
    problem = rg.task.linear(20, 5, 1e2, key=jax.random.key(0))
    matrix, y = np.asarray(problem.x), np.asarray(problem.y)
    return OutputManifold(problem, ambient=np.logspace(0, 3, 20)), matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]


@pytest.fixture(scope="module")
def descents() -> dict[str, rg.Trajectory]:
    manifold, _ = ill_conditioned()
    return {
        step: riemannian_gradient_descent(manifold, step=step, retraction="chart")
        for step in ("armijo", "barzilai_borwein")
    }


# --- step rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "limit"), [("armijo", 1 + 0.5**0.5), ("barzilai_borwein", 1 + (1 - 2e-4) ** 0.5)])
def test_a_step_gains_its_share_of_the_slope(step, limit):
    """The loss `(1 - factor t)^2 / 2` is accepted if it is at most `1/2 - c t`."""
    accepted, halved = (descend(step=step, factor=limit + more, steps=1) for more in (-1e-6, 1e-6))
    assert steps_of(accepted) == [1.0] and accepted.stats["num_evaluations"] == 1
    assert steps_of(halved) == [0.5] and halved.stats["num_evaluations"] == 2


@pytest.mark.parametrize(("step", "limit"), [("armijo", 1.5), ("barzilai_borwein", 1.9998)])
def test_the_slope_decides_if_rounding_hides_the_loss(step, limit):
    """`1 - factor t >= 2 c - 1`, with a loss of 5e17."""
    accepted, halved = (descend(line(1e9), step=step, factor=limit + more, steps=1) for more in (-1e-6, 1e-6))
    assert steps_of(accepted) == [1.0] and steps_of(halved) == [0.5]


def test_armijos_next_trial_is_twice_the_last_step():
    traj = descend(factor=0.5)
    assert steps_of(traj) == [1.0, 2.0] and traj.ts.tolist() == [0.0, 1.0, 3.0]
    assert traj.losses.tolist() == [0.5, 0.125, 0.0] and traj.points.tolist() == [[1, 0], [0.5, 0], [0, 0]]
    assert traj.params[:, 0].tolist() == traj.grad_norms.tolist() == [1.0, 0.5, 0.0]
    assert (traj.flow.variant, traj.flow.retraction, traj.stats["num_evaluations"]) == ("armijo", "stretched", 2)


def test_a_trial_is_halved_fifty_times_at_most():
    uphill = descend(factor=-1.0)
    assert (uphill.status, uphill.ts.size, uphill.stats["num_evaluations"]) == ("line_search_failed", 1, 50)
    assert steps_of(descend(factor=2.0**49, steps=1)) == [2.0**-49]
    assert descend(factor=2.0**51, steps=1).status == "line_search_failed"


def test_a_fixed_step_is_also_taken_uphill():
    traj = descend(step=0.5, factor=-1.0, steps=3)
    assert traj.status == "step_limit" and traj.params[:, 0].tolist() == [1.0, 1.5, 2.25, 3.375]
    assert steps_of(traj) == [0.5] * 3 and traj.stats["num_evaluations"] == 3


def test_secant_steps_alternate_between_two_formulas(descents):
    """On a flat manifold the trials are `<s, s> / <s, y>` and `<s, y> / <y, y>`, halved at most."""
    manifold, _ = ill_conditioned()
    traj = descents["barzilai_borwein"]
    gradients = np.stack([manifold.riemannian_grad(w) for w in traj.params[:12]])
    s, y = np.diff(np.asarray(traj.points[:12]), axis=0), np.diff(gradients, axis=0)
    ss, sy, yy = (np.sum(np.logspace(0, 3, 20) * a * b, axis=1) for a, b in ((s, s), (s, y), (y, y)))
    trials = np.where(np.arange(1, 12) % 2 == 0, ss / sy, sy / yy)
    halvings = np.log2(trials / np.array(steps_of(traj)[1:12]))
    assert halvings == pytest.approx(np.round(halvings), abs=1e-6) and halvings.min() == pytest.approx(0, abs=1e-6)


def test_the_first_trial_is_exact_on_a_flat_manifold():
    problem = rg.Problem(rg.LinearModel(), jnp.ones(2), np.diag([1.0, 2.0]), np.array([1.0, 0.0]), rg.LogisticLoss())
    manifold = OutputManifold(problem)
    u, share = np.asarray(manifold.riemannian_grad(problem.w0)), 1 / (1 + np.exp(-np.array([1.0, 2.0])))
    assert steps_of(descend(manifold, steps=1)) == pytest.approx([u @ u / np.sum(share * (1 - share) * u**2)])


def test_armijo_never_increases_the_loss_and_secant_steps_are_faster(descents):
    _, minimiser = ill_conditioned()
    armijo, secant = descents.values()
    for traj in (armijo, secant):
        assert traj.succeeded and np.abs(traj.points[-1] - minimiser).max() < 1e-7
    rounding = 16 * np.finfo(float).eps * armijo.losses[0]
    assert np.diff(armijo.losses).max() <= rounding < np.diff(secant.losses).max()
    assert 2 * secant.stats["num_steps"] < armijo.stats["num_steps"]


@pytest.mark.parametrize("step", ["armijo", "barzilai_borwein", 0.5])
def test_descent_finds_the_nearest_point_of_the_sphere(step):
    traj = riemannian_gradient_descent(sphere(), step=step)
    assert traj.status == "gradient_tolerance_met" and traj.succeeded
    assert np.abs(traj.points[-1] - RADIUS * TARGET / REACH).max() < 1e-7
    assert np.allclose(np.diff(traj.ts), steps_of(traj)) and traj.params.shape == (traj.ts.size, 2)


# --- how a descent ends ---------------------------------------------------------------------------


def test_a_descent_stops_at_its_gradient_tolerance():
    halves = {"step": 1.0, "factor": 0.5}
    assert [descend(grad_tol=tol, **halves).ts.size for tol in (0.25, 0.2500001, 0.2499999)] == [3, 3, 4]
    assert descend(grad_tol=0.25, steps=2, **halves).status == "gradient_tolerance_met"
    assert descend(grad_tol=0.24, steps=2, **halves).status == "step_limit"
    at_minimum = descend(line(start=0.0), grad_tol=0.0)
    assert (at_minimum.status, at_minimum.ts.tolist()) == ("gradient_tolerance_met", [0.0])


def test_running_out_of_steps_does_not_raise():
    traj = descend(step=0.01, throw=True)
    assert (traj.status, traj.stats["num_steps"], traj.succeeded) == ("step_limit", 500, False)


@pytest.mark.parametrize(("share", "status"), [(2e-5, "step_limit"), (0.5e-5, "rank_lost")])
def test_rank_is_lost_below_a_hundred_thousandth(share, status):
    """The step 1 - share leads from w = 1 to w = share, and J = 2 w."""
    traj = riemannian_gradient_descent(parabola(-1.0), step=1 - share, retraction="chart", steps=1, throw=False)
    assert traj.status == status and traj.params[:, 0] == pytest.approx([1.0, share])
    assert traj.sigma_min == pytest.approx([2.0, 2 * share])


def test_a_step_in_trouble_is_left_out():
    lost, wild = descend(step=1.0, factor=np.nan), descend(step=1e200, factor=1.0)
    assert (lost.status, lost.ts.tolist()) == ("retraction_failed", [0.0])
    assert (wild.status, wild.ts.size) == ("non_finite", 1)
    with pytest.raises(rg.SolveError, match="lowered the loss"):
        descend(factor=-1.0, throw=True)


@pytest.mark.parametrize(
    "wrong",
    [{"grad_tol": 1.0}, {"grad_tol": -1e-9}, {"grad_tol": np.nan}, {"steps": 0}, {"step": -1.0}, {"step": "wolfe"}],
    ids=str,
)
def test_bad_input_is_quoted(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"`{name}` must .*{value}"):
        descend(**wrong)


def test_a_start_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="start from a finite loss"):
        descend(line(start=1e200))
