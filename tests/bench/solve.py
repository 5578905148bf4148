"""First-call and second-call times of `rg.solve`.

Protocol: one process, float64, no persistent compilation cache, BLAS on one thread (`make bench` sets it). First call: compilation and solve;
second: the same shapes with other numbers (another key, another horizon), the median of five.
"""

import statistics

import jax
import rich
from rich.table import Table

import riemgn as rg

from .clock import seconds

REPETITIONS = 5


def cases():
    """Problem maker and flow for each row; gradient flow is run over a stiff horizon."""
    shapes = {"under, n = 200, p = 49": (200, 8), "over, n = 40, p = 601": (40, 100)}
    for title, (n, width) in shapes.items():
        yield title, n, width, rg.GaussNewton(), 5.0
        yield title, n, width, rg.LevenbergMarquardt(1e-2), 5.0
    yield "under, n = 200, p = 49", 200, 8, rg.GradientFlow(), 1.0


def main() -> None:
    table = Table(title=f"rg.solve on {jax.devices()[0].platform}, seconds")
    for column in ("problem", "flow", "solver", "steps", "first call", "second call", "ratio"):
        table.add_column(column)
    for title, n, width, flow, t1 in cases():

        def run(repetition, n=n, width=width, flow=flow, t1=t1):
            problem = rg.teacher_student(n=n, width=width, cond=10.0, key=jax.random.key(repetition), alpha=1e3)
            horizon = t1 * (1 + 0.01 * repetition)
            return rg.solve(problem, flow, t1=horizon, rtol=1e-6, throw=False)

        first = seconds(lambda run=run: run(0))
        later = statistics.median(seconds(lambda run=run, i=i: run(i)) for i in range(1, REPETITIONS + 1))
        stats = run(1).stats
        table.add_row(title, flow.name, stats["solver"], str(stats["num_steps"]), f"{first:.2f}", f"{later:.3f}", f"{first / later:.0f}")
    rich.print(table)
