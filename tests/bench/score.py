"""GGN-SCORE steps on all samples, against the dense low-rank form in NumPy.

The networks are those of Adeoye et al., arXiv:2404.14875v1. The peer forms the Jacobian, its kernel
in the inverse metric and one Cholesky factor in float64. The error is the relative difference of
the new parameters from the peer's. At the smoothing 0.01 the kernel dominates the damping. Some
networks also take `STEPS` steps, with and without recycling the inverse of an earlier system.
"""

from collections.abc import Callable, Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

import riemgn as rg
from riemgn.method import MethodState
from tests.bench.compare import call, Contender, Protocol, Runner
from tests.bench.row import Row

TARGET = 3.0
WEIGHT, STEP_SIZE = 1e-4, 0.95
NETWORKS = {"S2": (500, 5, 500), "S1": (1000, 20, 500)}  # samples, inputs, hidden units
QUICK = {"small": (100, 5, 100)}
STEPS = 100
RECYCLED = ("S2", "small")  # networks that also take many steps


def by_numpy(problem: rg.Problem, penalty: rg.PseudoHuberPenalty, steps: int) -> Callable[[float], np.ndarray]:
    """Take GGN-SCORE steps (Statements G3 and G4) of a network with one output."""
    x, y = np.asarray(problem.x), np.asarray(problem.y)
    m, mu, width = len(y), float(penalty.smoothing), problem.model.sizes[1]
    kappa, m_g = width**-0.5, float(penalty.self_concordance(problem.p))

    def step(w: np.ndarray) -> np.ndarray:
        hidden, output = w[: width * x.shape[1]].reshape(width, -1), w[None, width * x.shape[1] :]
        z = x @ hidden.T
        s = scipy.special.expit(z)
        rho, slope = z * s, s + z * s * (1 - s)
        e = (kappa * rho @ output[0] - y) / m
        first = (kappa * (slope * output[0])[:, :, None] * x[:, None, :]).reshape(m, -1)
        jac = np.concatenate([first, kappa * rho], axis=1)
        r = np.sqrt(mu**2 + w**2)
        pull, metric = WEIGHT * w / r, mu**2 / r**3
        weighted = jac / metric
        factor = scipy.linalg.cho_factor(np.eye(m) + weighted @ jac.T / m)
        d = -(jac.T @ scipy.linalg.cho_solve(factor, e - weighted @ pull / m) + pull) / metric
        return w + min(1.0, STEP_SIZE / (1 + m_g * np.sqrt(np.sum(pull**2 / metric)))) * d

    def run(_):
        w = np.asarray(problem.w0)
        for _ in range(steps):
            w = step(w)
        return w

    return run


@eqx.filter_jit
def _by_riemgn(problem, method, steps):
    start = method.init(problem, problem.w0, jnp.asarray(0))

    def advance(_, carry):
        w, state = method.step(problem, *carry, jax.random.key(0))
        # the report of a step is dropped, so that XLA does not compute it
        return w, MethodState(state.time, state.count, state.memory, start.report)

    return jax.lax.fori_loop(0, steps, advance, (problem.w0, start))[0]


def make_problem(m: int, inputs: int, width: int) -> rg.Problem:
    keys = jax.random.split(jax.random.key(0), 4)
    net = rg.MLP((inputs, width, 1), "silu", scaling="output", bias=False)
    params = [
        {"weight": jax.random.normal(keys[0], (width, inputs))},
        {"weight": jax.random.uniform(keys[1], (1, width))},
    ]
    x = jax.random.normal(keys[2], (m, inputs))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return rg.Problem(net, params, x, jax.random.normal(keys[3], (m,)), rg.SquaredLoss(mean=True))


def rows(runner: Runner) -> Iterator[Row]:
    for name, (m, inputs, width) in (QUICK if runner.quick else NETWORKS).items():
        problem = make_problem(m, inputs, width)
        for mu in (width**0.5, 0.01):
            work = f"GGN-SCORE {name}, m = {m}, p = {problem.p}, mu = {mu:.3g}"
            yield from step_rows(runner, f"{work}: one step", problem, mu, 1)
            if name in RECYCLED:
                yield from step_rows(runner, f"{work}: {STEPS} steps", problem, mu, STEPS)


def step_rows(runner: Runner, work: str, problem: rg.Problem, mu: float, steps: int) -> Iterator[Row]:
    penalty = rg.PseudoHuberPenalty(mu)
    peer = partial(by_numpy, problem, penalty, steps)
    expected = peer()(0.0)

    def ours(name: str, **options) -> Contender:
        method = rg.GGNScore(penalty, WEIGHT, STEP_SIZE, **options)
        return Contender(name, call(_by_riemgn, problem, method, jnp.asarray(steps)))

    def error(w) -> float:
        return float(np.linalg.norm(np.asarray(w) - expected) / np.linalg.norm(expected))

    target = None if runner.quick else TARGET
    peers = [Contender("NumPy, dense", peer, at_least=target)]
    if steps == 1:
        yield from runner.compare(work, ours("riemgn"), peers, Protocol(error, accuracy=1e-9, repetitions=9))
    else:
        peers.append(ours("riemgn, no recycling"))
        protocol = Protocol(error, accuracy=1e-9, repetitions=3)
        yield from runner.compare(work, ours("riemgn, recycling", recycle=True), peers, protocol)
