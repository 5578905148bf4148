"""Problem: a model, its starting point, data and a loss. The first waist: flows and geometry see nothing below it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ._memory import check_jacobian, check_memory, stacked, WORKING_MEMORY
from ._types import Jac, Outputs, Params, Scalar, Weights
from ._validation import is_traced, positive
from .jacobian import is_layerwise, layer_jacobian, layer_kernel
from .linalg import AbstractJacobian, scale_rows
from .loss import AbstractLoss, SquaredLoss
from .model import AbstractModel, EquinoxModel, FunctionModel, Reparametrised


class Linearisation(eqx.Module):
    """A problem at one point `w`: outputs, gradient and Hessian diagonal of the loss there, Jacobian.

    Shapes: `outputs`, `residual` (`f - y`), `loss_gradient` (`grad g(f)`) and `loss_hessian` (diagonal of `Hess g(f)`) are (n,), `jac` is (n, p), an
    array or, where the caller of `linearise` allowed it, an operator (a `LayerJacobian`).
    """

    outputs: Outputs
    residual: Outputs
    loss_gradient: Outputs
    loss_hessian: Outputs
    jac: Jac | AbstractJacobian

    def whitened(self) -> "Linearisation":
        """The point in output coordinates where `Hess g = B` is the identity: `J -> B^{1/2} J`, `g -> B^{-1/2} g`."""
        root = jnp.sqrt(self.loss_hessian)
        return Linearisation(
            self.outputs, self.residual, self.loss_gradient / root, jnp.ones_like(root), scale_rows(root, self.jac)
        )


class Problem(eqx.Module):
    """The nonlinear least-squares problem `min_w R(w) = g(f(w))` on a data set.

    `f : R^p -> R^n` stacks the outputs of all samples, row by row (n = samples x outputs); `w` is the flattened parameter PyTree.

    Arguments:

    - `model`: an `AbstractModel`, any function `model(params, x) -> outputs` of a whole batch (the `apply` of a flax module too, see
        `FunctionModel`), or an equinox module (then `params=None` takes the module's own arrays).
    - `params`: starting point, any PyTree of floating-point arrays.
    - `x`: inputs, leading axis = samples. Integers are converted; float32 is promoted to float64 where that is enabled. JAX arrays stay on the
        devices they lie on, `y` too.
    - `y`: targets, the shape of the model's outputs.
    - `loss`: an `AbstractLoss`, by default `SquaredLoss()`.
    - `working_memory`: bytes that forming a Jacobian may take for intermediate values, beside itself and one evaluation of the model; 1 GiB by
        default. Where all rows (columns, in forward mode) at once would take more, they are made in a loop over chunks, one row at the least; the
        estimate counts every value the model's code makes, also those that the compiler fuses away. Under `vmap` it holds for each member.

    Raises: `ValueError`, quoting what came, for empty or non-finite data, text, shapes that do not fit, targets outside the loss's domain,
    parameters that are not floating-point or not finite, a working memory that is not positive.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> problem = rg.Problem(rg.LinearModel(), jnp.zeros(2), jnp.eye(3, 2), jnp.ones(3))
    >>> problem.n, problem.p
    (3, 2)

    Reference: theory.md section 0.
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
        if not isinstance(model, AbstractModel):
            if isinstance(model, eqx.Module):
                model, own_params = EquinoxModel.split(model)
                params = own_params if params is None else eqx.filter(params, eqx.is_inexact_array)
            elif not callable(model):
                raise ValueError(
                    f"`model` must be a function model(params, x) or an equinox module, got {type(model).__name__}."
                )
            elif params is None:
                raise ValueError(
                    f"`params` must hold at least one number, got None: only an equinox module brings its own, not {type(model).__name__}. "
                    "Of a flax module take `module.init(key, x)` with `module.apply`, or `nnx.split`; `help(riemgn.FunctionModel)` shows it."
                )
            else:
                model = FunctionModel(function=model)
        self.model = model
        self.params = _checked_params(params)
        self.x = _checked_array("x", x)
        y = _checked_array("y", y)
        if self.x.shape[0] != y.shape[0]:
            raise ValueError(
                f"`x` and `y` must have the same number of samples, got {self.x.shape[0]} and {y.shape[0]}."
            )
        _check_output_shape(model, self.params, self.x, y)
        self.y = y.reshape(-1)
        self.loss = SquaredLoss() if loss is None else loss
        self.working_memory = int(positive("working_memory", working_memory))
        if not isinstance(self.loss, AbstractLoss):
            raise ValueError(f"`loss` must be a riemgn loss such as SquaredLoss(), got {loss!r}.")
        if not is_traced(self.y) and (complaint := self.loss.check_targets(self.y)):
            raise ValueError(complaint)

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

    def unflatten(self, w: Weights) -> Params:
        """The parameter PyTree of a flat vector (p,)."""
        return ravel_pytree(self.params)[1](w)

    def outputs(self, w: Weights) -> Outputs:
        """`f(w)`, shape (n,)."""
        return self.model(self.unflatten(w), self.x).reshape(-1)

    def objective(self, w: Weights) -> Scalar:
        """`R(w) = g(f(w))`."""
        return self.loss(self.outputs(w), self.y)

    def loss_gradient(self, f: Outputs) -> Outputs:
        """`grad g(f)`, shape (n,)."""
        return self.loss.gradient(f, self.y)

    def loss_hessian(self, f: Outputs) -> Outputs:
        """Diagonal of `Hess g(f)`, shape (n,)."""
        return self.loss.hessian(f, self.y)

    def jac(self, w: Weights) -> Jac:
        """`J(w) = Df(w)`, shape (n, p): sample by sample for a row-wise model, else forward (p <= n) or reverse mode (p > n)."""
        return self._jac_at(w, self.x)

    def _jac_at(self, w: Weights, x: Array) -> Jac:
        """The Jacobian of the outputs at the inputs `x` instead of the data's."""
        outputs = x.shape[0] * (self.n // self.x.shape[0])
        check_jacobian((outputs, self.p))
        if not self.model.rowwise:
            return self.jac_of(lambda w: self.model(self.unflatten(w), x).reshape(-1), w, outputs)

        def sample_outputs(w, sample):
            return self.model(self.unflatten(w), sample[None]).reshape(-1)

        per_output = outputs // x.shape[0]
        if per_output == 1:
            per_sample = jax.grad(lambda w, sample: sample_outputs(w, sample)[0])
        else:
            per_sample = (jax.jacfwd if self.p <= per_output else jax.jacrev)(sample_outputs)

        def at_once():
            return jax.vmap(per_sample, in_axes=(None, 0))(w, x)

        return stacked(lambda: lambda i: per_sample(w, x[i]), x.shape[0], self.working_memory, 0, at_once).reshape(
            outputs, self.p
        )

    def jac_of(self, function: Callable, w: Weights, outputs: int) -> Jac:
        """The Jacobian of any function of `w` with `outputs` values: forward mode by columns where p <= outputs, else reverse mode by rows."""

        def unit(i, size):
            return jnp.zeros(size, w.dtype).at[i].set(1)

        def columns():
            push = jax.linearize(function, w)[1]
            return lambda i: push(unit(i, self.p))

        def rows():
            pull = jax.vjp(function, w)[1]
            return lambda i: pull(unit(i, outputs))[0]

        if self.p <= outputs:
            return stacked(columns, self.p, self.working_memory, 1, lambda: jax.jacfwd(function)(w))
        return stacked(rows, outputs, self.working_memory, 0, lambda: jax.jacrev(function)(w))

    def gram(self, w: Weights) -> Float[Array, "p p"]:
        """`G = J^T J`, the Gauss-Newton matrix. For display: solving with it squares the condition number."""
        jac = self.jac(w)
        return jac.T @ jac

    def ntk(self, w: Weights, x: Float[Array, "m d"] | None = None) -> Float[Array, "m n"]:
        """`K = J J^T`, the empirical tangent kernel. For display: solving with it squares the condition number.

        An MLP, plain or inside `Scaled` and `Centred`, is summed layer by layer and `J` is never formed; other models take `J` and a product.

        Arguments:

        - `w`: parameters (p,).
        - `x`: new inputs, for the cross kernel `J(x) J^T` whose rows are their outputs; by default the data's own.
        """
        check_memory("The tangent kernel", (self.n if x is None else x.shape[0], self.n), "take fewer samples")
        if is_layerwise(self.model):
            params = self.unflatten(w)
            return (
                layer_kernel(self.model, params, self.x) if x is None else layer_kernel(self.model, params, x, self.x)
            )
        jac = self.jac(w)
        return (jac if x is None else self._jac_at(w, x)) @ jac.T

    @property
    def keeps_layers(self) -> bool:
        """Whether the Jacobian has a form by layers that is the smaller one: an MLP, plain or in its wrappers, with n < p."""
        return self.n < self.p and is_layerwise(self.model)

    @eqx.filter_jit
    def linearise(self, w: Weights, formed: bool = True) -> Linearisation:
        """Everything the flows need at `w`; with `formed=False` the Jacobian of a problem that `keeps_layers` is a `LayerJacobian`."""
        f = self.outputs(w)
        jac = self.jac(w) if formed or not self.keeps_layers else layer_jacobian(self.model, self.unflatten(w), self.x)
        return Linearisation(f, f - self.y, self.loss_gradient(f), self.loss_hessian(f), jac)

    def products(self, w: Weights) -> tuple[Outputs, Callable, Callable]:
        """`f(w)` and the maps `v -> J v`, `u -> J^T u`; the model is evaluated once and its intermediate values are kept, `J` is not formed."""
        f, forward = jax.linearize(self.outputs, w)
        transpose = jax.linear_transpose(forward, w)
        return f, forward, lambda u: transpose(u)[0]

    def without_jacobian(self, f: Outputs) -> Linearisation:
        """What `linearise` tells at the outputs `f`, with a Jacobian of no columns."""
        return Linearisation(
            f, f - self.y, self.loss_gradient(f), self.loss_hessian(f), jnp.zeros((self.n, 0), f.dtype)
        )

    def reparametrise(self, matrix: Float[Array, "p p"]) -> "Problem":
        """The same problem in the coordinates `v` with `w = w0 + A v`, starting at `v = 0` (theory.md C3).

        Arguments:

        - `matrix`: invertible `A` (p, p); `conditioned_matrix` draws one of prescribed condition number.

        Raises: `ValueError` for another shape or non-finite entries.
        """
        matrix = _checked_array("matrix", matrix)
        if matrix.shape != (self.p, self.p):
            raise ValueError(f"`matrix` must have shape {(self.p, self.p)}, got {matrix.shape}.")
        model = Reparametrised(self.model, self.params, matrix)
        return Problem(
            model,
            jnp.zeros(self.p, dtype=matrix.dtype),
            self.x,
            self.y.reshape(self._target_shape()),
            self.loss,
            self.working_memory,
        )

    def with_params(self, params: Params) -> "Problem":
        """The same problem started elsewhere: `params` a PyTree like the present one, or a flat vector (p,)."""
        flat = isinstance(params, jax.Array | np.ndarray) and params.shape == (self.p,)
        params = self.unflatten(jnp.asarray(params)) if flat else params
        return Problem(self.model, params, self.x, self.y.reshape(self._target_shape()), self.loss, self.working_memory)

    def _target_shape(self) -> tuple[int, ...]:
        return jax.eval_shape(self.model, self.params, self.x).shape


def _checked_array(name: str, value: Any) -> Array:
    """`value` as a non-empty, finite floating-point JAX array with at least one axis."""
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
    for leaf in leaves:
        if is_traced(leaf):
            continue
        array = np.asarray(leaf)
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
    shape = getattr(out, "shape", None)
    if shape != y.shape:
        raise ValueError(
            f"The model must return outputs of the targets' shape {y.shape}, got {shape if shape is not None else type(out).__name__}."
        )
