"""Jacobian and tangent kernel of a fully connected network, layer by layer; the Jacobian is formed only on request."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._memory import check_jacobian
from ._types import Jac, Outputs, Params, Scalar, Weights
from .linalg import AbstractJacobian
from .model import AbstractModel, ACTIVATIONS, Centred, MLP, Scaled, Weighted


class _Layer(eqx.Module):
    """What one layer `z = c W h + b` adds to the Jacobian: `activation` is `c h`, `pullback` is `df / dz`, None for the last layer."""

    activation: Float[Array, "n fan_in"]
    pullback: Float[Array, "n k fan_out"] | None
    bias: bool = eqx.field(static=True)
    fan_out: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.fan_out * (self.activation.shape[1] + self.bias)

    def forward(self, v: Weights) -> Float[Array, "n k"]:
        """`J v` of the layer's part of `v`, bias before weight."""
        bias, weight = jnp.split(v, [self.fan_out * self.bias])
        z = self.activation @ weight.reshape(self.fan_out, -1).T
        z = z + bias if self.bias else z
        return z if self.pullback is None else jnp.sum(self.pullback * z[:, None, :], axis=2)

    def backward(self, u: Float[Array, "n k"]) -> list[Array]:
        """The layer's part of `J^T u`, in pieces."""
        back = u if self.pullback is None else jnp.sum(u[:, :, None] * self.pullback, axis=1)
        weight = (back.T @ self.activation).reshape(-1)
        return [jnp.sum(back, axis=0), weight] if self.bias else [weight]

    def kernel(self, other: "_Layer", outputs: int) -> Float[Array, "m k n k"]:
        """`(c^2 <h_i, h'_j> + [bias]) <D_ia, D'_jb>`."""
        inputs = (self.activation @ other.activation.T + self.bias)[:, None, :, None]
        if self.pullback is None or other.pullback is None:
            return inputs * jnp.eye(outputs, dtype=inputs.dtype)[:, None, :]
        left, right = (pullback.reshape(-1, self.fan_out) for pullback in (self.pullback, other.pullback))
        return inputs * (left @ right.T).reshape(self.activation.shape[0], outputs, -1, outputs)

    def squared_rows(self, outputs: int) -> Float[Array, "n k"]:
        """The squared norm of each row of the layer's Jacobian."""
        inputs = jnp.sum(self.activation**2, axis=1, keepdims=True) + self.bias
        return inputs * (jnp.ones((1, outputs), inputs.dtype) if self.pullback is None else jnp.sum(self.pullback**2, axis=2))

    def formed(self, outputs: int) -> list[Array]:
        """The layer's columns of the Jacobian, in pieces (n, k, .): outer products of `D` and `c h`."""
        samples = self.activation.shape[0]
        whole = jnp.broadcast_to(jnp.eye(outputs, dtype=self.activation.dtype), (samples, outputs, outputs))
        pullback = whole if self.pullback is None else self.pullback
        weight = (pullback[:, :, :, None] * self.activation[:, None, None, :]).reshape(samples, outputs, -1)
        return [pullback, weight] if self.bias else [weight]


class LayerJacobian(AbstractJacobian):
    """Jacobian of an MLP at one point by what its layers keep, `n (fan_in + k fan_out)` numbers each instead of `n k fan_in fan_out`.

        J v = diag(s) sum_l <D_l, V_l c_l h_l + v_l>        J^T u = (D_l^T (s u) (c_l h_l)^T)_l
        K[(i,a),(j,b)] = s_ia s_jb sum_l (c_l^2 <h_i, h_j> + [bias]) <D_ia, D_jb>

    with `h` the layer's input and `D = df / dz` by its pre-activation.

    - `layers`: from the first to the last.
    - `scale`: `s`, the factor of each output, (n,): scale, weight and whitening.

    Reference: Novak et al., arXiv:2206.08720 (structured derivatives).
    """

    layers: tuple[_Layer, ...]
    scale: Outputs

    @property
    def _outputs(self) -> int:
        return self.scale.size // self.layers[0].activation.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        return self.scale.size, sum(layer.size for layer in self.layers)

    @property
    def dtype(self) -> jnp.dtype:
        return self.scale.dtype

    def __matmul__(self, v: Weights) -> Outputs:
        total, start = jnp.zeros((), v.dtype), 0
        for layer in self.layers:
            total = total + layer.forward(v[start : start + layer.size])
            start += layer.size
        return self.scale * total.reshape(-1)

    def __rmatmul__(self, u: Outputs) -> Weights:
        scaled = (self.scale * u).reshape(-1, self._outputs)
        return jnp.concatenate([piece for layer in self.layers for piece in layer.backward(scaled)])

    def kernel(self) -> Float[Array, "n n"]:
        return self.cross_kernel(self)

    def cross_kernel(self, other: "LayerJacobian") -> Float[Array, "m n"]:
        """`J J'^T` with the Jacobian of the same network at other inputs."""
        pairs = zip(self.layers, other.layers, strict=True)
        total = sum((left.kernel(right, self._outputs) for left, right in pairs), start=jnp.zeros((), self.dtype))
        return self.scale[:, None] * total.reshape(self.scale.size, other.scale.size) * other.scale

    def squared_norm(self) -> Scalar:
        rows = sum((layer.squared_rows(self._outputs) for layer in self.layers), start=jnp.zeros((), self.dtype))
        return jnp.sum(self.scale**2 * rows.reshape(-1))

    def scale_rows(self, factors: Outputs) -> "LayerJacobian":
        return LayerJacobian(self.layers, factors * self.scale)

    def formed(self) -> Jac:
        check_jacobian(self.shape)
        columns = jnp.concatenate([piece for layer in self.layers for piece in layer.formed(self._outputs)], axis=2)
        return self.scale[:, None] * columns.reshape(self.shape)


def is_layerwise(model: AbstractModel) -> bool:
    """Whether `layer_jacobian` knows the model: an `MLP`, or one inside `Scaled`, `Centred` and `Weighted`."""
    if isinstance(model, Scaled | Centred | Weighted):
        return is_layerwise(model.model)
    return isinstance(model, MLP)


def layer_jacobian(model: AbstractModel, params: Params, x: Float[Array, "n d"]) -> LayerJacobian:
    """The Jacobian of the outputs at the inputs `x`, stacked row by row, as a `LayerJacobian`: one forward and one backward pass.

    Arguments:

    - `model`: a model for which `is_layerwise` is true.
    - `params`: its parameters.
    - `x`: inputs (n, d).

    Raises: `ValueError` for another model.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.kernel import layer_jacobian
    >>> net = rg.MLP((3, 8, 1))
    >>> (layer_jacobian(net, net.init(key=jax.random.key(0)), jnp.ones((5, 3))) @ jnp.ones(41)).shape
    (5,)
    """
    if isinstance(model, Centred):
        return layer_jacobian(model.model, params, x)
    if isinstance(model, Scaled):
        jac = layer_jacobian(model.model, params, x)
        return jac.scale_rows(jnp.full_like(jac.scale, model.alpha))
    if isinstance(model, Weighted):
        jac = layer_jacobian(model.model, params, x[:, :-1])
        return jac.scale_rows(jnp.repeat(x[:, -1], jac.scale.size // x.shape[0]))
    if not isinstance(model, MLP):
        raise ValueError(f"The layer-wise kernel needs an MLP, plain or inside Scaled, Centred and Weighted, got {type(model).__name__}.")
    return LayerJacobian(_layers(model, params, x), jnp.ones(x.shape[0] * model.sizes[-1], x.dtype))


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
    here = layer_jacobian(model, params, x)
    return here.kernel() if other is None else here.cross_kernel(layer_jacobian(model, params, other))


def infinite_width_kernel(model: AbstractModel, x: Float[Array, "m d"], other: Float[Array, "n d"] | None = None) -> Float[Array, "mk nk"]:
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
    >>> from riemgn.kernel import infinite_width_kernel
    >>> infinite_width_kernel(rg.MLP((3, 8, 1), activation="erf"), jnp.ones((5, 3))).shape
    (5, 5)

    Reference: Williams, Computing with infinite networks, NIPS 1996 (covariance); Jacot et al., arXiv:1806.07572 (recursion).
    """
    if isinstance(model, Centred):
        return infinite_width_kernel(model.model, x, other)
    if isinstance(model, Scaled):
        return model.alpha**2 * infinite_width_kernel(model.model, x, other)
    if not (isinstance(model, MLP) and (model.activation, model.scaling) == ("erf", "ntk")):
        raise ValueError('The kernel of infinite width is known for an MLP with activation="erf" and scaling="ntk", plain or in Scaled and Centred.')
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


def _layers(model: MLP, params: Params, x: Float[Array, "n d"]) -> tuple[_Layer, ...]:
    """Forward for the activations, backward for the derivatives by the pre-activations."""
    act = ACTIVATIONS[model.activation][0]
    scales = model.scales
    activations, slopes, h = [], [], x
    for depth, (layer, scale) in enumerate(zip(params, scales, strict=True)):
        activations.append(scale * h)
        z = activations[-1] @ layer["weight"].T
        z = z + layer["bias"] if model.bias else z
        if depth < len(params) - 1:
            h, slope = jax.jvp(act, (z,), (jnp.ones_like(z),))
            slopes.append(slope)
    layers = [_Layer(activations[-1], None, model.bias, model.sizes[-1])]
    pullback = None
    for depth in range(len(params) - 2, -1, -1):
        weight = scales[depth + 1] * params[depth + 1]["weight"]
        upstream = weight[None] if pullback is None else pullback @ weight
        pullback = upstream * slopes[depth][:, None, :]
        layers.append(_Layer(activations[depth], pullback, model.bias, model.sizes[depth + 1]))
    return tuple(layers[::-1])
