"""Thin SVD, spectra and numerical rank against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.linalg import (
    extreme_eigenvalues,
    min_singular_value,
    numerical_rank,
    range_factors,
    range_norm_and_min,
    singular_values,
    spectral_direction,
    spectrum,
    thin_svd,
    tridiagonal_of,
)
from tests.helpers import finite_difference, jnp_matrix, matrix_with, relative_error

EPS = np.finfo(float).eps
MATRICES = {
    "tall": (matrix_with(20, 5, np.geomspace(1, 1e-3, 5)), 5),
    "wide": (matrix_with(5, 20, np.geomspace(1, 1e-3, 5)), 5),
    "square": (matrix_with(7, 7, np.geomspace(10, 1e-2, 7)), 7),
    "tall, rank 3": (matrix_with(20, 5, [3.0, 2.0, 1.0]), 3),
    "wide, rank 3": (matrix_with(5, 20, [3.0, 2.0, 1.0]), 3),
    "one row": (matrix_with(1, 4, [2.0]), 1),
    "zero": (np.zeros((4, 3)), 0),
}


@pytest.mark.parametrize("name", MATRICES)
def test_thin_svd_reconstructs_the_matrix(name):
    a, rank = MATRICES[name]
    svd = thin_svd(jnp.asarray(a))
    k = min(a.shape)
    assert (svd.u.shape, svd.s.shape, svd.vt.shape) == ((a.shape[0], k), (k,), (k, a.shape[1]))
    np.testing.assert_allclose((svd.u * svd.s) @ svd.vt, a, atol=1e-13)
    np.testing.assert_allclose(svd.s, np.linalg.svd(a, compute_uv=False), atol=1e-13)
    np.testing.assert_allclose(svd.u.T @ svd.u, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(svd.vt @ svd.vt.T, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(singular_values(jnp.asarray(a)), svd.s, atol=1e-13)
    assert int(numerical_rank(svd.s, a.shape)) == rank


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_small_singular_values_keep_their_digits(shape):
    """The eigenvalues of `J^T J` would be rounding errors."""
    a = matrix_with(*shape, np.geomspace(1, 1e-10, 6))
    s = np.asarray(thin_svd(jnp.asarray(a)).s)
    assert abs(s[-1] / 1e-10 - 1) < 1e-4
    assert int(numerical_rank(jnp.asarray(s), shape)) == 6


@pytest.mark.parametrize("cond", [1e1, 1e3, 1e5, 1e10])
@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_quick_spectra_have_their_stated_accuracy(shape, cond):
    a = matrix_with(*shape, np.geomspace(3, 3 / cond, 6))
    g = np.random.default_rng(1).standard_normal(shape[0])
    u, exact, _ = np.linalg.svd(a, full_matrices=False)
    by_kernel = shape == (6, 30) and cond < 4e3
    allowed = 1e-8 if by_kernel else 20 * EPS * cond
    assert abs(spectrum(jnp.asarray(a))[-1] / exact[-1] - 1) < allowed
    norm, smallest = jax.jit(range_norm_and_min)(a, g, 6)
    assert abs(smallest / exact[-1] - 1) < allowed
    assert abs(norm / np.linalg.norm(u.T @ g) - 1) < 20 * EPS * cond
    norm, smallest = jax.jit(range_norm_and_min)(a, g, 4)
    assert abs(norm / np.linalg.norm(u[:, :4].T @ g) - 1) < 1e-10
    assert abs(smallest / exact[3] - 1) < 1e-8


def test_a_small_gradient_in_the_range_keeps_its_digits():
    """`|P g|` is right to `eps |g|` where nearly all of `g` is normal."""
    a = matrix_with(30, 6, np.geomspace(1, 1e-6, 6))
    u = np.linalg.svd(a)[0]
    norm, _ = range_norm_and_min(jnp.asarray(a), jnp.asarray(u[:, 10] + 1e-11 * u[:, 5]), 6)
    assert abs(norm / 1e-11 - 1) < 2e-2


def test_spectral_direction_uses_the_leading_values():
    svd, g = thin_svd(jnp.diag(jnp.array([4.0, 2.0, 1.0]))), jnp.array([1.0, 2.0, 3.0])
    for rank, used in ((3, [1, 1, 1]), (2, [1, 1, 0]), (0, [0, 0, 0])):
        assert spectral_direction(svd, g, jnp.sqrt, rank) == pytest.approx(-np.array([1.0, 2.0, 3.0]) * used)
    singular = thin_svd(jnp.diag(jnp.array([4.0, 2.0, 0.0])))
    assert spectral_direction(singular, g, lambda s: 1 / s, 3) == pytest.approx([-1 / 64, -2 / 8, 0])


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_range_factors_have_derivatives_at_equal_values(shape):
    """The projectors on range and row space, and the matrix itself, along matrices of rank 3."""
    left, right = matrix_with(shape[0], 3, np.ones(3)), matrix_with(3, shape[1], np.ones(3), seed=3)

    @jax.jit
    def projectors(v):
        turned = left + v[0] * jnp.sin(1 + jnp.arange(left.size)).reshape(left.shape)
        b, r, vt = range_factors(turned @ (right + v[1] * jnp.cos(jnp.arange(right.size)).reshape(right.shape)), 3)
        return jnp.concatenate([each.ravel() for each in (b @ b.T, vt.T @ vt, b @ r @ vt)])

    point = jnp.zeros(2)
    assert relative_error(jax.jit(jax.jacfwd(projectors))(point), finite_difference(projectors, point, 1e-5)) < 1e-8


@pytest.mark.parametrize("scale", [1.0, 2.0**-20])
@pytest.mark.parametrize(
    ("smallest", "certain"),
    [
        ([1.0, 0.9], True),
        ([1e-4, 0.9e-4], True),
        ([1.5e-5, 1.35e-5], False),
        ([1e-5, 1e-6], False),
        ([1e-3, 1e-3], True),
    ],
)
def test_values_are_right_to_1e8_if_they_are_certain(smallest, certain, scale):
    values = scale * np.append(np.geomspace(3.0, 2.0 * smallest[0], 38), smallest)
    matrices = [jnp_matrix(40, 60, values, seed=seed) for seed in range(2)]
    eigenvalues = jax.vmap(lambda jac: extreme_eigenvalues(*tridiagonal_of(jac)))(jnp.stack(matrices))
    for i, jac in enumerate(matrices):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], eigenvalues)
        value, is_certain = min_singular_value(one, lambda jac=jac: jac, 40)
        exact = np.linalg.svd(np.asarray(jac), compute_uv=False)[-1]
        assert not is_certain or abs(value / exact - 1) <= 1e-8
        assert bool(is_certain) == certain
        assert 9.0 * scale**2 <= one[2] <= 27.0 * scale**2


def test_eigenvalues_of_a_known_tridiagonal_matrix():
    """`100 + 0.2 cos(k pi / 6)`, k = 1 .. 5."""
    smallest, second, largest = jax.vmap(extreme_eigenvalues)(np.full((1, 5), 100.0), np.full((1, 4), 0.1))
    exact = 100 + 0.2 * np.cos(np.arange(5, 0, -1) * np.pi / 6)
    assert abs(smallest[0] - exact[0]) < 1e-12
    assert abs(second[0] - exact[1]) < 1e-12
    assert exact[-1] <= largest[0] <= 3 * exact[-1]


@pytest.mark.parametrize("smallest", [0.0, -1e-18])
def test_an_eigenvalue_lost_in_rounding_is_not_certain(smallest):
    eigenvalues = tuple(map(jnp.asarray, (smallest, 1.0, 9.0)))
    value, is_certain = min_singular_value(eigenvalues, lambda: jnp.eye(3), 3)
    assert (float(value), bool(is_certain)) == (0.0, False)
