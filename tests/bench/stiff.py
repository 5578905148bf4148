"""Stiff gradient flow against scipy's implicit integrators and diffrax's default, at equal achieved accuracy.

Problem: two-layer tanh network without biases, all weights trained, each output weighted so that the Gram matrix at the start has the stated
condition number and norm 1; targets from another network of the same shape; horizon `3 / lambda_min`; outputs compared at 25 times, equally
spaced in the logarithm. Protocol: float64, BLAS on one thread. For each solver the loosest `rtol = atol` of `TOLERANCES` whose largest output
error, relative to the largest outputs, is at most 1e-6 against a solve at 1e-11; compiled first, then the median of `REPETITIONS` runs at that
tolerance. scipy gets jitted right-hand sides and Jacobians, `exact` (Hessian of the objective) or `gn` (its Gauss-Newton part). A solver is left
out once one of its runs takes `PATIENCE` seconds.
"""

import functools
import sys
import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.integrate import solve_ivp

import riemgn as rg
from riemgn.model import FunctionModel
from riemgn.stiff import LowRankChord, parameter_velocity

from .clock import median_seconds, seconds

CONSOLE = Console(width=140)  # a piped table keeps its columns
REPETITIONS = 5
PATIENCE = 40.0
ERROR = 1e-6
TOLERANCES = (1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 1e-9, 1e-10)
INPUTS = 7
# n, width, condition number of the Gram matrix; p = width * (INPUTS + 1)
CASES = {
    "n20-p504-1e6": (20, 63, 1e6),
    "n100-p504-1e6": (100, 63, 1e6),
    "n20-p48-1e10": (20, 6, 1e10),
    "n100-p48-1e10": (100, 6, 1e10),
    "n100-p5000-1e6": (100, 625, 1e6),
}
SCIPY = ("LSODA", "BDF", "Radau")


def weighted_net(params, x):
    hidden = jnp.tanh(x[:, :-1] @ params["hidden"].T / np.sqrt(x.shape[1] - 1))
    return x[:, -1] * (hidden @ params["out"]) / np.sqrt(params["out"].size)


def make_problem(n: int, width: int, cond: float, seed: int = 0) -> tuple[rg.Problem, float]:
    """The problem and its horizon. Weights `10^(-e i / n)`, the exponent by bisection between the first values that enclose `cond`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, INPUTS))
    params, teacher = ({"hidden": rng.standard_normal((width, INPUTS)), "out": rng.standard_normal(width)} for _ in range(2))
    model = FunctionModel(weighted_net, rowwise=True)
    plain = rg.Problem(model, params, np.column_stack([x, np.ones(n)]), np.zeros(n))
    jac = np.asarray(plain.jac(plain.w0))

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
def integrate(args, ts, tolerance, solver, growth):
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance, factormax=growth)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field), solver, 0.0, ts[-1], None, args.problem.w0, args,
        stepsize_controller=diffrax.ClipStepSizeController(controller, step_ts=ts),
        saveat=diffrax.SaveAt(ts=ts), max_steps=200_000, throw=False,
    )  # fmt: skip


_outputs = eqx.filter_jit(lambda problem, params: jax.lax.map(problem.outputs, params))
_slope = jax.jit(lambda w, problem: -jax.grad(problem.objective)(w))
_hessian = jax.jit(lambda w, problem: -jax.hessian(problem.objective)(w))
_gram = jax.jit(lambda w, problem: -problem.gram(w))


def solvers(args, ts):
    """Name -> function of the tolerance that returns parameters (t, p) or None, for ours, diffrax's default and scipy's."""
    ours = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())

    def by_diffrax(tolerance, solver, growth):
        solution = integrate(args, ts, jnp.asarray(tolerance), solver, jnp.asarray(growth))
        return jax.block_until_ready(solution.ys), int(solution.stats["num_steps"])

    def by_scipy(tolerance, method, jacobian):
        times = np.asarray(ts)
        problem = args.problem
        work = {"fun": lambda t, w: np.asarray(_slope(w, problem)), "jac": lambda t, w: np.asarray(jacobian(w, problem))}
        found = solve_ivp(t_span=(0.0, times[-1]), y0=np.asarray(problem.w0), method=method, t_eval=times, rtol=tolerance, atol=tolerance, **work)
        return (found.y.T if found.success else np.full((times.size, problem.p), np.nan)), found.nfev

    yield "riemgn LowRankChord", functools.partial(by_diffrax, solver=ours, growth=3.0)
    for method in SCIPY:
        for name, jacobian in (("exact", _hessian), ("gn", _gram)):
            yield f"scipy {method}, {name}", functools.partial(by_scipy, method=method, jacobian=jacobian)
    yield "diffrax default", functools.partial(by_diffrax, solver=diffrax.Kvaerno5(), growth=10.0)


def loosest(work, problem, reference):
    """The loosest tolerance that meets `ERROR`, with the error met and the steps or evaluations; None if none does within `PATIENCE`."""
    for tolerance in TOLERANCES:
        start = time.perf_counter()
        params, effort = work(tolerance)
        spent = time.perf_counter() - start
        difference = np.linalg.norm(np.asarray(_outputs(problem, jnp.asarray(params))) - reference, axis=1)
        error = float(np.max(difference) / np.max(np.linalg.norm(reference, axis=1)))
        if error <= ERROR:
            return tolerance, error, effort
        if spent > PATIENCE:
            return None
    return None


def main(wanted: tuple[str, ...] = ("n20-p504-1e6", "n100-p504-1e6", "n20-p48-1e10")) -> None:
    table = Table(title=f"Stiff gradient flow to 3 / lambda_min, output error {ERROR:g}: seconds")
    for column in ("problem", "solver", "rtol", "error", "steps or evaluations", "first call", "median", "times ours"):
        table.add_column(column)
    for case in wanted:
        problem, horizon = make_problem(*CASES[case])
        ts = jnp.asarray(np.concatenate([[0.0], np.geomspace(1.0, horizon, 24)]))
        args = Arguments(problem, rg.GradientFlow(), jnp.asarray(min(problem.n, problem.p)))
        ours = None
        reference = None
        for name, work in solvers(args, ts):
            if reference is None:
                reference = np.asarray(_outputs(problem, jnp.asarray(work(1e-11)[0])))
            first = seconds(lambda work=work: work(1e-5)[0])
            found = None if first > PATIENCE else loosest(work, problem, reference)
            if found is None:
                table.add_row(case, name, "-", "-", "-", f"{first:.2f}", f"gives up ({PATIENCE:g} s a run)", "-")
                continue
            tolerance, error, effort = found
            median = median_seconds(lambda work=work, tolerance=tolerance: work(tolerance)[0], REPETITIONS)
            ours = median if ours is None else ours
            table.add_row(case, name, f"{tolerance:g}", f"{error:.1e}", str(effort), f"{first:.2f}", f"{median:.4f}", f"{median / ours:.1f}")
            CONSOLE.print(f"{case}: {name} {median:.4f} s", style="dim")
    CONSOLE.print(table)


if __name__ == "__main__":
    rg.enable_x64()
    main(*([tuple(sys.argv[1:])] if sys.argv[1:] else []))
