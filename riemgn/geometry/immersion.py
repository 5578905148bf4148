"""Immersion: the chart `f`, its ambient inner product and rank; and the tangent frame, its Jacobian factorised at one point."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

from .._types import Scalar, Weights
from ..linalg import range_factors
from ..problem import Problem

Ambient = Float[Array, " m"]
Form = Float[Array, " m"] | Float[Array, "m m"] | None


def lower_index(form: Form, v: Ambient) -> Ambient:
    """`Q v`, the covector of an ambient vector; `form` is None (Euclidean), the diagonal of `Q` or `Q` itself."""
    if form is None:
        return v
    return form * v if form.ndim == 1 else form @ v


class TangentFrame(eqx.Module):
    """The Jacobian at the point `w`, factorised: `J = B R V^T` on its kept range.

    `B` (m, k) is an orthonormal basis of the tangent space, `R` (k, k) the core, `V^T` (k, p) has orthonormal rows. Without `V^T` (None stands for
    the identity) the core is the triangle of a QR factorisation; with it, the diagonal of singular values.
    With the ambient form `Q` and `S = B^T Q B`:

        P = B S^-1 B^T Q        J^+ = V R^-1 S^-1 B^T Q

    so that neither `J^T J` nor its inverse is formed. `S` is None in the Euclidean case, where it is the identity.
    """

    w: Weights
    basis: Float[Array, "m k"]
    core: Float[Array, "k k"]
    vt: Float[Array, "k p"] | None
    form: Form
    inner_on_basis: Float[Array, "k k"] | None

    def raise_index(self, covector: Float[Array, " k"]) -> Float[Array, " k"]:
        """`S^-1 c`: components of the tangent vector that a covector on the basis stands for."""
        return covector if self.inner_on_basis is None else jnp.linalg.solve(self.inner_on_basis, covector)

    def components(self, v: Ambient) -> Float[Array, " k"]:
        """Components in the basis of the tangent part of an ambient vector, `S^-1 B^T Q v`."""
        return self.raise_index(self.basis.T @ lower_index(self.form, v))

    def tangent_part(self, v: Ambient) -> Ambient:
        """`P v`."""
        return self.basis @ self.components(v)

    def normal_part(self, v: Ambient) -> Ambient:
        """`(I - P) v`."""
        return v - self.tangent_part(v)

    def lift(self, components: Float[Array, " k"]) -> Weights:
        """The horizontal (minimum-norm) velocity of the parameters whose image has these components, `V R^-1 c`."""
        if self.vt is None:
            return jsl.solve_triangular(self.core, components)
        return self.vt.T @ jnp.linalg.solve(self.core, components)

    def coordinates(self, v: Ambient) -> Weights:
        """`J^+ v`, shape (p,)."""
        return self.lift(self.components(v))

    def push_forward(self, velocity: Weights) -> Ambient:
        """`J a` of the kept part of `J`, shape (m,)."""
        return self.basis @ (self.core @ (velocity if self.vt is None else self.vt @ velocity))

    def gradient(self, covector: Ambient) -> Ambient:
        """The tangent vector `J G^+ J^T c = B S^-1 B^T c` of an ambient covector `c`, such as a differential."""
        return self.basis @ self.raise_index(self.basis.T @ covector)

    def tangent_of_covector(self, covector: Weights) -> Ambient:
        """The tangent vector `J G^+ h` of a covector `h` on the parameters, shape (p,)."""
        return self.basis @ self.raise_index(self.covector_components(covector))

    def covector_components(self, covector: Weights) -> Float[Array, " k"]:
        """Values `R^-T V^T h` of a covector on the parameters (p,) on the lifts of the basis vectors."""
        if self.vt is None:
            return jsl.solve_triangular(self.core, covector, trans="T")
        return jnp.linalg.solve(self.core.T, self.vt @ covector)

    def normal_covector(self, covector: Ambient) -> Ambient:
        """`(I - P)^T c`: what an ambient covector does to normal vectors."""
        return covector - lower_index(self.form, self.gradient(covector))

    def orthonormal(self) -> Float[Array, "m k"]:
        """A basis of the tangent space orthonormal in the ambient form, `B L^-T` with `S = L L^T`."""
        if self.inner_on_basis is None:
            return self.basis
        factor = jnp.linalg.cholesky(self.inner_on_basis)
        return jsl.solve_triangular(factor, self.basis.T, lower=True).T

    def min_singular_value(self) -> Scalar:
        """Smallest singular value of the kept part of `J`."""
        return jnp.linalg.svd(self.core, compute_uv=False)[-1]

    def inverse_condition_bound(self) -> Scalar:
        """Smallest over largest entry of `|diag R|`: an upper bound on `sigma_min / sigma_max`, at no cost."""
        diagonal = jnp.abs(jnp.diag(self.core))
        return jnp.min(diagonal) / jnp.max(diagonal)


class Immersion(eqx.Module):
    """`F : R^p -> R^m` with a constant ambient inner product `<u, v> = u^T Q v`, seen as the chart of a submanifold of dimension `dim`.

    `F = f` of the problem, or with `damping = rho > 0` its graph `F(w) = (f(w), sqrt(rho) (w - w0))`, whose induced metric is `J^T J + rho I`.
    Pure functions of flat parameters; nothing is checked here.
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
        return (
            jac
            if self.damping is None
            else jnp.concatenate([jac, jnp.sqrt(self.damping) * jnp.eye(self.p, dtype=jac.dtype)])
        )

    def second_derivative(self, w: Weights, a: Weights, b: Weights) -> Ambient:
        """`D^2 F(w)[a, b]`, two nested Jacobian-vector products."""

        def first(w):
            return jax.jvp(self, (w,), (a,))[1]

        return jax.jvp(first, (w,), (b,))[1]

    def pulled_second_derivative(self, w: Weights, covector: Ambient, a: Weights) -> Weights:
        """`b -> c^T D^2 F(w)[a, b]` as a vector (p,): one Hessian-vector product of `c^T F`."""
        return jax.grad(lambda w: covector @ jax.jvp(self, (w,), (a,))[1])(w)

    def frame(self, w: Weights) -> TangentFrame:
        """The tangent frame at `w`: a thin QR where all p directions count, else the leading `dim` singular triplets."""
        jac = self.jac(w)
        if self.dim == self.p:
            basis, core = jnp.linalg.qr(jac)
            vt = None
        else:
            basis, core, vt = range_factors(jac, self.dim)
        inner = None if self.form is None else basis.T @ jax.vmap(lower_index, (None, 1), 1)(self.form, basis)
        return TangentFrame(w, basis, core, vt, self.form, inner)

    def loss_gradient(self, point: Ambient) -> Ambient:
        """The differential of `g` at an ambient point, shape (m,); zero along the graph's extra axes."""
        return self._padded(self.problem.loss_gradient(point[: self.problem.n]))

    def loss_hessian(self, point: Ambient) -> Ambient:
        """Diagonal of the second differential of `g` at an ambient point, shape (m,)."""
        return self._padded(self.problem.loss_hessian(point[: self.problem.n]))

    def _padded(self, v: Float[Array, " n"]) -> Ambient:
        return v if self.damping is None else jnp.concatenate([v, jnp.zeros(self.p, dtype=v.dtype)])
