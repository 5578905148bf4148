"""Many seeds of one problem by `rg.solve_batch`, against a quarter as many by `rg.solve`, one after the other: the target on two cores.

Seeds draw the weights of student and teacher; both sides solve the same problems with the same flow, horizon and saved times. Programs are compiled
before. The batch takes the cores that there are; a solve by itself keeps one of them busy.
"""

import functools
from collections.abc import Iterator

import jax

import riemgn as rg
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

SEEDS, QUARTER = 64, 16
SAMPLES, INPUTS, WIDTH = 100, 4, 40
FLOWS = (rg.GaussNewtonFlow(), rg.LevenbergMarquardtFlow(1e-2))


def seeded(seed: int) -> rg.Problem:
    """A network with n = 100 and p = 200 that follows a teacher of its own shape, on inputs that all seeds share."""
    x = jax.random.normal(jax.random.key(0), (SAMPLES, INPUTS))
    net = rg.MLP((INPUTS, WIDTH, 1), bias=False)
    student, teacher = (net.init(key=key) for key in jax.random.split(jax.random.key(1 + seed)))
    return rg.Problem(rg.Scaled(rg.Centred(net, student), 1e3), student, x, net(teacher, x) - net(student, x))


def in_a_batch(flow):
    problems = [seeded(seed) for seed in range(SEEDS)]
    return lambda _: [trajectory.outputs for trajectory in rg.solve_batch(problems, flow, throw=False)]


def one_by_one(flow):
    problems = [seeded(seed) for seed in range(QUARTER)]
    return lambda _: [rg.solve(problem, flow, throw=False).outputs for problem in problems]


def rows(bench: Contest) -> Iterator[Row]:
    for flow in FLOWS[: 1 if bench.quick else None]:
        ours = Contender(f"rg.solve_batch, {SEEDS} seeds", functools.partial(in_a_batch, flow))
        peer = Contender(f"rg.solve, {QUARTER} seeds one by one", functools.partial(one_by_one, flow), at_least=1.0)
        work = f"{flow.name}, n = {SAMPLES}, p = 200, t = 20"
        yield from bench.compare(work, ours, [peer], Protocol(patience=60.0, repetitions=3))
