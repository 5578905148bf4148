"""Upper bounds of `|Df|` and `Lip(Df)` on a ball of parameters, from norms of the layers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import ArrayLike

from ..model import AbstractModel, ACTIVATIONS, Centred, LinearModel, MLP, Reparametrised, Scaled


@dataclass(frozen=True)
class ActivationBounds:
    """Suprema of an activation: `value` of `|s|`, `slope` of `|s'|` and `curvature` of `|s''|`."""

    value: float
    slope: float
    curvature: float


# s' of silu is largest where x tanh(x / 2) = 2, which is this number; s' of gelu at x = sqrt(2)
_SILU_STEEPEST = 2.3993572805154675
_SILU_SIGMOID = 1 / (1 + math.exp(-_SILU_STEEPEST))

ACTIVATION_BOUNDS: dict[str, ActivationBounds] = {
    "tanh": ActivationBounds(1.0, 1.0, 4 / (3 * math.sqrt(3))),
    "softplus": ActivationBounds(math.inf, 1.0, 0.25),
    "silu": ActivationBounds(math.inf, _SILU_SIGMOID * (1 + _SILU_STEEPEST * (1 - _SILU_SIGMOID)), 0.5),
    "erf": ActivationBounds(1.0, 2 / math.sqrt(math.pi), math.sqrt(8 / (math.pi * math.e))),
    "gelu": ActivationBounds(
        math.inf, (1 + math.erf(1.0)) / 2 + math.exp(-1.0) / math.sqrt(math.pi), math.sqrt(2 / math.pi)
    ),
    "relu": ActivationBounds(math.inf, 1.0, math.inf),
}


@dataclass(frozen=True)
class DerivativeBounds:
    """Upper bounds on a ball: `jacobian` of `|Df|`, and `lipschitz` of `|D^2 f|` and `Lip(Df)`."""

    jacobian: float
    lipschitz: float

    def times(self, outer: float, inner: float = 1.0) -> "DerivativeBounds":
        """Return the bounds of `v -> outer f(A v)` with `|A| = inner`."""
        return DerivativeBounds(outer * inner * self.jacobian, outer * inner**2 * self.lipschitz)


def ball_bounds(model: AbstractModel, x: ArrayLike, params: Any, radius: float) -> DerivativeBounds:
    """Bound `|Df|` and `Lip(Df)` within `radius` of `params`, for the map on all rows of `x`.

    A network has `a_l = c_l W_l h_{l-1} + b_l`, `h_l = s(a_l)`, `f = a_L`, with `|s'| <= s1` and
    `|s''| <= s2`. Split a change u of the parameters into that of layer l, of length v, and that of
    the layers below, of length q. With `omega_l = |W_l(w0)| + r`, and `gamma_l` the largest column
    norm of `W_l(w0)` plus r:

        |Da_l[u]|      <= T_l v + c_l omega_l s1 A_{l-1} q
        A_l = sqrt(T_l^2 + (c_l omega_l s1 A_{l-1})^2)
        |D^2 a_l[u,u]| <= 2 c_l s1 A_{l-1} v q + C_l q^2
        B_l = (C_l + sqrt(C_l^2 + (2 c_l s1 A_{l-1})^2)) / 2
        C_l = c_l (gamma_l s2 A_{l-1} max_i A_{l-1,i} + omega_l s1 B_{l-1})
        T_l = |[c_l H_{l-1}(w0), 1]| + c_l s1 A_{l-1} r

    Then `|Df| <= A_L` and `|D^2 f| <= B_L`. The column norm enters because `|W (v * v)| <= gamma
    |v|^2`. `T_l` is the operator norm of the stacked activations, with ones for the bias. The same
    recursion row by row, with `T_{l,i}^2 = c_l^2 |h_{l-1,i}|^2 + 1`, gives `A_{l,i}` and `B_{l,i}`.
    The smaller of the two bounds is used. `|h|` is at most its value at `w0` plus `s1 A r`, and at
    most `sqrt(width) sup |s|`. `w = w0 + A v` multiplies by `|A|` and `|A|^2` on the ball of radius
    `|A| r`.

    Arguments:

    - `params`: the centre, a PyTree as the model takes it.
    - `radius`: at least 0, in the Euclidean norm of the flattened parameters.

    Returns: `DerivativeBounds`. `lipschitz` is infinite for relu.

    Raises: `ValueError` for a model without an analytic bound, or a negative radius.

    Reference: derived. One hidden layer is the case of the statements on constants.
    """
    if not 0 <= radius < math.inf:
        raise ValueError(f"`radius` must be finite and at least 0, got {radius}.")
    match model:
        case Scaled():
            return ball_bounds(model.model, x, params, radius).times(float(model.alpha))
        case Centred():
            return ball_bounds(model.model, x, params, radius)
        case Reparametrised():
            origin, unravel = ravel_pytree(model.origin)
            size = float(np.linalg.norm(np.asarray(model.matrix), 2))
            return ball_bounds(model.model, x, unravel(origin + model.matrix @ params), size * radius).times(1.0, size)
        case LinearModel():
            return DerivativeBounds(float(np.linalg.norm(np.asarray(x), 2)), 0.0)
        case MLP():
            return _network_bounds(model, np.asarray(x), params, float(radius))
    raise ValueError(f"No analytic bound is known for {type(model).__name__}; use `measured_lipschitz`.")


def _network_bounds(model: MLP, h: np.ndarray, params: Any, radius: float) -> DerivativeBounds:
    act, smooth = ACTIVATIONS[model.activation]
    bounds = ACTIVATION_BOUNDS[model.activation]
    s1, s2 = bounds.slope, bounds.curvature if smooth else 0.0
    first, first_rows = 0.0, np.zeros(len(h))  # A_{l-1}, A_{l-1,i}
    second, second_rows = 0.0, np.zeros(len(h))  # B_{l-1}, B_{l-1,i}
    for depth, (layer, c) in enumerate(zip(params, model.scales, strict=True)):
        weight = np.asarray(layer["weight"])
        ones = np.ones((len(h), 1 if model.bias else 0))
        omega = np.linalg.norm(weight, 2) + radius
        gamma = np.max(np.linalg.norm(weight, axis=0)) + radius
        length = np.linalg.norm(h, axis=1) + s1 * first_rows * radius
        if depth:
            length = np.minimum(length, bounds.value * math.sqrt(h.shape[1]))
        own_rows = np.sqrt((c * length) ** 2 + ones.shape[1])
        own = min(np.linalg.norm(np.hstack([c * h, ones]), 2) + c * s1 * first * radius, np.linalg.norm(own_rows))
        squares = min(first * np.max(first_rows), np.linalg.norm(first_rows**2))
        curved = c * (gamma * s2 * squares + omega * s1 * second)
        curved_rows = c * (gamma * s2 * first_rows**2 + omega * s1 * second_rows)
        second_rows = (curved_rows + np.hypot(curved_rows, 2 * c * s1 * first_rows)) / 2
        second = min((curved + np.hypot(curved, 2 * c * s1 * first)) / 2, np.linalg.norm(second_rows))
        first_rows = np.hypot(own_rows, c * omega * s1 * first_rows)
        first = min(np.hypot(own, c * omega * s1 * first), np.linalg.norm(first_rows))
        h = c * h @ weight.T + (np.asarray(layer["bias"]) if model.bias else 0.0)
        if depth < len(params) - 1:
            h = np.asarray(act(h))
    rough = not smooth and len(params) > 1
    return DerivativeBounds(float(first), math.inf if rough else float(second))
