"""The smallest singular values of many wide matrices at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.linalg import extreme_eigenvalues, min_singular_value, tridiagonal_of
from tests.helpers import jnp_matrix


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
