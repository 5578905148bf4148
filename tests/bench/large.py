"""Large problems: seconds, peak memory, and the rate of arithmetic that one step reaches beside that of a plain product of matrices. No peer.

Each work runs in a process of its own (`python -m tests.bench.large TITLE quick|full`), so that its peak memory is its own: what the device reports
where it does, else the resident memory of the process. The first call has the same shapes and a short horizon, so that it compiles what the timed
call runs; that is done once. Errors are relative to the largest change of the outputs: against the exact law `f - y = exp(-t) (f(w_0) - y)` for
Gauss-Newton flow with n < p, and against a solve at a hundredth of the tolerance for the other flows of few samples.
"""

import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.bench.clock import median_seconds, seconds
from tests.bench.contest import Contest
from tests.bench.row import Row, Timing
from tests.bench.stiff import make_problem

LIMIT = 1200.0
RTOL = 1e-6
PRODUCT = 1500


@dataclasses.dataclass(frozen=True)
class Work:
    """A flow or a method on a network of `sizes` with `n` samples.

    - `horizon`: end time; in units of the fastest time scale for gradient flow, in steps for a method. `cond`: of the weighted Gram matrix, then the
        horizon is `3 / lambda_min`.
    - `reference`: what the error is measured against.
    - `counted`: whether the multiplications of one step, the kernel by layers and its Cholesky factor, are set against the clock.
    """

    sizes: tuple[int, ...]
    n: int
    solver: rg.flow.AbstractFlow | rg.method.AbstractMethod
    horizon: float
    cond: float | None = None
    reference: Literal["law", "tight", None] = None
    counted: bool = False

    def problem(self) -> tuple[rg.Problem, float]:
        """The problem and its horizon: targets of another network of the same shape, output scale 10."""
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

    def multiplications(self) -> float:
        """Of a kernel by layers, two Gram matrices a layer, and its Cholesky factor, times two for the additions."""
        widths = sum(a + b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        return 2.0 * self.n**2 * widths + self.n**3 / 3


FREE = rg.MatrixFree(rtol=1e-6, max_steps=200)
SCORE = rg.GGNScore(rg.PseudoHuberPenalty(512**0.5))
DAMPED, GN, GF = rg.LevenbergMarquardt(1.0), rg.GaussNewtonFlow(), rg.GradientFlow()
WORKS = {
    "stiff GF, n = 100, p = 1e5, cond 1e6": Work((7, 12500, 1), 100, GF, 0.0, cond=1e6, reference="tight"),
    "GN flow, n = 2000, p = 19000": Work((18, 1000, 1), 2000, GN, 5.0, reference="law"),
    "GN flow, n = 20000, p = 500": Work((9, 50, 1), 20000, GN, 5.0),
    "LM step, matrix-free, n = 1e5, p = 9500": Work(
        (18, 500, 1), 100_000, rg.LevenbergMarquardt(1e3, matrix_free=FREE), 1
    ),
    "LM step, n = 2000, p = 96300": Work((20, 300, 300, 1), 2000, DAMPED, 1, counted=True),
    "GN flow, n = 2000, p = 96300": Work((20, 300, 300, 1), 2000, GN, 1.0, reference="law"),
    "stiff GF, n = 2000, p = 96300": Work((20, 300, 300, 1), 2000, GF, 1e5),
    "GGN-SCORE, batch of 16 x 10 outputs, p = 406528": Work((784, 512, 10), 16, SCORE, 5),
}
QUICK = {
    "GN flow, n = 100, p = 1900": Work((18, 100, 1), 100, GN, 5.0, reference="law"),
    "LM step, n = 100, p = 3640": Work((20, 52, 50, 1), 100, DAMPED, 1, counted=True),
    "GGN-SCORE, batch of 16 x 3 outputs, p = 2580": Work((40, 60, 3), 16, SCORE, 5),
    "LM step, matrix-free, n = 1000, p = 190": Work((18, 10, 1), 1000, rg.LevenbergMarquardt(1e3, matrix_free=FREE), 1),
}


def error_of(work: Work, problem: rg.Problem, horizon: float, found: rg.Trajectory) -> float | None:
    if work.reference is None:
        return None
    first, last = np.asarray(found.outputs[0]), np.asarray(found.outputs[-1])
    if work.reference == "law":
        y = np.asarray(problem.y)
        exact = y + np.exp(-horizon) * (first - y)
    else:
        exact = np.asarray(work.run(problem, horizon, RTOL / 100).outputs[-1])
    return float(np.linalg.norm(last - exact) / np.linalg.norm(exact - first))


def measured(title: str, work: Work) -> Timing:
    problem, horizon = work.problem()
    short = (
        0.1 if isinstance(work.solver, rg.GradientFlow) else 1e-6
    ) * horizon  # gradient flow stays stiff, so that its solver is the same
    first = seconds(lambda: work.run(problem, short).params)
    kept = []
    spent = seconds(lambda: kept.append(work.run(problem, horizon)) or kept[0].params)
    notes = [f"peak {peak_bytes() / 1e9:.2f} GB", f"{kept[0].stats['num_steps']} steps"]
    if not kept[0].succeeded:
        return Timing(title, note=f"ends with {kept[0].status}")
    if work.counted:
        one = jax.jit(
            lambda problem: work.solver.step(
                problem, problem.w0, work.solver.init(problem, problem.w0, jnp.asarray(problem.n)), None
            )[0]
        )
        one(problem)
        matrix = jnp.asarray(np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT)))
        product = jax.jit(jnp.matmul)
        product(matrix, matrix)
        rate = work.multiplications() / (spent := median_seconds(lambda: one(problem), 5))
        notes[1:] = [
            f"{1e-9 * rate:.0f} GFLOP/s, {rate * median_seconds(lambda: product(matrix, matrix), 5) / (2 * PRODUCT**3):.0%} of a product's"
        ]
    error = error_of(work, problem, horizon, kept[0])
    return Timing(title, spent, error, first, ", ".join(notes))


def peak_bytes() -> float:
    told = jax.devices()[0].memory_stats() or {}
    return told.get("peak_bytes_in_use") or 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_child(title: str, size: str) -> Timing:
    done = subprocess.run([sys.executable, "-m", "tests.bench.large", title, size], capture_output=True, text=True)
    if done.returncode:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["no word"])[-1]
        return Timing("riemgn", note=f"ended with status {done.returncode}: {last}"[:120])
    return Timing(**{**json.loads(done.stdout.splitlines()[-1]), "name": "riemgn"})


def rows(bench: Contest) -> Iterator[Row]:
    size, works = ("quick", QUICK) if bench.quick else ("full", WORKS)
    for title in works:
        if (title, "riemgn") not in bench.done:
            bench.announce(Row(title, Timing("riemgn")), LIMIT)
            yield Row(title, in_child(title, size))


def main(title: str, size: str) -> None:
    rg.enable_x64()
    sys.stdout.write(
        json.dumps(dataclasses.asdict(measured(title, (QUICK if size == "quick" else WORKS)[title]))) + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
