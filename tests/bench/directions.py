"""One Gauss-Newton and one Levenberg-Marquardt direction in each regime, beside the Jacobian and one factorisation of the same matrix.

Protocol: float64, BLAS on one thread; compiled before the clock starts; medians. The network's Jacobian is multiplied from the small side to the
stated condition number, so that it costs what it costs. Reference for Gauss-Newton, and for damping that is tiny: Jacobian + `jnp.linalg.qr` of the
tall orientation (of the stacked matrix with damping); for damping that allows it: Jacobian + product + Cholesky. "SVD": by the thin SVD.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from rich.console import Console
from rich.table import Table

import riemgn as rg
from riemgn.linalg import BRANCHES, damped_direction_and_branch, pseudo_inverse_direction_and_branch, spectral_direction, thin_svd

from .clock import median_seconds, seconds

CONSOLE = Console(width=150)
REPETITIONS = 9
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
    return pseudo_inverse_direction_and_branch(jac, g, rank) if rho is None else damped_direction_and_branch(jac, g, rho, 1.0, rank)


def _milliseconds(work) -> float:
    seconds(work)
    return 1e3 * median_seconds(work, REPETITIONS)


def main() -> None:
    table = Table(title="One direction, milliseconds, Jacobian included")
    for column in ("regime", "n, p", "cond(J)", "damping", "branch", "Jacobian", "reference", "direction", "ratio", "SVD", "SVD / direction"):
        table.add_column(column)
    for regime, (n, inputs, width) in SHAPES.items():
        problem = rg.teacher_student(n=n, width=width, inputs=inputs, cond=10.0, key=jax.random.key(0))
        k, g = jnp.asarray(min(n, problem.p)), jax.random.normal(jax.random.key(1), (n,))
        for cond in CONDITIONS:
            shaper = _shaper(problem, cond)
            jacobian = _milliseconds(lambda problem=problem, shaper=shaper: _matrix(problem, shaper))
            for damping in (None, 1e-2, cond**-2):
                rho = None if damping is None else jnp.asarray(damping)
                branch = BRANCHES[int(_direction(problem, shaper, g, rho, k)[1])]
                if branch == "Cholesky":
                    reference = _milliseconds(lambda problem=problem, shaper=shaper: _by_cholesky(problem, shaper))
                else:
                    reference = _milliseconds(lambda problem=problem, shaper=shaper, damped=rho is not None: _by_qr(problem, shaper, damped))
                ours = _milliseconds(lambda problem=problem, shaper=shaper, g=g, rho=rho, k=k: _direction(problem, shaper, g, rho, k))
                filter_by = jnp.zeros(()) if rho is None else rho
                svd = _milliseconds(lambda problem=problem, shaper=shaper, g=g, rho=filter_by, k=k: _by_svd(problem, shaper, g, rho, k))
                times = [f"{jacobian:.2f}", f"{reference:.2f}", f"{ours:.2f}", f"{ours / reference:.2f}", f"{svd:.2f}", f"{svd / ours:.1f}"]
                table.add_row(regime, f"{n}, {problem.p}", f"{cond:.0e}", "none" if damping is None else f"{damping:.0e}", branch, *times)
    CONSOLE.print(table)
