"""One Gauss-Newton and one Levenberg-Marquardt direction in each regime, beside the Jacobian and one factorisation of the same matrix.

The network's Jacobian is multiplied from the small side to the
stated condition number, so that it costs what it costs. Reference for Gauss-Newton, and for damping that is tiny: Jacobian + `jnp.linalg.qr` of the
tall orientation (of the stacked matrix with damping); for damping that allows it: Jacobian + product + Cholesky. "SVD": by the thin SVD.

Mixed precision is held to the plain Cholesky direction in float64 and to our own in full precision, on a matrix that is there already; error: to
the singular value decomposition that the matrix is made of.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

import riemgn as rg
from riemgn.linalg import (
    BRANCHES,
    damped_direction_and_branch,
    mixed_direction_and_branch,
    pseudo_inverse_direction_and_branch,
    spectral_direction,
    thin_svd,
    ThinSVD,
)
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
MIXED_SHAPES = {"quick": (100, 1000), "full": (500, 10_000), "all": (2000, 20_000)}
MIXED_CONDITIONS = (1e2, 1e4, 1e6, 1e10)  # of the damped kernel


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
    return (
        pseudo_inverse_direction_and_branch(jac, g, rank)
        if rho is None
        else damped_direction_and_branch(jac, g, rho, 1.0, rank)
    )


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
    yield from mixed_rows(bench, "quick" if bench.quick else "full")


def all_rows(bench: Contest) -> Iterator[Row]:
    """Every regime at every condition number, the thin SVD too."""
    for regime in SHAPES:
        for cond in CONDITIONS:
            yield from regime_rows(bench, regime, cond, svd=True)
    yield from mixed_rows(bench, "all")


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


@eqx.filter_jit
def _by_plain_cholesky(jac, g, rho):
    return -jsl.cho_solve(jsl.cho_factor(jac @ jac.T + rho * jnp.eye(len(jac))), g) @ jac


_mixed, _full = eqx.filter_jit(mixed_direction_and_branch), eqx.filter_jit(damped_direction_and_branch)


def mixed_rows(bench: Contest, size: str) -> Iterator[Row]:
    """Levenberg-Marquardt directions of a wide matrix with singular values from 1 to 1e-6, damped to each condition number."""
    n, p = MIXED_SHAPES[size]
    keys = jax.random.split(jax.random.key(0), 3)
    u, v = (jnp.linalg.qr(jax.random.normal(key, (size, n)))[0] for key, size in zip(keys, (n, p), strict=False))
    svd = ThinSVD(u, jnp.geomspace(1, 1e-6, n), v.T)
    jac, g = (svd.u * svd.s) @ svd.vt, jax.random.normal(keys[2], (n,))
    repetitions = 5 if size == "all" else REPETITIONS
    for cond in MIXED_CONDITIONS:
        rho = jnp.asarray(1 / cond)
        exact = spectral_direction(svd, g, lambda s, rho=rho: s / (s + rho), n)

        def error(w_dot, exact=exact) -> float:
            return float(jnp.linalg.norm(w_dot - exact) / jnp.linalg.norm(exact))

        branch, full_branch = (BRANCHES[int(way)] for way in (_mixed(jac, g, rho, n)[1], _full(jac, g, rho, 1.0, n)[1]))
        ours = Contender(f"riemgn, precision mixed: {branch}", lambda rho=rho: lambda _: _mixed(jac, g, rho, n)[0])
        full = Contender(
            f"riemgn, precision full: {full_branch}", lambda rho=rho: lambda _: _full(jac, g, rho, 1.0, n)[0]
        )
        plain = Contender("plain Cholesky", lambda rho=rho: lambda _: _by_plain_cholesky(jac, g, rho))
        work = f"direction LM, n = {n}, p = {p}, cond(A) {cond:.0e}"
        yield from bench.compare(work, ours, [plain, full], Protocol(error, patience=60.0, repetitions=repetitions))
