"""One GGN-SCORE step on the networks of arXiv:2404.14875, full batch, beside the dense low-rank form that one writes in NumPy (ggn_score.md 3.2).

The peer forms the Jacobian, its kernel in the inverse metric and one Cholesky factor, all in float64, with the threads that NumPy takes. Error:
relative difference of the new parameters from the peer's. The smoothing 0.01 is one at which the kernel dominates the damping.
"""

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

import riemgn as rg

from .contest import Contender, Contest, Protocol
from .row import Row

TARGET = 3.0
WEIGHT, STEP_SIZE = 1e-4, 0.95
WORKS = {"S2": (500, 5, 500), "S1": (1000, 20, 500)}  # samples, inputs, hidden units
QUICK = {"small": (100, 5, 100)}
REPETITIONS = 9


def by_numpy(problem: rg.Problem, penalty: rg.PseudoHuberPenalty) -> Callable[[], np.ndarray]:
    """The step of `ggn_score.md` 3.2 and 3.3 for one output."""
    x, y, w = (np.asarray(values) for values in (problem.x, problem.y, problem.w0))
    m, mu, kappa = len(y), float(penalty.smoothing), problem.model.sizes[1] ** -0.5
    hidden, output = (np.asarray(layer["weight"]) for layer in problem.params)
    m_g = float(penalty.self_concordance(problem.p))

    def step() -> np.ndarray:
        z = x @ hidden.T
        s = scipy.special.expit(z)
        rho, slope = z * s, s + z * s * (1 - s)
        e = (kappa * rho @ output[0] - y) / m
        jac = np.concatenate([(kappa * (slope * output[0])[:, :, None] * x[:, None, :]).reshape(m, -1), kappa * rho], axis=1)
        r = np.sqrt(mu**2 + w**2)
        pull, metric = WEIGHT * w / r, mu**2 / r**3
        weighted = jac / metric
        factor = scipy.linalg.cho_factor(np.eye(m) + weighted @ jac.T / m)
        d = -(jac.T @ scipy.linalg.cho_solve(factor, e - weighted @ pull / m) + pull) / metric
        return w + min(1.0, STEP_SIZE / (1 + m_g * np.sqrt(np.sum(pull**2 / metric)))) * d

    return step


@eqx.filter_jit
def _step(problem, method):
    return method.step(problem, problem.w0, method.init(problem, problem.w0, jnp.asarray(0)), jax.random.key(0))[0]


def rows(bench: Contest) -> Iterator[Row]:
    for name, (m, inputs, width) in (QUICK if bench.quick else WORKS).items():
        keys = jax.random.split(jax.random.key(0), 4)
        net = rg.MLP((inputs, width, 1), "silu", scaling="output", bias=False)
        params = [{"weight": jax.random.normal(keys[0], (width, inputs))}, {"weight": jax.random.uniform(keys[1], (1, width))}]
        x = jax.random.normal(keys[2], (m, inputs))
        x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        problem = rg.Problem(net, params, x, jax.random.normal(keys[3], (m,)), rg.SquaredLoss(mean=True))
        for mu in (width**0.5, 0.01):
            penalty = rg.PseudoHuberPenalty(mu)
            dense, method = by_numpy(problem, penalty), rg.GGNScore(penalty, WEIGHT, STEP_SIZE)
            expected = dense()

            def error(w, expected=expected) -> float:
                return float(np.linalg.norm(np.asarray(w) - expected) / np.linalg.norm(expected))

            ours = Contender("riemgn", lambda method=method, problem=problem: lambda _: _step(problem, method))
            peer = Contender("NumPy, dense", lambda dense=dense: lambda _: dense(), at_least=TARGET)
            work = f"GGN-SCORE step {name}, m = {m}, p = {problem.p}, mu = {mu:.3g}"
            yield from bench.compare(work, ours, [peer], Protocol(error, accuracy=1e-9, repetitions=REPETITIONS))
