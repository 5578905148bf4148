"""The flow of GGN-SCORE: solves against dense references and closed forms, and its metric."""

import diffrax
import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.linalg import BRANCHES
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net, TwoLayerTanh

N, WIDTH = 8, 10
PSEUDO_HUBER = rg.PseudoHuberPenalty(0.5)
PENALTIES = {"pseudo-huber": PSEUDO_HUBER, "ostrovskii-bach": rg.OstrovskiiBachPenalty(0.5)}
TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def network(loss=None, sizes=(3, WIDTH, 1)) -> rg.Problem:
    net = tanh_net(N, sizes)
    loss = rg.SquaredLoss(mean=True) if loss is None else loss
    return rg.Problem(net.model, net.params, net.x, np.linspace(0.1, 0.9, N), loss)


def dense_velocity(problem, tau, c, mu, logistic=False):
    """Return `w'` by a hand-written Jacobian and penalty, and a dense solve in NumPy."""
    model, y = TwoLayerTanh(problem.x, WIDTH), np.asarray(problem.y)

    def velocity(t, w):
        f, jac, r = model.outputs(w), model.jac(w), np.sqrt(mu**2 + w**2)
        mean = 1 / (1 + np.exp(-f))
        e, q = (mean - y, mean * (1 - mean)) if logistic else (f - y, np.ones(N))
        metric = np.diag(c * mu**2 / r**3) + jac.T @ (q[:, None] * jac) / N
        return -np.linalg.solve(metric, jac.T @ e / N + tau * w / r)

    return velocity


@pytest.mark.parametrize(("loss", "mu", "damping", "c"), [
    (None, 0.5, "unit", 1.0), (None, 0.02, "tau", 1e-2), (rg.LogisticLoss(mean=True), 0.5, 0.3, 0.3)
], ids=["c_is_1", "c_is_tau", "logistic"])  # fmt: skip
def test_solve_equals_a_dense_reference(loss, mu, damping, c):
    """Compare with SciPy's DOP853 at 1e-12; a `tau` that is wrong by a thousandth shows."""
    problem, tau = network(loss), 1e-2
    flow = rg.GGNScoreFlow(rg.PseudoHuberPenalty(mu), tau, damping)
    traj = rg.solve(problem, flow, t1=5.0, ts=[0.0, 1.0, 5.0], step_to_ts=True, **TIGHT)
    assert traj.succeeded and "Dopri8" in traj.stats["solver"] and traj.stats["direction"] == "weighted"
    exact, wrong = (
        solve_ivp(
            dense_velocity(problem, weight, c, mu, loss is not None),
            (0, 5), problem.w0, "DOP853", [1.0, 5.0], rtol=1e-12, atol=1e-13,
        ).y.T
        for weight in (tau, 1.001 * tau)
    )  # fmt: skip
    assert relative_error(traj.params[1:], exact) < 1e-8
    assert relative_error(traj.params[1:], wrong) > 1e-5


def test_ridge_without_weight_is_levenberg_marquardt():
    """`D = I / 2` for this ridge, so `c = 0.3` is damping 0.15."""
    problem = tanh_net(N, (3, WIDTH, 1))
    flow = rg.GGNScoreFlow(rg.SquaredPenalty(2.0), 0.0, 0.3)
    one, other = (each.velocity(0.0, problem.w0, problem, N)[0] for each in (flow, rg.LevenbergMarquardtFlow(0.15)))
    assert relative_error(one, other) < 1e-10


@pytest.mark.parametrize("mu", [1.0, 1e-3])
def test_parameters_without_influence_have_a_closed_form(mu):
    """For `J = 0`, `u / (1 + u / mu^2)` with `u = x^2` decays as `exp(-2 tau t / c)`."""
    start, rate = np.array([2.0, -0.3, 1e-4]), 0.5
    problem = rg.Problem(rg.LinearModel(), start, np.zeros((2, 3)), np.ones(2))
    flow = rg.GGNScoreFlow(rg.PseudoHuberPenalty(mu), 0.25, 0.5)
    traj = rg.solve(problem, flow, t1=4.0, ts=[0.0, 1.0, 4.0], step_to_ts=True, **TIGHT)
    v = start**2 / (1 + start**2 / mu**2) * np.exp(-2 * rate * np.array([[0.0], [1.0], [4.0]]))
    assert traj.succeeded and traj.stats["rank"] == 0
    assert relative_error(traj.params, np.sign(start) * np.sqrt(v / (1 - v / mu**2))) < 1e-8


def test_stiff_flow_gets_the_implicit_solver():
    """On a linear model with a ridge the rates are `(s + tau) / (s + c)`, here from 1.01 to 1e5."""
    a, tau, c = matrix_with(4, 7, [3.0, 2.0, 1.0, 0.5]), 1e-2, 1e-7
    problem, flow = matrix_problem(a), rg.GGNScoreFlow(rg.SquaredPenalty(), tau, c)
    ts = [0.0, 1.0, 5.0]
    traj = rg.solve(problem, flow, t1=5.0, ts=ts, rtol=1e-9, atol=1e-11)
    assert traj.succeeded and traj.stats["solver"] == "Kvaerno5" and "1e+05 x horizon 5" in traj.stats["solver_reason"]
    metric, hessian = c * np.eye(7) + a.T @ a, tau * np.eye(7) + a.T @ a
    end = np.linalg.solve(hessian, a.T @ np.asarray(problem.y))
    rates, modes = np.linalg.eig(np.linalg.solve(metric, hessian))
    start = np.linalg.solve(modes, np.asarray(problem.w0) - end)
    assert relative_error(traj.params, np.real([end + (modes * np.exp(-rates * t)) @ start for t in ts])) < 1e-7
    explicit = rg.solve(problem, flow, t1=5.0, ts=ts, solver=diffrax.Dopri8(), max_steps=1000, throw=False)
    assert explicit.status == "step_limit"


@pytest.mark.parametrize(("shape", "tau", "fastest"), [
    ((3, 2), 0.5, 18.5 / 20), ((3, 2), 3.0, 5 / 4), ((2, 3), 0.5, 18.5 / 20), ((2, 3), 3.0, 3 / 2)
])  # fmt: skip
def test_fastest_rate_at_the_start(shape, tau, fastest):
    """`(s + tau) / (s + 2)` for the eigenvalues `s` of `D^{-1/2} J^T J D^{-1/2}`; 0 if n < p."""
    a = np.zeros(shape)
    np.fill_diagonal(a, [3.0, 1.0])
    problem, flow = matrix_problem(a), rg.GGNScoreFlow(rg.SquaredPenalty(2.0), tau, 2.0)
    rates = flow.initial_rates(problem, problem.linearise(problem.w0), jax.numpy.zeros(2), jax.numpy.asarray(2))
    assert float(rates.fastest) == pytest.approx(fastest)
    assert float(rates.slowest) == 0.0 and BRANCHES[int(rates.branch)] == "weighted"


@pytest.mark.parametrize("loss", [None, rg.LogisticLoss()], ids=["squared", "logistic"])
@pytest.mark.parametrize("name", PENALTIES)
def test_velocity_is_the_riemannian_gradient(name, loss):
    problem, flow = network(loss), rg.GGNScoreFlow(PENALTIES[name], 1e-2, "tau")
    w = problem.w0
    w_dot, f_dot = flow.velocity(0.0, w, problem, N)
    gradient, metric = jax.grad(flow.objective, argnums=1)(problem, w), np.asarray(flow.metric_matrix(problem, w))
    assert relative_error(metric @ w_dot, -gradient) < 1e-10
    assert relative_error(f_dot, problem.jac(w) @ w_dot) < 1e-12
    jac, hessian = problem.jac(w), np.diag(problem.loss_hessian(problem.outputs(w)))
    by_hand = 1e-2 * np.diag(flow.penalty.hessian_diagonal(w)) + jac.T @ hessian @ jac
    assert relative_error(metric, by_hand) < 1e-13


def test_undamped_limit_is_gauss_newton_of_least_norm_in_d():
    """For `tau = 0` and `c -> 0`, `w' -> -D^{-1/2} (J D^{-1/2})^+ e` with an error of O(c)."""
    problem = network()
    root = np.sqrt(np.asarray(PSEUDO_HUBER.hessian_diagonal(problem.w0)))
    residual = np.asarray(problem.outputs(problem.w0) - problem.y)
    limit = -np.linalg.pinv(np.asarray(problem.jac(problem.w0)) / root) @ residual / root
    gaps = [
        relative_error(rg.GGNScoreFlow(PSEUDO_HUBER, 0.0, c).velocity(0.0, problem.w0, problem, N)[0], limit)
        for c in (1e-7, 1e-8, 1e-9)
    ]
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 10.0, rtol=0.05)
    assert gaps[-1] < 1e-4
    w_dot, f_dot = rg.GeneralizedGaussNewtonFlow().velocity(0.0, problem.w0, problem, N)
    assert relative_error(w_dot, limit) > 0.1  # the Euclidean least norm differs
    assert relative_error(f_dot, problem.jac(problem.w0) @ limit) < 1e-8


def test_geomstats_metric_gives_the_same_gradient_flow():
    problem, flow = network(rg.LogisticLoss(), (2, 3, 1)), rg.GGNScoreFlow(PSEUDO_HUBER, 1e-2)
    metric = rg.geometry.score_space(problem, flow).metric
    points = np.asarray(problem.w0) + 0.3 * np.random.default_rng(0).normal(size=(3, problem.p))
    w_dot = np.stack([flow.velocity(0.0, w, problem, N)[0] for w in points])
    gradients = np.stack([jax.grad(flow.objective, argnums=1)(problem, w) for w in points])
    assert relative_error(metric.riemannian_gradient(points), -w_dot) < 1e-9
    assert relative_error(np.einsum("bij,bj->bi", metric.cometric_matrix(points), gradients), -w_dot) < 1e-9
    inner = metric.inner_product(w_dot, points, points)
    np.testing.assert_allclose(inner, -np.sum(gradients * points, axis=1), rtol=1e-9)


def test_geodesics_of_the_metric_keep_their_speed():
    problem = network(rg.LogisticLoss(), (2, 3, 1))
    metric = rg.geometry.score_space(problem, rg.GGNScoreFlow(PSEUDO_HUBER, 1e-2)).metric
    w, shift = np.asarray(problem.w0), 1e-6 * np.eye(problem.p)
    derivative = (metric.metric_matrix(w + shift) - metric.metric_matrix(w - shift)) / 2e-6
    np.testing.assert_allclose(metric.inner_product_derivative_matrix(w), np.moveaxis(derivative, 0, -1), atol=1e-8)
    start, times = 0.5 * np.random.default_rng(1).normal(size=problem.p), np.linspace(0.0, 1.0, 201)
    path = metric.geodesic(w, initial_tangent_vec=start)(times)
    speeds = metric.norm(np.gradient(path, times, axis=0, edge_order=2)[1:-1], path[1:-1])
    np.testing.assert_allclose(speeds, metric.norm(start, w), rtol=1e-3)
    assert relative_error(path[-1], w + start) > 1e-2  # not a straight line
    assert relative_error(path[-1], metric.exp(start, w)) < 1e-8


def test_step_is_an_euler_step_of_the_flow():
    """`w_step(s) - w_flow(s) = -s^2 / 2 w'' + O(s^3)`, with `w'' = DF w'` by differentiation."""
    problem, flow = network(), rg.GGNScoreFlow(PSEUDO_HUBER, 1e-2)
    velocity = jax.jit(lambda w: flow.velocity(0.0, w, problem, N)[0])
    second = jax.jvp(velocity, (problem.w0,), (velocity(problem.w0),))[1]
    gaps = []
    for alpha in (0.4, 0.2, 0.1):
        step = rg.iterate(problem, rg.GGNScore(PSEUDO_HUBER, 1e-2, alpha), steps=1)
        s = float(step.ts[-1])
        path = rg.solve(problem, flow, t1=s, ts=[0.0, s], rtol=1e-12, atol=1e-14)
        gaps.append((s, relative_error(step.params[-1] - path.params[-1], -(s**2) / 2 * second)))
    lengths, errors = np.log(gaps).T
    assert gaps[-1][1] < 0.1 and np.all(np.abs(np.diff(errors) / np.diff(lengths) - 1) < 0.2), gaps


def test_claims_about_other_flows_do_not_apply():
    traj = rg.solve(network(), rg.GGNScoreFlow(PSEUDO_HUBER, 1e-2), t1=1.0, ts=[0.0, 0.5, 1.0], dense=True, error=True)
    others = ("dissipation", "damped_rate", "exact_residual_law", "generalized_law", "rate_identity", "asymptotic_rate")
    for claim in (*others, "path_length", "adaptive_damping", "ggn_score_descent"):
        assert rg.certify(claim, traj).status == "not applicable", claim
    steps = rg.iterate(network(), rg.GGNScore(PSEUDO_HUBER, 1e-2), steps=3, error=True)
    assert rg.certify("ggn_score_flow_descent", steps).status == "not applicable"


def test_repr_names_penalty_weight_and_damping():
    text = "GGNScoreFlow(penalty=PseudoHuberPenalty(smoothing=0.5), weight=0.01, damping='tau')"
    assert repr(rg.GGNScoreFlow(PSEUDO_HUBER, 1e-2, "tau")) == text


@pytest.mark.parametrize(("make", "fragment"), [
    (lambda: rg.GGNScoreFlow(1.0), "`penalty` must be a penalty such as .*, got 1.0"),
    (lambda: rg.GGNScoreFlow(PSEUDO_HUBER, -1.0), "`weight` must be >= 0 and finite, got -1.0"),
    (lambda: rg.GGNScoreFlow(PSEUDO_HUBER, damping=0.0), "`damping` must be positive and finite, got 0.0"),
    (lambda: rg.GGNScoreFlow(PSEUDO_HUBER, damping="weight"), "`damping` must be a positive number, .*, got 'weight'"),
    (lambda: rg.GGNScoreFlow(PSEUDO_HUBER, 0.0, "tau"), "`weight` must be positive"),
    (lambda: rg.geometry.score_space(1, rg.GGNScoreFlow(PSEUDO_HUBER)), "`problem` must be a riemgn.Problem, got int"),
    (lambda: rg.geometry.score_space(network(), rg.GaussNewtonFlow()), "`flow` must be a GGNScoreFlow, got"),
])  # fmt: skip
def test_bad_arguments_are_rejected(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
