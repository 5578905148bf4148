"""Thin SVD, numerical rank and damped solves against dense NumPy ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.linalg import (
    damped_direction,
    numerical_rank,
    range_norm_and_min,
    singular_values,
    spectral_direction,
    spectrum,
    thin_svd,
)
from tests.helpers import jnp_matrix, matrix_with, relative_error

MATRICES = {
    "tall": matrix_with(20, 5, np.geomspace(1, 1e-3, 5)),
    "wide": matrix_with(5, 20, np.geomspace(1, 1e-3, 5)),
    "square": matrix_with(7, 7, np.geomspace(10, 1e-2, 7)),
    "tall, rank 3": matrix_with(20, 5, [3.0, 2.0, 1.0]),
    "wide, rank 3": matrix_with(5, 20, [3.0, 2.0, 1.0]),
    "one row": matrix_with(1, 4, [2.0]),
    "one column": matrix_with(4, 1, [2.0]),
    "zero": np.zeros((4, 3)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_thin_svd_reconstructs_and_matches_numpy(name):
    a = MATRICES[name]
    svd = thin_svd(jnp.asarray(a))
    k = min(a.shape)
    assert (svd.u.shape, svd.s.shape, svd.vt.shape) == ((a.shape[0], k), (k,), (k, a.shape[1]))
    np.testing.assert_allclose((svd.u * svd.s) @ svd.vt, a, atol=1e-13)
    np.testing.assert_allclose(svd.s, np.linalg.svd(a, compute_uv=False), atol=1e-13)
    np.testing.assert_allclose(svd.u.T @ svd.u, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(svd.vt @ svd.vt.T, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(singular_values(jnp.asarray(a)), svd.s, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "rank"), [("tall", 5), ("wide", 5), ("square", 7), ("tall, rank 3", 3), ("wide, rank 3", 3), ("zero", 0)]
)
def test_numerical_rank(name, rank):
    a = MATRICES[name]
    assert int(numerical_rank(singular_values(jnp.asarray(a)), a.shape)) == rank


@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_small_singular_values_are_seen_where_the_normal_equations_lose_them(shape):
    a = matrix_with(*shape, np.geomspace(1, 1e-10, 6))
    s = np.asarray(thin_svd(jnp.asarray(a)).s)
    assert abs(s[-1] / 1e-10 - 1) < 1e-4
    assert int(numerical_rank(jnp.asarray(s), shape)) == 6
    small = a @ a.T if shape[0] < shape[1] else a.T @ a
    lost = np.sqrt(np.abs(np.linalg.eigvalsh(small)).min())
    assert abs(lost / 1e-10 - 1) > 1  # J^T J would answer with rounding error


@pytest.mark.parametrize("cond", [1e1, 1e3, 1e5, 1e10])
@pytest.mark.parametrize("shape", [(30, 6), (6, 30)])
def test_the_quick_spectrum_is_right_to_its_stated_accuracy(shape, cond):
    a = matrix_with(*shape, np.geomspace(3, 3 / cond, 6))
    g = np.random.default_rng(1).standard_normal(shape[0])
    exact = np.linalg.svd(a, compute_uv=False)
    by_kernel = shape == (6, 30) and cond < 4e3
    allowed = 1e-8 if by_kernel else 20 * np.finfo(float).eps * cond
    assert abs(spectrum(jnp.asarray(a))[-1] / exact[-1] - 1) < allowed
    norm, least = jax.jit(range_norm_and_min)(a, g, 6)
    assert abs(least / exact[-1] - 1) < allowed
    u = np.linalg.svd(a, full_matrices=False)[0]
    assert abs(norm / np.linalg.norm(u.T @ g) - 1) < 20 * np.finfo(float).eps * cond
    norm, least = jax.jit(range_norm_and_min)(a, g, 4)
    assert abs(norm / np.linalg.norm(u[:, :4].T @ g) - 1) < 1e-10
    assert abs(least / exact[3] - 1) < 1e-8


def test_a_small_part_of_the_gradient_in_the_range_is_seen():
    """`|P g|` is right to `eps |g|` where nearly all of `g` is normal: the normal equations would lose it."""
    a = matrix_with(30, 6, np.geomspace(1, 1e-6, 6))
    u = np.linalg.svd(a)[0]
    norm, _ = range_norm_and_min(jnp.asarray(a), jnp.asarray(u[:, 10] + 1e-11 * u[:, 5]), 6)
    assert abs(norm / 1e-11 - 1) < 2e-2


@pytest.mark.parametrize("shape", [(25, 6), (6, 25)])
@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(("damping", "branch"), [(10.0, "Cholesky"), (0.1, "Cholesky"), (1e-7, "SVD")])
def test_damped_direction_equals_the_dense_solve(shape, share, damping, branch):
    a = matrix_with(*shape, np.geomspace(1, 1e-2, 6))
    g = np.random.default_rng(0).standard_normal(shape[0])
    assert (share * np.sum(a**2) <= 1e-11 / np.finfo(float).eps * damping) == (branch == "Cholesky")
    if shape[0] < shape[1]:
        dense = -a.T @ np.linalg.solve(share * a @ a.T + damping * np.eye(shape[0]), g)
    else:
        dense = -np.linalg.solve(share * a.T @ a + damping * np.eye(shape[1]), a.T @ g)
    assert relative_error(damped_direction(jnp.asarray(a), jnp.asarray(g), damping, share, 6).w_dot, dense) < 1e-10


@pytest.mark.parametrize("shape", [(25, 6), (6, 25)])
def test_damped_direction_without_damping_is_the_minimum_norm_solution(shape):
    a = jnp_matrix(*shape, [2.0, 1.0, 1e-3])
    g = np.random.default_rng(0).standard_normal(shape[0])
    expected = -np.linalg.pinv(np.asarray(a), rcond=1e-12) @ g
    assert relative_error(damped_direction(a, jnp.asarray(g), 0.0, 1.0, 3).w_dot, expected) < 1e-10
    assert relative_error(spectral_direction(thin_svd(a), jnp.asarray(g), jnp.ones_like, 3), expected) < 1e-10


def test_damped_direction_is_sound_at_every_damping():
    """Both branches against the exact filter of a matrix whose SVD is known: no damping in between loses digits."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.standard_normal((20, 5)))[0], np.linalg.qr(rng.standard_normal((5, 5)))[0]
    s, g = np.geomspace(1, 1e-4, 5), rng.standard_normal(20)
    direction = jax.jit(lambda rho: damped_direction(jnp.asarray((u * s) @ v.T), jnp.asarray(g), rho, 1.0, 5).w_dot)
    for rho in np.geomspace(1e-12, 1e2, 29):
        exact = -v @ (s / (s**2 + rho) * (u.T @ g))
        assert relative_error(direction(rho), exact) < 1e-10, rho
