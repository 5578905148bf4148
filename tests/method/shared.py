"""Problems and laws that several tests of methods use."""

import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.helpers import matrix_with, tanh_net, TwoLayerTanh

STEPS = 6  # one number of steps, so that the programs are shared
WIDE = matrix_with(7, 10, np.geomspace(1, 0.1, 7))
TALL = matrix_with(12, 5, np.geomspace(1, 0.1, 5))
NET = tanh_net(8, (3, 10, 1))
DENSE_NET = TwoLayerTanh(NET.x, 10)
SOLVER_METHODS = {
    "gn": rg.GaussNewton(0.5),
    "lm": rg.LevenbergMarquardt(rg.SpectralDamping(0.5)),
    "lm_trust_region": rg.LevenbergMarquardt(rg.TrustRegion()),
    "lm_matrix_free": rg.LevenbergMarquardt(0.1, matrix_free=rg.MatrixFree()),
}


def residuals(trajectory) -> np.ndarray:
    return np.asarray(trajectory.outputs - trajectory.problem.y)


def modes(matrix: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of `K` in descending order and the components of `r` on its eigenvectors."""
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return s**2, r @ u


def wide_net(width: int) -> tuple[rg.Problem, float]:
    """A net with paired units, so `f(w0) = 0`, and `Lip(J)`; `K(w0)` is the same at every width."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    units = np.tile(np.repeat(rng.standard_normal((32, 6)), 2, axis=0), (width // 64, 1))
    signs = jnp.where(jnp.arange(width) % 2, -1.0, 1.0) / jnp.sqrt(width)
    problem = rg.Problem(lambda w, x: jnp.tanh(x @ w.T) @ signs, units, x, 0.3 * rng.standard_normal(8))
    return problem, 4 / (3 * np.sqrt(3)) / np.sqrt(width) * np.linalg.norm(x, 2) ** 2


def is_quadratic(trajectory, constant: np.ndarray) -> bool:
    """Whether `|r_{k+1}| <= C_k |r_k|^2` down to rounding."""
    norms = np.linalg.norm(residuals(trajectory), axis=1)
    return bool(np.all(norms[1:] <= constant * norms[:-1] ** 2 + 1e-13 * np.linalg.norm(trajectory.problem.y)))
