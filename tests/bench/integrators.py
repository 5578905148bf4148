"""A network with a prescribed condition number, and general integrators of its flows."""

import itertools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import riemgn as rg
from riemgn.model import Weighted
from riemgn.solver.implicit import parameter_velocity
from tests.bench.compare import Deadline

INPUTS = 7


class Arguments(eqx.Module):
    problem: rg.Problem
    flow: rg.flow.AbstractFlow
    rank: jax.Array


def make_problem(n: int, width: int, cond: float, seed: int = 0) -> tuple[rg.Problem, float]:
    """Return a two-layer tanh network without biases and the horizon `3 / lambda_min`.

    Output `i` has the weight `10^(-e i / n) / s`. The smallest suitable `e` gives the Gram matrix
    at the start the condition number `cond`, and `s` gives it norm 1. The targets come from another
    network of the same shape.
    """
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
        jac = np.linalg.qr(jac.T, mode="r").T  # the same singular values for all weights of the rows

    def spectrum(exponent: float) -> tuple[np.ndarray, np.ndarray]:
        weights = 10.0 ** (-exponent * np.linspace(0, 1, n))
        return weights, np.linalg.svd(weights[:, None] * jac, compute_uv=False)

    def excess(exponent: float) -> float:
        s = spectrum(exponent)[1]
        return 2 * np.log10(s[0] / s[-1]) - np.log10(cond)

    grid = np.linspace(0, 14, 281)
    bracket = next((low, high) for low, high in itertools.pairwise(grid) if excess(low) * excess(high) <= 0)
    weights, s = spectrum(brentq(excess, *bracket, xtol=1e-14))
    weighted = np.column_stack([x, weights / s[0]])
    return rg.Problem(model, params, weighted, model(teacher, jnp.asarray(weighted))), 3 * float(s[0] / s[-1]) ** 2


@eqx.filter_jit
def outputs(problem, params):
    return jax.lax.map(problem.outputs, params)


@eqx.filter_jit
def own_velocity(w, args):
    """Return the velocity of a flow whose coefficients do not depend on time."""
    return parameter_velocity(args.flow, 0.0, w, args.problem, args.rank)


@eqx.filter_jit
def _integrate(args, ts, tolerance, solver, gains, growth, max_steps):
    controller = diffrax.PIDController(
        rtol=tolerance, atol=tolerance, pcoeff=gains[0], icoeff=gains[1], factormax=growth
    )
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: own_velocity(w, args)), solver, 0.0, ts[-1], None, args.problem.w0, args,
        stepsize_controller=diffrax.ClipStepSizeController(controller, step_ts=ts),
        saveat=diffrax.SaveAt(ts=ts), max_steps=max_steps, throw=False,
    ).ys  # fmt: skip


def by_diffrax(args, ts, solver, gains=(0.0, 1.0), growth=10.0, max_steps=200_000):
    def run(tolerance):
        settings = jnp.asarray(tolerance), solver, jnp.asarray(gains), jnp.asarray(growth)
        return _integrate(args, jnp.asarray(ts), *settings, max_steps)

    return run


def by_scipy(w0, ts, method, velocity, timeout, jacobian=None):
    """Integrate `w' = velocity(w)` with `solve_ivp`, which gets the Jacobian of the velocity."""
    ts = np.asarray(ts)

    def run(tolerance):
        deadline = Deadline(timeout)

        def checked(function, w):
            deadline.check()
            return np.asarray(function(w))

        options = {} if jacobian is None else {"jac": lambda t, w: checked(jacobian, w)}
        solution = solve_ivp(
            lambda t, w: checked(velocity, w), (0.0, ts[-1]), np.asarray(w0), method, ts,
            rtol=tolerance, atol=tolerance, **options,
        )  # fmt: skip
        return solution.y.T if solution.success else np.full((ts.size, w0.size), np.nan)

    return run
