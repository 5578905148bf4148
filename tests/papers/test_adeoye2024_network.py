"""The network of Adeoye et al., its two presets, teacher data and measures."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import riemgn as rg
from paper_repro.adeoye2024 import measures
from paper_repro.adeoye2024.network import initial, network, PRESETS, problem_of, teacher_data
from paper_repro.adeoye2024.released import ReleasedJacobian
from tests.helpers import network_jacobian, relative_error

TAU, MU, ALPHA = 0.01, 0.5, 0.95


def golden(preset="corrected", gradient=False):
    """A small problem whose weights and data are given by cosines and sines."""
    m, n0, n1 = 4, 2, 6
    x = np.cos(1 + np.arange(m)[:, None] + 2 * np.arange(n0))
    u = np.sin(1 + 3 * np.arange(n1)[:, None] + np.arange(n0))
    params = [{"weight": jnp.asarray(u)}, {"weight": jnp.asarray(0.5 + 0.5 * np.cos(2 * np.arange(n1)))[None]}]
    return problem_of(network(n0, n1), params, jnp.asarray(x), jnp.asarray(np.sin(1 + np.arange(m))), preset, gradient)


GOLDEN = {  # preset, c: |J|, |d|, |theta+|, f+, d[0], d[17]
    ("corrected", 1.0): [
        0.968026051586,
        0.666524873686,
        3.21324098328,
        0.133464836911,
        0.07280989580588,
        0.03337645404425,
    ],
    ("corrected", TAU): [0.968026051586, 10.7370184537, 5.1087541218, 0.678917336117, -4.02013566097, 0.28084173715],
    ("released", 1.0): [
        2.37116988411,
        0.597792213103,
        3.34433662452,
        0.15671840023,
        0.11003095376749,
        0.03333372195138,
    ],
}


def step_of(problem, c):
    """One step of GGN-SCORE: what it reports, the direction, the trajectory."""
    trajectory = rg.iterate(problem, rg.GGNScore(rg.PseudoHuberPenalty(MU), TAU, ALPHA, damping=c), steps=1)
    report = {key: values[0] for key, values in trajectory.stats["per_step"].items()}
    return report, np.asarray(trajectory.params[1] - trajectory.params[0]) / report["step_size"], trajectory


@pytest.mark.parametrize(("preset", "c"), GOLDEN)
def test_golden_step(preset, c):
    problem = golden(preset)
    report, d, trajectory = step_of(problem, c)
    np.testing.assert_allclose(trajectory.losses[0], 0.2202793210731629, rtol=1e-14)
    np.testing.assert_allclose(report["step_size"], 0.691093997892, rtol=1e-12)
    got = [
        np.linalg.norm(problem.jac(problem.w0)),
        np.linalg.norm(d),
        np.linalg.norm(trajectory.params[1]),
        trajectory.losses[1],
        d[0],
        d[17],
    ]
    np.testing.assert_allclose(got, GOLDEN[preset, c], rtol=1e-9)


@pytest.mark.parametrize(("preset", "loss"), [("corrected", 0.1586728840635359), ("released", 0.08449882550556564)])
def test_golden_gradient_descent(preset, loss):
    trajectory = rg.iterate(golden(preset, gradient=True), rg.GradientDescent(1.0), steps=1)
    np.testing.assert_allclose(trajectory.losses[1], loss, rtol=1e-12)


def drawn(n0, n1, preset, m=7):
    net = network(n0, n1)
    data = teacher_data(m, 5, n0, jr.key(1))
    return net, initial(net, jr.key(2)), data, problem_of(net, initial(net, jr.key(2)), data.x, data.y, preset)


def test_corrected_jacobian_agrees_with_autodiff():
    net, params, data, problem = drawn(3, 11, "corrected")
    jac = np.asarray(problem.jac(problem.w0))
    assert relative_error(jac, network_jacobian(net, params, data.x)) < 1e-12
    assert relative_error(jac, jax.jacrev(problem.outputs)(problem.w0)) < 1e-12
    assert problem.p == 11 * 4


def released_order(n0, n1):
    """The true column that the released code stores in the place of each hidden weight."""
    hidden = np.arange(n1 * n0).reshape(n0, n1).T.reshape(-1)
    return np.concatenate([hidden, n1 * n0 + np.arange(n1)])


def test_released_jacobian_lacks_kappa_and_permutes_columns():
    n0, n1 = 3, 11
    true, released = (
        np.asarray(problem.jac(problem.w0)) for *_, problem in (drawn(n0, n1, preset) for preset in PRESETS)
    )
    order = released_order(n0, n1)
    np.testing.assert_allclose(released, true[:, order] * n1**0.5, rtol=1e-14, atol=1e-15)
    assert relative_error(released, true * n1**0.5) > 0.1  # without the permutation


@pytest.mark.parametrize(("n0", "n1"), [(3, 11), (1, 4)])
def test_released_jacobian_by_layers_agrees_with_autodiff(n0, n1):
    *_, problem = drawn(n0, n1, "released")
    rng = np.random.default_rng(0)
    v, u, rows, columns = (rng.uniform(0.5, 2.0, size) for size in (problem.p, problem.n, problem.n, problem.p))
    jac = problem.linearise(problem.w0, formed=False).jac
    assert isinstance(jac, ReleasedJacobian)
    scaled, exact = (
        jac.scale_rows(rows).scale_columns(columns),
        rows[:, None] * np.asarray(problem.jac(problem.w0)) * columns,
    )
    for product, value in (
        (scaled.formed(), exact),
        (scaled @ v, exact @ v),
        (jnp.asarray(u) @ scaled, exact.T @ u),
        (scaled.kernel(), exact @ exact.T),
    ):
        assert relative_error(product, value) < 1e-14
    np.testing.assert_allclose(scaled.squared_norm(), np.sum(exact**2), rtol=1e-14)
    true = np.asarray(problem.jac(problem.w0))
    assert relative_error(problem.ntk(problem.w0, problem.x[:2]), true[:2] @ true.T) < 1e-14


def test_released_step_is_shorter_with_less_damping():
    """With one input `d = kappa (kappa^2 c D + J^T Q J)^{-1} (J^T e + kappa tau h')`."""
    n1, c = 12, 1.0
    *_, problem = drawn(1, n1, "corrected")
    *_, released = drawn(1, n1, "released")
    d = step_of(released, c)[1]
    penalty, kappa, point = rg.PseudoHuberPenalty(MU), n1**-0.5, problem.linearise(problem.w0)
    jac, metric = np.asarray(point.jac), np.asarray(penalty.hessian_diagonal(problem.w0))
    pull = TAU * np.asarray(penalty.gradient(problem.w0))
    system = kappa**2 * c * np.diag(metric) + jac.T @ jac / problem.n
    expected = -kappa * np.linalg.solve(system, jac.T @ np.asarray(point.loss_gradient) + kappa * pull)
    assert relative_error(d, expected) < 1e-12
    assert relative_error(step_of(problem, c)[1], expected) > 0.1


def test_released_gradient_lacks_kappa():
    net, params, data, _ = drawn(2, 5, "corrected")
    problem = problem_of(net, params, data.x, data.y, "released", gradient=True)
    got = problem.unflatten(jax.grad(problem.objective)(problem.w0))
    u, v, x = np.asarray(params[0]["weight"]), np.asarray(params[1]["weight"])[0], np.asarray(data.x)
    z = x @ u.T
    s = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    rho = z * s(z)
    slope = s(rho) + rho * s(rho) * (1 - s(rho))
    e = (rho @ v / np.sqrt(5) - np.asarray(data.y)) / len(x)
    assert relative_error(got[0]["weight"], (e[:, None] * v * slope).T @ x) < 1e-12
    assert relative_error(got[1]["weight"][0], rho.T @ e) < 1e-12


def test_presets_agree_for_several_outputs():
    net = network(3, 4, outputs=2)
    params, x, y = initial(net, jr.key(0)), jnp.ones((5, 3)), jnp.ones((5, 2))
    assert problem_of(net, params, x, y, "released").model is net


def test_weights_and_data_have_their_distribution():
    net = network(4, 2000)
    u, v = (np.asarray(layer["weight"]) for layer in initial(net, jr.key(3), spread=0.5))
    assert u.shape == (2000, 4) and v.shape == (1, 2000)
    assert abs(u.std() - 0.5) < 0.02 and 0 <= v.min() and v.max() < 0.5 and abs(v.mean() - 0.25) < 0.02
    data = teacher_data(300, 200, 4, jr.key(4))
    for x, y in ((data.x, data.y), (data.x_test, data.y_test)):
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, rtol=1e-12)
        assert y.shape == (len(x),)
    assert data.x_test.shape == (200, 4) and not np.allclose(data.x[:200], data.x_test)
    single = teacher_data(5, 3, 2, jr.key(5), width=1)
    assert np.all(np.abs(single.y) <= 1 / (1 + np.exp(-1)))  # |rho(<u, x>)| with unit u, x, one neuron of sign +-1


# --- measures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "share", "expected"),
    [
        ([10, -5, 3, 0.001, 0, 0.0005], 0.999, 3),
        (range(1, 11), 0.9, 8),
        ([0.0, 0.0], 0.999, 0),
        ([1.0], 0.999, 1),
        (np.ones((3, 4)), 0.5, 6),
    ],
)
def test_cardinality(x, share, expected):
    assert measures.cardinality(x, share) == expected
    assert measures.zeros(x, share) == np.size(x) - expected


def test_stability_counts_pairs_whose_sign_stays():
    rng = np.random.default_rng(0)
    before, after, x = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), rng.standard_normal((9, 3))
    same = [np.sign(u @ row) == np.sign(moved @ row) for u, moved in zip(before, after, strict=True) for row in x]
    assert measures.stability(before, after, x) == pytest.approx(100 * sum(same) / 54)
    assert measures.stability(before, 2 * before, x) == 100 and measures.stability(before, -before, x) == 0
    thinned = before * np.array([1.0, 0.0, 0.0])
    gained = measures.zeros(thinned) - measures.zeros(before)
    assert gained > 0
    assert measures.stability_with_zeros(before, thinned, x) == pytest.approx(
        measures.stability(before, thinned, x) + 100 * gained / 54
    )
    assert measures.stability_with_zeros(thinned, before, x) == measures.stability(thinned, before, x)


def test_accuracy_is_in_percent_of_rows():
    labels = np.eye(3)[[0, 1, 2, 2]]
    outputs = np.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.0], [0.0, 0.1, 0.3], [0.0, 0.0, 0.1]])
    assert measures.accuracy(outputs, labels) == 75.0
