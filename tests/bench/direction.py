"""One Gauss-Newton and one Levenberg-Marquardt direction in each regime, beside the Jacobian and one factorisation of the same matrix.

The network's Jacobian is multiplied from the small side to the
stated condition number, so that it costs what it costs. Reference for Gauss-Newton, and for damping that is tiny: Jacobian + `jnp.linalg.qr` of the
tall orientation (of the stacked matrix with damping); for damping that allows it: Jacobian + product + Cholesky. "SVD": by the thin SVD.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

import riemgn as rg
from riemgn.linalg import BRANCHES, damped_direction, pseudo_inverse_direction, spectral_direction, thin_svd
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

REPETITIONS = 9
TARGET = 1 / 1.3  # one direction takes at most 1.3 times as long as what it is held to
SHAPES = {
    "n >> p": (2000, 8, 13),
    "p >> n": (100, 8, 200),
    "near-square": (300, 8, 30),
    "small, p >> n": (20, 8, 50),
    "large, p >> n": (400, 20, 227),
}  # fmt: skip
CONDITIONS = (1e2, 1e6, 1e9)


@eqx.filter_jit
def _matrix(problem, shaper):
    jac = problem.jac(problem.w0)
    return shaper @ jac if problem.n <= problem.p else jac @ shaper


def _shaper(problem, cond: float):
    """The small factor that gives the Jacobian singular values from 1 to 1 / cond."""
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


def contenders(problem, shaper, g, damping: float | None) -> tuple[Contender, Contender, Contender]:
    """Ours, the factorisation that its branch is held to, and the thin SVD."""
    rank, rho = jnp.asarray(min(problem.n, problem.p)), None if damping is None else jnp.asarray(damping)
    branch = BRANCHES[int(_direction(problem, shaper, g, rho, rank)[1])]
    if branch == "Cholesky":
        reference = Contender("Jacobian + Cholesky", lambda: lambda _: _by_cholesky(problem, shaper), at_least=TARGET)
    else:
        reference = Contender(
            "Jacobian + QR", lambda: lambda _: _by_qr(problem, shaper, rho is not None), at_least=TARGET
        )
    filtered = jnp.zeros(()) if rho is None else rho
    svd = Contender("Jacobian + thin SVD, the direction", lambda: lambda _: _by_svd(problem, shaper, g, filtered, rank))
    return (
        Contender(f"riemgn, {branch}", lambda: lambda _: _direction(problem, shaper, g, rho, rank)[0]),
        reference,
        svd,
    )


def rows(bench: Contest) -> Iterator[Row]:
    for regime in ("p >> n", "small, p >> n") if bench.quick else SHAPES:
        yield from regime_rows(bench, regime, 1e6, svd=False)


def all_rows(bench: Contest) -> Iterator[Row]:
    """Every regime at every condition number, the thin SVD too."""
    for regime in SHAPES:
        for cond in CONDITIONS:
            yield from regime_rows(bench, regime, cond, svd=True)


def regime_rows(bench: Contest, regime: str, cond: float, svd: bool) -> Iterator[Row]:
    n, inputs, width = SHAPES[regime]
    problem = rg.teacher_student(n=n, width=width, inputs=inputs, cond=10.0, key=jax.random.key(0))
    g = jax.random.normal(jax.random.key(1), (n,))
    shaper = _shaper(problem, cond)
    for damping in (None, 1e-2, cond**-2):
        ours, reference, by_svd = contenders(problem, shaper, g, damping)
        name = "GN" if damping is None else f"LM {damping:.0e}"
        work = f"direction {name}, n = {n}, p = {problem.p}, cond(J) {cond:.0e}"
        yield from bench.compare(
            work, ours, [reference, by_svd] if svd else [reference], Protocol(repetitions=REPETITIONS)
        )
