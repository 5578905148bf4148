"""Gauss-Newton and Levenberg-Marquardt flow against general integrators, at equal accuracy.

The problem is that of `integrators.make_problem` with condition number 1e8 and targets from weights
near the start. It runs to time 3, and outputs are compared at times 1 and 3. We time `rg.solve` as
a user calls it. Peers get riemgn's own direction, jitted, so that the ratio compares integrators
only. The peers "plain" use code without riemgn: the Jacobian sample by sample, then
`jnp.linalg.lstsq` or a Cholesky factor of the smaller damped product (torchdiffeq in PyTorch).
Each contender uses the loosest `rtol = atol` whose largest output error, relative to the largest
change of the outputs, is at most 1e-6 against a solve at 1e-12.
"""

from collections.abc import Iterator
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np

import riemgn as rg
from tests.bench.compare import Contender, Deadline, Protocol, Runner
from tests.bench.integrators import Arguments, by_diffrax, by_scipy, make_problem, outputs, own_velocity
from tests.bench.row import Row

ERROR = 1e-6
TOLERANCES = (1e-3, 1e-4, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 1e-8, 1e-9, 1e-10)
TIMES = (0.0, 1.0, 3.0)
SIZES = ((100, 63), (500, 13))  # n and width, p = 8 width
COND = 1e8
DAMPING = 1e-4
TARGET = 3.0
SOLVERS = (diffrax.Tsit5, diffrax.Dopri5, diffrax.Dopri8, diffrax.Kvaerno5)


def near_problem(n: int, width: int) -> rg.Problem:
    """Return the problem with targets that weights near the start attain."""
    problem, _ = make_problem(n, width, COND)
    step = np.random.default_rng(1).standard_normal(problem.p)
    targets = problem.outputs(problem.w0 + 0.3 * jnp.asarray(step))
    return rg.Problem(problem.model, problem.params, problem.x, targets)


@jax.jit
def plain_velocity(w, problem, damping):
    """Return the Gauss-Newton velocity if `damping` is None, else that of Levenberg-Marquardt."""
    point = problem.linearise(w)
    jac, g = point.jac, point.loss_gradient
    if damping is None:
        return -jnp.linalg.lstsq(jac, g)[0]
    small = jac @ jac.T if problem.n <= problem.p else jac.T @ jac
    factor = jsl.cho_factor(small + damping * jnp.eye(small.shape[0]))
    return -jac.T @ jsl.cho_solve(factor, g) if problem.n <= problem.p else -jsl.cho_solve(factor, jac.T @ g)


def by_riemgn(problem, flow):
    def run(tolerance):
        traj = rg.solve(
            problem, flow, TIMES[-1], rtol=tolerance, atol=tolerance, ts=np.asarray(TIMES), step_to_ts=True, throw=False
        )
        return traj.params[: len(TIMES)] if traj.succeeded else jnp.full((len(TIMES), problem.p), jnp.nan)

    return run


def by_torch(problem, damping, timeout):
    from tests.bench.peer_torch import solve_flow

    return lambda tolerance: solve_flow(problem, damping, TIMES, tolerance, Deadline(timeout))


def peers_of(args, damping, timeout: float) -> Iterator[Contender]:
    own = partial(own_velocity, args=args)
    plain = partial(plain_velocity, problem=args.problem, damping=damping)
    for name, velocity in (("DOP853", own), ("DOP853, plain", plain), ("LSODA", own)):
        build = partial(by_scipy, args.problem.w0, TIMES, name.split(",")[0], velocity, timeout)
        yield Contender(f"scipy {name}", build, at_least=TARGET)
    for solver in SOLVERS:
        build = partial(by_diffrax, args, TIMES, solver(), max_steps=4096)
        yield Contender(f"diffrax {solver.__name__}", build, at_least=TARGET)
    build = partial(by_torch, args.problem, damping, timeout)
    yield Contender("torchdiffeq dopri8, plain", build, ("torch", "torchdiffeq"), TARGET)


def flow_rows(runner: Runner, problem: rg.Problem, flow, timeout: float) -> Iterator[Row]:
    args = Arguments(problem, flow, jnp.asarray(min(problem.n, problem.p)))
    damping = None if flow.name == "gn" else DAMPING
    reference = np.asarray(outputs(problem, by_diffrax(args, TIMES, diffrax.Dopri8(), max_steps=4096)(1e-12)))
    scale = np.linalg.norm(reference - reference[0], axis=1).max()

    def error(params) -> float:
        difference = np.asarray(outputs(problem, jnp.asarray(params))) - reference
        return float(np.linalg.norm(difference, axis=1).max() / scale)

    peers = list(peers_of(args, damping, timeout))
    if runner.quick:
        peers = [peer for peer in peers if peer.name in ("scipy DOP853", "diffrax Tsit5")]
    ours = Contender("riemgn solve", partial(by_riemgn, problem, flow))
    work = f"{'GN' if damping is None else 'LM'} flow, n = {problem.n}, p = {problem.p}, cond {COND:.0e}"
    yield from runner.compare(work, ours, peers, Protocol(error, TOLERANCES, ERROR, timeout))


def rows(runner: Runner) -> Iterator[Row]:
    for n, width in SIZES[:1] if runner.quick else SIZES:
        problem = near_problem(n, width)
        for flow in (rg.GaussNewtonFlow(), rg.LevenbergMarquardtFlow(DAMPING)):
            yield from flow_rows(runner, problem, flow, 5.0 if runner.quick else 10.0)
