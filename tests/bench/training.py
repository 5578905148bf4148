"""Full-batch training of a network to the same loss, by Levenberg-Marquardt and its kin.

Problem: tanh network on targets of another of the same shape; loss `|f - y|^2 / 2`. Every contender stops at the first iterate whose loss is at most
the target, the compiled ones inside their own loop, scipy by leaving its objective: nobody is charged for a convergence test. The error shown is
the loss reached. Ours damps in proportion to the residual, `rho = c |f - y|`, the others by their own rules. scipy gets the jitted residual and the
jitted per-sample Jacobian; optimistix and jaxopt get the residual and differentiate it their own way.
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
from tests.bench.clock import Deadline
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

# n, width, target loss, ratio to reach; inputs 8, so p = 10 width + 1
CASES = ((200, 15, 1e-4, 3.0), (100, 200, 1e-6, 6.0))
STEPS = 400
PATIENCE = 30.0
FACTOR = 1e-3  # of seven, the one that takes the fewest steps on both problems
JAXOPT = {"CG": {}, "Cholesky": {"solver": "cholesky", "materialize_jac": True}}


class Reached(Exception):
    """scipy's objective has met the loss."""


def half_square(r) -> jax.Array:
    return 0.5 * jnp.sum(r**2)


def residual(w, problem):
    return problem.outputs(w) - problem.y


class UntilLoss(optx.AbstractLeastSquaresSolver):
    """An optimistix solver that stops where the loss is at most `target`."""

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
        def going(carry):
            w, state = carry
            return (half_square(fun(w)) > target) & (state.iter_num < STEPS)

        return jax.lax.while_loop(going, lambda carry: tuple(minimiser.update(*carry)), (w, minimiser.init_state(w)))[0]

    return lambda _: run(problem.w0)


_residual = jax.jit(residual)
_jacobian = jax.jit(lambda w, problem: problem.jac(w))


def by_scipy(problem, target, method):
    def run(_):
        deadline, met = Deadline(PATIENCE), []

        def fun(w):
            deadline.check()
            r = np.asarray(_residual(w, problem))
            if 0.5 * r @ r <= target:
                met.append(w.copy())
                raise Reached
            return r

        try:
            return least_squares(
                fun,
                np.asarray(problem.w0),
                lambda w: np.asarray(_jacobian(w, problem)),
                method=method,
                xtol=1e-15,
                ftol=1e-15,
                gtol=1e-15,
            ).x
        except Reached:
            return met[0]

    return run


def by_riemgn(problem, target):
    method = rg.LevenbergMarquardt(rg.ResidualDamping(FACTOR))
    return lambda _: rg.iterate(problem, method, steps=STEPS, save_every=STEPS, loss_tol=target, throw=False).params[-1]


def contest(bench: Contest, n: int, width: int, target: float, at_least: float) -> Iterator[Row]:
    problem = rg.teacher_student(n=n, width=width, inputs=8, cond=10.0, key=jax.random.key(0))
    loss = jax.jit(lambda w: half_square(residual(w, problem)))
    stop = jnp.asarray(target)
    solvers = {
        "LevenbergMarquardt": optx.LevenbergMarquardt(rtol=0.0, atol=0.0),
        "GaussNewton": optx.GaussNewton(rtol=0.0, atol=0.0),
        "Dogleg": optx.Dogleg(rtol=0.0, atol=0.0),
    }
    peers = [
        *(
            Contender(
                f"optimistix {name}",
                lambda s=solver: lambda _: by_optimistix(problem, UntilLoss(s, stop)),
                at_least=at_least,
            )
            for name, solver in solvers.items()
        ),
        *(
            Contender(
                f"jaxopt LevenbergMarquardt, {kind}",
                lambda o=options: by_jaxopt(problem, target, o),
                ("jaxopt",),
                at_least,
            )
            for kind, options in JAXOPT.items()
        ),
        Contender("scipy least_squares trf", lambda: by_scipy(problem, target, "trf"), at_least=at_least),
    ]
    if n >= problem.p:
        peers.append(Contender("scipy least_squares lm", lambda: by_scipy(problem, target, "lm"), at_least=at_least))
    peers = [
        peer for peer in peers if not bench.quick or peer.name not in ("optimistix GaussNewton", "optimistix Dogleg")
    ]
    mine = Contender("riemgn iterate, LM", lambda: by_riemgn(problem, target))
    protocol = Protocol(lambda w: float(loss(jnp.asarray(w))), accuracy=target, patience=PATIENCE)
    yield from bench.compare(f"LM to loss {target:g}, n = {n}, p = {problem.p}", mine, peers, protocol)


def rows(bench: Contest) -> Iterator[Row]:
    for case in CASES[:1] if bench.quick else CASES:
        yield from contest(bench, *case)
