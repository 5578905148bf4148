"""Stiff gradient flow: riemgn's implicit solver, scipy's implicit integrators, diffrax's default.

The problem is that of `integrators.make_problem`, from time 0 to `3 / lambda_min`. The outputs are
compared at 25 times that are equally spaced in the logarithm. Each solver uses the loosest
`rtol = atol` whose largest output error, relative to the largest outputs, is at most 1e-6 against a
solve at 1e-11. scipy gets jitted velocities and Jacobians: "exact" is the Hessian of the objective,
"GN" its Gauss-Newton part. diffrax has its default settings.
"""

from collections.abc import Iterator
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.solver.implicit import LowRankChord
from riemgn.solver.integrate import STIFF_GAINS, STIFF_GROWTH
from tests.bench.compare import Contender, Protocol, Runner
from tests.bench.integrators import Arguments, by_diffrax, by_scipy, make_problem, outputs
from tests.bench.row import Row

ERROR = 1e-6
TOLERANCES = (1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 1e-9, 1e-10)
# n, width (p = 8 width), condition number of the Gram matrix; targets against scipy and diffrax
CASES = (((20, 63, 1e6), 30.0, 60.0), ((20, 6, 1e10), 15.0, 60.0), ((100, 63, 1e6), 20.0, 60.0))
LARGE = ((100, 625, 1e6), 50.0, 50.0)
SCIPY = ("LSODA", "BDF", "Radau")
QUICK = ("scipy LSODA, GN Jacobian", "scipy LSODA, exact Jacobian", "scipy BDF, GN Jacobian")

_slope = jax.jit(lambda w, problem: -jax.grad(problem.objective)(w))
_hessian = jax.jit(lambda w, problem: -jax.hessian(problem.objective)(w))
_gram = jax.jit(lambda w, problem: -problem.gram(w))


def case_rows(runner: Runner, case, timeout: float) -> Iterator[Row]:
    (n, width, cond), against_scipy, against_diffrax = case
    problem, horizon = make_problem(n, width, cond)
    ts = jnp.asarray(np.concatenate([[0.0], np.geomspace(1.0, horizon, 24)]))
    args = Arguments(problem, rg.GradientFlow(), jnp.asarray(min(problem.n, problem.p)))
    solver = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    ours = Contender("riemgn Kvaerno5 + LowRankChord", partial(by_diffrax, args, ts, solver, STIFF_GAINS, STIFF_GROWTH))
    reference = np.asarray(outputs(problem, ours.build()(1e-11)))

    def error(params) -> float:
        difference = np.linalg.norm(np.asarray(outputs(problem, jnp.asarray(params))) - reference, axis=1)
        return float(np.max(difference) / np.max(np.linalg.norm(reference, axis=1)))

    slope = partial(_slope, problem=problem)
    peers = [
        Contender(
            f"scipy {method}, {kind} Jacobian",
            partial(by_scipy, problem.w0, ts, method, slope, timeout, partial(jacobian, problem=problem)),
            at_least=against_scipy,
        )
        for method in SCIPY
        for kind, jacobian in (("GN", _gram), ("exact", _hessian))
    ]
    default = partial(by_diffrax, args, ts, diffrax.Kvaerno5())
    peers.append(Contender("diffrax Kvaerno5, default", default, at_least=against_diffrax))
    peers = [peer for peer in peers if not runner.quick or peer.name in QUICK]
    work = f"stiff GF, n = {n}, p = {problem.p}, cond {cond:.0e}"
    yield from runner.compare(work, ours, peers, Protocol(error, TOLERANCES, ERROR, timeout))


def rows(runner: Runner) -> Iterator[Row]:
    for case in CASES[1:2] if runner.quick else CASES:
        yield from case_rows(runner, case, 5.0 if runner.quick else 10.0)


def large_rows(runner: Runner) -> Iterator[Row]:
    """One case with many parameters, in which a peer may run for ten minutes."""
    yield from case_rows(runner, LARGE, 600.0)
