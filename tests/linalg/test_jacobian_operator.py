"""Jacobian operators against the matrices they stand for."""

import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.linalg import FilledJacobian, formed, kernel_of, outer_gram, scale_columns, scale_rows, squared_norm

JAC = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
FILLED = FilledJacobian(JAC, jnp.array([0.0, 2.0]))
DENSE = np.array([[1.0, 2, 3, 0, 0], [0, 0, 0, 0, 2]])


@pytest.mark.parametrize(("jac", "dense"), [(JAC, np.asarray(JAC)), (FILLED, DENSE)], ids=["array", "filled"])
def test_operations_are_those_of_the_matrix(jac, dense):
    n, p = dense.shape
    v, u, rows, columns = (jnp.arange(1.0, size + 1) for size in (p, n, n, p))
    assert jac.shape == dense.shape
    assert jac.dtype == float
    assert np.array_equal(formed(jac), dense)
    assert np.array_equal(jac @ v, dense @ v)
    assert np.array_equal(u @ jac, u @ dense)
    assert np.array_equal(kernel_of(jac), dense @ dense.T)
    assert float(squared_norm(jac)) == np.sum(dense**2)
    assert np.array_equal(formed(scale_rows(rows, jac)), rows[:, None] * dense)
    assert np.array_equal(formed(scale_columns(jac, columns)), dense * columns)


@pytest.mark.parametrize("rows", [255, 258])
def test_gram_matrix_in_blocks(rows):
    a = np.random.default_rng(0).standard_normal((rows, 3))
    assert np.allclose(outer_gram(jnp.asarray(a)), a @ a.T, atol=1e-12)
