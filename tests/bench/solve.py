"""What a user of `rg.solve` waits for: the first call, compilation included, and later ones. No peer.

Later calls: the same shapes with other numbers (another key, another horizon), building the problem included.
"""

import itertools
from collections.abc import Iterator

import jax

import riemgn as rg

from .contest import Contender, Contest, Protocol
from .row import Row

SHAPES = {"n = 200, p = 49": (200, 8), "n = 40, p = 601": (40, 100)}


def cases():
    """Problem and flow of each row; gradient flow is run over a stiff horizon."""
    for title, (n, width) in SHAPES.items():
        yield title, n, width, rg.GaussNewton(), 5.0
        yield title, n, width, rg.LevenbergMarquardt(1e-2), 5.0
    yield "n = 200, p = 49", 200, 8, rg.GradientFlow(), 1.0


def repeated(n: int, width: int, flow, t1: float):
    count = itertools.count()

    def run(_):
        i = next(count)
        problem = rg.teacher_student(n=n, width=width, cond=10.0, key=jax.random.key(i), alpha=1e3)
        return rg.solve(problem, flow, t1=t1 * (1 + 0.01 * i), rtol=1e-6, throw=False).outputs

    return run


def rows(bench: Contest) -> Iterator[Row]:
    for title, n, width, flow, t1 in itertools.islice(cases(), 1) if bench.quick else cases():
        build = lambda n=n, width=width, flow=flow, t1=t1: repeated(n, width, flow, t1)  # noqa: E731
        yield from bench.compare(f"rg.solve {flow.name}, {title}", Contender("riemgn solve", build), [], Protocol())
