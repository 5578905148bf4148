"""Models `model(params, x) -> outputs`: networks with explicit scaling, the linear model, wrappers that compose.

A model is a PyTree that maps parameters and a batch of inputs `x` of shape (n, d) to outputs of shape (n,) or (n, k). `rowwise` says that row i of
the outputs depends on row i of the inputs alone; the Jacobian is then taken sample by sample, which is many times quicker.
"""

import abc
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._types import Key, Params, Weights

# name -> (function, twice continuously differentiable?)
ACTIVATIONS: dict[str, tuple[Callable, bool]] = {
    "tanh": (jnp.tanh, True),
    "softplus": (jax.nn.softplus, True),
    "silu": (jax.nn.silu, True),
    "erf": (jax.scipy.special.erf, True),
    "gelu": (lambda z: jax.nn.gelu(z, approximate=False), True),
    "relu": (jax.nn.relu, False),
}

SCALINGS = ("ntk", "standard", "output")


class AbstractModel(eqx.Module):
    """A map `model(params, x)` from a parameter PyTree and inputs (n, d) to outputs (n,) or (n, k)."""

    rowwise: eqx.AbstractVar[bool]
    smooth: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, params: Params, x: Array) -> Array:
        """Outputs for all rows of `x`."""


class MLP(AbstractModel):
    """Fully connected network of any depth and width, with explicit width scaling.

    `h_0 = x,  h_l = act(W_l h_{l-1} c_l + b_l),  f = W_L h_{L-1} c_L + b_L`,  where `c_l = 1 / sqrt(fan_in)` and `W ~ N(0, 1)` for
    `scaling="ntk"`, `c_l = 1`, `W ~ N(0, 1 / fan_in)` for `scaling="standard"`, and `c_L = 1 / sqrt(fan_in)`, all other `c_l = 1`, `W ~ N(0, 1)` for
    `scaling="output"`. Biases start at zero and are not scaled.

    Assumptions: the theorems of the papers ask for a smooth activation; `relu` is accepted and marked `smooth = False`.

    Arguments:

    - `sizes`: layer sizes `(d, width_1, ..., k)`; a last entry of 1 gives outputs of shape (n,).
    - `activation`: one of `ACTIVATIONS`.
    - `scaling`: `"ntk"`, `"standard"` or `"output"`.
    - `bias`: whether the layers have biases.

    Raises: `ValueError` for fewer than two sizes, a size below 1, an unknown activation or scaling.

    >>> import jax, riemgn as rg
    >>> net = rg.MLP((3, 8, 1))
    >>> net(net.init(key=jax.random.key(0)), jax.numpy.ones((5, 3))).shape
    (5,)

    Reference: scaling of Jacot et al., arXiv:1806.07572; constants in theory.md section 5; "output": the networks of
    arXiv:2404.14875, ggn_score.md 1.1.
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    scaling: str = eqx.field(static=True)
    bias: bool = eqx.field(static=True)
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, sizes: Sequence[int], activation: str = "tanh", scaling: str = "ntk", bias: bool = True):
        if len(sizes) < 2 or any(int(s) != s or s < 1 for s in sizes):
            raise ValueError(
                f"`sizes` must hold at least two positive integers (inputs, ..., outputs), got {tuple(sizes)}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}.")
        if scaling not in SCALINGS:
            raise ValueError(f"Unknown scaling {scaling!r}; known: {', '.join(SCALINGS)}.")
        self.sizes = tuple(int(s) for s in sizes)
        self.activation = activation
        self.scaling = scaling
        self.bias = bool(bias)
        self.rowwise = True
        self.smooth = ACTIVATIONS[activation][1]

    @property
    def scaled(self) -> list[bool]:
        """Which layers, from the first to the last, have `c_l = 1 / sqrt(fan_in)`."""
        layers = len(self.sizes) - 1
        return [self.scaling == "ntk" or (self.scaling == "output" and depth == layers - 1) for depth in range(layers)]

    @property
    def scales(self) -> list[float]:
        """`c_l` of each layer, from the first to the last."""
        return [fan_in**-0.5 if scaled else 1.0 for fan_in, scaled in zip(self.sizes[:-1], self.scaled, strict=True)]

    def init(self, *, key: Key, paired: bool = False) -> list[dict[str, Array]]:
        """Draw parameters: a list with one `{"weight": (out, in), "bias": (out,)}` per layer.

        Arguments:

        - `key`: JAX random key.
        - `paired`: antisymmetric initialisation: hidden units come in pairs with equal input weights in the first layer and opposite output weights,
            so that `f(w0) = 0` up to rounding. Needs one hidden layer of even width. It makes `J^T J` singular in the under-parameterised regime
            (theory.md section 5): centre there with `Centred` instead.

        Raises: `ValueError` when `paired` is asked for another shape.
        """
        params = []
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            key, layer_key = jr.split(key)
            spread = fan_in**-0.5 if self.scaling == "standard" else 1.0
            layer = {"weight": spread * jr.normal(layer_key, (fan_out, fan_in))}
            if self.bias:
                layer["bias"] = jnp.zeros(fan_out)
            params.append(layer)
        return _paired(params, self.sizes) if paired else params

    def __call__(self, params: Params, x: Float[Array, "n d"]) -> Array:
        act = ACTIVATIONS[self.activation][0]
        h = x
        for depth, (layer, scale) in enumerate(zip(params, self.scales, strict=True)):
            h = scale * (h @ layer["weight"].T)
            if self.bias:
                h = h + layer["bias"]
            if depth < len(params) - 1:
                h = act(h)
        return h[:, 0] if self.sizes[-1] == 1 else h


def _paired(params: list[dict[str, Array]], sizes: tuple[int, ...]) -> list[dict[str, Array]]:
    if len(sizes) != 3 or sizes[1] % 2:
        raise ValueError(f"Paired initialisation needs one hidden layer of even width, got sizes {sizes}.")
    half = sizes[1] // 2
    hidden, output = dict(params[0]), dict(params[1])
    for name, value in hidden.items():
        hidden[name] = jnp.concatenate([value[:half], value[:half]], axis=0)
    output["weight"] = jnp.concatenate([output["weight"][:, :half], -output["weight"][:, :half]], axis=1)
    return [hidden, output]


class LinearModel(AbstractModel):
    """The linear model `f(w) = X w`; with `k > 1` outputs `params` is a matrix (d, k). It is `rowwise` and `smooth`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> rg.LinearModel()(jnp.ones(2), jnp.ones((3, 2))).tolist()
    [2.0, 2.0, 2.0]
    """

    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params: Params, x: Float[Array, "n d"]) -> Array:
        return x @ params


class FunctionModel(AbstractModel):
    """Any plain function `function(params, x) -> outputs` of a whole batch, such as the `apply` of a flax module.

    Arguments:

    - `function`: of a parameter PyTree and inputs (n, d), to outputs (n,) or (n, k).
    - `rowwise`: your promise that row i of the outputs depends on row i of `x` alone. It makes the Jacobian many times quicker and lets `shard` deal
        out the samples; of a function that mixes rows (batch normalisation in training) it makes the Jacobian wrong. Without it nothing is assumed.
    - `smooth`: whether the function is twice continuously differentiable in its parameters.

    A flax module, linen and nnx (`rest`: what is no parameter, random states for example):

        params = module.init(key, x)
        model = rg.FunctionModel(module.apply, rowwise=True)

        graph, params, rest = nnx.split(module, nnx.Param, ...)
        model = rg.FunctionModel(lambda params, x: nnx.merge(graph, params, rest)(x), rowwise=True)

    Every function is compiled for itself, also one of the same text: make the model once.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> decay = rg.FunctionModel(lambda params, x: jnp.exp(-params * x[:, 0]), rowwise=True)
    >>> decay(jnp.array(0.0), jnp.ones((2, 1))).tolist()
    [1.0, 1.0]
    """

    function: Callable = eqx.field(static=True)
    rowwise: bool = eqx.field(static=True, default=False)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params: Params, x: Array) -> Array:
        return self.function(params, x)


class EquinoxModel(AbstractModel):
    """An equinox module, called on one sample at a time as equinox layers are. `params` is its array part, `static` the rest.

    Made by `EquinoxModel.split(module)`. It is `rowwise` by that; `smooth=False` says that it is not twice continuously differentiable.

    >>> import equinox as eqx, jax, riemgn as rg
    >>> model, params = rg.EquinoxModel.split(eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0)))
    >>> model(params, jax.numpy.ones((5, 3))).shape
    (5,)
    """

    static: eqx.Module = eqx.field(static=True)
    rowwise: bool = eqx.field(static=True, default=True)
    smooth: bool = eqx.field(static=True, default=True)

    @staticmethod
    def split(module: eqx.Module) -> tuple["EquinoxModel", Params]:
        """The pair (model, params) of an equinox module."""
        params, static = eqx.partition(module, eqx.is_inexact_array)
        return EquinoxModel(static=static), params

    def __call__(self, params: Params, x: Array) -> Array:
        return jax.vmap(eqx.combine(params, self.static))(x)


class Scaled(AbstractModel):
    """`f = alpha * phi` of a `model` phi: the output scale of the theorems. `alpha` is an array, so sweeping it compiles nothing anew.

    Raises: `ValueError` unless `alpha` is a positive finite number.
    """

    model: AbstractModel
    alpha: Array = eqx.field(converter=jnp.asarray)
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, model: AbstractModel, alpha: float):
        if not 0 < float(alpha) < float("inf"):
            raise ValueError(f"`alpha` must be a positive finite number, got {alpha}.")
        self.model = model
        self.alpha = jnp.asarray(alpha, dtype=float)
        self.rowwise = model.rowwise
        self.smooth = model.smooth

    def __call__(self, params: Params, x: Array) -> Array:
        return self.alpha * self.model(params, x)


class Centred(AbstractModel):
    """`f(w) - f(w0)`: outputs that start at zero without making `J^T J` singular, as paired initialisation would.

    Arguments:

    - `model`: the model `f`.
    - `origin`: the PyTree `w0`, where the outputs are zero.

    Reference: theory.md section 5; Chizat, Oyallon, Bach, arXiv:1812.07956.
    """

    model: AbstractModel
    origin: Params
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, model: AbstractModel, origin: Params):
        self.model = model
        self.origin = origin
        self.rowwise = model.rowwise
        self.smooth = model.smooth

    def __call__(self, params: Params, x: Array) -> Array:
        return self.model(params, x) - self.model(jax.lax.stop_gradient(self.origin), x)


class Weighted(AbstractModel):
    """`f_i = x_i[-1] phi(x_i[:-1])`: the last input of a sample is the weight of its outputs, as of measurements of different precision.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> from riemgn.model import Weighted
    >>> Weighted(rg.LinearModel())(jnp.ones(2), jnp.array([[1.0, 2.0, 10.0]])).tolist()
    [30.0]
    """

    model: AbstractModel
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, model: AbstractModel):
        self.model = model
        self.rowwise = model.rowwise
        self.smooth = model.smooth

    def __call__(self, params: Params, x: Array) -> Array:
        outputs = self.model(params, x[:, :-1])
        return (outputs.T * x[:, -1]).T


class Reparametrised(AbstractModel):
    """`f~(v) = f(w0 + A v)`: the same functions in other coordinates (theory.md C3).

    Arguments:

    - `model`: the model in the coordinates `w`.
    - `origin`: PyTree `w0`, the point `v = 0` stands for. Moving the origin there keeps `f~(0) = f(w0)` exact whatever cond(A).
    - `matrix`: invertible `A` (p, p).
    """

    model: AbstractModel
    origin: Params
    matrix: Float[Array, "p p"]
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, model: AbstractModel, origin: Params, matrix: Float[Array, "p p"]):
        self.model = model
        self.origin = origin
        self.matrix = matrix
        self.rowwise = model.rowwise
        self.smooth = model.smooth

    def __call__(self, params: Weights, x: Array) -> Array:
        w0, unravel = ravel_pytree(self.origin)
        return self.model(unravel(w0 + self.matrix @ params), x)
