"""The Jacobian of a fully connected network from the activations and derivatives of its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._memory import check_jacobian
from .._types import Jac, Outputs, Params, Scalar, Weights
from ..linalg import AbstractJacobian, outer_gram
from ..model import ACTIVATIONS, MLP

BLOCK_BYTES = 2**28  # of the rows of a layer's Jacobian that exist at a time


class _Layer(eqx.Module):
    """The part of one layer `z = c W h + b` of the Jacobian."""

    activation: Float[Array, "n fan_in"]  # `c h`
    pullback: Float[Array, "n k fan_out"] | None  # `D = df / dz`, None for the last layer (1)
    bias: bool = eqx.field(static=True)
    fan_out: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.fan_out * (self.activation.shape[1] + self.bias)

    def forward(self, v: Weights) -> Float[Array, "n k"]:
        """`J v` for the layer's part of `v`, bias before weight."""
        return self._contract(self.pullback, self.activation, *self._split(v))

    def backward(self, u: Float[Array, "n k"]) -> list[Array]:
        """The layer's part of `J^T u`, in pieces."""
        if self._neurons_first:
            rows = self.pullback.reshape(-1, self.fan_out)
            inputs = (u[:, :, None] * self.activation[:, None, :]).reshape(u.size, -1)
            bias, weight = u.reshape(-1) @ rows, rows.T @ inputs
        else:
            back = u if self.pullback is None else jnp.sum(u[:, :, None] * self.pullback, axis=1)
            bias, weight = jnp.sum(back, axis=0), back.T @ self.activation
        return [bias, weight.reshape(-1)] if self.bias else [weight.reshape(-1)]

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
        if self.pullback is None:
            return inputs * jnp.ones((1, outputs), inputs.dtype)
        return inputs * jnp.sum(self.pullback**2, axis=2)

    def weighted_kernel(self, weights: Weights, outputs: int) -> Float[Array, "n k n k"]:
        """`J diag(weights) J^T` of the layer, `weights = (b, W)`, bias before weight.

        sum_o D_iao D_jbo (b_o + sum_k c^2 h_ik h_jk W_ok)
        """
        samples = len(self.activation)
        bias, weight = self._split(weights)
        if self.pullback is None:
            each = jnp.stack([outer_gram(self.activation * jnp.sqrt(w)) + b for w, b in zip(weight, bias, strict=True)])
            return jnp.einsum("aij,ab->iajb", each, jnp.eye(outputs, dtype=each.dtype))
        if outputs == 1:
            # n^2 fan_in fan_out operations in matrix products, which are quicker than `row` below
            return self._weighted_by_rows(self.pullback[:, 0], bias, weight).reshape(samples, 1, samples, 1)

        def row(h, pullback):
            inner = (self.activation * h) @ weight.T + bias  # of this sample with all, neuron by neuron: (n, fan_out)
            left = (self.pullback * inner[:, None, :]).reshape(-1, self.fan_out)
            return (pullback @ left.T).reshape(outputs, samples, outputs)

        return jax.lax.map(lambda each: row(*each), (self.activation, self.pullback))

    def _weighted_by_rows(self, back: Float[Array, "n fan_out"], bias: Array, weight: Array) -> Float[Array, "n n"]:
        """The weighted kernel of one output from chunks of the Jacobian of `BLOCK_BYTES` each."""
        inputs, roots = self.activation, weight
        if self.bias:
            inputs = jnp.concatenate([inputs, jnp.ones_like(back[:, :1])], axis=1)
            roots = jnp.concatenate([weight, bias[:, None]], axis=1)
        roots = jnp.sqrt(roots)
        neurons = max(1, BLOCK_BYTES // (inputs.size * inputs.dtype.itemsize))
        total = jnp.zeros((), weight.dtype)
        for start in range(0, self.fan_out, neurons):
            part = slice(start, start + neurons)
            rows = back[:, part, None] * (inputs[:, None, :] * roots[part])
            total = total + outer_gram(rows.reshape(len(back), -1))
        return total

    def weighted_squared_rows(self, weights: Weights) -> Float[Array, "n k"]:
        """The diagonal of `weighted_kernel`."""
        pullback = None if self.pullback is None else self.pullback**2
        return self._contract(pullback, self.activation**2, *self._split(weights))

    def formed(self, outputs: int) -> list[Array]:
        """The layer's columns of the Jacobian, in pieces (n, k, .): products of `D` and `c h`."""
        samples = self.activation.shape[0]
        pullback = self.pullback
        if pullback is None:
            pullback = jnp.broadcast_to(jnp.eye(outputs, dtype=self.activation.dtype), (samples, outputs, outputs))
        weight = (pullback[:, :, :, None] * self.activation[:, None, None, :]).reshape(samples, outputs, -1)
        return [pullback, weight] if self.bias else [weight]

    @property
    def _neurons_first(self) -> bool:
        """Whether to sum over the neurons before the inputs, because that leaves fewer numbers."""
        return self.pullback is not None and self.pullback.shape[1] * self.activation.shape[1] < self.fan_out

    def _contract(self, back: Array | None, inputs: Array, bias: Array, weight: Array) -> Float[Array, "n k"]:
        """`sum_o back_iao (bias_o + sum_j weight_oj inputs_ij)`."""
        if not self._neurons_first:
            forward = inputs @ weight.T + bias
            return forward if back is None else jnp.sum(back * forward[:, None, :], axis=2)
        rows = back.reshape(-1, self.fan_out)
        total = jnp.sum(jnp.repeat(inputs, back.shape[1], axis=0) * (rows @ weight), axis=1)
        return (total + rows @ bias if self.bias else total).reshape(-1, back.shape[1])

    def _split(self, weights: Weights) -> tuple[Array, Array]:
        """The bias (zeros without one) and the weight in a flat vector (size,)."""
        bias, weight = jnp.split(weights, [self.fan_out * self.bias])
        return (bias if self.bias else jnp.zeros(self.fan_out, weights.dtype)), weight.reshape(self.fan_out, -1)


class LayerJacobian(AbstractJacobian):
    """Jacobian of an MLP at one point, in `n (fan_in + k fan_out)` numbers for each layer.

        J v = diag(s) sum_l <D_l, V_l c_l h_l + v_l>        J^T u = (D_l^T (s u) (c_l h_l)^T)_l
        K[(i,a),(j,b)] = s_ia s_jb sum_l (c_l^2 <h_i, h_j> + [bias]) <D_ia, D_jb>

    for `layers` with input `h` and `D = df / dz`, and the factor `s` of each output, `scale` (n,).

    Reference: Novak et al., arXiv:2206.08720 (structured derivatives).
    """

    layers: tuple[_Layer, ...]
    scale: Outputs

    @property
    def outputs(self) -> int:  # of one sample
        return self.scale.size // self.layers[0].activation.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        return self.scale.size, sum(layer.size for layer in self.layers)

    @property
    def dtype(self) -> jnp.dtype:
        return self.scale.dtype

    def split(self, v: Weights) -> list[Weights]:
        """The part of each layer of a flat vector (p,)."""
        ends = [sum(layer.size for layer in self.layers[: depth + 1]) for depth in range(len(self.layers))]
        return jnp.split(v, ends[:-1])

    def __matmul__(self, v: Weights) -> Outputs:
        parts = zip(self.layers, self.split(v), strict=True)
        return self.scale * sum(layer.forward(part) for layer, part in parts).reshape(-1)

    def __rmatmul__(self, u: Outputs) -> Weights:
        scaled = (self.scale * u).reshape(-1, self.outputs)
        return jnp.concatenate([piece for layer in self.layers for piece in layer.backward(scaled)])

    def kernel(self) -> Float[Array, "n n"]:
        return self.cross_kernel(self)

    def cross_kernel(self, other: "LayerJacobian") -> Float[Array, "m n"]:
        """`J J'^T` with the Jacobian of the same network at `other` inputs."""
        total = sum(a.kernel(b, self.outputs) for a, b in zip(self.layers, other.layers, strict=True))
        return self.scale[:, None] * total.reshape(self.scale.size, other.scale.size) * other.scale

    def squared_norm(self) -> Scalar:
        rows = sum(layer.squared_rows(self.outputs) for layer in self.layers)
        return jnp.sum(self.scale**2 * rows.reshape(-1))

    def scale_rows(self, factors: Outputs) -> "LayerJacobian":
        return LayerJacobian(self.layers, factors * self.scale)

    def scale_columns(self, factors: Weights) -> "ScaledLayerJacobian":
        return ScaledLayerJacobian(self, factors)

    def formed(self) -> Jac:
        check_jacobian(self.shape)
        columns = jnp.concatenate([piece for layer in self.layers for piece in layer.formed(self.outputs)], axis=2)
        return self.scale[:, None] * columns.reshape(self.shape)


class ScaledLayerJacobian(AbstractJacobian):
    """`J diag(f)` for a `LayerJacobian` `jac`, whose kernel `J diag(f^2) J^T` is a sum over layers.

        K[(i,a),(j,b)] = s_ia s_jb sum_l sum_o D_iao D_jbo (f_o^2 + sum_k c_l^2 h_ik h_jk f_ok^2)

    The `factors` `f` (p,) are `f_o` for the bias of neuron `o` and `f_ok` for its weights.

    Reference: derived here, as in `LayerJacobian`.
    """

    jac: LayerJacobian
    factors: Weights

    @property
    def shape(self) -> tuple[int, int]:
        return self.jac.shape

    @property
    def dtype(self) -> jnp.dtype:
        return self.jac.dtype

    def __matmul__(self, v: Weights) -> Outputs:
        return self.jac @ (self.factors * v)

    def __rmatmul__(self, u: Outputs) -> Weights:
        return (u @ self.jac) * self.factors

    def kernel(self) -> Float[Array, "n n"]:
        parts = zip(self.jac.layers, self.jac.split(self.factors**2), strict=True)
        total = sum(layer.weighted_kernel(weights, self.jac.outputs) for layer, weights in parts)
        return self.jac.scale[:, None] * total.reshape(self.shape[0], -1) * self.jac.scale

    def squared_norm(self) -> Scalar:
        parts = zip(self.jac.layers, self.jac.split(self.factors**2), strict=True)
        rows = sum(layer.weighted_squared_rows(weights) for layer, weights in parts)
        return jnp.sum(self.jac.scale**2 * rows.reshape(-1))

    def scale_rows(self, factors: Outputs) -> "ScaledLayerJacobian":
        return ScaledLayerJacobian(self.jac.scale_rows(factors), self.factors)

    def scale_columns(self, factors: Weights) -> "ScaledLayerJacobian":
        return ScaledLayerJacobian(self.jac, self.factors * factors)

    def formed(self) -> Jac:
        return self.jac.formed() * self.factors


def layers_of(model: MLP, params: Params, x: Float[Array, "n d"]) -> tuple[_Layer, ...]:
    """Run the network forward for its activations, and backward for `df / dz` of each layer."""
    act = ACTIVATIONS[model.activation][0]
    activations, slopes, h = [], [], x
    for depth, (layer, scale) in enumerate(zip(params, model.scales, strict=True)):
        activations.append(scale * h)
        z = activations[-1] @ layer["weight"].T
        z = z + layer["bias"] if model.bias else z
        if depth < len(params) - 1:
            h, slope = jax.jvp(act, (z,), (jnp.ones_like(z),))
            slopes.append(slope)
    layers = [_Layer(activations[-1], None, model.bias, model.sizes[-1])]
    pullback = None
    for depth in range(len(params) - 2, -1, -1):
        weight = model.scales[depth + 1] * params[depth + 1]["weight"]
        upstream = weight[None] if pullback is None else pullback @ weight
        pullback = upstream * slopes[depth][:, None, :]
        layers.append(_Layer(activations[depth], pullback, model.bias, model.sizes[depth + 1]))
    return tuple(layers[::-1])
