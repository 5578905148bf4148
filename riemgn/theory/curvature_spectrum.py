"""Sharp directional quantities at one point: the extreme generalised eigenvalues of curvature and Hessian against `J^T J`, which is never formed."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Array, Float

from .._types import Count, Weights
from ..geometry.immersion import Immersion, TangentFrame
from ..linalg import numerical_rank, singular_values
from ..problem import Problem
from .constants import Constant

# the Hessian of this many parameters is formed whole; above, Lanczos works from its products with vectors
DENSE_UP_TO = 300
METHODS = ("auto", "dense", "lanczos")


@dataclass(frozen=True)
class EigenRange:
    """The extreme generalised eigenvalues `least <= theta <= greatest` of a symmetric form against the metric `J^T J`.

    - `rank`: dimension of the tangent space; `method`: `"dense"` or `"lanczos"`.
    - `error`: the larger residual `|A v - theta v|`: an eigenvalue lies within it.
    """

    least: float
    greatest: float
    rank: int
    method: str
    error: float

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.least), abs(self.greatest))


def normal_curvature_range(
    problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto"
) -> EigenRange:
    """Extremes of `<N, II(v, v)> / |v|^2` over tangent `v`, with `N = (I - P) grad g`.

    They are the generalised eigenvalues of `(sum_j N_j Hess f_j, J^T J)`. With `J = B R V^T` on its kept range the pencil becomes the symmetric
    matrix `R^-T V^T (sum_j N_j Hess f_j) V R^-1` (k, k): `J^T J` is never formed. For `Hess g = nu I` the Gauss-Newton flow's instantaneous rate
    is at least `nu + least`.

    Arguments:

    - `w`: flat parameters (p,).
    - `rank`: dimension of the tangent space, by default the numerical rank of `J(w)`.
    - `method`: `"dense"` forms the Hessian of `N^T f` (p, p), `"lanczos"` only its products with vectors, `"auto"` takes the first up to p = 300.

    Raises: `ValueError` for an unknown method, or a rank that `J(w)` does not have.

    >>> import riemgn.theory.curvature_spectrum as directional, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=0.0)
    >>> round(directional.normal_curvature_range(problem, problem.w0).least, 12)
    -0.5

    Reference: derived, papers.md D9, D11.
    """
    immersion, frame = _tangent(problem, w, rank)
    return _extremes(immersion, frame, False, method)


def directional_curvature(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> Constant:
    """`k_N(w) = max_v |<N, II(v, v)>| / |v|^2`, `N = (I - P) grad g`: the curvature the flow feels; it falls like `1 / alpha` (theory.md C18).

    Arguments and errors as for `normal_curvature_range`.

    Reference: derived, papers.md D9.
    """
    found = normal_curvature_range(problem, w, rank=rank, method=method)
    return Constant("k_N", found.magnitude, f"|eig(sum_j N_j Hess f_j, J^T J)|, {found.method}", "exact", found.error)


def hessian_range(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> EigenRange:
    """Extremes of the generalised eigenvalues of `(Hess R(w), J^T J)`, `Hess R = J^T Hess g J + sum_j (grad g)_j Hess f_j`.

    They are those of `B^T Hess g B + R^-T V^T (sum_j (grad g)_j Hess f_j) V R^-1`; the first term never passes through `R^-1`.

    Arguments and errors as for `normal_curvature_range`.

    Reference: derived, papers.md D12.
    """
    immersion, frame = _tangent(problem, w, rank)
    return _extremes(immersion, frame, True, method)


def theta_min(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> Constant:
    """The least `theta` with `det(Hess R(w) - theta J^T J) = 0`: at the limit of a Gauss-Newton flow, the last slope of `-log |P grad g|`.

    Arguments and errors as for `normal_curvature_range`.

    >>> import riemgn.theory.curvature_spectrum as directional, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=0.0)
    >>> round(directional.theta_min(problem, problem.w0).value, 12)
    0.5

    Reference: derived, papers.md D12; theory.md C17.
    """
    found = hessian_range(problem, w, rank=rank, method=method)
    return Constant("theta_min", found.least, f"least eig(Hess R, J^T J), {found.method}", "exact", found.error)


def slowest_share(problem: Problem, w: Weights, u: Float[np.ndarray, " n"], *, within: float = 0.02) -> float:
    """The share of `|u|^2` in the slowest modes at `w`: near 1, a Gauss-Newton flow that ends at `w` has come to its last rate.

    Slowest are the modes whose `theta` exceeds `theta_min` by at most the part `within`.

    Arguments:

    - `w`: flat parameters (p,) near the limit; the form of all its modes (k, k) is diagonalised.
    - `u`: a vector of the outputs, shape (n,), in or near the tangent space.

    Reference: derived, papers.md D12: `u_t = sum_i c_i exp(-theta_i t) v_i` near the limit, with orthonormal `v_i`.
    """
    immersion, frame = _tangent(problem, w, None)
    theta, modes = np.linalg.eigh(np.asarray(_dense_form(immersion, frame, True)))
    parts = (modes.T @ (np.asarray(frame.basis).T @ np.asarray(u))) ** 2
    return float(parts[theta <= theta[0] + within * abs(theta[0])].sum() / parts.sum())


def _tangent(problem: Problem, w: Weights, rank: int | None) -> tuple[Immersion, TangentFrame]:
    w = jnp.asarray(w)
    if w.shape != (problem.p,):
        raise ValueError(f"`w` must have shape {(problem.p,)}, got {w.shape}.")
    found = int(_rank(problem, w))
    kept = found if rank is None else rank
    if not 0 < kept <= found:
        raise ValueError(f"The Jacobian has numerical rank {found} here, got `rank` = {rank}.")
    immersion = Immersion(problem, None, None, kept)
    return immersion, _frame(immersion, w)


@eqx.filter_jit
def _rank(problem: Problem, w: Weights) -> Count:
    return numerical_rank(singular_values(problem.jac(w)), (problem.n, problem.p))


@eqx.filter_jit
def _frame(immersion: Immersion, w: Weights) -> TangentFrame:
    return immersion.frame(w)


def _covector(immersion: Immersion, frame: TangentFrame, whole: bool) -> tuple[Array, Array]:
    """The covector whose second derivative enters, and the diagonal of `Hess g` where the whole Hessian is asked for."""
    point = immersion(frame.w)
    gradient = immersion.loss_gradient(point)
    if whole:
        return gradient, immersion.loss_hessian(point)
    return frame.normal_part(gradient), jnp.zeros_like(gradient)


@eqx.filter_jit
def _dense_form(immersion: Immersion, frame: TangentFrame, whole: bool) -> Float[Array, "k k"]:
    covector, weights = _covector(immersion, frame, whole)
    hessian = jax.hessian(lambda w: covector @ immersion(w))(frame.w)
    half = jax.vmap(frame.drop, 1, 1)(hessian)
    bent = jax.vmap(frame.drop, 1, 1)(half.T)
    return (bent + bent.T) / 2 + frame.basis.T @ (weights[:, None] * frame.basis)


@eqx.filter_jit
def _product(immersion: Immersion, frame: TangentFrame, whole: bool, c: Float[Array, " k"]) -> Float[Array, " k"]:
    covector, weights = _covector(immersion, frame, whole)
    bent = immersion.pulled_second_derivative(frame.w, covector, frame.lift(c))
    return frame.covector_components(bent) + frame.basis.T @ (weights * (frame.basis @ c))


def _extremes(immersion: Immersion, frame: TangentFrame, whole: bool, method: str) -> EigenRange:
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    rank = immersion.dim
    # ARPACK asks for fewer eigenvalues than there are
    if method == "dense" or rank < 4 or (method == "auto" and immersion.p <= DENSE_UP_TO):
        form = np.asarray(_dense_form(immersion, frame, whole))
        values = np.linalg.eigvalsh(form)
        rounding = np.finfo(form.dtype).eps * rank * max(abs(values[0]), abs(values[-1]))
        return EigenRange(float(values[0]), float(values[-1]), rank, "dense", float(rounding))
    dtype = np.dtype(frame.w.dtype)

    def product(c):
        return np.asarray(_product(immersion, frame, whole, jnp.asarray(c.reshape(-1), dtype=dtype)))

    operator = scipy.sparse.linalg.LinearOperator((rank, rank), matvec=product, dtype=dtype)  # pyright: ignore[reportCallIssue]
    start = np.random.default_rng(0).standard_normal(rank).astype(dtype)
    try:
        values, vectors = scipy.sparse.linalg.eigsh(
            operator, k=2, which="BE", v0=start, ncv=min(rank, 40), maxiter=100 + 10 * rank
        )
    except scipy.sparse.linalg.ArpackNoConvergence as trouble:
        values, vectors = trouble.eigenvalues, trouble.eigenvectors
        if len(values) < 2:
            return EigenRange(math.nan, math.nan, rank, "lanczos, not converged", math.inf)
    residual = max(float(np.linalg.norm(product(v) - theta * v)) for theta, v in zip(values, vectors.T, strict=True))
    return EigenRange(float(values.min()), float(values.max()), rank, "lanczos", residual)
