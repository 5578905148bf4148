"""Gradient, Hessian and curvature of a submanifold at one point, from products with `D^2 F`.

Functions take the immersion, the tangent frame at the point, and ambient vectors (m,). Tangent
arguments are assumed to be tangent. Only the tensors at the end form arrays of size m x p x p.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from .immersion import Ambient, Immersion, lower_index, TangentFrame


def gradient_and_norm(immersion: Immersion, frame: TangentFrame, point: Ambient) -> tuple[Ambient, Scalar]:
    """`grad_M g` with the differential of the loss taken at an ambient point, and its norm."""
    differential = immersion.loss_gradient(point)
    gradient = frame.gradient(differential)
    return gradient, jnp.sqrt(jnp.maximum(differential @ gradient, 0.0))


def riemannian_grad(immersion: Immersion, frame: TangentFrame) -> Ambient:
    """`grad_M g`, the tangent vector with `<grad_M g, v> = dg(v)`."""
    return gradient_and_norm(immersion, frame, immersion(frame.w))[0]


def riemannian_hessp(immersion: Immersion, frame: TangentFrame, u: Ambient) -> Ambient:
    """`Hess_M g[u]`: the tangent part of `Hess g u`, and the shape operator of the normal `dg`."""
    point = immersion(frame.w)
    normal = frame.normal_covector(immersion.loss_gradient(point))
    curved = immersion.pulled_second_derivative(frame.w, normal, frame.coordinates(u))
    return frame.gradient(immersion.loss_hessian(point) * u) + frame.tangent_of_covector(curved)


def riemannian_hess(immersion: Immersion, frame: TangentFrame, u: Ambient, v: Ambient) -> Scalar:
    """`Hess_M g[u, v] = Hess g[u, v] + dg(II(u, v))`."""
    point, second = immersion(frame.w), second_fundamental_form(immersion, frame, u, v)
    return jnp.sum(immersion.loss_hessian(point) * u * v) + immersion.loss_gradient(point) @ second


def second_fundamental_form(immersion: Immersion, frame: TangentFrame, u: Ambient, v: Ambient) -> Ambient:
    """`II(u, v) = (I - P) D^2 F[J^+ u, J^+ v]`."""
    return frame.normal_part(immersion.second_derivative(frame.w, frame.coordinates(u), frame.coordinates(v)))


def shape_operator(immersion: Immersion, frame: TangentFrame, u: Ambient, normal: Ambient) -> Ambient:
    """`S_N u`, the tangent vector with `<S_N u, v> = <N, II(u, v)>` (Weingarten map)."""
    covector = lower_index(immersion.form, frame.normal_part(normal))
    return frame.tangent_of_covector(immersion.pulled_second_derivative(frame.w, covector, frame.coordinates(u)))


def mean_curvature(immersion: Immersion, frame: TangentFrame) -> Ambient:
    """`H = (1 / k) sum_i II(e_i, e_i)` over an orthonormal basis of the tangent space."""
    second = jax.vmap(lambda e: second_fundamental_form(immersion, frame, e, e), in_axes=1)(frame.orthonormal())
    return jnp.mean(second, axis=0)


def curvature(immersion: Immersion, frame: TangentFrame, u: Ambient, v: Ambient, z: Ambient) -> Ambient:
    """`R(u, v) z = S_{II(v, z)} u - S_{II(u, z)} v` (Gauss equation), positive on spheres."""
    first = shape_operator(immersion, frame, u, second_fundamental_form(immersion, frame, v, z))
    return first - shape_operator(immersion, frame, v, second_fundamental_form(immersion, frame, u, z))


def sectional_curvature(immersion: Immersion, frame: TangentFrame, u: Ambient, v: Ambient) -> Scalar:
    """`K = (<II(u, u), II(v, v)> - |II(u, v)|^2) / (|u|^2 |v|^2 - <u, v>^2)` (Gauss equation)."""

    def inner(a, b):
        return a @ lower_index(immersion.form, b)

    def second(a, b):
        return second_fundamental_form(immersion, frame, a, b)

    # For orthonormal vectors the denominator is 1, which avoids its cancellation.
    e = u / jnp.sqrt(inner(u, u))
    rest = v - inner(v, e) * e
    h = rest / jnp.sqrt(inner(rest, rest))
    mixed = second(e, h)
    return inner(second(e, e), second(h, h)) - inner(mixed, mixed)


def metric_matrix(immersion: Immersion, frame: TangentFrame) -> Float[Array, "p p"]:
    """`G = J^T Q J`, the metric in the chart. Solving with it would square the condition number."""
    inner = jnp.eye(immersion.dim, dtype=frame.basis.dtype) if frame.inner_on_basis is None else frame.inner_on_basis
    factor = frame.core if frame.vt is None else frame.core @ frame.vt
    return factor.T @ inner @ factor


def second_derivative_tensor(immersion: Immersion, frame: TangentFrame) -> Float[Array, "m p p"]:
    """`D^2 F[e_i, e_j]` for all pairs of parameters."""
    return jax.jacfwd(jax.jacfwd(immersion))(frame.w)


def christoffels(immersion: Immersion, frame: TangentFrame) -> Float[Array, "p p p"]:
    """`Gamma^k_ij = (J^+ D^2 F[e_i, e_j])_k`, upper index first, of the horizontal lift."""
    return jax.vmap(jax.vmap(frame.coordinates, 1, 1), 2, 2)(second_derivative_tensor(immersion, frame))


def second_fundamental_tensor(immersion: Immersion, frame: TangentFrame) -> Float[Array, "m p p"]:
    """`II(J e_i, J e_j)` for all pairs of parameters."""
    return jax.vmap(jax.vmap(frame.normal_part, 1, 1), 2, 2)(second_derivative_tensor(immersion, frame))


def riemann_tensor(immersion: Immersion, frame: TangentFrame) -> Float[Array, "p p p p"]:
    """`R_ijk^l` with `R(e_i, e_j) e_k = R_ijk^l e_l`, by the Gauss equation; upper index last."""
    second = second_fundamental_tensor(immersion, frame)
    lowered = jax.vmap(jax.vmap(lambda v: lower_index(immersion.form, v), 1, 1), 2, 2)(second)
    products = jnp.einsum("aij,akl->ijkl", second, lowered)  # <II_ij, II_kl>
    covariant = jnp.einsum("jkil->ijkl", products) - jnp.einsum("ikjl->ijkl", products)
    # The last index is raised with the pseudo-inverse of G, one covector at a time.
    raise_index = jax.vmap(jax.vmap(jax.vmap(lambda h: frame.coordinates(frame.tangent_of_covector(h)))))
    return raise_index(covariant)
