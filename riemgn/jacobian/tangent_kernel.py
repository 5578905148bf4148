"""Tangent kernels of fully connected networks of finite and of infinite width."""

from functools import singledispatch

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..linalg import AbstractJacobian
from ..model import AbstractModel, Centred, MLP, Scaled, Weighted
from .mlp import LayerJacobian, layers_of


def is_layerwise(model: AbstractModel) -> bool:
    """Tell whether `layer_jacobian` accepts the `model`."""
    if isinstance(model, Scaled | Centred | Weighted):
        return is_layerwise(model.model)
    return layer_jacobian.dispatch(type(model)) is not layer_jacobian.dispatch(object)


@singledispatch
def layer_jacobian(model: AbstractModel, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    """Compute the Jacobian of the outputs at `params` and `x` (n, d) as an operator.

    For an `MLP`, plain or inside `Scaled`, `Centred` and `Weighted`, it is a `LayerJacobian`. You
    can register a function for your own `model` class with `@layer_jacobian.register`.

    Raises: `ValueError` for another model.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.jacobian import layer_jacobian
    >>> net = rg.MLP((3, 8, 1))
    >>> jac = layer_jacobian(net, net.init(key=jax.random.key(0)), jnp.ones((5, 3)))
    >>> (jac @ jnp.ones(41)).shape
    (5,)
    """
    raise ValueError(
        f"The layer-wise kernel needs an MLP, plain or inside Scaled, Centred and Weighted, got {type(model).__name__}."
    )


@layer_jacobian.register
def _(model: MLP, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    return LayerJacobian(layers_of(model, params, x), jnp.ones(x.shape[0] * model.sizes[-1], x.dtype))


@layer_jacobian.register
def _(model: Centred, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    return layer_jacobian(model.model, params, x)


@layer_jacobian.register
def _(model: Scaled, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    jac = layer_jacobian(model.model, params, x)
    return jac.scale_rows(jnp.full(jac.shape[0], model.alpha, jac.dtype))


@layer_jacobian.register
def _(model: Weighted, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    jac = layer_jacobian(model.model, params, x[:, :-1])
    return jac.scale_rows(jnp.repeat(x[:, -1], jac.shape[0] // x.shape[0]))


def layer_kernel(
    model: AbstractModel, params: Params, x: Float[Array, "m d"], other: Float[Array, "n d"] | None = None
) -> Float[Array, "mk nk"]:
    """Compute `K = J(x) J(other)^T` of an MLP as a sum over its layers, without any Jacobian.

        K[(i,a),(j,b)] = sum_l (c_l^2 <h_i, h'_j> + [bias]) <D_ia, D'_jb>, D_ia = d f_a(x_i) / d z_l

    with `h` the input and `z` the pre-activation of the layer. It takes about `m n k^2` operations
    for each unit, `J J^T` as many for each weight. `model` and `params` are as in `layer_jacobian`.
    `other` defaults to `x`. The k outputs of one sample are next to each other.

    Reference: Jacot et al., arXiv:1806.07572 (the recursion), and Novak et al., arXiv:2206.08720.
    """
    jac = layer_jacobian(model, params, x)
    if other is None:
        return jac.kernel()
    other_jac = layer_jacobian(model, params, other)
    if isinstance(jac, LayerJacobian) and isinstance(other_jac, LayerJacobian):
        return jac.cross_kernel(other_jac)
    return jac.formed() @ other_jac.formed().T


def infinite_width_kernel(
    model: AbstractModel, x: Float[Array, "m d"], other: Float[Array, "n d"] | None = None
) -> Float[Array, "mk nk"]:
    """Compute the tangent kernel at initialisation of an erf network of infinite width.

    `q` is the covariance of two pre-activations of a layer and `Theta` its kernel. Both start as
    `<x, x'> / d` (`Theta` plus 1 with biases), and for each hidden layer

        q     <- E[erf(u) erf(v)] = 2 / pi arcsin(2 q_uv / sqrt((1 + 2 q_uu) (1 + 2 q_vv)))
        Theta <- q + [bias] + Theta E[erf'(u) erf'(v)]
        E[erf'(u) erf'(v)] = 4 / pi ((1 + 2 q_uu) (1 + 2 q_vv) - 4 q_uv^2)^(-1/2)

    The `model` is an `MLP` with `activation="erf"` and `scaling="ntk"`, plain or inside `Scaled`
    and `Centred`. `other` inputs default to `x`. Different outputs are independent.

    Raises: `ValueError` for another model.

    Reference: Williams, NIPS 1996 (covariance), and Jacot et al., arXiv:1806.07572 (recursion).
    """
    if isinstance(model, Centred):
        return infinite_width_kernel(model.model, x, other)
    if isinstance(model, Scaled):
        return model.alpha**2 * infinite_width_kernel(model.model, x, other)
    if not (isinstance(model, MLP) and (model.activation, model.scaling) == ("erf", "ntk")):
        raise ValueError(
            f'The kernel of infinite width needs an MLP with activation="erf" and scaling="ntk", got {model!r}.'
        )
    other = x if other is None else other
    d = x.shape[1]
    q, variances, other_variances = x @ other.T / d, jnp.sum(x**2, axis=1) / d, jnp.sum(other**2, axis=1) / d
    theta = q + model.bias
    for _ in model.sizes[1:-1]:
        product = (1 + 2 * variances)[:, None] * (1 + 2 * other_variances)
        slopes = 4 / jnp.pi / jnp.sqrt(product - 4 * q**2)
        q = 2 / jnp.pi * jnp.arcsin(2 * q / jnp.sqrt(product))
        variances, other_variances = (
            2 / jnp.pi * jnp.arcsin(2 * v / (1 + 2 * v)) for v in (variances, other_variances)
        )
        theta = q + model.bias + theta * slopes
    return jnp.kron(theta, jnp.eye(model.sizes[-1], dtype=theta.dtype))
