"""Tangent kernel of a fully connected network, layer by layer, without a Jacobian."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import Params
from .model import AbstractModel, ACTIVATIONS, Centred, MLP, Scaled


class _Layer(eqx.Module):
    """What one layer `z = c W h + b` adds to the kernel: `activation` is `c h`, `pullback` is `df / dz`, None for the identity of the last layer."""

    activation: Float[Array, "n fan_in"]
    pullback: Float[Array, "n k fan_out"] | None
    bias: bool = eqx.field(static=True)


def is_layerwise(model: AbstractModel) -> bool:
    """Whether `layer_kernel` knows the model: an `MLP`, or one inside `Scaled` and `Centred`."""
    if isinstance(model, Scaled | Centred):
        return is_layerwise(model.model)
    return isinstance(model, MLP)


def layer_kernel(model: AbstractModel, params: Params, x: Float[Array, "m d"], other: Float[Array, "n d"] | None = None) -> Float[Array, "mk nk"]:
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
    >>> from riemgn.kernel import layer_kernel
    >>> net = rg.MLP((3, 8, 1))
    >>> layer_kernel(net, net.init(key=jax.random.key(0)), jnp.ones((5, 3))).shape
    (5, 5)

    Reference: Jacot et al., arXiv:1806.07572 (the recursion at finite width); Novak et al., arXiv:2206.08720 (structured derivatives).
    """
    if isinstance(model, Scaled):
        return model.alpha**2 * layer_kernel(model.model, params, x, other)
    if isinstance(model, Centred):
        return layer_kernel(model.model, params, x, other)
    if not isinstance(model, MLP):
        raise ValueError(f"The layer-wise kernel needs an MLP, plain or inside Scaled and Centred, got {type(model).__name__}.")
    here = _layers(model, params, x)
    there = here if other is None else _layers(model, params, other)
    samples, others, outputs = x.shape[0], (x if other is None else other).shape[0], model.sizes[-1]
    by_pair = jnp.zeros((samples, outputs, others, outputs), here[0].activation.dtype)
    for left, right in zip(here, there, strict=True):
        inputs = left.activation @ right.activation.T + left.bias
        if left.pullback is None or right.pullback is None:
            by_pair += inputs[:, None, :, None] * jnp.eye(outputs, dtype=inputs.dtype)[:, None, :]
        else:
            flat = left.pullback.reshape(samples * outputs, -1) @ right.pullback.reshape(others * outputs, -1).T
            by_pair += inputs[:, None, :, None] * flat.reshape(by_pair.shape)
    return by_pair.reshape(samples * outputs, others * outputs)


def _layers(model: MLP, params: Params, x: Float[Array, "n d"]) -> list[_Layer]:
    """Forward for the activations, backward for the derivatives by the pre-activations."""
    act = ACTIVATIONS[model.activation][0]
    scales = [layer["weight"].shape[1] ** -0.5 if model.scaling == "ntk" else 1.0 for layer in params]
    activations, slopes, h = [], [], x
    for depth, (layer, scale) in enumerate(zip(params, scales, strict=True)):
        activations.append(scale * h)
        z = activations[-1] @ layer["weight"].T
        z = z + layer["bias"] if model.bias else z
        if depth < len(params) - 1:
            h, slope = jax.jvp(act, (z,), (jnp.ones_like(z),))
            slopes.append(slope)
    layers = [_Layer(activations[-1], None, model.bias)]
    pullback = None
    for depth in range(len(params) - 2, -1, -1):
        weight = scales[depth + 1] * params[depth + 1]["weight"]
        upstream = weight[None] if pullback is None else pullback @ weight
        pullback = upstream * slopes[depth][:, None, :]
        layers.append(_Layer(activations[depth], pullback, model.bias))
    return layers
