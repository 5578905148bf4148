"""GGN-SCORE's flow: its velocity and its solves against dense references and closed forms, its metric, and the step as its Euler step."""

from functools import cache

import diffrax
import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.linalg import BRANCHES
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net, TwoLayerTanh

N, WIDTH = 8, 10
PENALTIES = {"pseudo-huber": rg.PseudoHuberPenalty(0.5), "ostrovskii-bach": rg.OstrovskiiBachPenalty(0.5)}
TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def network(loss=None) -> rg.Problem:
    net = tanh_net(N, (3, WIDTH, 1))
    return rg.Problem(
        net.model, net.params, net.x, np.linspace(0.1, 0.9, N), rg.SquaredLoss(mean=True) if loss is None else loss
    )


def dense_velocity(problem, tau, c, mu, logistic=False):
    """`w'` by hand-written Jacobian and pseudo-Huber penalty, and a dense solve in NumPy."""
    model, y = TwoLayerTanh(problem.x, WIDTH), np.asarray(problem.y)

    def velocity(t, w):
        f, jac, r = model.outputs(w), model.jac(w), np.sqrt(mu**2 + w**2)
        share = 1 / (1 + np.exp(-f))
        e, q = (share - y, share * (1 - share)) if logistic else (f - y, np.ones(N))
        metric = np.diag(c * mu**2 / r**3) + jac.T @ (q[:, None] * jac) / N
        return -np.linalg.solve(metric, jac.T @ e / N + tau * w / r)

    return velocity


CASES = {  # loss, mu, tau, damping, c
    "c = 1": (None, 0.5, 1e-2, "unit", 1.0),
    "c = tau": (None, 0.5, 1e-2, "tau", 1e-2),
    "small mu": (None, 0.02, 1e-2, "unit", 1.0),
    "logistic": (rg.LogisticLoss(mean=True), 0.5, 1e-2, 0.3, 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_a_solve_equals_that_of_a_dense_reference(name):
    """DOP853 of SciPy at 1e-12 on NumPy's dense solve; also says no to a tau that is off by a thousandth."""
    loss, mu, tau, damping, c = CASES[name]
    problem = network(loss)
    traj = rg.solve(
        problem,
        rg.GGNScoreFlow(rg.PseudoHuberPenalty(mu), tau, damping),
        t1=5.0,
        ts=[0.0, 1.0, 5.0],
        step_to_ts=True,
        **TIGHT,
    )
    assert traj.succeeded and "Dopri8" in traj.stats["solver"] and traj.stats["direction"] == "weighted"
    exact, off = (
        solve_ivp(
            dense_velocity(problem, weight, c, mu, loss is not None),
            (0, 5),
            problem.w0,
            "DOP853",
            [1.0, 5.0],
            rtol=1e-12,
            atol=1e-13,
        ).y.T
        for weight in (tau, 1.001 * tau)
    )
    assert relative_error(traj.params[1:], exact) < 1e-8
    assert relative_error(traj.params[1:], off) > 1e-5


def test_it_is_levenberg_marquardt_where_the_penalty_is_a_ridge_of_no_weight():
    problem = tanh_net(N, (3, WIDTH, 1))
    one = rg.solve(problem, rg.GGNScoreFlow(rg.SquaredPenalty(2.0), 0.0, 0.3), t1=3.0, ts=[0.0, 3.0], **TIGHT)
    other = rg.solve(problem, rg.LevenbergMarquardtFlow(0.15), t1=3.0, ts=[0.0, 3.0], **TIGHT)
    assert relative_error(one.params, other.params) < 1e-9


@pytest.mark.parametrize("mu", [1.0, 1e-3])
def test_parameters_that_no_output_sees_follow_the_closed_form(mu):
    """`J = 0`: `x' = -(tau / c) x (1 + x^2 / mu^2)`, so that `u / (1 + u / mu^2)` with `u = x^2` decays as `exp(-2 tau t / c)`."""
    start, rate = np.array([2.0, -0.3, 1e-4]), 0.5
    problem = rg.Problem(rg.LinearModel(), start, np.zeros((2, 3)), np.ones(2))
    traj = rg.solve(
        problem,
        rg.GGNScoreFlow(rg.PseudoHuberPenalty(mu), 0.25, 0.5),
        t1=4.0,
        ts=[0.0, 1.0, 4.0],
        step_to_ts=True,
        **TIGHT,
    )
    v = start**2 / (1 + start**2 / mu**2) * np.exp(-2 * rate * np.array([[0.0], [1.0], [4.0]]))
    assert traj.succeeded and traj.stats["rank"] == 0
    assert relative_error(traj.params, np.sign(start) * np.sqrt(v / (1 - v / mu**2))) < 1e-8


def test_a_stiff_flow_is_seen_and_solved():
    """On a linear model with a ridge, `F` quadratic: rates `(s + tau) / (s + c)`, from 1.01 to 1e5 where `c` is far below `tau`."""
    a, tau, c = matrix_with(4, 7, [3.0, 2.0, 1.0, 0.5]), 1e-2, 1e-7
    problem, flow = matrix_problem(a), rg.GGNScoreFlow(rg.SquaredPenalty(), tau, c)
    traj = rg.solve(problem, flow, t1=5.0, ts=[0.0, 1.0, 5.0], rtol=1e-9, atol=1e-11)
    assert traj.succeeded and traj.stats["solver"] == "Kvaerno5" and "1e+05 x horizon 5" in traj.stats["solver_reason"]
    metric, hessian = c * np.eye(7) + a.T @ a, tau * np.eye(7) + a.T @ a
    end = np.linalg.solve(hessian, a.T @ np.asarray(problem.y))
    rates, modes = np.linalg.eig(np.linalg.solve(metric, hessian))
    exact = [
        end + (modes * np.exp(-rates * t)) @ np.linalg.solve(modes, np.asarray(problem.w0) - end)
        for t in (0.0, 1.0, 5.0)
    ]
    assert relative_error(traj.params, np.real(exact)) < 1e-7
    explicit = rg.solve(problem, flow, t1=5.0, solver=diffrax.Dopri8(), max_steps=1000, throw=False)
    assert explicit.status == "step_limit"


@pytest.mark.parametrize(("shape", "tau", "c", "fastest"), [
    ((3, 2), 0.5, 2.0, 18.5 / 20), ((3, 2), 3.0, 2.0, 5 / 4), ((2, 3), 0.5, 2.0, 18.5 / 20), ((2, 3), 3.0, 2.0, 3 / 2)
])  # fmt: skip
def test_the_fastest_rate_at_the_start(shape, tau, c, fastest):
    """`(s + tau) / (s + c)` for the eigenvalues `s = a^2 mu` of `D^{-1/2} J^T J D^{-1/2}`, and for 0 where no output sees a parameter."""
    a = np.zeros(shape)
    np.fill_diagonal(a, [3.0, 1.0])
    problem, flow = matrix_problem(a), rg.GGNScoreFlow(rg.SquaredPenalty(2.0), tau, c)
    opening = flow.initial_rates(problem, problem.linearise(problem.w0), jax.numpy.zeros(2), jax.numpy.asarray(2))
    assert (
        float(opening.fastest) == pytest.approx(fastest)
        and float(opening.slowest) == 0.0
        and BRANCHES[int(opening.branch)] == "weighted"
    )


def test_what_the_flow_says_of_itself():
    flow = rg.GGNScoreFlow(PENALTIES["pseudo-huber"])
    assert (flow.name, flow.inverts, flow.intrinsic, flow.matrix_free) == ("ggn-score", False, False, None)
    assert float(flow.weight) == 1e-4 and float(flow.c) == 1.0
    assert (
        float(rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 0.5, "tau").c) == 0.5
        and float(rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 0.5, 3.0).c) == 3.0
    )


# --- the metric ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, rg.LogisticLoss()], ids=["squared", "logistic"])
@pytest.mark.parametrize("name", PENALTIES)
def test_the_velocity_is_the_riemannian_gradient_of_the_objective(name, loss):
    problem, flow = network(loss), rg.GGNScoreFlow(PENALTIES[name], 1e-2, "tau")
    w = problem.w0
    w_dot, f_dot = flow.velocity(0.0, w, problem, N)
    gradient = jax.grad(flow.objective, argnums=1)(problem, w)
    metric = np.asarray(flow.metric_matrix(problem, w))
    assert relative_error(metric @ w_dot, -gradient) < 1e-10
    assert relative_error(f_dot, problem.jac(w) @ w_dot) < 1e-12
    np.testing.assert_allclose(gradient @ w_dot, -w_dot @ metric @ w_dot, rtol=1e-10)
    by_hand = 1e-2 * np.diag(flow.penalty.hessian_diagonal(w)) + problem.jac(w).T @ np.diag(
        problem.loss_hessian(problem.outputs(w))
    ) @ problem.jac(w)
    assert relative_error(metric, by_hand) < 1e-13


def test_without_penalty_and_damping_it_tends_to_gauss_newton_of_least_norm_in_d():
    """`tau = 0`, `c -> 0`: `w' -> -D^{-1/2} (J D^{-1/2})^+ e`, the shortest velocity in the metric `D` with Gauss-Newton's `f'`; error O(c)."""
    problem, penalty = network(), PENALTIES["pseudo-huber"]
    root = np.sqrt(np.asarray(penalty.hessian_diagonal(problem.w0)))
    limit = (
        -np.linalg.pinv(np.asarray(problem.jac(problem.w0)) / root)
        @ np.asarray(problem.outputs(problem.w0) - problem.y)
        / root
    )
    gaps = [
        relative_error(rg.GGNScoreFlow(penalty, 0.0, c).velocity(0.0, problem.w0, problem, N)[0], limit)
        for c in (1e-7, 1e-8, 1e-9)
    ]
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 10.0, rtol=0.05)
    assert gaps[-1] < 1e-4
    gauss_newton = rg.GeneralizedGaussNewtonFlow().velocity(0.0, problem.w0, problem, N)
    assert relative_error(gauss_newton[0], limit) > 0.1  # the Euclidean least norm is another
    assert relative_error(gauss_newton[1], problem.jac(problem.w0) @ limit) < 1e-8


def small_network() -> rg.Problem:
    """p = 13: Christoffel symbols are (13, 13, 13)."""
    net = tanh_net(N, (2, 3, 1))
    return rg.Problem(net.model, net.params, net.x, np.linspace(0.1, 0.9, N), rg.LogisticLoss())


@pytest.mark.parametrize("damping", ["unit", "tau"])
def test_the_flow_is_the_gradient_flow_in_geomstats(damping):
    problem, flow = small_network(), rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 1e-2, damping)
    space = rg.geometry.score_space(problem, flow)
    points = np.asarray(problem.w0) + 0.3 * np.random.default_rng(0).normal(size=(3, problem.p))
    w_dot = np.stack([flow.velocity(0.0, w, problem, N)[0] for w in points])
    gradients = np.stack([jax.grad(flow.objective, argnums=1)(problem, w) for w in points])
    assert relative_error(space.metric.riemannian_gradient(points), -w_dot) < 1e-9
    assert relative_error(np.einsum("bij,bj->bi", space.metric.cometric_matrix(points), gradients), -w_dot) < 1e-9
    np.testing.assert_allclose(
        space.metric.inner_product(w_dot, points, points), -np.sum(gradients * points, axis=1), rtol=1e-9
    )
    np.testing.assert_allclose(space.metric.squared_norm(w_dot, points), -np.sum(gradients * w_dot, axis=1), rtol=1e-9)
    other = rg.geometry.score_space(problem, rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 1e-2, 1.001 * float(flow.c)))
    assert relative_error(other.metric.riemannian_gradient(points), -w_dot) > 1e-5


def test_its_geodesics_keep_their_speed():
    problem = small_network()
    metric = rg.geometry.score_space(problem, rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 1e-2)).metric
    w = np.asarray(problem.w0)
    derivative = metric.inner_product_derivative_matrix(w)
    moved = (
        metric.metric_matrix(w + 1e-6 * np.eye(problem.p)) - metric.metric_matrix(w - 1e-6 * np.eye(problem.p))
    ) / 2e-6
    np.testing.assert_allclose(derivative, np.moveaxis(moved, 0, -1), atol=1e-8)
    start = 0.5 * np.random.default_rng(1).normal(size=problem.p)
    times = np.linspace(0.0, 1.0, 201)
    path = metric.geodesic(w, initial_tangent_vec=start)(times)
    speeds = metric.norm(np.gradient(path, times, axis=0, edge_order=2)[1:-1], path[1:-1])
    np.testing.assert_allclose(speeds, metric.norm(start, w), rtol=1e-3)
    assert relative_error(path[-1], w + start) > 1e-2  # no straight line
    assert relative_error(path[-1], metric.exp(start, w)) < 1e-8


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (
            lambda: rg.geometry.score_space(1, rg.GGNScoreFlow(PENALTIES["pseudo-huber"])),
            "`problem` must be a riemgn.Problem, got int",
        ),
        (
            lambda: rg.geometry.score_space(network(), rg.GaussNewtonFlow()),
            "`flow` must be a GGNScoreFlow, got GaussNewtonFlow",
        ),
        (
            lambda: rg.geometry.score_space(
                network(), rg.GGNScoreFlow(PENALTIES["pseudo-huber"])
            ).metric.metric_matrix(),
            "A base point is needed",
        ),
    ],
)
def test_a_space_of_something_else_is_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()


# --- the step and the flow -------------------------------------------------------------------------------------------


def test_the_step_is_eulers_step_of_the_flow():
    """`w_step(s) - w_flow(s) = -s^2/2 w'' + O(s^3)`, with `w'' = DF w'` by differentiation."""
    problem, penalty = network(), PENALTIES["pseudo-huber"]
    flow = rg.GGNScoreFlow(penalty, 1e-2)
    velocity = jax.jit(lambda w: flow.velocity(0.0, w, problem, N)[0])
    second = jax.jvp(velocity, (problem.w0,), (velocity(problem.w0),))[1]
    gaps, lengths = [], []
    for alpha in (0.4, 0.2, 0.1):
        step = rg.iterate(problem, rg.GGNScore(penalty, 1e-2, alpha), steps=1)
        s = float(step.ts[-1])
        path = rg.solve(problem, flow, t1=s, ts=[0.0, s], rtol=1e-12, atol=1e-14)
        gaps.append(relative_error(step.params[-1] - path.params[-1], -(s**2) / 2 * second))
        lengths.append(s)
    orders = np.diff(np.log(gaps)) / np.diff(np.log(lengths))
    assert gaps[-1] < 0.1 and np.all(np.abs(orders - 1) < 0.2), (gaps, orders)


# --- what it is not --------------------------------------------------------------------------------------------------


@cache
def trajectory():
    return rg.solve(network(), rg.GGNScoreFlow(PENALTIES["pseudo-huber"], 1e-2), t1=1.0, dense=True, error=True)


@pytest.mark.parametrize(
    "claim",
    [
        "dissipation",
        "damped_rate",
        "exact_residual_law",
        "generalized_law",
        "path_length",
        "rate_identity",
        "asymptotic_rate",
    ],
)
def test_claims_on_the_other_flows_do_not_apply(claim):
    assert rg.certify(claim, trajectory()).status == "not applicable"


def test_the_catalogue_keeps_steps_and_flow_apart():
    traj = trajectory()
    steps = rg.iterate(network(), rg.GGNScore(PENALTIES["pseudo-huber"], 1e-2), steps=3, error=True)
    assert rg.certify("ggn_score_descent", traj).status == "not applicable"
    assert rg.certify("ggn_score_flow_descent", steps).status == "not applicable"
    assert rg.certify("adaptive_damping", traj).status == "not applicable"
    assert BRANCHES[-1] == "weighted"


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda penalty: rg.GGNScoreFlow(1.0), "`penalty` must be a penalty such as .*, got 1.0"),
        (lambda penalty: rg.GGNScoreFlow(penalty, -1.0), "`weight` must be >= 0 and finite, got -1.0"),
        (lambda penalty: rg.GGNScoreFlow(penalty, damping=0.0), "`damping` must be positive and finite, got 0.0"),
        (
            lambda penalty: rg.GGNScoreFlow(penalty, damping="weight"),
            "`damping` must be a positive number, 'unit' or 'tau', got 'weight'",
        ),
        (lambda penalty: rg.GGNScoreFlow(penalty, 0.0, "tau"), "`weight` must be positive where damping='tau', got 0"),
    ],
)
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make(PENALTIES["pseudo-huber"])
