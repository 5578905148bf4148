"""Tangent kernels of fully connected networks: of finite width by layers, of infinite width in closed form."""

from functools import singledispatch

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Params
from ..linalg import AbstractJacobian
from ..model import AbstractModel, Centred, MLP, Scaled, Weighted
from .mlp import LayerJacobian, layers_of


def is_layerwise(model: AbstractModel) -> bool:
    """Whether `layer_jacobian` knows the model: an `MLP`, one inside `Scaled`, `Centred` and `Weighted`, or of a class registered with it."""
    if isinstance(model, Scaled | Centred | Weighted):
        return is_layerwise(model.model)
    return layer_jacobian.dispatch(type(model)) is not layer_jacobian.dispatch(object)


@singledispatch
def layer_jacobian(model: AbstractModel, params: Params, x: Float[Array, "n d"]) -> AbstractJacobian:
    """The Jacobian of the outputs at the inputs `x`, stacked row by row and never formed: one forward and one backward pass.

    Of an `MLP` it is a `LayerJacobian`. A model whose Jacobian has another structure is taught with `@layer_jacobian.register`; the methods then use
    its products and its kernel.

    Arguments:

    - `model`: a model for which `is_layerwise` is true.
    - `params`: its parameters.
    - `x`: inputs (n, d).

    Raises: `ValueError` for another model.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.jacobian import layer_jacobian
    >>> net = rg.MLP((3, 8, 1))
    >>> (layer_jacobian(net, net.init(key=jax.random.key(0)), jnp.ones((5, 3))) @ jnp.ones(41)).shape
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
    """`K = J(x) J(other)^T` of an MLP, summed over its layers; no Jacobian is formed.

        K[(i,a),(j,b)] = sum_l (c_l^2 <h_i, h'_j> + [bias]) <D_ia, D'_jb>,   D_ia = d f_a(x_i) / d z_l

    with `h` the layer's input and `z` its pre-activation: the Jacobian of a layer is the outer product of `D` and `c h`, and inner products of outer
    products are products of inner products. About `m n k^2` times the number of units operations, where `J J^T` takes that times the number of
    weights.

    Arguments:

    - `model`: a model for which `is_layerwise` is true.
    - `params`: its parameters.
    - `x`: inputs (m, d).
    - `other`: inputs (n, d), by default `x`.

    Returns: the kernel (m k, n k), outputs of one sample side by side.

    Raises: `ValueError` for another model.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.jacobian import layer_kernel
    >>> net = rg.MLP((3, 8, 1))
    >>> layer_kernel(net, net.init(key=jax.random.key(0)), jnp.ones((5, 3))).shape
    (5, 5)

    Reference: Jacot et al., arXiv:1806.07572 (the recursion at finite width); Novak et al., arXiv:2206.08720 (structured derivatives).
    """
    here = layer_jacobian(model, params, x)
    if other is None:
        return here.kernel()
    there = layer_jacobian(model, params, other)
    if isinstance(here, LayerJacobian) and isinstance(there, LayerJacobian):
        return here.cross_kernel(there)
    return here.formed() @ there.formed().T


def infinite_width_kernel(
    model: AbstractModel, x: Float[Array, "m d"], other: Float[Array, "n d"] | None = None
) -> Float[Array, "mk nk"]:
    """The tangent kernel at initialisation of an erf network in the limit of infinite width, in closed form.

    With `q` the covariance of two pre-activations of a layer, `Theta` its kernel, both `<x, x'> / d` in the first (`Theta` plus 1 for the bias):

        q     <- E[erf(u) erf(v)] = 2 / pi arcsin(2 q_uv / sqrt((1 + 2 q_uu) (1 + 2 q_vv)))
        Theta <- q + [bias] + Theta E[erf'(u) erf'(v)],   E[erf'(u) erf'(v)] = 4 / pi ((1 + 2 q_uu) (1 + 2 q_vv) - 4 q_uv^2)^(-1/2)

    Arguments:

    - `model`: an `MLP` of any depth with `activation="erf"` and `scaling="ntk"`, plain or inside `Scaled` and `Centred`; its widths do not matter.
    - `x`: inputs (m, d); `other`: inputs (n, d), by default `x`.

    Returns: the kernel (m k, n k), outputs of one sample side by side, those of different outputs independent.

    Raises: `ValueError` for another model.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> from riemgn.jacobian import infinite_width_kernel
    >>> infinite_width_kernel(rg.MLP((3, 8, 1), activation="erf"), jnp.ones((5, 3))).shape
    (5, 5)

    Reference: Williams, Computing with infinite networks, NIPS 1996 (covariance); Jacot et al., arXiv:1806.07572 (recursion).
    """
    if isinstance(model, Centred):
        return infinite_width_kernel(model.model, x, other)
    if isinstance(model, Scaled):
        return model.alpha**2 * infinite_width_kernel(model.model, x, other)
    if not (isinstance(model, MLP) and (model.activation, model.scaling) == ("erf", "ntk")):
        raise ValueError(
            'The kernel of infinite width is known for an MLP with activation="erf" and scaling="ntk", plain or in Scaled and Centred.'
        )
    other = x if other is None else other
    d = x.shape[1]
    q, own, others = x @ other.T / d, jnp.sum(x**2, axis=1) / d, jnp.sum(other**2, axis=1) / d
    theta = q + model.bias
    for _ in model.sizes[1:-1]:
        product = (1 + 2 * own)[:, None] * (1 + 2 * others)
        slopes = 4 / jnp.pi / jnp.sqrt(product - 4 * q**2)
        q = 2 / jnp.pi * jnp.arcsin(2 * q / jnp.sqrt(product))
        own, others = (2 / jnp.pi * jnp.arcsin(2 * v / (1 + 2 * v)) for v in (own, others))
        theta = q + model.bias + theta * slopes
    return jnp.kron(theta, jnp.eye(model.sizes[-1], dtype=theta.dtype))
