"""Stiff gradient flow against scipy's implicit integrators and diffrax's default, at equal achieved accuracy.

Problem: two-layer tanh network without biases, all weights trained, each output weighted so that the Gram matrix at the start has the stated
condition number and norm 1; targets from another network of the same shape; horizon `3 / lambda_min`; outputs compared at 25 times, equally
spaced in the logarithm. For each solver the loosest `rtol = atol` of `TOLERANCES` whose largest output error, relative to the largest outputs, is
at most 1e-6 against a solve at 1e-11. scipy gets jitted right-hand sides and Jacobians, `exact` (Hessian of the objective) or `gn` (its
Gauss-Newton part); diffrax its own defaults.
"""

from collections.abc import Iterator

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.model import Weighted
from riemgn.solver.implicit import LowRankChord, parameter_velocity
from riemgn.solver.integrate import STIFF_GAINS, STIFF_GROWTH
from tests.bench.clock import Deadline
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

PATIENCE = 10.0
ERROR = 1e-6
TOLERANCES = (1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 1e-9, 1e-10)
INPUTS = 7
# n, width, condition number of the Gram matrix (p = width * (INPUTS + 1)); ratio to reach against scipy and against diffrax
CASES = {
    "n20-p504-1e6": ((20, 63, 1e6), 30.0, 60.0),
    "n20-p48-1e10": ((20, 6, 1e10), 15.0, 60.0),
    "n100-p504-1e6": ((100, 63, 1e6), 20.0, 60.0),
}
LARGE = {"n100-p5000-1e6": ((100, 625, 1e6), 50.0, 50.0)}
SCIPY = ("LSODA", "BDF", "Radau")
QUICK = ("scipy LSODA, GN Jacobian", "scipy LSODA, exact Jacobian", "scipy BDF, GN Jacobian")


def make_problem(n: int, width: int, cond: float, seed: int = 0) -> tuple[rg.Problem, float]:
    """The problem and its horizon. Weights `10^(-e i / n)`, the exponent by bisection between the first values that enclose `cond`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, INPUTS))
    params, teacher = (
        [{"weight": rng.standard_normal((width, INPUTS))}, {"weight": rng.standard_normal((1, width))}]
        for _ in range(2)
    )
    model = Weighted(rg.MLP((INPUTS, width, 1), bias=False))
    plain = rg.Problem(model, params, np.column_stack([x, np.ones(n)]), np.zeros(n))
    jac = np.asarray(plain.jac(plain.w0))
    if n < plain.p:
        jac = np.linalg.qr(jac.T, mode="r").T  # the same singular values under any weights of the rows

    def spectrum(exponent: float) -> tuple[np.ndarray, np.ndarray]:
        weights = 10.0 ** (-exponent * np.linspace(0, 1, n))
        return weights, np.linalg.svd(weights[:, None] * jac, compute_uv=False)

    def excess(exponent: float) -> float:
        s = spectrum(exponent)[1]
        return 2 * np.log10(s[0] / s[-1]) - np.log10(cond)

    grid = np.linspace(0, 14, 281)
    values = [excess(e) for e in grid]
    first = next(i for i in range(280) if values[i] * values[i + 1] <= 0)
    low, high = grid[first], grid[first + 1]
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if excess(low) * excess(middle) <= 0 else (middle, high)
    weights, s = spectrum(high)
    weighted = np.column_stack([x, weights / s[0]])
    return rg.Problem(model, params, weighted, model(teacher, jnp.asarray(weighted))), 3 * float(s[0] / s[-1]) ** 2


class Arguments(eqx.Module):
    problem: rg.Problem
    flow: rg.GradientFlow
    rank: jax.Array


def vector_field(t, y, args):
    return parameter_velocity(args.flow, t, y, args.problem, args.rank)


@eqx.filter_jit
def integrate(args, ts, tolerance, solver, gains, growth):
    controller = diffrax.PIDController(
        rtol=tolerance, atol=tolerance, pcoeff=gains[0], icoeff=gains[1], factormax=growth
    )
    return diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field), solver, 0.0, ts[-1], None, args.problem.w0, args,
        stepsize_controller=diffrax.ClipStepSizeController(controller, step_ts=ts),
        saveat=diffrax.SaveAt(ts=ts), max_steps=200_000, throw=False,
    )  # fmt: skip


_outputs = eqx.filter_jit(lambda problem, params: jax.lax.map(problem.outputs, params))
_slope = jax.jit(lambda w, problem: -jax.grad(problem.objective)(w))
_hessian = jax.jit(lambda w, problem: -jax.hessian(problem.objective)(w))
_gram = jax.jit(lambda w, problem: -problem.gram(w))


def by_diffrax(args, ts, solver, gains=(0.0, 1.0), growth=10.0):
    def run(tolerance):
        return integrate(args, ts, jnp.asarray(tolerance), solver, jnp.asarray(gains), jnp.asarray(growth)).ys

    return run


def by_scipy(args, ts, method, jacobian, patience):
    times, problem = np.asarray(ts), args.problem

    def run(tolerance):
        deadline = Deadline(patience)

        def fun(t, w):
            deadline.check()
            return np.asarray(_slope(w, problem))

        def jac(t, w):
            deadline.check()
            return np.asarray(jacobian(w, problem))

        found = solve_ivp(
            fun, (0.0, times[-1]), np.asarray(problem.w0), method, times, rtol=tolerance, atol=tolerance, jac=jac
        )
        return found.y.T if found.success else np.full((times.size, problem.p), np.nan)

    return run


def contest(bench: Contest, case, patience: float) -> Iterator[Row]:
    """Ours, scipy's and diffrax's default on one case."""
    (n, width, cond), against_scipy, against_diffrax = case
    problem, horizon = make_problem(n, width, cond)
    ts = jnp.asarray(np.concatenate([[0.0], np.geomspace(1.0, horizon, 24)]))
    args = Arguments(problem, rg.GradientFlow(), jnp.asarray(min(problem.n, problem.p)))
    ours = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    reference = np.asarray(_outputs(problem, by_diffrax(args, ts, ours, STIFF_GAINS, STIFF_GROWTH)(1e-11)))

    def error(params) -> float:
        difference = np.linalg.norm(np.asarray(_outputs(problem, jnp.asarray(params))) - reference, axis=1)
        return float(np.max(difference) / np.max(np.linalg.norm(reference, axis=1)))

    peers = [
        Contender(
            f"scipy {method}, {kind} Jacobian",
            lambda m=method, j=jacobian: by_scipy(args, ts, m, j, patience),
            at_least=against_scipy,
        )
        for method in SCIPY
        for kind, jacobian in (("GN", _gram), ("exact", _hessian))
    ]
    peers.append(
        Contender(
            "diffrax Kvaerno5, default", lambda: by_diffrax(args, ts, diffrax.Kvaerno5()), at_least=against_diffrax
        )
    )
    peers = [peer for peer in peers if not bench.quick or peer.name in QUICK]
    protocol = Protocol(error, TOLERANCES, ERROR, patience)
    mine = Contender("riemgn Kvaerno5 + LowRankChord", lambda: by_diffrax(args, ts, ours, STIFF_GAINS, STIFF_GROWTH))
    yield from bench.compare(f"stiff GF, n = {n}, p = {problem.p}, cond {cond:.0e}", mine, peers, protocol)


def rows(bench: Contest) -> Iterator[Row]:
    for name, case in CASES.items():
        if not bench.quick or name == "n20-p48-1e10":
            yield from contest(bench, case, 5.0 if bench.quick else PATIENCE)


def large_rows(bench: Contest) -> Iterator[Row]:
    """One case of many parameters; a peer may take ten minutes."""
    for case in LARGE.values():
        yield from contest(bench, case, 600.0)
