"""Gram-Gauss-Newton: dense references, short batches, ranks, block Gauss-Seidel, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

import riemgn as rg
from riemgn import GramGaussNewton, iterate
from riemgn.linalg import formed
from riemgn.method.batch import linearise_batch
from riemgn.trajectory import sample
from tests.helpers import matrix_problem, matrix_with, network_jacobian, relative_error, tanh_net
from tests.method.shared import modes, NET, residuals, STEPS, WIDE

KEY = jax.random.key(0)
BATCHES = ([0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2])  # of 8 samples; the third is padded


def dense_step(problem: rg.Problem, w, rows, rho: float) -> np.ndarray:
    """`-J_B^T (K_BB + rho I)^{-1} r_B` from a NumPy Jacobian and its singular values."""
    jac = network_jacobian(problem.model, problem.unflatten(w), problem.x[jnp.asarray(rows)])
    outputs = problem.n // problem.x.shape[0]
    r = np.asarray(problem.outputs(w) - problem.y).reshape(-1, outputs)[rows].reshape(-1)
    u, s, vt = np.linalg.svd(jac, full_matrices=False)
    nonzero = s > 1e-12 * s[0]
    return -vt[nonzero].T @ (s[nonzero] / (s[nonzero] ** 2 + rho) * (u[:, nonzero].T @ r))


def check_steps(problem: rg.Problem, rho: float, tolerance: float) -> list[float]:
    """Compare four steps with the dense ones, and return the ranks."""
    trajectory = iterate(problem, GramGaussNewton(3, 0.1, rho, order="cyclic"), steps=4)
    for k, rows in enumerate(BATCHES):
        step = np.asarray(trajectory.params[k + 1] - trajectory.params[k])
        assert relative_error(step, 0.1 * dense_step(problem, trajectory.params[k], rows, rho)) < tolerance
    return trajectory.stats["per_step"]["rank"].tolist()


@pytest.mark.parametrize("sizes", [(3, 10, 1), (3, 4, 4, 2)], ids=["one_hidden_layer", "two_outputs"])
@pytest.mark.parametrize("rho", [1e-5, 0.0], ids=["damped", "undamped"])
def test_step_equals_the_dense_one(sizes, rho):
    assert check_steps(tanh_net(8, sizes), rho, 1e-9) == [sizes[-1] * len(rows) for rows in BATCHES]


@pytest.mark.parametrize("rho", [0.5, 1e-30, 0.0])
def test_repeated_sample_gives_the_minimum_norm_step(rho):
    """Samples 6 and 7 are equal and their targets differ, so the Gram matrix has rank one."""
    problem = rg.Problem(NET.model, NET.params, NET.x.at[7].set(NET.x[6]), NET.y)
    assert check_steps(problem, rho, 1e-9) == ([3, 3, 2, 3] if rho == 0.5 else [3, 3, 1, 3])


@pytest.mark.parametrize("rho", [1.0, 0.0])
def test_float32_steps_equal_the_dense_ones(rho):
    arguments = NET.model, NET.params, np.asarray(NET.x), np.asarray(NET.y)
    with jax.enable_x64(False):
        problem = rg.Problem(*arguments)
        assert problem.w0.dtype == jnp.float32
        check_steps(problem, rho, 1e-2)


def test_all_samples_give_gauss_newton():
    one, other = (iterate(NET, method, steps=3) for method in (GramGaussNewton(), rg.GaussNewton()))
    assert relative_error(one.params, other.params) < 1e-12


@pytest.mark.parametrize("rho", [0.3, 0.0])
def test_batch_with_more_outputs_than_parameters(rho):
    """Twelve rows, five parameters, batches of eight: the last has four valid rows."""
    matrix = matrix_with(12, 5, np.geomspace(1, 0.1, 5))
    trajectory = iterate(matrix_problem(matrix), GramGaussNewton(8, 1.0, rho, order="cyclic"), steps=2)
    w = np.asarray(trajectory.params)
    for k, rows in enumerate((slice(0, 8), slice(8, 12))):
        jac, y = matrix[rows], np.asarray(trajectory.problem.y)[rows]
        expected = -np.linalg.pinv(np.vstack([jac, np.sqrt(rho) * np.eye(5)]))[:, : len(y)] @ (jac @ w[k] - y)
        assert relative_error(w[k + 1] - w[k], expected) < 1e-9
    assert trajectory.stats["per_step"]["rank"].tolist() == [5, 4]


def epoch_matrix(k: np.ndarray, size: int) -> np.ndarray:
    """Block Gauss-Seidel: `I - K (D + L)^{-1}` with the block lower triangle `D + L` of `K`."""
    block = np.arange(len(k)) // size
    return np.eye(len(k)) - k @ np.linalg.inv(np.where(block[:, None] >= block[None, :], k, 0.0))


@pytest.mark.parametrize("outputs", [1, 2])
def test_cyclic_epoch_is_block_gauss_seidel(outputs):
    rng = np.random.default_rng(4)
    problem = rg.Problem(rg.LinearModel(), rng.standard_normal((10, outputs)), WIDE, rng.standard_normal((7, outputs)))
    jac = np.kron(WIDE, np.eye(outputs))
    trajectory = iterate(problem, GramGaussNewton(3, order="cyclic"), steps=9, save_every=3)
    r = residuals(trajectory)
    assert relative_error(r[1:], r[:-1] @ epoch_matrix(jac @ jac.T, 3 * outputs).T) < 1e-11


def energies(trajectory) -> np.ndarray:
    """`r^T K^{-1} r`."""
    eigenvalues, components = modes(np.asarray(trajectory.problem.x), residuals(trajectory))
    return np.sum(components**2 / eigenvalues, axis=1)


@pytest.mark.parametrize(
    ("order", "eta", "rho"),
    [("cyclic", 2.0, 0.0), ("cyclic", 2.5, 0.0), ("shuffled", 1.0, 0.0), ("random", 0.3, 0.1), ("subset", 1.0, 0.0)],
)
def test_energy_never_increases_for_step_sizes_up_to_two(order, eta, rho):
    trajectory = iterate(matrix_problem(WIDE), GramGaussNewton(3, eta, rho, order), steps=2 * STEPS, key=KEY)
    energy = energies(trajectory)
    assert np.all(np.diff(energy) <= 1e-12 * energy[0]) == (eta <= 2)
    assert energy[-1] < 0.9 * energy[0] or eta >= 2  # with eta = 2 the steps are reflections


def test_random_blocks_contract_at_the_spectral_rate():
    """Statement C12: the mean energy falls by `1 - lambda_min(E[...])` or faster."""
    k = WIDE @ WIDE.T
    s, u = np.linalg.eigh(k)
    root = (u * np.sqrt(s)) @ u.T
    blocks = [np.arange(7)[i : i + 3] for i in (0, 3, 6)]
    mean = np.mean([root[:, b] @ np.linalg.solve(k[np.ix_(b, b)], root[b]) for b in blocks], axis=0)
    problem, method = matrix_problem(WIDE), GramGaussNewton(3, order="random")
    state = method.init(problem, problem.w0, jnp.asarray(7))
    one_step = jax.jit(jax.vmap(lambda key: method.step(problem, problem.w0, state, key)[0]))
    after = np.asarray(one_step(jax.random.split(KEY, 600))) @ WIDE.T - np.asarray(problem.y)
    whitened = np.linalg.solve(root, WIDE @ np.asarray(problem.w0) - np.asarray(problem.y))
    ratios = np.sum(np.linalg.solve(root, after.T) ** 2, axis=0) / (whitened @ whitened)
    predicted = 1 - whitened @ mean @ whitened / (whitened @ whitened)
    assert abs(ratios.mean() - predicted) < 4 * ratios.std() / np.sqrt(600)
    assert ratios.mean() <= 1 - np.linalg.eigvalsh(mean)[0]


def largest(jaxpr, all_branches: bool = True) -> int:
    """Entries of the largest array of a program; else only of the cheap branch of every `cond`."""
    sizes = [0]
    for eqn in jaxpr.eqns:
        sizes += [v.aval.size for v in eqn.outvars]
        if eqn.primitive.name == "cond" and not all_branches and len(eqn.params["branches"]) == 2:
            sizes.append(largest(eqn.params["branches"][1].jaxpr, all_branches))
        else:
            sizes += [largest(inner, all_branches) for inner in core.jaxprs_in_params(eqn.params)]
    return max(sizes)


@pytest.mark.parametrize("rowwise", [True, False])
def test_step_never_forms_the_whole_jacobian(rowwise):
    problem = tanh_net(500, (200, 30, 1))
    if not rowwise:
        model = problem.model
        problem = rg.Problem(lambda params, x: model(params, x), problem.params, problem.x, problem.y)
    method = GramGaussNewton(16, damping=1.0, order="cyclic")
    state = method.init(problem, problem.w0, jnp.asarray(1))
    program = jax.make_jaxpr(lambda w: method.step(problem, w, state, KEY))(problem.w0).jaxpr
    assert largest(program) < problem.n * problem.p / 4
    if rowwise:  # a well-conditioned batch forms no Jacobian of the batch either
        assert largest(program, all_branches=False) < 16 * problem.p
        batch = method.draw(state.memory, state.count, KEY)[1]
        formed_batch = jax.make_jaxpr(lambda w: formed(linearise_batch(problem, w, batch)[0].jac))(problem.w0)
        assert largest(formed_batch.jaxpr) >= 16 * problem.p


def test_without_spectra_the_steps_are_the_same():
    problem, method = tanh_net(50, (3, 10, 1)), GramGaussNewton(8, 0.2, damping=0.5)
    with_spectra, without = (iterate(problem, method, steps=7, key=KEY, spectra=spectra) for spectra in (True, False))
    for name in ("ts", "params", "outputs", "losses"):
        np.testing.assert_array_equal(getattr(with_spectra, name), getattr(without, name))
    assert np.all(np.isnan(without.sigma_min) & np.isnan(without.grad_norms))
    assert (without.succeeded, without.stats["rank"], without.stats["cond"]) == (True, None, None)


def test_without_spectra_no_jacobian_is_formed():
    problem = tanh_net(50, (3, 200, 1))
    program = jax.make_jaxpr(lambda w: sample(problem, w, jnp.asarray(50), False))(problem.w0[None])
    assert 4 * largest(program.jaxpr) < 50 * problem.p
