"""The directions of GGN-SCORE against a dense solve, for small and for large systems."""

import jax
import numpy as np
import pytest

from riemgn.linalg import score_direction


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("damping", [30.0, 1e-2], ids=["strong", "weak"])
def test_score_direction_solves_the_system(size, damping):
    rng = np.random.default_rng(0)
    jac, e = rng.standard_normal((size, size + 4)) / 20, rng.standard_normal(size)
    pull, metric = rng.standard_normal(size + 4), 1 + rng.random(size + 4)
    exact = -np.linalg.solve(damping * np.diag(metric) + jac.T @ jac, jac.T @ e + pull)
    direction, recycled = jax.jit(score_direction)(jac, e, pull, metric, damping)
    assert np.linalg.norm(direction - exact) < 1e-9 * np.linalg.norm(exact)
    assert recycled is None
