"""What a user of `rg.solve` waits for: the first call, compilation included, later ones, and the first one of another process. No peer.

Later calls: the same shapes with other numbers (another key, another horizon), building the problem included. Another process finds the programs
that the first one compiled in the cache that the command line keeps; its clock starts after the imports, and it starts to integrate as long before
its end as a later call takes.
"""

import functools
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import jax

import riemgn as rg
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row, Timing
from tests.bench.supervisor import environment, ROOT

SHAPES = {"n = 200, p = 49": (200, 8), "n = 40, p = 601": (40, 100)}
STAGES = {"starts": "another process, until it integrates", "ends": "another process, until it has solved"}
PROCESSES = 5  # with the programs at hand, after the one that compiles them


def cases():
    """Problem and flow of each row; gradient flow is run over a stiff horizon."""
    for title, (n, width) in SHAPES.items():
        yield title, n, width, rg.GaussNewtonFlow(), 5.0
        yield title, n, width, rg.LevenbergMarquardtFlow(1e-2), 5.0
    yield "n = 200, p = 49", 200, 8, rg.GradientFlow(), 1.0


def repeated(n: int, width: int, flow, t1: float):
    count = itertools.count()

    def run(_):
        i = next(count)
        problem = rg.teacher_student(n=n, width=width, cond=10.0, key=jax.random.key(i), alpha=1e3)
        return rg.solve(problem, flow, t1=t1 * (1 + 0.01 * i), rtol=1e-6, throw=False).outputs

    return run


@functools.cache
def processes(place: int) -> list[dict[str, float]]:
    """What `tests.bench.process` says of one case: first with nothing compiled, then with what the first one compiled."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.process", str(place)]
        surroundings = {**environment(), "RIEMGN_CACHE": folder}
        done = [
            subprocess.run(command, cwd=ROOT, env=surroundings, check=True, capture_output=True, text=True).stdout
            for _ in range(1 + PROCESSES)
        ]
    return [json.loads(said.splitlines()[-1]) for said in done]


def another_process(place: int, stage: str) -> Timing:
    cold, *warm = processes(place)
    return Timing("riemgn solve, programs kept", statistics.median(run[stage] for run in warm), None, cold[stage])


def rows(bench: Contest) -> Iterator[Row]:
    chosen = list(enumerate(cases()))[: 1 if bench.quick else None]
    for place, (title, n, width, flow, t1) in chosen:
        work = f"rg.solve {flow.name}, {title}"
        build = functools.partial(repeated, n, width, flow, t1)
        yield from bench.compare(work, Contender("riemgn solve", build), [], Protocol())
        for stage, words in STAGES.items():
            build = functools.partial(another_process, place, stage)
            yield from bench.compare(
                f"{work}, {words}", Contender("riemgn solve, programs kept", build), [], Protocol(patience=240.0)
            )
