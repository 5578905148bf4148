"""Gradient descent on mini-batches, against NumPy."""

import numpy as np

from riemgn import GradientDescent, iterate
from tests.helpers import relative_error
from tests.method.shared import DENSE_NET, NET


def test_batches_equal_the_dense_ones():
    """Batches of 3 of 8 samples: the last one of an epoch has two."""
    trajectory = iterate(NET, GradientDescent(0.1, batch_size=3), steps=4)
    w, y = np.asarray(NET.w0), np.asarray(NET.y)
    for k, rows in enumerate(([0, 1, 2], [3, 4, 5], [6, 7], [0, 1, 2])):
        gradient = DENSE_NET.jac(w)[rows].T @ (DENSE_NET.outputs(w) - y)[rows]
        w = w - 0.1 * gradient
        assert relative_error(trajectory.params[k + 1], w) < 1e-12
        np.testing.assert_allclose(trajectory.stats["per_step"]["slope"][k], -gradient @ gradient, rtol=1e-11)
