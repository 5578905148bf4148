"""Problem: a model, its starting point, data and a loss.

Other modules access the model and the data only through `Problem`.
"""

import html
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._memory import check_jacobian, check_memory, map_in_chunks, WORKING_MEMORY
from ._types import Jac, Outputs, Params, Scalar, Weights
from ._validation import is_traced, positive
from .jacobian import is_layerwise, layer_jacobian, layer_kernel
from .linalg import AbstractJacobian, scale_rows
from .loss import AbstractLoss, SquaredLoss
from .model import AbstractModel, EquinoxModel, FunctionModel, Reparametrised


class Linearisation(eqx.Module):
    """A problem at one point `w`.

    `outputs`, `residual` (`f - y`), `loss_gradient` (`grad g(f)`) and `loss_hessian` (the diagonal
    of `Hess g(f)`) have shape (n,). `jac` (n, p) is an array or an operator.
    """

    outputs: Outputs
    residual: Outputs
    loss_gradient: Outputs
    loss_hessian: Outputs
    jac: Jac | AbstractJacobian

    def whitened(self) -> "Linearisation":
        """Make `Hess g = B` the identity: `J -> B^{1/2} J`, `grad g -> B^{-1/2} grad g`."""
        root = jnp.sqrt(self.loss_hessian)
        gradient, jac = self.loss_gradient / root, scale_rows(root, self.jac)
        return Linearisation(self.outputs, self.residual, gradient, jnp.ones_like(root), jac)


class Problem(eqx.Module):
    """The nonlinear least-squares problem `min_w R(w) = g(f(w))` on a data set.

    `f : R^p -> R^n` stacks the outputs of all samples row by row, so n = samples x outputs. Each
    method takes a point `w` as a flat array (p,) or as a PyTree like `params`.

    Arguments:

    - `model`: an `AbstractModel`, any function `model(params, x) -> outputs` of a batch (see
      `FunctionModel` for flax), or an equinox module.
    - `params`: starting point, any PyTree of floating-point arrays. With an equinox module you can
      pass None, because the module has its own.
    - `x`, `y`: inputs, with one sample per entry of the first axis, and targets, in the shape of
      the model's outputs. Integers become floats. JAX arrays stay on their devices.
    - `loss`: an `AbstractLoss` (default `SquaredLoss()`).
    - `working_memory`: bytes for intermediate values of one Jacobian (default 1 GiB), without the
      Jacobian itself. If all rows at once would need more, they are computed in chunks.

    Raises: `ValueError`, quoting the value, for arguments that are not finite, empty or of another
    shape, and targets outside the domain of the loss.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> rg.Problem(rg.LinearModel(), jnp.zeros(2), jnp.eye(3, 2), jnp.ones(3))
    Problem(LinearModel, n=3, p=2, SquaredLoss)

    Reference: Statements, definitions.
    """

    model: AbstractModel
    params: Params
    x: Array
    y: Float[Array, " n"]
    loss: AbstractLoss
    working_memory: int = eqx.field(static=True)

    def __init__(
        self,
        model: AbstractModel | Callable,
        params: Params,
        x: Any,
        y: Any,
        loss: AbstractLoss | None = None,
        working_memory: float = WORKING_MEMORY,
    ):
        self.model, params = _checked_model(model, params)
        self.params = _checked_params(params)
        self.x = _checked_array("x", x)
        y = _checked_array("y", y)
        if self.x.shape[0] != y.shape[0]:
            raise ValueError(
                f"`x` and `y` must have the same number of samples, got {self.x.shape[0]} and {y.shape[0]}."
            )
        _check_output_shape(self.model, self.params, self.x, y)
        self.y = y.reshape(-1)
        self.loss = SquaredLoss() if loss is None else loss
        self.working_memory = int(positive("working_memory", working_memory))
        if not isinstance(self.loss, AbstractLoss):
            raise ValueError(f"`loss` must be a riemgn loss such as SquaredLoss(), got {loss!r}.")
        if not is_traced(self.y) and (complaint := self.loss.check_targets(self.y)):
            raise ValueError(complaint)

    def __repr__(self) -> str:
        loss = repr(self.loss).removesuffix("()")
        return f"Problem({self.model.short_name}, n={self.n}, p={self.p}, {loss})"

    def _repr_html_(self) -> str:
        inputs, loss = " x ".join(map(str, self.x.shape)), repr(self.loss).removesuffix("()")
        rows = {"model": self.model.short_name, "parameters p": self.p, "residuals n": self.n}
        rows |= {"inputs": inputs, "loss": loss}
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items())
        return f"<table><caption>Problem</caption>{cells}</table>"

    @property
    def n(self) -> int:
        """Number of residuals, samples x outputs."""
        return self.y.size

    @property
    def p(self) -> int:
        """Number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def w0(self) -> Weights:
        """The starting point, flattened, shape (p,)."""
        return ravel_pytree(self.params)[0]

    def flatten(self, w: Weights | Params) -> Weights:
        """Return a point as a flat array (p,). Raises: `ValueError` for another shape."""
        if isinstance(w, jax.Array | np.ndarray) and w.shape == (self.p,):
            return w if isinstance(w, jax.Array) else jnp.asarray(w, dtype=float)
        (leaves, structure), (own_leaves, own_structure) = map(jax.tree.flatten, (w, self.params))
        shapes = [np.shape(leaf) for leaf in leaves]
        if structure != own_structure or shapes != [leaf.shape for leaf in own_leaves]:
            expected = f"a flat array of shape ({self.p},) or a PyTree like `params`"
            raise ValueError(f"A point must be {expected}, got {type(w).__name__} with shapes {shapes}.")
        return ravel_pytree(w)[0].astype(float)

    def unflatten(self, w: Weights | Params) -> Params:
        """Return the parameter PyTree of a point."""
        return ravel_pytree(self.params)[1](self.flatten(w))

    def outputs(self, w: Weights | Params) -> Outputs:
        """Compute `f(w)`, shape (n,)."""
        return self.model(self.unflatten(w), self.x).reshape(-1)

    def objective(self, w: Weights | Params) -> Scalar:
        """Compute `R(w) = g(f(w))`."""
        return self.loss(self.outputs(w), self.y)

    def loss_gradient(self, f: Outputs) -> Outputs:
        """Compute `grad g(f)` at the outputs `f`, shape (n,)."""
        return self.loss.gradient(f, self.y)

    def loss_hessian(self, f: Outputs) -> Outputs:
        """Compute the diagonal of `Hess g(f)` at the outputs `f`, shape (n,)."""
        return self.loss.hessian(f, self.y)

    def jac(self, w: Weights | Params) -> Jac:
        """Compute the Jacobian `J(w) = Df(w)`, shape (n, p), by samples for a row-wise model."""
        return self._jac_at(self.flatten(w), self.x)

    def _jac_at(self, w: Weights, x: Array) -> Jac:
        """Compute the Jacobian of the outputs at the inputs `x`."""
        samples, per_sample = x.shape[0], self.n // self.x.shape[0]
        check_jacobian((samples * per_sample, self.p))

        def outputs(w, x):
            return self.model(self.unflatten(w), x).reshape(-1)

        if not self.model.rowwise:
            return self.jac_of(lambda w: outputs(w, x), w, samples * per_sample)
        if per_sample == 1:
            jac = jax.grad(lambda w, sample: outputs(w, sample[None])[0])
        else:
            jac = (jax.jacfwd if self.p <= per_sample else jax.jacrev)(lambda w, sample: outputs(w, sample[None]))

        def at_once():
            return jax.vmap(jac, in_axes=(None, 0))(w, x)

        rows = map_in_chunks(lambda: lambda i: jac(w, x[i]), samples, self.working_memory, 0, at_once)
        return rows.reshape(samples * per_sample, self.p)

    def jac_of(self, function: Callable, w: Weights, outputs: int) -> Jac:
        """Compute the Jacobian of a `function` of flat `w` with this number of `outputs`."""

        def unit(i, size):
            return jnp.zeros(size, w.dtype).at[i].set(1)

        def columns():
            jvp = jax.linearize(function, w)[1]
            return lambda i: jvp(unit(i, self.p))

        def rows():
            vjp = jax.vjp(function, w)[1]
            return lambda i: vjp(unit(i, outputs))[0]

        if self.p <= outputs:
            return map_in_chunks(columns, self.p, self.working_memory, 1, lambda: jax.jacfwd(function)(w))
        return map_in_chunks(rows, outputs, self.working_memory, 0, lambda: jax.jacrev(function)(w))

    def gram(self, w: Weights | Params) -> Float[Array, "p p"]:
        """Compute the Gauss-Newton matrix `G = J^T J`, of condition number `cond(J)^2`."""
        jac = self.jac(w)
        return jac.T @ jac

    def ntk(self, w: Weights | Params, x: Float[Array, "m d"] | None = None) -> Float[Array, "m n"]:
        """Compute the empirical tangent kernel `K = J J^T`, or `J(x) J^T` for new inputs `x`.

        Its condition number is that of `J` squared. For an MLP it is a sum over layers without `J`.
        """
        check_memory("The tangent kernel", (self.n if x is None else x.shape[0], self.n), "use fewer samples")
        w = self.flatten(w)
        if is_layerwise(self.model):
            inputs = (self.x, None) if x is None else (x, self.x)
            return layer_kernel(self.model, self.unflatten(w), *inputs)
        jac = self.jac(w)
        return (jac if x is None else self._jac_at(w, x)) @ jac.T

    @property
    def has_layer_jacobian(self) -> bool:
        """Whether `linearise(w, formed=False)` uses an operator: n < p, `is_layerwise(model)`."""
        return self.n < self.p and is_layerwise(self.model)

    @eqx.filter_jit
    def linearise(self, w: Weights | Params, formed: bool = True) -> Linearisation:
        """Compute all that flows need at `w`, with an operator if possible unless `formed`."""
        w = self.flatten(w)
        layers = self.has_layer_jacobian and not formed
        jac = layer_jacobian(self.model, self.unflatten(w), self.x) if layers else self.jac(w)
        return self._at_outputs(self.outputs(w), jac)

    def _at_outputs(self, f: Outputs, jac: Jac | AbstractJacobian) -> Linearisation:
        return Linearisation(f, f - self.y, self.loss_gradient(f), self.loss_hessian(f), jac)

    def without_jacobian(self, f: Outputs) -> Linearisation:
        """Return the `Linearisation` at the outputs `f`, with a Jacobian of no columns."""
        return self._at_outputs(f, jnp.zeros((self.n, 0), f.dtype))

    def products(self, w: Weights | Params) -> tuple[Outputs, Callable, Callable]:
        """Return `f(w)` and the maps `v -> J v` and `u -> J^T u`, without forming `J`."""
        w = self.flatten(w)
        f, forward = jax.linearize(self.outputs, w)
        transpose = jax.linear_transpose(forward, w)
        return f, forward, lambda u: transpose(u)[0]

    def reparametrise(self, matrix: Float[Array, "p p"]) -> "Problem":
        """Write the problem in coordinates `v` with `w = w0 + A v`, from `v = 0` (Statement C3).

        Raises: `ValueError` unless `matrix` (`A`) is finite and (p, p).
        """
        matrix = _checked_array("matrix", matrix)
        if matrix.shape != (self.p, self.p):
            raise ValueError(f"`matrix` must have shape {(self.p, self.p)}, got {matrix.shape}.")
        return self._replace(Reparametrised(self.model, self.params, matrix), jnp.zeros(self.p, dtype=matrix.dtype))

    def with_params(self, params: Params | Weights) -> "Problem":
        """Return the same problem with another starting point."""
        return self._replace(self.model, self.unflatten(params))

    def _replace(self, model: AbstractModel, params: Params) -> "Problem":
        shape = jax.eval_shape(self.model, self.params, self.x).shape
        return Problem(model, params, self.x, self.y.reshape(shape), self.loss, self.working_memory)


def check_problem(problem: Any) -> None:
    """Raise `ValueError` for anything but a problem."""
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")


def _checked_model(model: Any, params: Params) -> tuple[AbstractModel, Params]:
    """Return `model` as an `AbstractModel`, and the parameters (of an equinox module, its own)."""
    if isinstance(model, AbstractModel):
        return model, params
    if isinstance(model, eqx.Module):
        model, own_params = EquinoxModel.split(model)
        return model, own_params if params is None else eqx.filter(params, eqx.is_inexact_array)
    name = type(model).__name__
    if not callable(model):
        raise ValueError(f"`model` must be a function model(params, x) or an equinox module, got {name}.")
    if params is None:
        raise ValueError(
            f"`params` must hold at least one number, got None: only an equinox module has its own, not {name}. "
            "For a flax module pass `module.init(key, x)` with `module.apply`, or use `nnx.split`; "
            "see `help(riemgn.FunctionModel)`."
        )
    return FunctionModel(function=model), params


def _checked_array(name: str, value: Any) -> Array:
    """Return `value` as a non-empty, finite floating-point JAX array with at least one axis."""
    if is_traced(value):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"`{name}` must be a rectangular array of numbers, got rows of different lengths.") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold real numbers, got dtype {array.dtype}.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"`{name}` must hold at least one sample, got shape {array.shape}.")
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"`{name}` must be finite, got {bad} NaN or infinite of {array.size} entries.")
    return jnp.asarray(value if isinstance(value, jax.Array) else array, dtype=float)


def _checked_params(params: Params) -> Params:
    leaves = jax.tree.leaves(params)
    if not sum(np.size(leaf) for leaf in leaves):
        raise ValueError(f"`params` must hold at least one number, got {params!r}.")
    for array in (np.asarray(leaf) for leaf in leaves if not is_traced(leaf)):
        if array.dtype.kind != "f":
            raise ValueError(f"`params` must hold floating-point arrays, got a leaf of dtype {array.dtype}.")
        if not np.isfinite(array).all():
            raise ValueError(f"`params` must be finite, got a NaN or infinite entry in a leaf of shape {array.shape}.")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), params)


def _check_output_shape(model: AbstractModel, params: Params, x: Array, y: Array) -> None:
    try:
        out = jax.eval_shape(model, params, x)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"The model cannot be applied to `params` and `x` of shape {x.shape}: {reason}") from None
    shape = getattr(out, "shape", type(out).__name__)
    if shape != y.shape:
        raise ValueError(f"The model must return outputs of the targets' shape {y.shape}, got {shape}.")
