"""The Jacobian of a fully connected network by what its layers keep; formed only on request."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._memory import check_jacobian
from .._types import Jac, Outputs, Params, Scalar, Weights
from ..linalg import AbstractJacobian, outer_gram
from ..model import ACTIVATIONS, MLP

BLOCK_BYTES = 2**28  # of rows of a layer's Jacobian that are made at a time
FEW = 8  # columns up to which a product with a thin matrix is quicker column by column, on a CPU


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
        bias, weight = self._split(v)
        if self.pullback is None:
            return self.activation @ weight.T + bias
        return self._by_output(self.pullback, self.activation, bias, weight)

    def backward(self, u: Float[Array, "n k"]) -> list[Array]:
        """The layer's part of `J^T u`, in pieces."""
        if self.pullback is None or not self._thin:
            back = u if self.pullback is None else jnp.sum(u[:, :, None] * self.pullback, axis=1)
            bias, weight = jnp.sum(back, axis=0), back.T @ self.activation
        else:
            rows, back = (
                self.pullback.reshape(-1, self.fan_out),
                (u[:, :, None] * self.activation[:, None, :]).reshape(u.size, -1),
            )
            bias, weight = u.reshape(-1) @ rows, _transposed_by_thin(rows, back)
        return [bias, weight.reshape(-1)] if self.bias else [weight.reshape(-1)]

    def kernel(self, other: "_Layer", outputs: int) -> Float[Array, "m k n k"]:
        """`(c^2 <h_i, h'_j> + [bias]) <D_ia, D'_jb>`."""
        inputs = (self.activation @ other.activation.T + self.bias)[:, None, :, None]
        if self.pullback is None or other.pullback is None:
            return inputs * jnp.eye(outputs, dtype=inputs.dtype)[:, None, :]
        left, right = (pullback.reshape(-1, self.fan_out) for pullback in (self.pullback, other.pullback))
        return inputs * (left @ right.T).reshape(self.activation.shape[0], outputs, -1, outputs)

    def weighted_kernel(self, weights: Weights, outputs: int) -> Float[Array, "n k n k"]:
        """`J diag(weights) J^T` of the layer, `sum_o D_iao D_jbo (b_o + sum_k c^2 h_ik h_jk W_ok)`, `weights = (b, W)` as the parameters lie.

        About `n^2 fan_out (fan_in + k^2)` operations; `n^2 fan_in fan_out` by rows of the Jacobian for one output, in chunks of neurons.
        """
        samples = len(self.activation)
        bias, weight = self._split(weights)
        if self.pullback is None:
            each = jnp.stack([outer_gram(self.activation * jnp.sqrt(w)) + b for w, b in zip(weight, bias, strict=True)])
            return jnp.einsum("aij,ab->iajb", each, jnp.eye(outputs, dtype=each.dtype))
        if outputs == 1:
            return self._by_rows(self.pullback[:, 0], bias, weight).reshape(samples, 1, samples, 1)

        def row(h, pullback):
            inner = (self.activation * h) @ weight.T + bias  # of this sample with all, neuron by neuron: (n, fan_out)
            left = (self.pullback * inner[:, None, :]).reshape(-1, self.fan_out)
            return (pullback @ left.T).reshape(outputs, samples, outputs)

        return jax.lax.map(lambda each: row(*each), (self.activation, self.pullback))

    def weighted_squared_rows(self, weights: Weights, outputs: int) -> Float[Array, "n k"]:
        """The diagonal of `weighted_kernel`."""
        bias, weight = self._split(weights)
        if self.pullback is None:
            return self.activation**2 @ weight.T + bias
        return self._by_output(self.pullback**2, self.activation**2, bias, weight)

    @property
    def _thin(self) -> bool:
        """Whether the sum over the neurons comes before that over the inputs: it leaves the smaller numbers in between."""
        return self.pullback is not None and self.pullback.shape[1] * self.activation.shape[1] < self.fan_out

    def _by_output(
        self, back: Float[Array, "n k fan_out"], inputs: Float[Array, "n fan_in"], bias: Array, weight: Array
    ) -> Float[Array, "n k"]:
        """`sum_o back_iao (bias_o + sum_j weight_oj inputs_ij)`."""
        if not self._thin:
            return jnp.sum(back * (inputs @ weight.T + bias)[:, None, :], axis=2)
        outputs, rows = back.shape[1], back.reshape(-1, self.fan_out)
        total = rows @ bias if self.bias else jnp.zeros((), rows.dtype)
        if inputs.shape[1] <= FEW:
            total = total + sum(
                jnp.repeat(inputs[:, j], outputs) * (rows @ weight[:, j]) for j in range(inputs.shape[1])
            )
        else:
            total = total + jnp.sum(jnp.repeat(inputs, outputs, axis=0) * (rows @ weight), axis=1)
        return total.reshape(-1, outputs)

    def _split(self, weights: Weights) -> tuple[Array, Array]:
        """The bias and the weight that a flat vector (size,) stands for; without a bias zeros."""
        bias, weight = jnp.split(weights, [self.fan_out * self.bias])
        return (bias if self.bias else jnp.zeros(self.fan_out, weights.dtype)), weight.reshape(self.fan_out, -1)

    def _by_rows(self, back: Float[Array, "n fan_out"], bias: Array, weight: Array) -> Float[Array, "n n"]:
        """The weighted kernel of one output from chunks of the columns of the Jacobian, of `BLOCK_BYTES` each."""
        inputs = (
            jnp.concatenate([self.activation, jnp.ones_like(back[:, :1])], axis=1) if self.bias else self.activation
        )
        roots = jnp.sqrt(jnp.concatenate([weight, bias[:, None]], axis=1) if self.bias else weight)
        neurons = max(1, BLOCK_BYTES // (inputs.size * inputs.dtype.itemsize))
        total = jnp.zeros((), weight.dtype)
        for start in range(0, self.fan_out, neurons):
            part = slice(start, start + neurons)
            rows = back[:, part, None] * (inputs[:, None, :] * roots[part])
            total = total + outer_gram(rows.reshape(len(back), -1))
        return total

    def squared_rows(self, outputs: int) -> Float[Array, "n k"]:
        """The squared norm of each row of the layer's Jacobian."""
        inputs = jnp.sum(self.activation**2, axis=1, keepdims=True) + self.bias
        return inputs * (
            jnp.ones((1, outputs), inputs.dtype) if self.pullback is None else jnp.sum(self.pullback**2, axis=2)
        )

    def formed(self, outputs: int) -> list[Array]:
        """The layer's columns of the Jacobian, in pieces (n, k, .): outer products of `D` and `c h`."""
        samples = self.activation.shape[0]
        whole = jnp.broadcast_to(jnp.eye(outputs, dtype=self.activation.dtype), (samples, outputs, outputs))
        pullback = whole if self.pullback is None else self.pullback
        weight = (pullback[:, :, :, None] * self.activation[:, None, None, :]).reshape(samples, outputs, -1)
        return [pullback, weight] if self.bias else [weight]


def _transposed_by_thin(
    rows: Float[Array, "m fan_out"], thin: Float[Array, "m fan_in"]
) -> Float[Array, "fan_out fan_in"]:
    """`rows^T thin`."""
    if thin.shape[1] > FEW:
        return rows.T @ thin
    return jnp.stack([thin[:, j] @ rows for j in range(thin.shape[1])], axis=1)


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
    def outputs(self) -> int:
        """Outputs of a sample."""
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
        scaled = (self.scale * u).reshape(-1, self.outputs)
        return jnp.concatenate([piece for layer in self.layers for piece in layer.backward(scaled)])

    def kernel(self) -> Float[Array, "n n"]:
        return self.cross_kernel(self)

    def cross_kernel(self, other: "LayerJacobian") -> Float[Array, "m n"]:
        """`J J'^T` with the Jacobian of the same network at other inputs."""
        pairs = zip(self.layers, other.layers, strict=True)
        total = sum((left.kernel(right, self.outputs) for left, right in pairs), start=jnp.zeros((), self.dtype))
        return self.scale[:, None] * total.reshape(self.scale.size, other.scale.size) * other.scale

    def squared_norm(self) -> Scalar:
        rows = sum((layer.squared_rows(self.outputs) for layer in self.layers), start=jnp.zeros((), self.dtype))
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
    """`J diag(f)` of a `LayerJacobian`; its kernel is `J diag(f^2) J^T`, summed over the layers without forming either.

        K[(i,a),(j,b)] = s_ia s_jb sum_l sum_o D_iao D_jbo (f_o^2 + sum_k c_l^2 h_ik h_jk f_ok^2)

    with `f_o` the factor of the bias of neuron `o`, if it has one, and `f_ok` that of its weights.

    - `jac`: `J`, (n, p).
    - `factors`: `f`, (p,).

    Reference: ggn_score.md 3.2, for layers of any number.
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
        n, outputs, scale = self.shape[0], self.jac.outputs, self.jac.scale
        total = sum(
            (layer.weighted_kernel(w, outputs) for layer, w in self._weighted()), start=jnp.zeros((), self.dtype)
        )
        return scale[:, None] * total.reshape(n, n) * scale

    def squared_norm(self) -> Scalar:
        rows = sum(
            (layer.weighted_squared_rows(w, self.jac.outputs) for layer, w in self._weighted()),
            start=jnp.zeros((), self.dtype),
        )
        return jnp.sum(self.jac.scale**2 * rows.reshape(-1))

    def scale_rows(self, factors: Outputs) -> "ScaledLayerJacobian":
        return ScaledLayerJacobian(self.jac.scale_rows(factors), self.factors)

    def scale_columns(self, factors: Weights) -> "ScaledLayerJacobian":
        return ScaledLayerJacobian(self.jac, self.factors * factors)

    def formed(self) -> Jac:
        return self.jac.formed() * self.factors

    def _weighted(self) -> list[tuple[_Layer, Weights]]:
        """Each layer with the squares of its factors."""
        ends = [sum(layer.size for layer in self.jac.layers[: depth + 1]) for depth in range(len(self.jac.layers))]
        return list(zip(self.jac.layers, jnp.split(self.factors**2, ends[:-1]), strict=True))


def layers_of(model: MLP, params: Params, x: Float[Array, "n d"]) -> tuple[_Layer, ...]:
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
