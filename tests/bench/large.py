"""Large problems: seconds, peak memory and the arithmetic rate of a step. There is no peer.

Each case runs in a process of its own (`python -m tests.bench.large TITLE quick|full`), so that its
peak memory is its own. It is the peak of the device if JAX reports it, else the resident memory of
the process. The rate of a step is compared with that of a matrix product. A first call with the
same shapes and a short horizon compiles what the timed call runs. Errors are relative to the
largest change of the outputs.
"""

import dataclasses
import resource
import sys
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.bench.child import gflops, send, SIZE
from tests.bench.compare import median_seconds, Runner, timed
from tests.bench.integrators import make_problem
from tests.bench.row import Row, Timing
from tests.bench.supervisor import run_module

LIMIT = 1200.0
RTOL = 1e-6


@dataclasses.dataclass(frozen=True)
class Case:
    """A flow or a method on a network of `sizes` with `n` samples.

    - `horizon`: end time (for gradient flow in units of the fastest time scale), or the number of
        steps of a method.
    - `cond`: condition number of the Gram matrix. If it is given, the horizon is `3 / lambda_min`.
    - `reference`: "law" is `f - y = exp(-t) (f(w_0) - y)`, which holds for Gauss-Newton flow with
        n < p. "tight" is a solve at a hundredth of the tolerance.
    - `count_flops`: whether to report the arithmetic rate of a step.
    """

    sizes: tuple[int, ...]
    n: int
    solver: rg.flow.AbstractFlow | rg.method.AbstractMethod
    horizon: float
    cond: float | None = None
    reference: Literal["law", "tight", None] = None
    count_flops: bool = False

    def problem(self) -> tuple[rg.Problem, float]:
        """Return the problem, with the targets of another such network, and its horizon."""
        if self.cond is not None:
            return make_problem(self.n, self.sizes[1], self.cond)
        net, x = rg.MLP(self.sizes, bias=False), np.random.default_rng(0).standard_normal((self.n, self.sizes[0]))
        params, teacher = (net.init(key=jax.random.key(i)) for i in range(2))
        problem = rg.Problem(rg.Scaled(rg.Centred(net, params), 10.0), params, x, net(teacher, jnp.asarray(x)))
        if isinstance(self.solver, rg.GradientFlow):
            return problem, self.horizon / float(jnp.linalg.eigvalsh(problem.ntk(problem.w0))[-1])
        return problem, self.horizon

    def run(self, problem: rg.Problem, horizon: float, rtol: float = RTOL) -> rg.Trajectory:
        if isinstance(self.solver, rg.flow.AbstractFlow):
            return rg.solve(problem, self.solver, horizon, rtol=rtol, atol=rtol, ts=[0.0, horizon], throw=False)
        spectra = not isinstance(self.solver, rg.GGNScore)  # its Jacobian is never formed
        return rg.iterate(problem, self.solver, steps=int(self.horizon), throw=False, spectra=spectra)

    def step_flops(self) -> float:
        """Count the layerwise kernel, two Gram matrices per layer, and its Cholesky factor."""
        widths = sum(a + b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return 2.0 * self.n**2 * widths + self.n**3 / 3

    def step_seconds(self, problem: rg.Problem) -> float:
        @jax.jit
        def step(problem):
            state = self.solver.init(problem, problem.w0, jnp.asarray(problem.n))
            return self.solver.step(problem, problem.w0, state, None)[0]

        jax.block_until_ready(step(problem))
        return median_seconds(lambda: step(problem), 5)


MATRIX_FREE = rg.LevenbergMarquardt(1e3, matrix_free=rg.MatrixFree(rtol=1e-6, max_steps=200))
SCORE = rg.GGNScore(rg.PseudoHuberPenalty(512**0.5))
DAMPED, GN, GF = rg.LevenbergMarquardt(1.0), rg.GaussNewtonFlow(), rg.GradientFlow()
CASES = {
    "stiff GF, n = 100, p = 1e5, cond 1e6": Case((7, 12500, 1), 100, GF, 0.0, cond=1e6, reference="tight"),
    "GN flow, n = 2000, p = 19000": Case((18, 1000, 1), 2000, GN, 5.0, reference="law"),
    "GN flow, n = 20000, p = 500": Case((9, 50, 1), 20000, GN, 5.0),
    "LM step, matrix-free, n = 1e5, p = 9500": Case((18, 500, 1), 100_000, MATRIX_FREE, 1),
    "LM step, n = 2000, p = 96300": Case((20, 300, 300, 1), 2000, DAMPED, 1, count_flops=True),
    "GN flow, n = 2000, p = 96300": Case((20, 300, 300, 1), 2000, GN, 1.0, reference="law"),
    "stiff GF, n = 2000, p = 96300": Case((20, 300, 300, 1), 2000, GF, 1e5),
    "GGN-SCORE, batch of 16 x 10 outputs, p = 406528": Case((784, 512, 10), 16, SCORE, 5),
}
QUICK = {
    "GN flow, n = 100, p = 1900": Case((18, 100, 1), 100, GN, 5.0, reference="law"),
    "LM step, n = 100, p = 3640": Case((20, 52, 50, 1), 100, DAMPED, 1, count_flops=True),
    "GGN-SCORE, batch of 16 x 3 outputs, p = 2580": Case((40, 60, 3), 16, SCORE, 5),
    "LM step, matrix-free, n = 1000, p = 190": Case((18, 10, 1), 1000, MATRIX_FREE, 1),
}


def error_of(case: Case, problem: rg.Problem, horizon: float, traj: rg.Trajectory) -> float | None:
    if case.reference is None:
        return None
    first, last = np.asarray(traj.outputs[0]), np.asarray(traj.outputs[-1])
    if case.reference == "law":
        y = np.asarray(problem.y)
        exact = y + np.exp(-horizon) * (first - y)
    else:
        exact = np.asarray(case.run(problem, horizon, RTOL / 100).outputs[-1])
    return float(np.linalg.norm(last - exact) / np.linalg.norm(exact - first))


def measure(case: Case) -> Timing:
    problem, horizon = case.problem()
    # gradient flow must stay stiff, so that riemgn chooses the same solver
    short = (0.1 if isinstance(case.solver, rg.GradientFlow) else 1e-6) * horizon
    first, _ = timed(lambda: case.run(problem, short))
    seconds, traj = timed(lambda: case.run(problem, horizon))
    memory = f"peak {peak_bytes() / 1e9:.2f} GB"
    if not traj.succeeded:
        return Timing("riemgn", note=f"ends with {traj.status}")
    note = f"{memory}, {traj.stats['num_steps']} steps"
    if case.count_flops:
        seconds = case.step_seconds(problem)
        rate = 1e-9 * case.step_flops() / seconds
        matrix = jnp.asarray(np.random.default_rng(0).standard_normal((SIZE, SIZE)))
        share = rate / gflops(jax.jit(jnp.matmul), matrix)
        note = f"{memory}, {rate:.0f} GFLOP/s, {share:.0%} of a matrix product's"
    return Timing("riemgn", seconds, error_of(case, problem, horizon, traj), first, note)


def peak_bytes() -> float:
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_in_process(title: str, size: str) -> Timing:
    try:
        return Timing(**run_module("large", title, size))
    except RuntimeError as error:
        return Timing("riemgn", note=str(error))


def rows(runner: Runner) -> Iterator[Row]:
    size, cases = ("quick", QUICK) if runner.quick else ("full", CASES)
    for title in cases:
        if (title, "riemgn") not in runner.done:
            runner.before_call(Row(title, Timing("riemgn")), LIMIT)
            yield Row(title, measure_in_process(title, size))


def main(title: str, size: str) -> None:
    rg.enable_x64()
    send(dataclasses.asdict(measure((QUICK if size == "quick" else CASES)[title])))


if __name__ == "__main__":
    main(*sys.argv[1:])
