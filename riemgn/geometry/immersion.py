"""Immersion, the chart of the output manifold, and TangentFrame, its factorised Jacobian."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._types import Key, Scalar, Weights
from ..linalg import range_factors
from ..problem import Problem

Ambient = Float[Array, " m"]
Form = Float[Array, " m"] | Float[Array, "m m"] | None


def lower_index(form: Form, v: Ambient) -> Ambient:
    """`Q v`, where `form` is `Q`, its diagonal, or None for the Euclidean inner product."""
    if form is None:
        return v
    return form * v if form.ndim == 1 else form @ v


def checked_form(ambient: ArrayLike | None, m: int) -> Form:
    """The ambient form as an array, or None for the Euclidean one."""
    if ambient is None:
        return None
    form = np.asarray(ambient, dtype=float)
    if form.shape not in ((m,), (m, m)) or not np.isfinite(form).all():
        raise ValueError(f"`ambient` must be finite of shape {(m,)} or {(m, m)}, got shape {form.shape}.")
    if form.ndim == 2 and not np.allclose(form, form.T, rtol=1e-12, atol=0):
        raise ValueError(f"`ambient` must be symmetric, got an asymmetry of {np.abs(form - form.T).max():.3g}.")
    return jnp.asarray(form)


class TangentFrame(eqx.Module):
    """The factorised Jacobian `J = B R V^T` at the point `w`, restricted to its numerical range.

    `B` (m, k) is an orthonormal basis of the tangent space, `R` (k, k) the core, and `V^T` (k, p)
    has orthonormal rows. If `vt` is None, then `V` is the identity and `R` the triangle of a QR
    factorisation. Otherwise `R` is the diagonal matrix of singular values. With the ambient form
    `Q` and `S = B^T Q B`:

        P = B S^-1 B^T Q        J^+ = V R^-1 S^-1 B^T Q

    so `J^T J` is never formed. `inner_on_basis` is `S`, or None for the Euclidean form.
    """

    w: Weights
    basis: Float[Array, "m k"]
    core: Float[Array, "k k"]
    vt: Float[Array, "k p"] | None
    form: Form
    inner_on_basis: Float[Array, "k k"] | None

    def raise_index(self, covector: Float[Array, " k"]) -> Float[Array, " k"]:
        """`S^-1 c`, the components of the tangent vector of a covector on the basis."""
        return covector if self.inner_on_basis is None else jnp.linalg.solve(self.inner_on_basis, covector)

    def components(self, v: Ambient) -> Float[Array, " k"]:
        """`S^-1 B^T Q v`, the components of the tangent part of an ambient vector."""
        return self.raise_index(self.basis.T @ lower_index(self.form, v))

    def tangent_part(self, v: Ambient) -> Ambient:
        """`P v`."""
        return self.basis @ self.components(v)

    def normal_part(self, v: Ambient) -> Ambient:
        """`(I - P) v`."""
        return v - self.tangent_part(v)

    def lift(self, components: Float[Array, " k"]) -> Weights:
        """`V R^-1 c`, the shortest velocity of the parameters whose image has these components."""
        if self.vt is None:
            return jsl.solve_triangular(self.core, components)
        return self.vt.T @ jnp.linalg.solve(self.core, components)

    def coordinates(self, v: Ambient) -> Weights:
        """`J^+ v`, shape (p,)."""
        return self.lift(self.components(v))

    def push_forward(self, velocity: Weights) -> Ambient:
        """`J a` for a velocity of the parameters, shape (m,)."""
        return self.basis @ (self.core @ (velocity if self.vt is None else self.vt @ velocity))

    def gradient(self, covector: Ambient) -> Ambient:
        """`B S^-1 B^T c`, the tangent vector of an ambient covector, such as a differential."""
        return self.basis @ self.raise_index(self.basis.T @ covector)

    def covector_components(self, covector: Weights) -> Float[Array, " k"]:
        """`R^-T V^T h`, the values of a covector `h` (p,) on the lifted basis vectors."""
        if self.vt is None:
            return jsl.solve_triangular(self.core, covector, trans="T")
        return jnp.linalg.solve(self.core.T, self.vt @ covector)

    def tangent_of_covector(self, covector: Weights) -> Ambient:
        """`J G^+ h`, the tangent vector of a covector on the parameters, shape (p,)."""
        return self.basis @ self.raise_index(self.covector_components(covector))

    def normal_covector(self, covector: Ambient) -> Ambient:
        """`(I - P)^T c`, the action of an ambient covector on normal vectors."""
        return covector - lower_index(self.form, self.gradient(covector))

    def orthonormal(self) -> Float[Array, "m k"]:
        """`B L^-T` with `S = L L^T`, an orthonormal basis in the ambient form."""
        if self.inner_on_basis is None:
            return self.basis
        factor = jnp.linalg.cholesky(self.inner_on_basis)
        return jsl.solve_triangular(factor, self.basis.T, lower=True).T

    def projector(self) -> Float[Array, "m m"]:
        """`P` as a matrix."""
        return jax.vmap(self.tangent_part, 1, 1)(jnp.eye(self.basis.shape[0], dtype=self.basis.dtype))

    def random_unit(self, key: Key) -> Ambient:
        """A random tangent vector, uniform on the unit sphere."""
        components = jax.random.normal(key, (self.basis.shape[1],))
        return self.orthonormal() @ (components / jnp.linalg.norm(components))

    def min_singular_value(self) -> Scalar:
        """Smallest singular value of `R`."""
        return jnp.linalg.svd(self.core, compute_uv=False)[-1]

    def inverse_condition_bound(self) -> Scalar:
        """Upper bound of `sigma_min / sigma_max`, from the diagonal of `R`."""
        diagonal = jnp.abs(jnp.diag(self.core))
        return jnp.min(diagonal) / jnp.max(diagonal)


class Immersion(eqx.Module):
    """`F : R^p -> R^m` as the chart of a submanifold of dimension `dim`, with `<u, v> = u^T Q v`.

    `F = f` of the problem. With `damping = rho > 0` it is the graph `F(w) = (f(w), sqrt(rho) (w -
    w0))`, whose induced metric is `J^T J + rho I`. The methods are pure functions of flat
    parameters and check nothing.
    """

    problem: Problem
    form: Form
    damping: Scalar | None
    dim: int = eqx.field(static=True)

    @property
    def p(self) -> int:
        """Number of parameters."""
        return self.problem.p

    @property
    def m(self) -> int:
        """Ambient dimension: n, or n + p for the graph."""
        return self.problem.n + (0 if self.damping is None else self.problem.p)

    def __call__(self, w: Weights) -> Ambient:
        """The point `F(w)`."""
        f = self.problem.outputs(w)
        return f if self.damping is None else jnp.concatenate([f, jnp.sqrt(self.damping) * (w - self.problem.w0)])

    def jac(self, w: Weights) -> Float[Array, "m p"]:
        """`DF(w)`."""
        jac = self.problem.jac(w)
        if self.damping is None:
            return jac
        return jnp.concatenate([jac, jnp.sqrt(self.damping) * jnp.eye(self.p, dtype=jac.dtype)])

    def second_derivative(self, w: Weights, a: Weights, b: Weights) -> Ambient:
        """`D^2 F(w)[a, b]`, by two nested Jacobian-vector products."""
        return jax.jvp(lambda w: jax.jvp(self, (w,), (a,))[1], (w,), (b,))[1]

    def pulled_second_derivative(self, w: Weights, covector: Ambient, a: Weights) -> Weights:
        """The covector `b -> c^T D^2 F(w)[a, b]` (p,), one Hessian-vector product of `c^T F`."""
        return jax.grad(lambda w: covector @ jax.jvp(self, (w,), (a,))[1])(w)

    def frame(self, w: Weights) -> TangentFrame:
        """The tangent frame at `w`: a thin QR if `dim = p`, else a truncated SVD."""
        jac = self.jac(w)
        if self.dim == self.p:
            basis, core = jnp.linalg.qr(jac)
            vt = None
        else:
            basis, core, vt = range_factors(jac, self.dim)
        inner = None if self.form is None else basis.T @ jax.vmap(lower_index, (None, 1), 1)(self.form, basis)
        return TangentFrame(w, basis, core, vt, self.form, inner)

    def loss_gradient(self, point: Ambient) -> Ambient:
        """The differential of `g` at an ambient point (m,)."""
        return self._padded(self.problem.loss_gradient(point[: self.problem.n]))

    def loss_hessian(self, point: Ambient) -> Ambient:
        """Diagonal of the Hessian of `g` at an ambient point, shape (m,)."""
        return self._padded(self.problem.loss_hessian(point[: self.problem.n]))

    def _padded(self, v: Float[Array, " n"]) -> Ambient:
        return v if self.damping is None else jnp.concatenate([v, jnp.zeros(self.p, dtype=v.dtype)])
