"""Discrete methods: exact laws on linear models, quadratic convergence, the flow's limit, dense NumPy references."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.method import (
    Batches,
    GaussNewton,
    GGNScore,
    GradientDescent,
    GramGaussNewton,
    LevenbergMarquardt,
    OptaxMethod,
)
from riemgn.penalty import PseudoHuberPenalty
from riemgn.solver.iterate import iterate
from tests.helpers import matrix_problem, matrix_with, relative_error, tanh_net, TwoLayerTanh

KEY = jax.random.key(0)
WIDE = matrix_with(7, 10, np.geomspace(1, 0.1, 7))
STEPS = 6  # the same number nearly everywhere: a shape and a number of steps compile once
TALL = matrix_with(12, 5, np.geomspace(1, 0.1, 5))


def residuals(trajectory) -> np.ndarray:
    return np.asarray(trajectory.outputs - trajectory.problem.y)


def modes(matrix: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of `K` in descending order and the residuals' components along its eigenvectors, (steps, k)."""
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return s**2, r @ u


# --- linear models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrix", "tolerance"),
    [
        (WIDE, 1e-13),
        (TALL, 1e-13),
        (matrix_with(7, 10, np.geomspace(1, 1e-6, 7)), 1e-9),
        (matrix_with(12, 5, [1.0, 0.3, 1e-3]), 1e-11),
    ],
    ids=["wide", "tall", "wide, cond 1e6", "rank 3"],
)
def test_a_full_gauss_newton_step_solves_a_linear_model(matrix, tolerance):
    trajectory = iterate(matrix_problem(matrix), GaussNewton(), steps=STEPS)
    norms = np.asarray(trajectory.grad_norms)
    assert np.all(norms[1:] <= tolerance * norms[0])
    w = np.asarray(trajectory.params)
    shift = -np.linalg.pinv(matrix, rcond=1e-10) @ residuals(trajectory)[0]  # the minimum-norm step
    assert relative_error(w[1] - w[0], shift) < 1e-9


@pytest.mark.parametrize("matrix", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("eta", [0.1, 0.5, 1.9])
def test_a_shorter_gauss_newton_step_contracts_by_one_minus_eta(matrix, eta):
    trajectory = iterate(matrix_problem(matrix), GaussNewton(step_size=eta), steps=STEPS)
    _, observed = modes(matrix, residuals(trajectory))
    expected = (1 - eta) ** np.arange(STEPS + 1)[:, None] * observed[0]
    assert relative_error(observed, expected) < 1e-12
    assert (
        relative_error(observed, (1 - 0.99 * eta) ** np.arange(STEPS + 1)[:, None] * observed[0]) > 1e-3
    )  # can say no
    np.testing.assert_allclose(trajectory.ts, eta * np.arange(STEPS + 1), rtol=1e-14)


@pytest.mark.parametrize("matrix", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("c", [0.25, 1.0, 4.0])
def test_spectral_damping_contracts_the_slowest_mode_by_c_over_one_plus_c(matrix, c):
    trajectory = iterate(matrix_problem(matrix), LevenbergMarquardt(rg.SpectralDamping(c)), steps=STEPS)
    eigenvalues, observed = modes(matrix, residuals(trajectory))
    factor = observed[1:] / observed[:-1]
    np.testing.assert_allclose(factor[:, -1], c / (1 + c), rtol=1e-8)
    assert np.all(np.abs(factor) <= c / (1 + c) + 1e-8)
    np.testing.assert_allclose(trajectory.stats["per_step"]["damping"], c * eigenvalues[-1], rtol=1e-10)


def test_constant_damping_does_not():
    """The same law said of a damping that does not follow the spectrum fails at another conditioning."""
    for cond, holds in ((10.0, True), (100.0, False)):
        matrix = matrix_with(7, 10, np.geomspace(1, 1 / cond, 7))
        trajectory = iterate(matrix_problem(matrix), LevenbergMarquardt(0.01), steps=STEPS)  # c = 1 at cond 10
        _, observed = modes(matrix, residuals(trajectory))
        assert np.allclose(observed[1:, -1] / observed[:-1, -1], 0.5, rtol=1e-8) == holds


@pytest.mark.parametrize(
    ("schedule", "rho"),
    [
        (0.3, lambda t, r: 0.3),
        (rg.ConstantDamping(0.3), lambda t, r: 0.3),
        (rg.ExponentialDamping(0.3, 2.0), lambda t, r: 0.3 * np.exp(-2.0 * t)),
        (rg.ResidualDamping(0.1, 2.0), lambda t, r: 0.1 * r @ r),
    ],
    ids=["number", "constant", "exponential", "residual"],
)
def test_damping_schedules_see_the_time_and_the_point(schedule, rho):
    trajectory = iterate(matrix_problem(WIDE), LevenbergMarquardt(schedule, step_size=0.7), steps=STEPS)
    w, y, t = np.asarray(trajectory.params[0]), np.asarray(trajectory.problem.y), 0.0
    for k in range(STEPS):
        r = WIDE @ w - y
        w = w - 0.7 * WIDE.T @ np.linalg.solve(WIDE @ WIDE.T + rho(t, r) * np.eye(7), r)
        t += 0.7
        assert relative_error(trajectory.params[k + 1], w) < 1e-11


# --- quadratic convergence -------------------------------------------------------------------------------------------


def hidden_layer(params, x):
    """`f = sum_i a_i tanh(w_i . x) / sqrt(m)` with fixed signs: only the hidden layer is trained."""
    m = params.shape[0]
    return jnp.tanh(x @ params.T) @ jnp.where(jnp.arange(m) % 2, -1.0, 1.0) / jnp.sqrt(m)


def wide_net(width: int) -> tuple[rg.Problem, float]:
    """A problem with paired units, `f(w0) = 0`, and the Lipschitz constant of its Jacobian (papers.md 1); `K` is the same at every width."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    units = np.repeat(rng.standard_normal((32, 6)), 2, axis=0)
    problem = rg.Problem(hidden_layer, np.tile(units, (width // 64, 1)), x, 0.3 * rng.standard_normal(8))
    return problem, 4 / (3 * np.sqrt(3)) / np.sqrt(width) * np.linalg.norm(x, 2) ** 2


def quadratic(trajectory, constant: np.ndarray) -> bool:
    """`|r_{k+1}| <= C_k |r_k|^2` down to rounding."""
    norms = np.linalg.norm(residuals(trajectory), axis=1)
    return bool(np.all(norms[1:] <= constant * norms[:-1] ** 2 + 1e-13 * np.linalg.norm(trajectory.problem.y)))


def test_full_gauss_newton_steps_converge_quadratically():
    measured = {}
    for width in (64, 256):
        problem, lipschitz = wide_net(width)
        trajectory = iterate(problem, GaussNewton(), steps=STEPS)
        bound = lipschitz / (2 * np.asarray(trajectory.sigma_min[:-1]) ** 2)
        norms = np.linalg.norm(residuals(trajectory), axis=1)
        measured[width] = norms[1] / norms[0] ** 2
        assert quadratic(trajectory, bound)
        assert norms[3] <= 1e-10 * norms[0]
        assert measured[width] > 1e-4  # far above rounding: the bound was tested
    assert measured[256] <= measured[64] / 2  # C falls at least like m^(-1/2)
    assert not quadratic(trajectory, 1e-3 * measured[256])
    shorter = iterate(problem, GaussNewton(0.9), steps=STEPS)
    assert not quadratic(shorter, lipschitz / (2 * np.asarray(shorter.sigma_min[:-1]) ** 2))


def test_residual_damping_converges_quadratically_and_constant_damping_does_not():
    """D13: `rho = c |r|` gives `|r+| <= (2 c + L) / (2 sigma^2) |r|^2`."""
    problem, lipschitz = wide_net(64)
    damped = iterate(problem, LevenbergMarquardt(rg.ResidualDamping(0.1)), steps=STEPS)
    assert quadratic(damped, (0.2 + lipschitz) / (2 * np.asarray(damped.sigma_min[:-1]) ** 2))
    constant = iterate(problem, LevenbergMarquardt(0.1), steps=STEPS)
    assert not quadratic(constant, (0.2 + lipschitz) / (2 * np.asarray(constant.sigma_min[:-1]) ** 2))


def test_adaptive_damping_contracts_the_loss_at_every_conditioning():
    """D14: `g_{k+1} <= (1 - eta / (1 + c)) g_k` for `rho_k = c lambda_min(K_k)` under its condition on the step."""
    problem, lipschitz = wide_net(1024)
    for c, eta in ((1.0, 0.5), (4.0, 0.5), (1.0, 0.2)):
        trajectory = iterate(problem, LevenbergMarquardt(rg.SpectralDamping(c), eta), steps=STEPS)
        norms = np.linalg.norm(residuals(trajectory), axis=1)[:-1]
        bend = lipschitz / np.asarray(trajectory.sigma_min[:-1]) ** 2 * norms / (1 + c)
        assert np.all(eta * (bend + (1 + eta * bend / 2) ** 2) <= 1)
        ratios = np.asarray(trajectory.losses[1:] / trajectory.losses[:-1])
        assert np.all(ratios <= 1 - eta / (1 + c))
        assert not np.all(ratios <= (1 - eta) ** 2)  # undamped it would be faster


# --- the flow's limit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flow", "method"),
    [
        (rg.GaussNewtonFlow(), lambda eta: GaussNewton(eta)),
        (
            rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.3)),
            lambda eta: LevenbergMarquardt(rg.ExponentialDamping(0.3), eta),
        ),
        (rg.GradientFlow(), lambda eta: GradientDescent(eta)),
    ],
    ids=["gn", "lm", "gf"],
)
def test_methods_follow_their_flow_to_first_order(flow, method):
    problem, _ = two_layers()
    end = 0.5 if flow.name != "gf" else 0.05
    exact = rg.solve(problem, flow, t1=end, ts=[end], rtol=1e-10, atol=1e-12).outputs[-1]
    errors = [relative_error(iterate(problem, method(end / k), steps=32).outputs[k], exact) for k in (16, 32)]
    slope = np.log2(errors[0] / errors[1])
    assert 0.9 < slope < 1.1
    assert errors[1] > 1e-7  # far above the tolerances: the slope is the method's


# --- dense references on a network -----------------------------------------------------------------------------------


def two_layers(loss=None) -> tuple[rg.Problem, TwoLayerTanh]:
    problem = tanh_net(8, (3, 10, 1), loss=loss)
    return problem, TwoLayerTanh(problem.x, 10)


def test_a_gauss_newton_trajectory_equals_the_dense_one():
    problem, dense = two_layers()
    trajectory = iterate(problem, GaussNewton(0.5), steps=3)
    w, y = np.asarray(problem.w0), np.asarray(problem.y)
    for k in range(3):
        w = w - 0.5 * np.linalg.pinv(dense.jac(w)) @ (dense.outputs(w) - y)
        assert relative_error(trajectory.params[k + 1], w) < 1e-11


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_batches_of_gram_gauss_newton_equal_the_dense_ones(mean):
    """Batches of 3 among 8: the last of an epoch has two samples, and a mean loss divides by those that count."""
    problem, dense = two_layers(rg.SquaredLoss(mean=mean))
    trajectory = iterate(problem, GramGaussNewton(3, step_size=0.8, damping=0.05, order="cyclic"), steps=4)
    w, y = np.asarray(problem.w0), np.asarray(problem.y)
    for k, rows in enumerate(([0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2])):
        jac, r = dense.jac(w)[rows], (dense.outputs(w) - y)[rows] / (len(rows) if mean else 1)
        w = w - 0.8 * jac.T @ np.linalg.solve(jac @ jac.T + 0.05 * np.eye(len(rows)), r)
        assert relative_error(trajectory.params[k + 1], w) < 1e-11
        assert trajectory.stats["per_step"]["rank"][k] == len(rows)


def test_gram_gauss_newton_on_all_samples_is_gauss_newton():
    problem, _ = two_layers()
    one, other = iterate(problem, GramGaussNewton(), steps=3), iterate(problem, GaussNewton(), steps=3)
    assert relative_error(one.params, other.params) < 1e-12


def test_gradient_descent_equals_the_dense_one():
    problem, dense = two_layers()
    trajectory = iterate(problem, GradientDescent(0.1, batch_size=3), steps=4)
    w, y = np.asarray(problem.w0), np.asarray(problem.y)
    for k, rows in enumerate(([0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2])):
        gradient = dense.jac(w)[rows].T @ (dense.outputs(w) - y)[rows]
        w = w - 0.1 * gradient
        assert relative_error(trajectory.params[k + 1], w) < 1e-12
        np.testing.assert_allclose(trajectory.stats["per_step"]["slope"][k], -gradient @ gradient, rtol=1e-11)


def test_the_line_search_takes_the_first_size_that_armijo_accepts():
    problem, _ = two_layers()
    trajectory = iterate(problem, GradientDescent(64.0, line_search=True), steps=4)
    sizes = trajectory.stats["per_step"]["step_size"]
    objective, slope = jax.jit(lambda w: problem.objective(w)), jax.jit(jax.grad(lambda w: problem.objective(w)))
    for k, size in enumerate(sizes):
        w = trajectory.params[k]
        gradient = slope(w)

        def accepted(s, w=w, gradient=gradient):
            return objective(w - s * gradient) <= objective(w) - 1e-4 * s * gradient @ gradient

        assert accepted(size)
        assert not accepted(2 * size)
    assert np.all(np.log2(64.0 / sizes) % 1 == 0)
    np.testing.assert_allclose(trajectory.ts[1:], np.cumsum(sizes), rtol=1e-14)
    free = iterate(problem, GradientDescent(64.0), steps=4, throw=False)
    assert free.losses[1] > free.losses[0]  # what the search guards against


# --- mini-batches on a linear model ----------------------------------------------------------------------------------


def epoch_matrix(k: np.ndarray, size: int) -> np.ndarray:
    """Block Gauss-Seidel: `I - K (D + Lo)^{-1}` with the block lower triangle `D + Lo` of `K`."""
    block = np.arange(len(k)) // size
    return np.eye(len(k)) - k @ np.linalg.inv(np.where(block[:, None] >= block[None, :], k, 0.0))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_cyclic_epoch_is_block_gauss_seidel(outputs):
    rng = np.random.default_rng(4)
    x = matrix_with(7, 10, np.geomspace(1, 0.1, 7))
    if outputs == 1:
        problem, jac = matrix_problem(x), x
    else:
        problem = rg.Problem(rg.LinearModel(), rng.standard_normal((10, 2)), x, rng.standard_normal((7, 2)))
        jac = np.kron(x, np.eye(2))
    trajectory = iterate(problem, GramGaussNewton(3, order="cyclic"), steps=9, save_every=3)
    r = residuals(trajectory)
    matrix = epoch_matrix(jac @ jac.T, 3 * outputs)
    assert relative_error(r[1:], r[:-1] @ matrix.T) < 1e-11
    assert relative_error(r[1:], r[:-1] @ epoch_matrix(jac @ jac.T, 2 * outputs).T) > 1e-2  # other blocks


def energies(trajectory) -> np.ndarray:
    """`r^T K^{-1} r`."""
    eigenvalues, components = modes(np.asarray(trajectory.problem.x), residuals(trajectory))
    return np.sum(components**2 / eigenvalues, axis=1)


@pytest.mark.parametrize("order", ["cyclic", "shuffled", "random", "subset"])
@pytest.mark.parametrize(("eta", "rho"), [(1.0, 0.0), (2.0, 0.0), (0.3, 0.1)])
def test_the_energy_never_increases_in_any_order(order, eta, rho):
    trajectory = iterate(matrix_problem(WIDE), GramGaussNewton(3, eta, rho, order), steps=2 * STEPS, key=KEY)
    energy = energies(trajectory)
    assert np.all(np.diff(energy) <= 1e-12 * energy[0])
    assert energy[-1] < 0.9 * energy[0] or eta == 2.0  # reflections keep it


def test_the_energy_increases_beyond_twice_the_step():
    energy = energies(iterate(matrix_problem(WIDE), GramGaussNewton(3, 2.5, 0.0, "cyclic"), steps=2 * STEPS))
    assert np.all(np.diff(energy) > 0)


def test_the_mean_contraction_of_random_blocks_is_the_spectral_one():
    """C12: `E |energy|` falls at least by `1 - lambda_min(E[K^{1/2} E_B K_BB^{-1} E_B^T K^{1/2}])`, and as predicted for this `r`."""
    k = WIDE @ WIDE.T
    s, u = np.linalg.eigh(k)
    root = (u * np.sqrt(s)) @ u.T
    blocks = [np.arange(7)[i : i + 3] for i in (0, 3, 6)]
    mean = np.mean([root[:, b] @ np.linalg.solve(k[np.ix_(b, b)], root[b]) for b in blocks], axis=0)
    method, problem = GramGaussNewton(3, order="random"), matrix_problem(WIDE)
    one_step = jax.jit(
        jax.vmap(
            lambda key: method.step(problem, problem.w0, method.init(problem, problem.w0, jnp.asarray(problem.n)), key)[
                0
            ]
        )
    )
    after = np.asarray(one_step(jax.random.split(KEY, 600))) @ WIDE.T - np.asarray(problem.y)
    r = WIDE @ np.asarray(problem.w0) - np.asarray(problem.y)
    whitened = np.linalg.solve(root, r)
    ratios = np.sum(np.linalg.solve(root, after.T) ** 2, axis=0) / (whitened @ whitened)
    predicted = 1 - whitened @ mean @ whitened / (whitened @ whitened)
    assert abs(ratios.mean() - predicted) < 4 * ratios.std() / np.sqrt(600)
    assert ratios.mean() <= 1 - np.linalg.eigvalsh(mean)[0]


# --- how samples are dealt -------------------------------------------------------------------------------------------


def deal(order: str, steps: int) -> list[np.ndarray]:
    """The samples of each step, 7 samples in batches of 3."""
    batches, dealt = Batches(3, order), []
    problem = matrix_problem(WIDE)
    samples = batches.start(problem)
    for k in range(steps):
        samples, batch = batches.draw(samples, jnp.asarray(k), jax.random.fold_in(KEY, k))
        dealt.append(np.asarray(batch.rows)[np.asarray(batch.valid)])
    return dealt


@pytest.mark.parametrize("order", ["cyclic", "shuffled"])
def test_an_epoch_takes_every_sample_once(order):
    dealt = deal(order, 6)
    assert [len(rows) for rows in dealt] == [3, 3, 1, 3, 3, 1]
    epochs = [np.concatenate(dealt[i : i + 3]) for i in (0, 3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert np.array_equal(*epochs) == (order == "cyclic")


def test_drawn_batches():
    blocks = {tuple(rows) for rows in deal("random", 20)}
    assert blocks == {(0, 1, 2), (3, 4, 5), (6,)}
    subsets = [frozenset(rows.tolist()) for rows in deal("subset", 20)]
    assert all(len(subset) == 3 for subset in subsets)
    assert len(set(subsets)) > 10


def test_a_batch_of_a_model_that_is_not_row_wise_is_the_same():
    row_wise = tanh_net(8, (3, 4, 2), loss=rg.PseudoHuberLoss(mean=True))
    model = row_wise.model
    whole = rg.Problem(
        lambda params, x: model(params, x), row_wise.params, row_wise.x, row_wise.y.reshape(8, 2), row_wise.loss
    )
    assert not whole.model.rowwise
    _, batch = Batches(3, "cyclic").draw(jnp.arange(8), jnp.asarray(2), KEY)
    one, other = (eqx.filter_jit(linearise)(problem, problem.w0, batch) for problem in (row_wise, whole))
    assert [int(np.sum(p.counted)) for p in (one, other)] == [4, 4]
    for name in ("outputs", "residual", "loss_gradient", "curvature", "jac"):
        np.testing.assert_allclose(getattr(one.point, name), getattr(other.point, name), atol=1e-14)
    short = rg.Problem(model, row_wise.params, row_wise.x[6:], row_wise.y.reshape(8, 2)[6:], row_wise.loss)
    loss, gradient, curvature, batch_loss = jax.jit(
        lambda w: (
            short.objective(w),
            jax.grad(lambda w: short.objective(w))(w),
            short.loss_hessian(short.outputs(w)),
            one.objective(w),
        )
    )(short.w0)
    np.testing.assert_allclose(batch_loss, loss, rtol=1e-14)
    np.testing.assert_allclose(one.point.jac.T @ one.point.loss_gradient, gradient, atol=1e-14)
    np.testing.assert_allclose(one.point.loss_hessian[:4], curvature, rtol=1e-14)


# --- optax -----------------------------------------------------------------------------------------------------------


def test_optax_methods():
    optax = pytest.importorskip("optax")
    problem, _ = two_layers()
    plain = iterate(problem, OptaxMethod(optax.sgd(0.1)), steps=4)
    assert relative_error(plain.params, iterate(problem, GradientDescent(0.1), steps=4).params) < 1e-14
    assert np.array_equal(plain.ts, np.arange(5.0))
    adam = iterate(problem, OptaxMethod(optax.adam(0.01)), steps=4)
    slope = jax.jit(jax.grad(lambda w: problem.objective(w)))
    w, m, v = np.asarray(problem.w0), 0.0, 0.0
    for k in range(1, 5):
        gradient = np.asarray(slope(jnp.asarray(w)))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.01 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        assert relative_error(adam.params[k], w) < 1e-12


def test_a_missing_optax_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(ValueError, match="OptaxMethod needs optax, which is not installed"):
        OptaxMethod(object())


# --- bad input -------------------------------------------------------------------------------------------------------

PENALTY = PseudoHuberPenalty()


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: GaussNewton(0.0), "`step_size` must be positive and finite, got 0.0"),
        (lambda: GaussNewton("full"), "`step_size` must be a number, got 'full'"),
        (lambda: GradientDescent(-1.0), "`step_size` must be positive and finite, got -1.0"),
        (lambda: GradientDescent(float("nan")), "got nan"),
        (lambda: LevenbergMarquardt(-0.1), "`damping` must be >= 0 and finite, got -0.1"),
        (lambda: LevenbergMarquardt("small"), "`damping` must be a number, got 'small'"),
        (lambda: GramGaussNewton(0), "`batch_size` must be a positive integer or None, got 0"),
        (lambda: GramGaussNewton(2.5), "got 2.5"),
        (lambda: GramGaussNewton(4, order="sorted"), "Unknown order 'sorted'; known: cyclic, shuffled, random, subset"),
        (lambda: GramGaussNewton(4, damping=float("inf")), "`damping` must be >= 0 and finite, got inf"),
        (lambda: GGNScore(1.0), "`penalty` must be a penalty such as .*, got 1.0"),
        (lambda: GGNScore(PENALTY, -1.0), "`weight` must be >= 0 and finite, got -1.0"),
        (lambda: GGNScore(PENALTY, damping=0.0), "`damping` must be positive and finite, got 0.0"),
        (
            lambda: GGNScore(PENALTY, damping="weight"),
            "`damping` must be a positive number, 'unit' or 'tau', got 'weight'",
        ),
        (lambda: GGNScore(PENALTY, 0.0, damping="tau"), "`weight` must be positive where damping='tau', got 0"),
        (lambda: GGNScore(PENALTY, rule="newton"), "Unknown rule 'newton'; known: reference, theory, analytic"),
        (lambda: OptaxMethod("adam"), "`optimiser` must be an optax transformation such as .*, got 'adam'"),
        (
            lambda: iterate(matrix_problem(WIDE), GramGaussNewton(8), steps=1, key=KEY),
            "at most the number of samples, 7, got 8",
        ),
    ],
)
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make()
