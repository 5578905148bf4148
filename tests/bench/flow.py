"""Gauss-Newton and Levenberg-Marquardt flow against general integrators, at equal achieved accuracy.

Problem: the weighted network of `stiff.py`, Gram matrix of norm 1 and condition number 1e8 at the start, targets from weights near it; time 0 to 3,
outputs compared at times 1 and 3. Ours is `rg.solve` as a user calls it. Peers get the same right-hand side, riemgn's own direction, jitted: the
ratio is of the integrators alone. One peer, "plain", writes the direction the way a user without riemgn does: Jacobian sample by sample and
`jnp.linalg.lstsq` (Gauss-Newton), a Cholesky factorisation of the smaller damped product (Levenberg-Marquardt). torchdiffeq gets the plain one in
PyTorch. For each the loosest `rtol = atol` whose largest output error, relative to the largest change of the outputs, is at most 1e-6 against a
solve at 1e-12.
"""

import functools
from collections.abc import Iterator

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.solver.implicit import parameter_velocity
from tests.bench.clock import Deadline
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row
from tests.bench.stiff import make_problem

ERROR = 1e-6
TOLERANCES = (1e-3, 1e-4, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 1e-8, 1e-9, 1e-10)
TIMES = (0.0, 1.0, 3.0)
SIZES = ((100, 63), (500, 13))  # n and width, p = 8 width
COND = 1e8
DAMPING = 1e-4
TARGET = 3.0
SOLVERS = {"Tsit5": diffrax.Tsit5, "Dopri5": diffrax.Dopri5, "Dopri8": diffrax.Dopri8, "Kvaerno5": diffrax.Kvaerno5}

_outputs = eqx.filter_jit(lambda problem, params: jax.lax.map(problem.outputs, params))


class Arguments(eqx.Module):
    problem: rg.Problem
    flow: rg.GaussNewtonFlow | rg.LevenbergMarquardtFlow
    rank: jax.Array


def near_problem(n: int, width: int) -> rg.Problem:
    """The weighted network with targets that some weights near the start reach."""
    problem, _ = make_problem(n, width, COND)
    step = np.random.default_rng(1).standard_normal(problem.p)
    targets = problem.outputs(problem.w0 + 0.3 * jnp.asarray(step))
    return rg.Problem(problem.model, problem.params, problem.x, targets)


@jax.jit
def plain_velocity(w, problem, damping):
    """`damping` None is Gauss-Newton."""
    point = problem.linearise(w)
    jac, g = point.jac, point.loss_gradient
    if damping is None:
        return -jnp.linalg.lstsq(jac, g)[0]
    small = jac @ jac.T if problem.n <= problem.p else jac.T @ jac
    factor = jsl.cho_factor(small + damping * jnp.eye(small.shape[0]))
    return -jac.T @ jsl.cho_solve(factor, g) if problem.n <= problem.p else -jsl.cho_solve(factor, jac.T @ g)


@eqx.filter_jit
def own_velocity(w, args):
    return parameter_velocity(args.flow, 0.0, w, args.problem, args.rank)


@eqx.filter_jit
def by_diffrax(args, solver, tolerance):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: own_velocity(w, args)), solver, 0.0, TIMES[-1], None, args.problem.w0, args,
        stepsize_controller=diffrax.ClipStepSizeController(diffrax.PIDController(rtol=tolerance, atol=tolerance), step_ts=jnp.asarray(TIMES)),
        saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)), max_steps=4096, throw=False,
    ).ys  # fmt: skip


def by_riemgn(problem, flow):
    def run(tolerance):
        found = rg.solve(
            problem, flow, TIMES[-1], rtol=tolerance, atol=tolerance, ts=np.asarray(TIMES), step_to_ts=True, throw=False
        )
        return found.params[: len(TIMES)] if found.succeeded else jnp.full((len(TIMES), problem.p), jnp.nan)

    return run


def by_scipy(problem, velocity, method, patience):
    def run(tolerance):
        deadline = Deadline(patience)

        def fun(t, w):
            deadline.check()
            return np.asarray(velocity(w))

        found = solve_ivp(fun, (0.0, TIMES[-1]), np.asarray(problem.w0), method, TIMES, rtol=tolerance, atol=tolerance)
        return found.y.T if found.success else np.full((len(TIMES), problem.p), np.nan)

    return run


def by_torch(problem, damping, patience):
    from tests.bench.peer_torch import solve_flow

    return lambda tolerance: solve_flow(problem, damping, TIMES, tolerance, Deadline(patience))


def contest(bench: Contest, n: int, width: int, flow, patience: float) -> Iterator[Row]:
    problem = near_problem(n, width)
    args = Arguments(problem, flow, jnp.asarray(min(problem.n, problem.p)))
    damping = None if flow.name == "gn" else DAMPING
    reference = np.asarray(_outputs(problem, by_diffrax(args, diffrax.Dopri8(), jnp.asarray(1e-12))))
    scale = np.linalg.norm(reference - reference[0], axis=1).max()

    def error(params) -> float:
        return float(
            np.linalg.norm(np.asarray(_outputs(problem, jnp.asarray(params))) - reference, axis=1).max() / scale
        )

    own = functools.partial(own_velocity, args=args)
    plain = functools.partial(plain_velocity, problem=problem, damping=damping)
    peers = [
        Contender("scipy DOP853", lambda: by_scipy(problem, own, "DOP853", patience), at_least=TARGET),
        Contender("scipy DOP853, plain", lambda: by_scipy(problem, plain, "DOP853", patience), at_least=TARGET),
        Contender("scipy LSODA", lambda: by_scipy(problem, own, "LSODA", patience), at_least=TARGET),
        *(
            Contender(
                f"diffrax {name}",
                lambda s=solver: lambda tolerance: by_diffrax(args, s(), jnp.asarray(tolerance)),
                at_least=TARGET,
            )
            for name, solver in SOLVERS.items()
        ),
        Contender(
            "torchdiffeq dopri8, plain", lambda: by_torch(problem, damping, patience), ("torch", "torchdiffeq"), TARGET
        ),
    ]
    if bench.quick:
        peers = [peer for peer in peers if peer.name in ("scipy DOP853", "diffrax Tsit5")]
    mine = Contender("riemgn solve", lambda: by_riemgn(problem, flow))
    work = f"{'GN' if damping is None else 'LM'} flow, n = {n}, p = {problem.p}, cond {COND:.0e}"
    yield from bench.compare(work, mine, peers, Protocol(error, TOLERANCES, ERROR, patience))


def rows(bench: Contest) -> Iterator[Row]:
    for n, width in SIZES[:1] if bench.quick else SIZES:
        for flow in (rg.GaussNewtonFlow(), rg.LevenbergMarquardtFlow(DAMPING)):
            yield from contest(bench, n, width, flow, 5.0 if bench.quick else 10.0)
