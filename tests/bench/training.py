"""Train a network on all samples to the same loss with Levenberg-Marquardt and related methods.

A tanh network fits the targets of another one, with loss `|f - y|^2 / 2`. Each contender stops at
the first iterate whose loss is at most the target. Compiled contenders stop in their own loop, and
scipy by an exception in its objective, so that no convergence test counts. The error is the final
loss. riemgn uses the damping `rho = c |f - y|`, the others their own rules. scipy gets the jitted
residual and the jitted per-sample Jacobian. optimistix and jaxopt differentiate the residual.
"""

import functools
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from scipy.optimize import least_squares

import riemgn as rg
from tests.bench.compare import call, Contender, Deadline, Protocol, Runner
from tests.bench.row import Row

# n, width, target loss, target of the ratio; with 8 inputs, p = 10 width + 1
CASES = ((200, 15, 1e-4, 3.0), (100, 200, 1e-6, 6.0))
STEPS = 400
TIMEOUT = 30.0
FACTOR = 1e-3  # the smallest number of steps among seven factors, on both problems
JAXOPT = {"CG": {}, "Cholesky": {"solver": "cholesky", "materialize_jac": True}}


class Reached(Exception):
    """Raised in scipy's objective when the loss reaches its target."""


def half_square(r) -> jax.Array:
    return 0.5 * jnp.sum(r**2)


def residual(w, problem):
    return problem.outputs(w) - problem.y


class UntilLoss(optx.AbstractLeastSquaresSolver):
    """Stop an optimistix solver when the loss is at most `target`."""

    solver: optx.AbstractLeastSquaresSolver
    target: jax.Array
    rtol: float = 0.0
    atol: float = 0.0
    norm: object = eqx.field(static=True, default=optx.max_norm)

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        return self.solver.init(fn, y, args, options, f_struct, aux_struct, tags)

    def step(self, fn, y, args, options, state, tags):
        return self.solver.step(fn, y, args, options, state, tags)

    def terminate(self, fn, y, args, options, state, tags):
        return half_square(fn(y, args)[0]) <= self.target, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return self.solver.postprocess(fn, y, aux, args, options, state, tags, result)


@eqx.filter_jit
def by_optimistix(problem, solver):
    return optx.least_squares(residual, solver, problem.w0, problem, max_steps=STEPS, throw=False).value


def by_jaxopt(problem, target, options):
    import jaxopt

    fun = functools.partial(residual, problem=problem)
    minimiser = jaxopt.LevenbergMarquardt(residual_fun=fun, maxiter=STEPS, **options)

    @jax.jit
    def run(w):
        def unfinished(carry):
            w, state = carry
            return (half_square(fun(w)) > target) & (state.iter_num < STEPS)

        start = w, minimiser.init_state(w)
        return jax.lax.while_loop(unfinished, lambda carry: tuple(minimiser.update(*carry)), start)[0]

    return lambda _: run(problem.w0)


_residual = jax.jit(residual)
_jacobian = jax.jit(lambda w, problem: problem.jac(w))


def by_scipy(problem, target, method):
    tolerances = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}

    def run(_):
        deadline, final = Deadline(TIMEOUT), []

        def fun(w):
            deadline.check()
            r = np.asarray(_residual(w, problem))
            if 0.5 * r @ r <= target:
                final.append(w.copy())
                raise Reached
            return r

        def jac(w):
            return np.asarray(_jacobian(w, problem))

        try:
            return least_squares(fun, np.asarray(problem.w0), jac, method=method, **tolerances).x
        except Reached:
            return final[0]

    return run


def by_riemgn(problem, target):
    method = rg.LevenbergMarquardt(rg.ResidualDamping(FACTOR))
    return lambda _: rg.iterate(problem, method, steps=STEPS, save_every=STEPS, loss_tol=target, throw=False).params[-1]


def peers_of(problem: rg.Problem, target: float, at_least: float, quick: bool) -> Iterator[Contender]:
    for solver in (optx.LevenbergMarquardt, optx.GaussNewton, optx.Dogleg)[: 1 if quick else None]:
        until_loss = UntilLoss(solver(rtol=0.0, atol=0.0), jnp.asarray(target))
        build = call(by_optimistix, problem, until_loss)
        yield Contender(f"optimistix {solver.__name__}", build, at_least=at_least)
    for kind, options in JAXOPT.items():
        build = functools.partial(by_jaxopt, problem, target, options)
        yield Contender(f"jaxopt LevenbergMarquardt, {kind}", build, ("jaxopt",), at_least)
    for method in ("trf", "lm") if problem.n >= problem.p else ("trf",):
        build = functools.partial(by_scipy, problem, target, method)
        yield Contender(f"scipy least_squares {method}", build, at_least=at_least)


def rows(runner: Runner) -> Iterator[Row]:
    for n, width, target, at_least in CASES[:1] if runner.quick else CASES:
        problem = rg.teacher_student(n=n, width=width, inputs=8, cond=10.0, key=jax.random.key(0))
        loss = jax.jit(lambda w, problem=problem: half_square(residual(w, problem)))
        ours = Contender("riemgn iterate, LM", functools.partial(by_riemgn, problem, target))
        peers = list(peers_of(problem, target, at_least, runner.quick))
        protocol = Protocol(lambda w, loss=loss: float(loss(jnp.asarray(w))), accuracy=target, timeout=TIMEOUT)
        yield from runner.compare(f"LM to loss {target:g}, n = {n}, p = {problem.p}", ours, peers, protocol)
