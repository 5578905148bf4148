"""One Gauss-Newton and one Levenberg-Marquardt direction against the Jacobian and a factorisation.

The Jacobian of a network is multiplied by a small matrix that gives it the stated condition number.
It is computed at its usual cost. The direction is compared with the Jacobian and `jnp.linalg.qr` of
its tall orientation, stacked on the identity with damping. If our solver uses a Cholesky factor,
because the damping allows it, so does the peer. `direction-all` adds the thin SVD.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

import riemgn as rg
from riemgn.linalg import BRANCHES, damped_direction, pseudo_inverse_direction, spectral_direction, thin_svd
from tests.bench.compare import call, Contender, Protocol, Runner
from tests.bench.row import Row

PROTOCOL = Protocol(repetitions=9)
TARGET = 1 / 1.3  # a direction should take at most 1.3 times as long as its peer
SHAPES = {  # n, inputs, width
    "n >> p": (2000, 8, 13),
    "p >> n": (100, 8, 200),
    "near-square": (300, 8, 30),
    "small, p >> n": (20, 8, 50),
    "large, p >> n": (400, 20, 227),
}
CONDITIONS = (1e2, 1e6, 1e9)


@eqx.filter_jit
def _matrix(problem, shaper):
    jac = problem.jac(problem.w0)
    return shaper @ jac if problem.n <= problem.p else jac @ shaper


def _shaper(problem, cond: float):
    """Return the small factor that gives the Jacobian singular values from 1 to 1 / cond."""
    svd = thin_svd(problem.jac(problem.w0))
    s = jnp.geomspace(1, 1 / cond, svd.s.size)
    return (svd.u * (s / svd.s)) @ svd.u.T if problem.n <= problem.p else (svd.vt.T * (s / svd.s)) @ svd.vt


@eqx.filter_jit
def _by_qr(problem, shaper, damped: bool):
    jac = _matrix(problem, shaper)
    tall = jac.T if problem.n < problem.p else jac
    return jnp.linalg.qr(jnp.concatenate([tall, jnp.eye(tall.shape[1])]) if damped else tall)


@eqx.filter_jit
def _by_cholesky(problem, shaper):
    jac = _matrix(problem, shaper)
    return jsl.cho_factor((jac @ jac.T if problem.n < problem.p else jac.T @ jac) + jnp.eye(min(jac.shape)))[0]


@eqx.filter_jit
def _by_svd(problem, shaper, g, rho, rank):
    return spectral_direction(thin_svd(_matrix(problem, shaper)), g, lambda s: s / (s + rho), rank)


@eqx.filter_jit
def _direction(problem, shaper, g, rho, rank):
    jac = _matrix(problem, shaper)
    return pseudo_inverse_direction(jac, g, rank) if rho is None else damped_direction(jac, g, rho, 1.0, rank)


def regime_rows(runner: Runner, regime: str, cond: float, svd: bool) -> Iterator[Row]:
    n, inputs, width = SHAPES[regime]
    problem = rg.teacher_student(n=n, width=width, inputs=inputs, cond=10.0, key=jax.random.key(0))
    g = jax.random.normal(jax.random.key(1), (n,))
    shaper, rank = _shaper(problem, cond), jnp.asarray(min(problem.n, problem.p))
    for damping in (None, 1e-2, cond**-2):
        rho = None if damping is None else jnp.asarray(damping)
        branch = BRANCHES[int(_direction(problem, shaper, g, rho, rank)[1])]
        ours = Contender(f"riemgn, {branch}", call(lambda *a: _direction(*a)[0], problem, shaper, g, rho, rank))
        if branch == "Cholesky":
            peers = [Contender("Jacobian + Cholesky", call(_by_cholesky, problem, shaper), at_least=TARGET)]
        else:
            peers = [Contender("Jacobian + QR", call(_by_qr, problem, shaper, rho is not None), at_least=TARGET)]
        if svd:
            filtered = call(_by_svd, problem, shaper, g, jnp.asarray(damping or 0.0), rank)
            peers.append(Contender("Jacobian + thin SVD, the direction", filtered))
        name = "GN" if damping is None else f"LM {damping:.0e}"
        work = f"direction {name}, n = {n}, p = {problem.p}, cond(J) {cond:.0e}"
        yield from runner.compare(work, ours, peers, PROTOCOL)


def rows(runner: Runner) -> Iterator[Row]:
    for regime in ("p >> n", "small, p >> n") if runner.quick else SHAPES:
        yield from regime_rows(runner, regime, 1e6, svd=False)


def all_rows(runner: Runner) -> Iterator[Row]:
    """Every regime at every condition number, with the thin SVD."""
    for regime in SHAPES:
        for cond in CONDITIONS:
            yield from regime_rows(runner, regime, cond, svd=True)
