"""64 seeds of one problem in `rg.solve_batch`, against 16 single runs of `rg.solve`.

A ratio of 1 is the target on two cores. A seed draws the weights of student and teacher. Both sides
solve with the same flow, horizon and saved times, and all programs are compiled before. The batch
uses all cores, a single solve only one of them.
"""

from collections.abc import Iterator
from functools import partial

import jax

import riemgn as rg
from tests.bench.compare import Contender, Protocol, Runner
from tests.bench.row import Row

SEEDS, SINGLE_SEEDS = 64, 16
SAMPLES, INPUTS, WIDTH = 100, 4, 40
FLOWS = (rg.GaussNewtonFlow(), rg.LevenbergMarquardtFlow(1e-2))


def make_problem(seed: int) -> rg.Problem:
    """Return a network with p = 200 and the targets of a teacher, on inputs shared by all seeds."""
    x = jax.random.normal(jax.random.key(0), (SAMPLES, INPUTS))
    net = rg.MLP((INPUTS, WIDTH, 1), bias=False)
    student, teacher = (net.init(key=key) for key in jax.random.split(jax.random.key(1 + seed)))
    return rg.Problem(rg.Scaled(rg.Centred(net, student), 1e3), student, x, net(teacher, x) - net(student, x))


def in_a_batch(flow):
    problems = [make_problem(seed) for seed in range(SEEDS)]
    return lambda _: [trajectory.outputs for trajectory in rg.solve_batch(problems, flow, throw=False)]


def one_by_one(flow):
    problems = [make_problem(seed) for seed in range(SINGLE_SEEDS)]
    return lambda _: [rg.solve(problem, flow, throw=False).outputs for problem in problems]


def rows(runner: Runner) -> Iterator[Row]:
    for flow in FLOWS[: 1 if runner.quick else None]:
        ours = Contender(f"rg.solve_batch, {SEEDS} seeds", partial(in_a_batch, flow))
        peer = Contender(f"rg.solve, {SINGLE_SEEDS} seeds one by one", partial(one_by_one, flow), at_least=1.0)
        work = f"{flow.name}, n = {SAMPLES}, p = 200, t = 20"
        yield from runner.compare(work, ours, [peer], Protocol(timeout=60.0, repetitions=3))
