"""Reproduce the derivatives of the released code of Adeoye et al. for a network with one output.

Its Jacobian lacks `kappa` and assigns entries of the hidden layer to wrong weights. Its gradient
lacks `kappa` and evaluates `rho'` at `rho(z)`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import riemgn as rg
from riemgn.jacobian import layer_jacobian
from riemgn.linalg import AbstractJacobian
from riemgn.model import AbstractModel, ACTIVATIONS


class ReleasedDerivatives(AbstractModel):
    """A network with true values and the Jacobian that the released GGN-SCORE uses."""

    net: rg.MLP
    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params, x: Array) -> Array:
        return _released(self.net, False, params, x)


class ReleasedGradient(AbstractModel):
    """A network with true values and the gradient that the released gradient descent uses."""

    net: rg.MLP
    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params, x: Array) -> Array:
        return _released(self.net, True, params, x)


@eqx.filter_custom_jvp
def _released(net, gradient, params, x):
    return net(params, x)


@_released.def_jvp
def _released_jvp(primals, tangents):
    net, gradient, params, x = primals
    hidden_change, output_change = (layer["weight"] for layer in tangents[2])
    u, v = (layer["weight"] for layer in params)
    act, z = ACTIVATIONS[net.activation][0], x @ u.T
    rho = act(z)
    slope = jax.vmap(jax.vmap(jax.grad(act)))(rho if gradient else z)
    hidden = (v[0] * slope)[:, :, None] * x[:, None, :]  # stored neuron by neuron: (m, n_1, n_0)
    # theta is read column by column, but only the gradient stores its columns so.
    couples = hidden_change if gradient else hidden_change.T
    return net(params, x), hidden.reshape(len(x), -1) @ couples.reshape(-1) + rho @ output_change[0]


class ReleasedJacobian(AbstractJacobian):
    """`J P` for the Jacobian `J` of two layers and a permutation `P`.

    `P v` reads the part of the hidden layer of `v`, stored neuron by neuron, as if it were stored
    input by input.

    - `jac`: `J`, (m, p).
    - `hidden`: neurons and inputs of the hidden layer.
    """

    jac: AbstractJacobian
    hidden: tuple[int, int] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.jac.shape

    @property
    def dtype(self) -> jnp.dtype:
        return self.jac.dtype

    def __matmul__(self, v: Float[Array, " p"]) -> Float[Array, " m"]:
        return self.jac @ self._permuted(v)

    def __rmatmul__(self, u: Float[Array, " m"]) -> Float[Array, " p"]:
        neurons, inputs = self.hidden
        return _transposed(u @ self.jac, inputs, neurons)

    def kernel(self) -> Float[Array, "m m"]:
        return self.jac.kernel()

    def squared_norm(self) -> Float[Array, ""]:
        return self.jac.squared_norm()

    def scale_rows(self, factors: Float[Array, " m"]) -> "ReleasedJacobian":
        return ReleasedJacobian(self.jac.scale_rows(factors), self.hidden)

    def scale_columns(self, factors: Float[Array, " p"]) -> "ReleasedJacobian":
        return ReleasedJacobian(self.jac.scale_columns(self._permuted(factors)), self.hidden)

    def formed(self) -> Float[Array, "m p"]:
        neurons, inputs = self.hidden
        return jax.vmap(lambda row: _transposed(row, inputs, neurons))(self.jac.formed())

    def _permuted(self, v: Float[Array, " p"]) -> Float[Array, " p"]:
        return _transposed(v, *self.hidden)


def _transposed(v: Float[Array, " p"], rows: int, columns: int) -> Float[Array, " p"]:
    """`v` with its first entries, a matrix (rows, columns), transposed."""
    size = rows * columns
    return jnp.concatenate([v[:size].reshape(rows, columns).T.reshape(-1), v[size:]])


@layer_jacobian.register
def _(model: ReleasedDerivatives, params, x):
    inputs, neurons, _ = model.net.sizes
    return ReleasedJacobian(
        layer_jacobian(model.net, params, x).scale_rows(jnp.full(len(x), neurons**0.5)), (neurons, inputs)
    )
