"""How long a user waits for `rg.solve`: first call, later calls, first call of another process.

There is no peer. Later calls have the same shapes with other data and another horizon, and they
build the problem. Another process finds the compiled programs in the cache of the command line. Its
clock starts after the imports, and it starts to integrate one later call's time before its end.
`python -m tests.bench.solve INDEX` is such a process.
"""

import functools
import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator

import jax

import riemgn as rg
from riemgn.cli.session import prepare_jax
from tests.bench.child import send
from tests.bench.compare import Contender, Protocol, Runner, timed
from tests.bench.row import Row, Timing
from tests.bench.supervisor import run_module

CASES = (  # shape, n, width, flow, horizon (stiff for gradient flow)
    ("n = 200, p = 49", 200, 8, rg.GaussNewtonFlow(), 5.0),
    ("n = 200, p = 49", 200, 8, rg.LevenbergMarquardtFlow(1e-2), 5.0),
    ("n = 40, p = 601", 40, 100, rg.GaussNewtonFlow(), 5.0),
    ("n = 40, p = 601", 40, 100, rg.LevenbergMarquardtFlow(1e-2), 5.0),
    ("n = 200, p = 49", 200, 8, rg.GradientFlow(), 1.0),
)
STAGES = {"starts": "another process, until it integrates", "ends": "another process, until it has solved"}
CACHED = "riemgn solve, compiled programs cached"
PROCESSES = 5  # after the one that fills the cache


def solver_of(index: int):
    _, n, width, flow, t1 = CASES[index]
    count = itertools.count()

    def run(_):
        i = next(count)
        problem = rg.teacher_student(n=n, width=width, cond=10.0, key=jax.random.key(i), alpha=1e3)
        return rg.solve(problem, flow, t1=t1 * (1 + 0.01 * i), rtol=1e-6, throw=False).outputs

    return run


@functools.cache
def processes(index: int) -> list[dict[str, float]]:
    """Return the seconds of each stage: first with an empty cache, then with a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        return [run_module("solve", str(index), RIEMGN_CACHE=folder) for _ in range(1 + PROCESSES)]


def another_process(index: int, stage: str) -> Timing:
    cold, *warm = processes(index)
    return Timing(CACHED, statistics.median(run[stage] for run in warm), None, cold[stage])


def rows(runner: Runner) -> Iterator[Row]:
    for index, (shape, _, _, flow, _) in enumerate(CASES[: 1 if runner.quick else None]):
        work = f"rg.solve {flow.name}, {shape}"
        contender = Contender("riemgn solve", functools.partial(solver_of, index))
        yield from runner.compare(work, contender, [], Protocol())
        for stage, title in STAGES.items():
            contender = Contender(CACHED, functools.partial(another_process, index, stage))
            yield from runner.compare(f"{work}, {title}", contender, [], Protocol(timeout=240.0))


def main(index: int) -> None:
    prepare_jax()
    run = solver_of(index)
    first, later = (timed(lambda: run(None))[0] for _ in range(2))
    send({"starts": first - later, "ends": first})


if __name__ == "__main__":
    main(int(sys.argv[1]))
