"""Eigenvalues of the normal curvature and of the Hessian against `J^T J`, at one point."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Array, Float

from .._types import Weights
from ..geometry.immersion import Immersion, TangentFrame
from ..linalg import numerical_rank, singular_values
from ..problem import Problem
from .constants import Constant
from .path_quantities import jacobian

DENSE_UP_TO = 300  # number of parameters up to which the Hessian is formed; above, Lanczos uses products
METHODS = ("auto", "dense", "lanczos")


@dataclass(frozen=True)
class EigenRange:
    """The extreme generalised eigenvalues of a symmetric form against the metric `J^T J`.

    - `smallest`, `largest`: the eigenvalues.
    - `rank`: dimension of the tangent space.
    - `method`: `"dense"` or `"lanczos"`.
    - `error`: the larger residual `|A v - theta v|`. An eigenvalue is within it.
    """

    smallest: float
    largest: float
    rank: int
    method: str
    error: float

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.smallest), abs(self.largest))


def normal_curvature_range(
    problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto"
) -> EigenRange:
    """Compute the extremes of `<N, II(v, v)> / |v|^2` over tangent `v`, `N = (I - P) grad g`.

    They are the generalised eigenvalues of `(sum_j N_j Hess f_j, J^T J)`. With `J = B R V^T` the
    pencil becomes the symmetric matrix `R^-T V^T (sum_j N_j Hess f_j) V R^-1`, so `J^T J` is not
    formed. If `Hess g = nu I`, the rate of the Gauss-Newton flow is at least `nu + smallest`.

    Arguments:

    - `w`: flat parameters (p,).
    - `rank`: dimension of the tangent space. Defaults to the numerical rank of `J(w)`.
    - `method`: `"dense"` forms the Hessian of `N^T f` (p, p), `"lanczos"` uses its products with
      vectors. `"auto"` is dense up to p = 300.

    Raises: `ValueError` for an unknown method, or a rank that `J(w)` does not have.

    >>> import riemgn.theory.curvature_spectrum as spectrum, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=0.0)
    >>> round(spectrum.normal_curvature_range(problem, problem.w0).smallest, 12)
    -0.5

    Reference: Statements D9 and D11.
    """
    immersion, frame = _tangent(problem, w, rank)
    return _extremes(immersion, frame, False, method)


def directional_curvature(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> Constant:
    """Compute `k_N(w) = max_v |<N, II(v, v)>| / |v|^2`, the curvature that the flow sees.

    It falls like `1 / alpha`. Arguments and errors: as in `normal_curvature_range`.

    Reference: Statements C18 and D9.
    """
    eigenvalues = normal_curvature_range(problem, w, rank=rank, method=method)
    return Constant(
        "k_N",
        eigenvalues.magnitude,
        f"|eig(sum_j N_j Hess f_j, J^T J)|, {eigenvalues.method}",
        "exact",
        eigenvalues.error,
    )


def hessian_range(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> EigenRange:
    """Compute the extreme generalised eigenvalues of `(Hess R(w), J^T J)`.

    `Hess R = J^T Hess g J + sum_j (grad g)_j Hess f_j`. The eigenvalues are those of
    `B^T Hess g B + R^-T V^T (sum_j (grad g)_j Hess f_j) V R^-1`.

    Arguments and errors: as in `normal_curvature_range`.

    Reference: Statement D12.
    """
    immersion, frame = _tangent(problem, w, rank)
    return _extremes(immersion, frame, True, method)


def theta_min(problem: Problem, w: Weights, *, rank: int | None = None, method: str = "auto") -> Constant:
    """Compute the smallest `theta` with `det(Hess R(w) - theta J^T J) = 0`.

    At the limit of a Gauss-Newton flow it is the final slope of `-log |P grad g|`.

    Arguments and errors: as in `normal_curvature_range`.

    >>> import riemgn.theory.curvature_spectrum as spectrum, riemgn as rg
    >>> problem = rg.task.circle(radius=2.0, target=1.0, angle=0.0)
    >>> round(spectrum.theta_min(problem, problem.w0).value, 12)
    0.5

    Reference: Statements C17 and D12.
    """
    eigenvalues = hessian_range(problem, w, rank=rank, method=method)
    return Constant(
        "theta_min",
        eigenvalues.smallest,
        f"smallest eig(Hess R, J^T J), {eigenvalues.method}",
        "exact",
        eigenvalues.error,
    )


def slowest_share(problem: Problem, w: Weights, u: Float[np.ndarray, " n"], *, within: float = 0.02) -> float:
    """Compute the share of `|u|^2` in the slowest modes at `w`.

    Near the limit `u_t = sum_i c_i exp(-theta_i t) v_i` with orthonormal `v_i`. If the share is
    near 1, a Gauss-Newton flow that ends at `w` has reached its final rate. `u` is a vector of
    outputs (n,). Modes count as slowest if `theta <= (1 + within) theta_min`.

    Reference: Statement D12.
    """
    immersion, frame = _tangent(problem, w, None)
    theta, modes = np.linalg.eigh(np.asarray(_dense_form(immersion, frame, True)))
    parts = (modes.T @ (np.asarray(frame.basis).T @ np.asarray(u))) ** 2
    return float(parts[theta <= theta[0] + within * abs(theta[0])].sum() / parts.sum())


def _tangent(problem: Problem, w: Weights, rank: int | None) -> tuple[Immersion, TangentFrame]:
    w = jnp.asarray(w)
    if w.shape != (problem.p,):
        raise ValueError(f"`w` must have shape {(problem.p,)}, got {w.shape}.")
    largest = int(numerical_rank(singular_values(jacobian(problem, w)), (problem.n, problem.p)))
    rank = largest if rank is None else rank
    if not 0 < rank <= largest:
        raise ValueError(f"`rank` must be between 1 and the numerical rank {largest} of J(w), got {rank}.")
    immersion = Immersion(problem, None, None, rank)
    return immersion, immersion.frame(w)


def _covector(immersion: Immersion, frame: TangentFrame, of_objective: bool) -> tuple[Array, Array]:
    """The covector on the second derivative, and the diagonal of `Hess g` (0 for the curvature)."""
    point = immersion(frame.w)
    gradient = immersion.loss_gradient(point)
    if of_objective:
        return gradient, immersion.loss_hessian(point)
    return frame.normal_part(gradient), jnp.zeros_like(gradient)


@eqx.filter_jit
def _dense_form(immersion: Immersion, frame: TangentFrame, of_objective: bool) -> Float[Array, "k k"]:
    covector, weights = _covector(immersion, frame, of_objective)
    hessian = jax.hessian(lambda w: covector @ immersion(w))(frame.w)
    half = jax.vmap(frame.covector_components, 1, 1)(hessian)
    curved = jax.vmap(frame.covector_components, 1, 1)(half.T)
    return (curved + curved.T) / 2 + frame.basis.T @ (weights[:, None] * frame.basis)


@eqx.filter_jit
def _product(
    immersion: Immersion, frame: TangentFrame, of_objective: bool, c: Float[Array, " k"]
) -> Float[Array, " k"]:
    covector, weights = _covector(immersion, frame, of_objective)
    curved = immersion.pulled_second_derivative(frame.w, covector, frame.lift(c))
    return frame.covector_components(curved) + frame.basis.T @ (weights * (frame.basis @ c))


def _extremes(immersion: Immersion, frame: TangentFrame, of_objective: bool, method: str) -> EigenRange:
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    rank = immersion.dim
    # ARPACK computes fewer eigenvalues than there are
    if method == "dense" or rank < 4 or (method == "auto" and immersion.p <= DENSE_UP_TO):
        form = np.asarray(_dense_form(immersion, frame, of_objective))
        values = np.linalg.eigvalsh(form)
        rounding = np.finfo(form.dtype).eps * rank * max(abs(values[0]), abs(values[-1]))
        return EigenRange(float(values[0]), float(values[-1]), rank, "dense", float(rounding))
    dtype = np.dtype(frame.w.dtype)

    def product(c):
        return np.asarray(_product(immersion, frame, of_objective, jnp.asarray(c.reshape(-1), dtype=dtype)))

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
