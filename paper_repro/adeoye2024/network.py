"""Define the networks of Adeoye et al., their teacher data, and the two presets of derivatives.

The network is `Phi(x) = kappa V rho(U x)` with `kappa = 1 / sqrt(n_1)` and without biases. In
riemgn it is `rg.MLP((n_0, n_1, n_y), rho, scaling="output", bias=False)`. The preset `corrected`
has the true derivatives. The preset `released` has, for one output, those of the released code (see
`released.py`). For several outputs the released Jacobian is correct, so both presets agree.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import riemgn as rg
from riemgn.model import ACTIVATIONS

from .released import ReleasedDerivatives, ReleasedGradient

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
    """`U ~ spread N(0, 1)` and `V ~ spread Uniform[0, 1)`, so all output weights are positive."""
    n0, n1, ny = net.sizes
    hidden, output = jr.split(key)
    return [{"weight": spread * jr.normal(hidden, (n1, n0))}, {"weight": spread * jr.uniform(output, (ny, n1))}]


def teacher_data(
    train: int, test: int, inputs: int, key: Array, width: int = 5, activation: str = "silu"
) -> TeacherData:
    """`y(x) = sum_j v_j rho(<u_j, x>)`, unit `u_j`, signs `v_j`, `x` uniform on the sphere."""
    keys = jr.split(key, 4)
    u, x, x_test = (_unit_rows(k, (rows, inputs)) for k, rows in zip(keys, (width, train, test), strict=False))
    v = jr.rademacher(keys[3], (width,), u.dtype)
    act = ACTIVATIONS[activation][0]
    return TeacherData(x, act(x @ u.T) @ v, x_test, act(x_test @ u.T) @ v)


def _unit_rows(key: Array, shape: tuple[int, int]) -> Array:
    rows = jr.normal(key, shape)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def problem_of(
    net: rg.MLP, params, x: Array, y: Array, preset: str = "corrected", gradient: bool = False
) -> rg.Problem:
    """`f = 1 / (2 m n_y) sum |Phi(x_i) - y_i|^2` with the derivatives of the preset.

    Use `gradient=True` for gradient descent.
    """
    model = (
        (ReleasedGradient if gradient else ReleasedDerivatives)(net)
        if preset == "released" and net.sizes[-1] == 1
        else net
    )
    return rg.Problem(model, params, x, y, rg.SquaredLoss(mean=True))
