"""Gram-Gauss-Newton by layers: dense references at every conditioning, short batches, ranks, and what a step never forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

import riemgn as rg
from riemgn.linalg import FilledJacobian, formed, kernel_of, squared_norm
from riemgn.method import GramGaussNewton, OptaxMethod
from riemgn.method.batch import linearise_batch
from riemgn.solver.iterate import iterate
from riemgn.trajectory import sample
from tests.helpers import matrix_problem, matrix_with, network_jacobian, relative_error, tanh_net

KEY = jax.random.key(0)
BATCHES = ([0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2])


def dense_step(problem: rg.Problem, w, rows, rho: float) -> np.ndarray:
    """`-J_B^T (K_BB + rho I)^{-1} r_B` from the network's Jacobian in NumPy, by the singular values of the rows that count."""
    params = problem.unflatten(w)
    jac = network_jacobian(problem.model, params, problem.x[jnp.asarray(rows)])
    outputs = problem.n // problem.x.shape[0]
    r = np.asarray(problem.outputs(w) - problem.y).reshape(-1, outputs)[rows].reshape(-1)
    u, s, vt = np.linalg.svd(jac, full_matrices=False)
    kept = s > 1e-12 * s[0]
    return -vt[kept].T @ (s[kept] / (s[kept] ** 2 + rho) * (u[:, kept].T @ r))


@pytest.mark.parametrize("sizes", [(3, 10, 1), (3, 4, 4, 2)], ids=["one hidden layer", "two outputs"])
@pytest.mark.parametrize("rho", [0.5, 1e-5, 1e-9, 0.0], ids=["Cholesky", "corrected", "nearly undamped", "undamped"])
def test_the_step_by_layers_equals_the_dense_one(sizes, rho):
    """Batches of 3 among 8 samples: the third is short and padded."""
    problem = tanh_net(8, sizes)
    trajectory = iterate(problem, GramGaussNewton(3, 0.1, rho, order="cyclic"), steps=4)
    for k, rows in enumerate(BATCHES):
        taken = np.asarray(trajectory.params[k + 1] - trajectory.params[k])
        assert relative_error(taken, 0.1 * dense_step(problem, trajectory.params[k], rows, rho)) < 1e-9
    outputs = sizes[-1]
    assert trajectory.stats["per_step"]["rank"].tolist() == [3 * outputs, 3 * outputs, 2 * outputs, 3 * outputs]


@pytest.mark.parametrize("rho", [0.5, 1e-30, 0.0])
def test_a_batch_that_repeats_a_sample_takes_the_minimum_norm_step(rho):
    """Samples 6 and 7, the short batch, are the same: its Gram matrix has rank one, and the targets disagree."""
    net = tanh_net(8, (3, 10, 1))
    problem = rg.Problem(net.model, net.params, net.x.at[7].set(net.x[6]), net.y)
    trajectory = iterate(problem, GramGaussNewton(3, 0.1, rho, order="cyclic"), steps=4)
    taken = np.asarray(trajectory.params[3] - trajectory.params[2])
    assert relative_error(taken, 0.1 * dense_step(problem, trajectory.params[2], [6, 7], rho)) < 1e-9
    # with a damping that decides, a triangle gives the step and nothing is left out
    assert trajectory.stats["per_step"]["rank"].tolist() == ([3, 3, 2, 3] if rho == 0.5 else [3, 3, 1, 3])


@pytest.mark.parametrize("rho", [0.3, 0.0])
def test_a_batch_with_more_outputs_than_parameters(rho):
    """Twelve rows, five parameters, batches of eight: the last has four rows that count and four that do not."""
    matrix = matrix_with(12, 5, np.geomspace(1, 0.1, 5))
    trajectory = iterate(matrix_problem(matrix), GramGaussNewton(8, 1.0, rho, order="cyclic"), steps=2)
    w = np.asarray(trajectory.params)
    for k, rows in enumerate((slice(0, 8), slice(8, 12))):
        jac, y = matrix[rows], np.asarray(trajectory.problem.y)[rows]
        expected = -np.linalg.pinv(np.vstack([jac, np.sqrt(rho) * np.eye(5)]))[:, : len(y)] @ (jac @ w[k] - y)
        assert relative_error(w[k + 1] - w[k], expected) < 1e-9
    assert trajectory.stats["per_step"]["rank"].tolist() == [5, 4]


def test_a_filled_jacobian_is_its_matrix():
    problem = tanh_net(5, (3, 10, 1))
    counted = jnp.array([True, True, True, False, True])
    jac = problem.linearise(problem.w0, formed=False).jac.scale_rows(counted.astype(float))
    filled = FilledJacobian(jac, jnp.where(counted, 0.0, 0.7))
    matrix, factors, columns = np.asarray(formed(filled)), np.arange(1.0, 6.0), np.arange(1.0, problem.p + 6.0)
    assert matrix.shape == filled.shape == (5, problem.p + 5)
    rng = np.random.default_rng(0)
    v, u = jnp.asarray(rng.standard_normal(problem.p + 5)), jnp.asarray(rng.standard_normal(5))
    for found, expected in (
        (filled @ v, matrix @ v),
        (u @ filled, u @ matrix),
        (kernel_of(filled), matrix @ matrix.T),
        (squared_norm(filled), np.sum(matrix**2)),
        (formed(filled.scale_rows(factors)), factors[:, None] * matrix),
        (formed(filled.scale_columns(columns)), matrix * columns),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    rows = np.asarray(counted)
    g = np.where(rows, u, 0.0)
    np.testing.assert_allclose(
        (np.linalg.pinv(matrix) @ g)[: problem.p], np.linalg.pinv(matrix[rows, : problem.p]) @ u[rows], atol=1e-12
    )


def test_the_hyperparameters_of_cai():
    """`J_B^T (lambda K_BB + a I)^{-1} r_B`, written out."""
    matrix = matrix_with(7, 10, np.geomspace(1, 0.1, 7))
    problem = matrix_problem(matrix)
    trajectory = iterate(problem, GramGaussNewton.from_cai(3, lam=1.6, a=0.08, order="cyclic"), steps=1)
    jac, r = matrix[:3], (matrix @ np.asarray(problem.w0) - np.asarray(problem.y))[:3]
    expected = -jac.T @ np.linalg.solve(1.6 * jac @ jac.T + 0.08 * np.eye(3), r)
    assert relative_error(trajectory.params[1] - trajectory.params[0], expected) < 1e-12
    for wrong, fragment in (
        ({"lam": 0.0}, "`lam` must be positive and finite, got 0.0"),
        ({"a": -1.0}, "`a` must be >= 0 and finite, got -1.0"),
    ):
        with pytest.raises(ValueError, match=fragment):
            GramGaussNewton.from_cai(3, **wrong)


# --- what is never formed --------------------------------------------------------------------------------------------


def largest(jaxpr, careful: bool = True) -> int:
    """Entries of the largest array of a program; without `careful`, of two branches of a `cond` only the second, the cheap one, is looked at."""
    sizes = [0]
    for eqn in jaxpr.eqns:
        sizes += [v.aval.size for v in eqn.outvars]
        if eqn.primitive.name == "cond" and not careful and len(eqn.params["branches"]) == 2:
            sizes.append(largest(eqn.params["branches"][1].jaxpr, careful))
        else:
            sizes += [largest(inner, careful) for inner in core.jaxprs_in_params(eqn.params)]
    return max(sizes)


@pytest.mark.parametrize("rowwise", [True, False])
def test_nothing_of_a_step_is_as_large_as_the_jacobian_of_all_samples(rowwise):
    problem = tanh_net(500, (200, 30, 1))
    if not rowwise:
        model = problem.model
        problem = rg.Problem(lambda params, x: model(params, x), problem.params, problem.x, problem.y)
    method = GramGaussNewton(16, damping=1.0, order="cyclic")
    state = method.init(problem, problem.w0, jnp.asarray(1))
    program = jax.make_jaxpr(lambda w: method.step(problem, w, state, KEY))(problem.w0).jaxpr
    assert largest(program) < problem.n * problem.p / 4
    if rowwise:  # where the conditioning allows, a step forms no Jacobian of the batch either
        assert largest(program, careful=False) < 16 * problem.p
        formed_step = jax.make_jaxpr(
            lambda w: linearise_batch(problem, w, method.batches.draw(state.memory, state.count, KEY)[1]).point
        )(problem.w0)
        assert largest(formed_step.jaxpr, careful=False) >= 16 * problem.p


def test_without_spectra_no_jacobian_is_formed_and_the_steps_are_the_same():
    problem = tanh_net(50, (3, 10, 1))
    method = GramGaussNewton(8, 0.2, damping=0.5)
    with_spectra, without = (iterate(problem, method, steps=7, key=KEY, spectra=spectra) for spectra in (True, False))
    for name in ("ts", "params", "outputs", "losses"):
        np.testing.assert_array_equal(getattr(with_spectra, name), getattr(without, name))
    assert np.all(np.isfinite(with_spectra.sigma_min))
    assert np.all(np.isnan(without.sigma_min))
    assert np.all(np.isnan(without.grad_norms))
    assert (without.succeeded, without.stats["rank"], without.stats["cond"]) == (True, None, None)
    wide = tanh_net(50, (3, 200, 1))
    asked = [
        jax.make_jaxpr(lambda w, spectra=spectra: sample(wide, w, jnp.asarray(50), spectra))(wide.w0[None]).jaxpr
        for spectra in (True, False)
    ]
    assert largest(asked[0]) >= 50 * wide.p > 4 * largest(asked[1])


def test_a_damped_method_on_all_samples_may_go_without_spectra_and_an_undamped_one_may_not():
    doubled = matrix_problem(
        np.repeat(matrix_with(4, 10, np.geomspace(1, 0.1, 4)), 2, axis=0)
    )  # of rank 4, presumed full
    one, other = (iterate(doubled, rg.LevenbergMarquardt(1e-9), steps=2, spectra=spectra) for spectra in (True, False))
    assert relative_error(other.outputs, one.outputs) < 1e-6
    for method in (rg.GaussNewton(), GramGaussNewton(), rg.LevenbergMarquardt(0.0)):
        with pytest.raises(
            ValueError, match=f"'{method.name}' inverts J and needs its rank: `spectra=False` is for damped methods"
        ):
            iterate(doubled, method, steps=1, spectra=False)


@pytest.mark.parametrize("rho", [1.0, 0.0])
def test_float32(rho):
    with jax.enable_x64(False):
        problem = rg.Problem(*tanh_arguments())
        trajectory = iterate(problem, GramGaussNewton(3, 0.1, rho, order="cyclic"), steps=4)
        assert trajectory.params.dtype == jnp.float32
        for k, rows in enumerate(BATCHES):
            taken = np.asarray(trajectory.params[k + 1] - trajectory.params[k])
            assert relative_error(taken, 0.1 * dense_step(problem, trajectory.params[k], rows, rho)) < 1e-2


def tanh_arguments():
    problem = tanh_net(8, (3, 10, 1))
    return problem.model, problem.params, np.asarray(problem.x), np.asarray(problem.y)


def test_an_epoch_of_a_large_set_beats_stochastic_gradient_descent():
    """1000 samples, 20 epochs of batches of 50 with nothing asked of the whole Jacobian: the fit that momentum does not reach."""
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 4))
    net = rg.MLP((4, 30, 1))
    problem = rg.Problem(net, net.init(key=KEY), x, np.sin(x[:, 0]) * x[:, 1], rg.SquaredLoss(mean=True))
    losses = {}
    for method in (GramGaussNewton(50, 20.0, damping=10.0), OptaxMethod(optax.sgd(0.1, momentum=0.9), batch_size=50)):
        losses[method.name] = np.asarray(
            iterate(problem, method, steps=400, save_every=20, key=KEY, spectra=False).losses
        )
    assert losses["gram-gauss-newton"].shape == (21,)
    assert losses["gram-gauss-newton"][-1] < 0.5 * losses["optax"][-1] < 0.5 * losses["optax"][0]
