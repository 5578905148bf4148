"""GGN-SCORE steps on the networks of arXiv:2404.14875, full batch, beside the dense low-rank form that one writes in NumPy (ggn_score.md 3.2).

The peer forms the Jacobian, its kernel in the inverse metric and one Cholesky factor, all in float64, with the threads that NumPy takes. Error:
relative difference of the new parameters from the peer's. The smoothing 0.01 is one at which the kernel dominates the damping.

One step alone, and `STEPS` steps with the inverse of an earlier one recycled, beside as many of the peer's and of our own without recycling.
"""

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

import riemgn as rg
from riemgn.method import MethodState
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

TARGET = 3.0
WEIGHT, STEP_SIZE = 1e-4, 0.95
WORKS = {"S2": (500, 5, 500), "S1": (1000, 20, 500)}  # samples, inputs, hidden units
QUICK = {"small": (100, 5, 100)}
REPETITIONS = 9
STEPS = 100
SEQUENCES = ("S2", "small")  # works that are also done for many steps


def by_numpy(problem: rg.Problem, penalty: rg.PseudoHuberPenalty) -> Callable[[np.ndarray], np.ndarray]:
    """The step of `ggn_score.md` 3.2 and 3.3 for one output."""
    x, y = np.asarray(problem.x), np.asarray(problem.y)
    m, mu, width = len(y), float(penalty.smoothing), problem.model.sizes[1]
    kappa, m_g = width**-0.5, float(penalty.self_concordance(problem.p))

    def step(w: np.ndarray) -> np.ndarray:
        hidden, output = w[: width * x.shape[1]].reshape(width, -1), w[None, width * x.shape[1] :]
        z = x @ hidden.T
        s = scipy.special.expit(z)
        rho, slope = z * s, s + z * s * (1 - s)
        e = (kappa * rho @ output[0] - y) / m
        jac = np.concatenate(
            [(kappa * (slope * output[0])[:, :, None] * x[:, None, :]).reshape(m, -1), kappa * rho], axis=1
        )
        r = np.sqrt(mu**2 + w**2)
        pull, metric = WEIGHT * w / r, mu**2 / r**3
        weighted = jac / metric
        factor = scipy.linalg.cho_factor(np.eye(m) + weighted @ jac.T / m)
        d = -(jac.T @ scipy.linalg.cho_solve(factor, e - weighted @ pull / m) + pull) / metric
        return w + min(1.0, STEP_SIZE / (1 + m_g * np.sqrt(np.sum(pull**2 / metric)))) * d

    return step


@eqx.filter_jit
def _after(problem, method, steps):
    start = method.init(problem, problem.w0, jnp.asarray(0))

    def advance(_, carry):
        w, state = method.step(problem, *carry, jax.random.key(0))
        return w, MethodState(
            state.time, state.count, state.memory, start.report
        )  # what a step reports is not computed

    return jax.lax.fori_loop(0, steps, advance, (problem.w0, start))[0]


def rows(bench: Contest) -> Iterator[Row]:
    for name, (m, inputs, width) in (QUICK if bench.quick else WORKS).items():
        keys = jax.random.split(jax.random.key(0), 4)
        net = rg.MLP((inputs, width, 1), "silu", scaling="output", bias=False)
        params = [
            {"weight": jax.random.normal(keys[0], (width, inputs))},
            {"weight": jax.random.uniform(keys[1], (1, width))},
        ]
        x = jax.random.normal(keys[2], (m, inputs))
        x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        problem = rg.Problem(net, params, x, jax.random.normal(keys[3], (m,)), rg.SquaredLoss(mean=True))
        for mu in (width**0.5, 0.01):
            work = f"GGN-SCORE {name}, m = {m}, p = {problem.p}, mu = {mu:.3g}"
            yield from _one_step(bench, f"{work}: one step", problem, rg.PseudoHuberPenalty(mu))
            if name in SEQUENCES:
                yield from _many_steps(bench, f"{work}: {STEPS} steps", problem, rg.PseudoHuberPenalty(mu))


def _one_step(bench: Contest, work: str, problem: rg.Problem, penalty: rg.PseudoHuberPenalty) -> Iterator[Row]:
    dense, start = by_numpy(problem, penalty), np.asarray(problem.w0)
    peer = Contender("NumPy, dense", lambda: lambda _: dense(start), at_least=None if bench.quick else TARGET)
    protocol = Protocol(_error_from(dense(start)), accuracy=1e-9, repetitions=REPETITIONS)
    yield from bench.compare(work, _ours("riemgn", problem, penalty, 1), [peer], protocol)


def _many_steps(bench: Contest, work: str, problem: rg.Problem, penalty: rg.PseudoHuberPenalty) -> Iterator[Row]:
    dense = by_numpy(problem, penalty)

    def by_peer(_=None) -> np.ndarray:
        w = np.asarray(problem.w0)
        for _ in range(STEPS):
            w = dense(w)
        return w

    peers = [
        Contender("NumPy, dense", lambda: by_peer, at_least=None if bench.quick else TARGET),
        _ours("riemgn, each step anew", problem, penalty, STEPS),
    ]
    protocol = Protocol(_error_from(by_peer()), accuracy=1e-9, repetitions=3)
    yield from bench.compare(work, _ours("riemgn, recycling", problem, penalty, STEPS, recycle=True), peers, protocol)


def _ours(name: str, problem: rg.Problem, penalty: rg.PseudoHuberPenalty, steps: int, **options) -> Contender:
    method = rg.GGNScore(penalty, WEIGHT, STEP_SIZE, **options)
    return Contender(name, lambda: lambda _: _after(problem, method, jnp.asarray(steps)))


def _error_from(expected: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda w: float(np.linalg.norm(np.asarray(w) - expected) / np.linalg.norm(expected))
