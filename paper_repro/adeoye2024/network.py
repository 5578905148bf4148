"""The networks of the third paper, its teacher data, and the two presets: true derivatives, or those of the released code.

`Phi(x) = kappa V rho(U x)`, `kappa = 1 / sqrt(n_1)`, no biases, is `rg.MLP((n_0, n_1, n_y), rho, scaling="output", bias=False)`.

Presets: `corrected` has the true derivatives. `released` has, for one output, those of the released code: its Jacobian lacks `kappa` and couples the
hidden layer's entries to wrong weights (B1 and B2 of ggn_score.md 6), its gradient lacks `kappa` and takes `rho'` at `rho(z)` (B3). For several
outputs the released Jacobian is right and the presets are one.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import riemgn as rg
from riemgn.model import AbstractModel, ACTIVATIONS

PRESETS = ("corrected", "released")


class TeacherData(NamedTuple):
    """Inputs on the unit sphere with a teacher's outputs, for training and for the test."""

    x: Float[Array, "m n0"]
    y: Float[Array, " m"]
    x_test: Float[Array, "l n0"]
    y_test: Float[Array, " l"]


def network(inputs: int, width: int, outputs: int = 1, activation: str = "silu") -> rg.MLP:
    """`kappa V rho(U x)` with `kappa = 1 / sqrt(width)`."""
    return rg.MLP((inputs, width, outputs), activation, scaling="output", bias=False)


def initial(net: rg.MLP, key: Array, spread: float = 1.0) -> list[dict[str, Array]]:
    """`U ~ spread N(0, 1)`, `V ~ spread Uniform[0, 1)` from keys of their own: all output weights are positive."""
    n0, n1, ny = net.sizes
    hidden, output = jr.split(key)
    return [{"weight": spread * jr.normal(hidden, (n1, n0))}, {"weight": spread * jr.uniform(output, (ny, n1))}]


def teacher_data(train: int, test: int, inputs: int, key: Array, width: int = 5, activation: str = "silu") -> TeacherData:
    """`y(x) = sum_j v_j rho(<u_j, x>)` with unit `u_j`, signs `v_j`, and inputs uniform on the unit sphere (ggn_score.md 1.4)."""
    keys = jr.split(key, 4)
    u, x, x_test = (_unit_rows(k, (rows, inputs)) for k, rows in zip(keys, (width, train, test), strict=False))
    v = jr.rademacher(keys[3], (width,), u.dtype)
    act = ACTIVATIONS[activation][0]
    return TeacherData(x, act(x @ u.T) @ v, x_test, act(x_test @ u.T) @ v)


def _unit_rows(key: Array, shape: tuple[int, int]) -> Array:
    rows = jr.normal(key, shape)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


class ReleasedDerivatives(AbstractModel):
    """A network of one output whose values are true and whose derivatives are those of the released code.

    - `net`: the network.
    - `gradient`: False for the derivatives that GGN-SCORE sees (B1, B2), True for those that gradient descent sees (B3).
    """

    net: rg.MLP
    gradient: bool = eqx.field(static=True, default=False)
    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params, x: Array) -> Array:
        return _released(self.net, self.gradient, params, x)


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
    hidden = (v[0] * slope)[:, :, None] * x[:, None, :]  # written neuron by neuron: (m, n_1, n_0)
    # theta is read column by column, which of the Jacobian's columns only its gradient heeds
    couples = hidden_change if gradient else hidden_change.T
    return net(params, x), hidden.reshape(len(x), -1) @ couples.reshape(-1) + rho @ output_change[0]


def problem_of(net: rg.MLP, params, x: Array, y: Array, preset: str = "corrected", gradient: bool = False) -> rg.Problem:
    """`f = 1 / (2 m n_y) sum |Phi(x_i) - y_i|^2` with the derivatives of the preset; `gradient` for a method of gradient descent."""
    model = ReleasedDerivatives(net, gradient) if preset == "released" and net.sizes[-1] == 1 else net
    return rg.Problem(model, params, x, y, rg.SquaredLoss(mean=True))
