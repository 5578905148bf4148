"""Trust-region damping by the gain ratio and Armijo's rule: what they guarantee, and what happens without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import riemgn as rg
from riemgn.linalg import MatrixFree
from riemgn.method import GaussNewton, GramGaussNewton, LevenbergMarquardt, TrustRegion
from riemgn.method.batch import batch_objective
from riemgn.solver.iterate import iterate
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net

KEY = jax.random.key(0)
FAR = rg.task.circle(
    radius=1.0, target=4.0, angle=1.0
)  # the point to reach lies outside the circle: full steps overshoot
WIDE = matrix_with(7, 10, np.geomspace(1, 0.1, 7))


def rosenbrock(params, x):
    return jnp.stack([10 * (params[1] - params[0] ** 2), 1 - params[0]])


VALLEY = rg.Problem(rosenbrock, jnp.array([-1.2, 1.0]), jnp.zeros(2), jnp.zeros(2))
UNDER = rg.teacher_student(n=40, width=2, cond=3.0, key=jax.random.key(3), alpha=1.0, noise=0.1)  # n = 40, p = 13


def trusted(**options) -> LevenbergMarquardt:
    return LevenbergMarquardt(TrustRegion(**options))


def armijo_holds(trajectory) -> np.ndarray:
    losses, step = np.asarray(trajectory.losses), trajectory.stats["per_step"]
    return losses[1:] <= losses[:-1] + 1e-4 * step["step_size"] * step["slope"]


# --- Armijo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [GaussNewton, lambda **o: LevenbergMarquardt(1e-3, **o), lambda **o: GramGaussNewton(damping=1e-3, **o)]
)
def test_the_line_search_keeps_armijos_inequality_where_full_steps_increase_the_loss(make):
    searched = iterate(FAR, make(step_size=4.0, line_search=True), steps=12, throw=False)
    assert np.all(armijo_holds(searched))
    assert np.all(searched.stats["per_step"]["slope"] <= 0)
    slope = jax.grad(lambda w: FAR.objective(w))(FAR.w0)
    direction = (searched.params[1] - searched.params[0]) / searched.stats["per_step"]["step_size"][0]
    np.testing.assert_allclose(searched.stats["per_step"]["slope"][0], slope @ direction, rtol=1e-10)
    free = iterate(FAR, make(step_size=4.0), steps=12, throw=False)
    assert np.any(np.diff(free.losses) > 0)


def test_the_first_size_that_armijo_accepts_is_taken():
    trajectory = iterate(VALLEY, GaussNewton(line_search=True), steps=12)
    for k, size in enumerate(trajectory.stats["per_step"]["step_size"][:3]):
        w, slope = trajectory.params[k], trajectory.stats["per_step"]["slope"][k]
        d = (trajectory.params[k + 1] - w) / size
        loss = float(VALLEY.objective(w))
        accepted = [float(VALLEY.objective(w + s * d)) <= loss + 1e-4 * s * slope for s in (size, 2 * size)]
        assert accepted == [True, False] or (size == 1 and accepted[0])
    assert trajectory.stats["per_step"]["step_size"].min() < 1  # it had something to do
    assert float(trajectory.losses[-1]) < 1e-20


def test_the_line_search_of_a_batch_is_by_the_loss_of_the_batch():
    problem = tanh_net(8, (3, 10, 1))
    method = GramGaussNewton(3, 8.0, 0.05, "cyclic", line_search=True)
    trajectory = iterate(problem, method, steps=3)
    sizes, slopes = (trajectory.stats["per_step"][name] for name in ("step_size", "slope"))
    order = method.batches.start(problem)
    for k in range(3):
        batch = method.batches.draw(order, jnp.asarray(k), KEY)[1]
        before, after = (float(batch_objective(problem, trajectory.params[i], batch)) for i in (k, k + 1))
        assert after <= before + 1e-4 * sizes[k] * slopes[k]
    assert np.all(sizes < 8.0)  # on a linear model steps beyond 2 do not lower the loss


# --- trust region ----------------------------------------------------------------------------------------------------


def test_every_step_is_judged_by_its_gain():
    """The gain, the verdict and the next damping from the definitions, with a NumPy Jacobian."""
    damping = TrustRegion(start=1e-3, increase=3.0, decrease=5.0)
    trajectory = iterate(VALLEY, LevenbergMarquardt(damping), steps=12)
    step, w, rho, time = trajectory.stats["per_step"], np.array([-1.2, 1.0]), 1e-3, 0.0
    for k in range(12):
        jac = np.array([[-20 * w[0], 10.0], [-1.0, 0.0]])
        r = np.array([10 * (w[1] - w[0] ** 2), 1 - w[0]])
        d = -np.linalg.solve(jac.T @ jac + rho * np.eye(2), jac.T @ r)
        trial = w + d
        after = np.array([10 * (trial[1] - trial[0] ** 2), 1 - trial[0]])
        gain = (r @ r - after @ after) / (r @ r - np.sum((r + jac @ d) ** 2))
        np.testing.assert_allclose([step["damping"][k], step["gain"][k]], [rho, gain], rtol=1e-6)
        accepted = after @ after < r @ r
        assert step["accepted"][k] == step["step_size"][k] == accepted
        w, time = (trial, time + 1) if accepted else (w, time)
        fall = min(1 / 5, np.sqrt(after @ after / (r @ r)))
        rho = rho * 3 if gain < 0.25 else rho * fall if gain > 0.75 else rho
        np.testing.assert_allclose(trajectory.params[k + 1], w, rtol=1e-7)
        assert trajectory.ts[k + 1] == time
    taken = step["accepted"].sum()
    assert 0 < taken < 12
    assert (trajectory.stats["num_accepted_steps"], trajectory.stats["num_rejected_steps"]) == (taken, 12 - taken)


@pytest.mark.parametrize("problem", [FAR, VALLEY, UNDER], ids=["circle", "Rosenbrock", "net"])
def test_the_loss_never_increases_and_the_end_is_that_of_minpack(problem):
    """Rosenbrock's valley and the circle, and a small net whose Jacobian loses its rank on the way of full Gauss-Newton steps."""
    trajectory = iterate(problem, trusted(), steps=200)
    losses = np.asarray(trajectory.losses)
    assert np.all(np.diff(losses) <= 1e-15 * losses[0])  # other programs, other rounding
    free = iterate(problem, GaussNewton(), steps=60, throw=False)
    assert np.any(np.diff(free.losses) > 0)  # what the trust region guards against
    assert problem is not UNDER or free.status == "rank_lost"
    residual = jax.jit(lambda w: problem.outputs(w) - problem.y)
    jac = jax.jit(lambda w: problem.jac(w))
    oracle = least_squares(residual, trajectory.params[10], jac=jac, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert abs(losses[-1] - oracle.cost) <= 1e-11 * (1 + oracle.cost)


def test_the_end_is_quadratic():
    """Over-parameterised: once the damping falls with the residual, `|r_{k+1}| / |r_k|^2` is a constant; with a fixed damping it grows."""
    problem = tanh_net(8, (3, 30, 1))

    def squared(method) -> np.ndarray:
        norms = np.linalg.norm(iterate(problem, method, steps=20).outputs - problem.y, axis=1)
        return (norms[1:] / norms[:-1] ** 2)[(norms[:-1] < 0.1 * norms[0]) & (norms[1:] > 1e-11)]

    end = squared(trusted())
    assert len(end) >= 3
    assert end.max() < 2 * end.min()
    fixed = squared(LevenbergMarquardt(1e-3))
    assert fixed.max() > 100 * fixed.min()


def test_the_damping_stays_within_its_bounds():
    low = iterate(matrix_problem(WIDE), trusted(start=1.0, least=1e-2), steps=8).stats["per_step"]["damping"]
    assert low.min() == 1e-2
    high = iterate(VALLEY, trusted(start=1e-3, most=2e-3), steps=8).stats["per_step"]["damping"]
    assert high.max() == 2e-3


def test_a_rejected_step_does_not_meet_the_step_tolerance():
    trajectory = iterate(VALLEY, trusted(start=1e-3), steps=12, step_tol=1e-12)
    assert trajectory.stats["num_rejected_steps"] > 0
    assert trajectory.stats["num_steps"] == 12


def test_outputs_that_overflow_are_a_rejected_step():
    problem = rg.Problem(lambda params, x: jnp.exp(x @ params), jnp.array([-5.0]), [[1.0], [150.0]], [20.0, 1.0])
    trajectory = iterate(problem, trusted(start=1e-9), steps=40)
    assert trajectory.stats["num_rejected_steps"] > 0
    assert not np.isfinite(problem.objective(problem.w0 + 15.0))
    assert np.all(np.diff(trajectory.losses) <= 1e-15 * trajectory.losses[0])
    assert trajectory.losses[-1] < trajectory.losses[0]


def test_the_gain_of_another_loss_is_by_its_hessian():
    """A logistic regression: the quadratic model of the loss itself, and at its optimum the gradient is zero."""
    problem = matrix_problem(
        matrix_with(12, 4, np.geomspace(1, 0.1, 4)), rg.LogisticLoss(), targets=np.where(np.arange(12) % 2, 0.7, 0.3)
    )
    trajectory = iterate(problem, trusted(), steps=80)
    assert trajectory.grad_norms[-1] < 1e-6 * trajectory.grad_norms[0]
    point = problem.linearise(problem.w0)
    d = trajectory.params[1] - trajectory.params[0]
    along = np.asarray(point.jac @ d)
    predicted = -np.asarray(point.loss_gradient) @ along - np.asarray(point.loss_hessian) @ along**2 / 2
    np.testing.assert_allclose(
        trajectory.stats["per_step"]["gain"][0], (trajectory.losses[0] - trajectory.losses[1]) / predicted, rtol=1e-9
    )


@pytest.mark.parametrize(
    "options", [{"matrix_free": MatrixFree(rtol=1e-12)}, {"precision": "mixed"}], ids=["matrix-free", "mixed"]
)
def test_the_other_ways_to_solve_take_the_same_steps(options):
    problem = tanh_net(8, (3, 10, 1))
    plain = iterate(problem, trusted(), steps=5)
    other = iterate(problem, LevenbergMarquardt(TrustRegion(), **options), steps=5)
    assert relative_error(other.params, plain.params) < 1e-8
    searched = [
        iterate(problem, LevenbergMarquardt(0.1, 8.0, line_search=True, **more), steps=3) for more in ({}, options)
    ]
    assert relative_error(searched[1].params, searched[0].params) < 1e-8


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: TrustRegion(0.0), "`start` must be positive and finite, got 0.0"),
        (lambda: TrustRegion(increase=1.0), "`increase` must be above 1, got 1"),
        (lambda: TrustRegion(decrease=0.5), "`decrease` must be above 1, got 0.5"),
        (lambda: TrustRegion(1.0, least=2.0), "`start` must lie between `least` and `most`, 2 and 1e.12, got 1"),
        (lambda: LevenbergMarquardt(TrustRegion(), line_search=True), "give it or `line_search=True`, not both"),
        (lambda: rg.LevenbergMarquardtFlow(TrustRegion()), "`rho` must be a number, got TrustRegion"),
    ],
)
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
