"""Define the over-parameterised problem of these items, with the cond(K) that you choose.

A network fits diabetes samples and near-duplicates of them.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import riemgn as rg

SAMPLES, WIDTH = 6, 24
FARTHEST = 5.0  # distance of two duplicates, larger than the norm of a sample
SLOW, FAST = -1, 0  # places in the list of eigenvalues


@dataclass(frozen=True)
class Duplicates:
    """A problem, the falling eigenvalues of `K(w0)`, (n,), and the amplitudes `U^T r_0`, (n,)."""

    problem: rg.Problem
    eigenvalues: np.ndarray
    amplitudes: np.ndarray
    distance: float

    @property
    def cond(self) -> float:
        """`cond(K(w0))`."""
        return float(self.eigenvalues[FAST] / self.eigenvalues[SLOW])

    @property
    def slowest(self) -> float:
        """`lambda_min(K(w0))`."""
        return float(self.eigenvalues[SLOW])

    @property
    def fastest(self) -> float:
        """`lambda_max(K(w0))`."""
        return float(self.eigenvalues[FAST])


def duplicates(cond, alpha, seed):
    """`f(v) = alpha (phi(w0 + v / alpha) - phi(w0))` with `cond(K(w0)) = cond`.

    The 10-24-1 tanh network has 6 samples and a near-duplicate of each. The seed draws samples,
    copies and weights. The weights `v` are measured from the start in units of 1 / alpha, so `K(0)`
    is that of `phi`, and a relative tolerance on `v` is meaningful. The residual has norm 1 and the
    same size in every eigenvector.

    Raises: `ValueError` if no distance of the duplicates gives `cond`.
    """
    net = rg.MLP((10, WIDTH, 1), bias=False)
    params = net.init(key=jax.random.key(seed))
    samples, _ = rg.load_data("diabetes", subset=SAMPLES, seed=seed)

    def inputs(distance):
        return jnp.asarray(rg.near_duplicates(samples, distance, key=jax.random.key(100 + seed)))

    def excess(log_distance):
        s = np.asarray(_singular_values(net, params, inputs(float(np.exp(log_distance)))))
        return 2 * np.log(s[FAST] / s[SLOW]) - np.log(cond)

    span = np.log(1e-7), np.log(FARTHEST)
    if excess(span[1]) > 0:
        raise ValueError(f"No kernel of seed {seed} is as well conditioned as {cond:g}; choose a larger `cond`.")
    distance = float(np.exp(scipy.optimize.brentq(excess, *span, xtol=1e-4)))
    n = 2 * SAMPLES
    phi = rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, inputs(distance), jnp.zeros(n))
    moved = phi.reparametrise(jnp.eye(phi.p) / alpha)
    u, s, _ = np.linalg.svd(np.asarray(_jacobian(moved)), full_matrices=False)
    amplitudes = np.random.default_rng(seed).choice([-1.0, 1.0], n) / np.sqrt(n)
    return Duplicates(
        rg.Problem(moved.model, moved.params, moved.x, jnp.asarray(-u @ amplitudes)), s**2, amplitudes, distance
    )


@eqx.filter_jit
def _singular_values(net, params, x):
    problem = rg.Problem(net, params, x, jnp.zeros(len(x)))
    return jnp.linalg.svd(problem.jac(problem.w0), compute_uv=False)


@eqx.filter_jit
def _jacobian(problem):
    return problem.jac(problem.w0)
