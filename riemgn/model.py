"""Models `model(params, x) -> outputs`: networks with explicit scaling, linear model, wrappers."""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._repr import setting_text
from ._types import Key, Params, Scalar, Weights
from ._validation import checked_number

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
    """A map `model(params, x)` from parameters and inputs (n, d) to outputs (n,) or (n, k).

    `rowwise` says that row i of the outputs depends only on row i of `x`, `smooth` that they are
    twice continuously differentiable in the parameters.
    """

    rowwise: eqx.AbstractVar[bool]
    smooth: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, params: Params, x: Array) -> Array:
        """Compute the outputs for all rows of `x`."""

    @property
    def short_name(self) -> str:
        """A few words for the `repr` of a `Problem`, such as `MLP 10-3-1 tanh`."""
        return type(self).__name__


class MLP(AbstractModel):
    """Fully connected network of any depth and width, with explicit width scaling.

    `h_0 = x,  h_l = act(W_l h_{l-1} c_l + b_l),  f = W_L h_{L-1} c_L + b_L`

    | `scaling` | `c_l` | weights |
    | --- | --- | --- |
    | `"ntk"` | `1 / sqrt(fan_in)` | `N(0, 1)` |
    | `"standard"` | 1 | `N(0, 1 / fan_in)` |
    | `"output"` | `1 / sqrt(fan_in)` in the last layer, else 1 | `N(0, 1)` |

    Biases start at zero and are not scaled. A network with `"relu"` is not `smooth`.

    Arguments:

    - `sizes`: layer sizes `(d, width_1, ..., k)`. A last entry of 1 gives outputs of shape (n,).
    - `activation`, `scaling`: one of `ACTIVATIONS` (default `"tanh"`), and see above.
    - `bias`: whether the layers have biases (default True).

    Raises: `ValueError` for fewer than two sizes, a size below 1, an unknown activation or scaling.

    >>> import jax, riemgn as rg
    >>> net = rg.MLP((3, 8, 1))
    >>> net(net.init(key=jax.random.key(0)), jax.numpy.ones((5, 3))).shape
    (5,)

    Reference: Jacot et al., arXiv:1806.07572 ("ntk"); Adeoye et al., arXiv:2404.14875 ("output").
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    scaling: str = eqx.field(static=True)
    bias: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)
    rowwise: ClassVar[bool] = True

    def __init__(self, sizes: Sequence[int], activation: str = "tanh", scaling: str = "ntk", bias: bool = True):
        if len(sizes) < 2 or any(int(s) != s or s < 1 for s in sizes):
            raise ValueError(
                f"`sizes` must hold at least two positive integers (inputs, ..., outputs), got {tuple(sizes)}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}.")
        if scaling not in SCALINGS:
            raise ValueError(f"Unknown scaling {scaling!r}; known: {', '.join(SCALINGS)}.")
        self.sizes, self.bias = tuple(int(s) for s in sizes), bool(bias)
        self.activation, self.scaling = activation, scaling
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

        If `paired`, hidden units come in pairs with equal input and opposite output weights, so
        that `f(w0) = 0`. For p <= n this makes `J^T J` singular, so use `Centred` there.

        Raises: `ValueError` if `paired` without one hidden layer of even width.
        """
        params = []
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            key, layer_key = jr.split(key)
            spread = fan_in**-0.5 if self.scaling == "standard" else 1.0
            bias = {"bias": jnp.zeros(fan_out)} if self.bias else {}
            params.append({"weight": spread * jr.normal(layer_key, (fan_out, fan_in)), **bias})
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

    @property
    def short_name(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))} {self.activation}"

    def __repr__(self) -> str:
        scaling = f", scaling={self.scaling!r}" if self.scaling != "ntk" else ""
        return f"MLP({self.sizes}, {self.activation!r}{scaling}{'' if self.bias else ', bias=False'})"


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
    """The linear model `f(w) = X w`, for which `params` is (d,), or (d, k) for k outputs.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> rg.LinearModel()(jnp.ones(2), jnp.ones((3, 2))).tolist()
    [2.0, 2.0, 2.0]
    """

    rowwise: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    def __call__(self, params: Params, x: Float[Array, "n d"]) -> Array:
        return x @ params


class FunctionModel(AbstractModel):
    """Any function `function(params, x) -> outputs`, such as the `apply` of a flax module.

    Create the model once and reuse it, because JAX compiles again for every function object.

    Arguments:

    - `function`: maps a PyTree and a batch of inputs (n, d) to outputs (n,) or (n, k).
    - `rowwise`: your promise that row i of the outputs depends only on row i of `x` (default
      False). The Jacobian is then many times faster, and `shard` can distribute the samples. For a
      function that mixes rows, such as batch normalisation in training, the Jacobian is then wrong.
    - `smooth`: whether it is twice continuously differentiable in `params` (default True).

    For a flax module, linen or nnx (`rest` holds what is not a parameter, such as random states):

        params = module.init(key, x)
        model = rg.FunctionModel(module.apply, rowwise=True)

        graph, params, rest = nnx.split(module, nnx.Param, ...)
        model = rg.FunctionModel(lambda params, x: nnx.merge(graph, params, rest)(x), rowwise=True)

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
    """An equinox module, called on one sample at a time as equinox layers are.

    Use `EquinoxModel.split(module)` to create it. `static` is the part of the module that is not an
    array, and `smooth` is as in `FunctionModel`.

    >>> import equinox as eqx, jax, riemgn as rg
    >>> rg.EquinoxModel.split(eqx.nn.MLP(3, "scalar", 8, 1, key=jax.random.key(0)))[0]
    EquinoxModel(MLP)
    """

    static: eqx.Module = eqx.field(static=True)
    rowwise: ClassVar[bool] = True
    smooth: bool = eqx.field(static=True, default=True)

    @staticmethod
    def split(module: eqx.Module) -> tuple["EquinoxModel", Params]:
        """Return the pair (model, params) of an equinox module."""
        params, static = eqx.partition(module, eqx.is_inexact_array)
        return EquinoxModel(static=static), params

    def __call__(self, params: Params, x: Array) -> Array:
        return jax.vmap(eqx.combine(params, self.static))(x)

    def __repr__(self) -> str:
        return f"EquinoxModel({type(self.static).__name__})"


class AbstractWrapper(AbstractModel):
    """A model made from another `model`, which decides whether it is `rowwise` and `smooth`."""

    model: eqx.AbstractVar[AbstractModel]

    @property
    def rowwise(self) -> bool:
        return self.model.rowwise

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def short_name(self) -> str:
        return f"{type(self).__name__}({self.model.short_name})"

    def __repr__(self) -> str:
        return self.short_name


class Scaled(AbstractWrapper):
    """`f = alpha * phi`: the `model` phi with the output scale `alpha` of the theorems.

    Raises: `ValueError` unless `alpha` is positive and finite.
    """

    model: AbstractModel
    alpha: Scalar = eqx.field(converter=lambda alpha: checked_number("alpha", alpha))

    def __call__(self, params: Params, x: Array) -> Array:
        return self.alpha * self.model(params, x)

    @property
    def short_name(self) -> str:
        return f"Scaled({self.model.short_name}, alpha={setting_text(self.alpha)})"


class Centred(AbstractWrapper):
    """`f(w) - f(w0)`: outputs that start at zero. `model` is `f`, and `origin` the PyTree `w0`.

    Reference: Chizat, Oyallon, Bach, arXiv:1812.07956.
    """

    model: AbstractModel
    origin: Params

    def __call__(self, params: Params, x: Array) -> Array:
        return self.model(params, x) - self.model(jax.lax.stop_gradient(self.origin), x)


class Weighted(AbstractWrapper):
    """`f_i = x_i[-1] phi(x_i[:-1])`: the last input of a sample is the weight of its outputs.

    Use it with the `model` phi for measurements of different precision.
    """

    model: AbstractModel

    def __call__(self, params: Params, x: Array) -> Array:
        outputs = self.model(params, x[:, :-1])
        return (outputs.T * x[:, -1]).T


class Reparametrised(AbstractWrapper):
    """`f~(v) = f(w0 + A v)`: the same functions in other coordinates (Statement C3).

    `model` is `f`, `origin` the PyTree `w0`, and `matrix` the invertible `A` (p, p).
    """

    model: AbstractModel
    origin: Params
    matrix: Float[Array, "p p"]

    def __call__(self, params: Weights, x: Array) -> Array:
        w0, unravel = ravel_pytree(self.origin)
        return self.model(unravel(w0 + self.matrix @ params), x)
