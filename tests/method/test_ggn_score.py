"""GGN-SCORE: a golden step, steps against dense solves, step sizes, descent."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import score_direction
from riemgn.method import GGNScore, LevenbergMarquardt
from riemgn.penalty import ExponentialPenalty, OstrovskiiBachPenalty, PseudoHuberPenalty, SquaredPenalty
from riemgn.solver.iterate import iterate
from tests.helpers import matrix_with, relative_error, tanh_net, TwoLayerTanh

STEPS = 6

M, N0, N1 = 4, 2, 6
SCALE = 1 / np.sqrt(N1)


def golden_net(params, x):
    """`kappa V silu(U x)`, with the hidden layer transposed, so column-major when flattened."""
    return SCALE * jax.nn.silu(x @ params["u"]) @ params["v"]


def golden_problem() -> rg.Problem:
    x = np.cos(1 + np.arange(M)[:, None] + 2 * np.arange(N0))
    u = np.sin(1 + 3 * np.arange(N1)[:, None] + np.arange(N0))
    params = {"u": u.T, "v": 0.5 + 0.5 * np.cos(2 * np.arange(N1))}
    return rg.Problem(golden_net, params, x, np.sin(1 + np.arange(M)), rg.SquaredLoss(mean=True))


GOLDEN = {  # |J|, |d|, |theta+|, f+, d[0], d[17]
    "unit": [0.968026051586, 0.666524873686, 3.21324098328, 0.133464836911, 0.07280989580588, 0.03337645404425],
    "tau": [0.968026051586, 10.7370184537, 5.1087541218, 0.678917336117, -4.02013566097, 0.28084173715],
}


@pytest.mark.parametrize("damping", GOLDEN)
def test_golden_step(damping):
    problem, penalty = golden_problem(), PseudoHuberPenalty(0.5)
    trajectory = iterate(problem, GGNScore(penalty, 0.01, 0.95, damping), steps=1)
    report = {key: value[0] for key, value in trajectory.stats["per_step"].items()}
    np.testing.assert_allclose(trajectory.outputs[0], [0.1160886, 0.176031, -0.01343338, 0.06447003], atol=5e-9)
    np.testing.assert_allclose(trajectory.losses[0], 0.2202793210731629, rtol=1e-14)
    np.testing.assert_allclose(penalty(problem.w0), 6.709949485722, rtol=1e-12)
    np.testing.assert_allclose(penalty.self_concordance(problem.p), 5.791692472934, rtol=1e-12)
    np.testing.assert_allclose(report["local_norm"], 0.064684392513, rtol=1e-10)
    np.testing.assert_allclose(report["step_size"], 0.691093997892, rtol=1e-12)
    d = np.asarray(trajectory.params[1] - trajectory.params[0]) / report["step_size"]
    norms = [np.linalg.norm(a) for a in (problem.jac(problem.w0), d, trajectory.params[1])]
    np.testing.assert_allclose([*norms, trajectory.losses[1], d[0], d[17]], GOLDEN[damping], rtol=1e-9)


def test_direction_limits_for_small_and_large_damping():
    rng = np.random.default_rng(0)
    jac, loss_gradient = rng.standard_normal((20, 80)) / np.sqrt(20), rng.standard_normal(20) / 20
    gradient_term, metric = 1e-4 * rng.standard_normal(80), rng.uniform(0.1, 1, 80)
    direction = jax.jit(lambda *arguments: score_direction(*arguments)[0])
    root = np.sqrt(metric)
    minimum_norm = -np.linalg.pinv(jac / root) @ loss_gradient / root  # minimum norm in the metric D
    assert relative_error(direction(jac, loss_gradient, 0 * gradient_term, metric, 1e-13), minimum_norm) < 1e-10
    gradient = jac.T @ loss_gradient + gradient_term
    assert relative_error(1e12 * direction(jac, loss_gradient, gradient_term, metric, 1e12), -gradient / metric) < 1e-9


@pytest.mark.parametrize("loss", [rg.SquaredLoss(mean=True), rg.LogisticLoss(mean=True)], ids=["squared", "logistic"])
def test_steps_contain_the_hessian_of_the_loss(loss):
    """Batches of 3 of 8 samples: the last one of an epoch has two."""
    net = tanh_net(8, (3, 10, 1))
    problem = rg.Problem(net.model, net.params, net.x, np.linspace(0.1, 0.9, 8), loss)
    penalty, dense = PseudoHuberPenalty(0.7), TwoLayerTanh(net.x, 10)
    trajectory = iterate(problem, GGNScore(penalty, 0.01, 0.9, 0.5, batch_size=3, order="cyclic"), steps=STEPS)
    w, y = np.asarray(problem.w0), np.asarray(problem.y)
    for k in range(STEPS):
        rows = [[0, 1, 2], [3, 4, 5], [6, 7]][k % 3]
        jac, f = dense.jac(w)[rows], dense.outputs(w)[rows]
        share = 1 / (1 + np.exp(-f))
        squared = isinstance(loss, rg.SquaredLoss)
        e, q = (f - y[rows], np.ones(len(rows))) if squared else (share - y[rows], share * (1 - share))
        r = np.sqrt(0.7**2 + w**2)
        slope, curvature = w / r, 0.7**2 / r**3
        hessian = 0.5 * np.diag(curvature) + jac.T @ np.diag(q / len(rows)) @ jac
        d = -np.linalg.solve(hessian, jac.T @ e / len(rows) + 0.01 * slope)
        eta = 0.01 * np.sqrt(np.sum(slope**2 / curvature))
        s = 0.9 / (1 + 2 * len(w) ** 0.2 * 0.7**-0.7 * eta)
        w = w + s * d
        assert relative_error(trajectory.params[k + 1], w) < 1e-10
        np.testing.assert_allclose(trajectory.stats["per_step"]["step_size"][k], s, rtol=1e-10)
        np.testing.assert_allclose(trajectory.stats["per_step"]["decrement"][k], np.sqrt(d @ hessian @ d), rtol=1e-9)


def test_ridge_without_weight_gives_levenberg_marquardt():
    problem = tanh_net(8, (3, 10, 1))
    one = iterate(problem, GGNScore(SquaredPenalty(2.0), 0.0, 0.5, 0.3), steps=STEPS)
    other = iterate(problem, LevenbergMarquardt(0.3 / 2.0, 0.5), steps=STEPS)
    assert relative_error(one.params, other.params) < 1e-12
    np.testing.assert_allclose(one.ts, other.ts)
    np.testing.assert_allclose(one.stats["per_step"]["local_norm"], 0.0)


PENALTIES = {
    "pseudo-huber": PseudoHuberPenalty(0.5, constant=PseudoHuberPenalty.tight_constant(2.6)),
    "ostrovskii-bach": OstrovskiiBachPenalty(0.5),
    "exponential": ExponentialPenalty(1.0, lower=-2.0),
}
TAU = 0.05


def linear_problem() -> rg.Problem:
    rng = np.random.default_rng(2)
    x = matrix_with(6, 9, np.geomspace(3, 0.1, 6))
    return rg.Problem(rg.LinearModel(), rng.standard_normal(9), x, 2 * rng.standard_normal(6))


@pytest.mark.parametrize("name", PENALTIES)
def test_step_size_follows_its_formula(name):
    problem, penalty = linear_problem(), PENALTIES[name]
    nu, m_g = penalty.order, float(penalty.self_concordance(9))
    local_norm = float(penalty.local_norm(problem.w0))
    sizes = {}
    for rule in ("reference", "theory", "analytic"):
        trajectory = iterate(problem, GGNScore(penalty, TAU, 0.8, "tau", rule), steps=STEPS)
        sizes[rule] = trajectory.stats["per_step"]["step_size"][0]
        length = float(jnp.linalg.norm(trajectory.params[1] - trajectory.params[0])) / sizes[rule]
        decrement = trajectory.stats["per_step"]["decrement"][0]
    assert math.isclose(sizes["reference"], 0.8 / (1 + m_g * TAU * local_norm), rel_tol=1e-12)
    assert math.isclose(sizes["theory"], 0.8 / (1 + m_g * TAU ** ((3 - nu) / 2) * local_norm), rel_tol=1e-12)
    if nu == 2:
        analytic = math.log(1 + m_g * length) / (m_g * length)
    else:
        distance = (nu / 2 - 1) * TAU ** (1 - nu / 2) * m_g * length ** (3 - nu) * decrement ** (nu - 2)
        analytic = (1 - (1 + (4 - nu) / (nu - 2) * distance) ** (-(nu - 2) / (4 - nu))) / distance
    assert math.isclose(sizes["analytic"], 0.8 * analytic, rel_tol=1e-10)
    assert sizes["theory"] <= sizes["reference"]  # tau < 1


@pytest.mark.parametrize("damping", [1.0, "tau"])
def test_every_step_decreases_the_objective(damping):
    """`<grad F, d> = -d^T (c D + J^T Q J) d < 0`, with `grad F` by automatic differentiation."""
    problem, penalty = tanh_net(8, (3, 10, 1), loss=rg.SquaredLoss(mean=True)), PENALTIES["pseudo-huber"]
    trajectory = iterate(problem, GGNScore(penalty, 0.01, 0.5, damping), steps=STEPS)
    report = trajectory.stats["per_step"]
    objective = jax.jit(lambda w: problem.objective(w) + 0.01 * penalty(w))
    gradients = jax.jit(jax.vmap(jax.grad(objective)))(trajectory.params[:-1])
    steps = np.diff(trajectory.params, axis=0) / report["step_size"][:, None]
    slopes = np.sum(np.asarray(gradients) * steps, axis=1)
    np.testing.assert_allclose(report["slope"], slopes, rtol=1e-8)
    np.testing.assert_allclose(report["slope"], -(report["decrement"] ** 2), rtol=1e-9)
    assert np.all(report["slope"] < 0)
    values = np.array([objective(w) for w in trajectory.params])
    np.testing.assert_allclose(report["objective"], values[:-1], rtol=1e-13)
    np.testing.assert_allclose(report["decrease"], values[:-1] - values[1:], atol=1e-14)
    errors = [problem.outputs(w + s * d) - problem.outputs(w) - s * problem.jac(w) @ d
              for w, s, d in zip(trajectory.params[:2], report["step_size"], steps, strict=False)]  # fmt: skip
    np.testing.assert_allclose(report["linearisation_error"][:2], np.linalg.norm(errors, axis=1), rtol=1e-8)


def prediction_holds(problem, penalty, weight, damping, rule) -> tuple[bool, np.ndarray]:
    """Whether every step decreases the objective by the prediction, and the predictions."""
    trajectory = iterate(problem, GGNScore(penalty, weight, 0.95, damping, rule), steps=STEPS)
    report = trajectory.stats["per_step"]
    return bool(np.all(report["decrease"] >= report["predicted_decrease"] - 1e-13)), report["predicted_decrease"]


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize(("damping", "rule"), [(1.0, "reference"), ("tau", "analytic")])
def test_decrease_is_at_least_the_predicted_one_if_linear(name, damping, rule):
    holds, predicted = prediction_holds(linear_problem(), PENALTIES[name], TAU, damping, rule)
    assert holds
    if rule == "analytic":
        assert np.all(predicted > 0)  # the step that minimises the bound


def test_prediction_needs_a_valid_constant_and_a_linear_model():
    too_small = ExponentialPenalty(0.3, lower=-2.0, constant=0.05)
    assert not prediction_holds(linear_problem(), too_small, TAU, "tau", "analytic")[0]
    assert not prediction_holds(golden_problem(), PseudoHuberPenalty(22.4), 1e-4, "tau", "reference")[0]
