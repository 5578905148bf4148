"""Any discrete method as a least-squares solver of optimistix."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from .._repr import short_repr
from .._types import Flag
from .._validation import finite_number, positive
from ..linalg import numerical_rank, spectrum
from ..model import AbstractModel
from ..problem import Problem
from .base import AbstractMethod, MethodState
from .levenberg_marquardt import LevenbergMarquardt
from .trust_region import TrustRegion


class OptimistixSolver(optx.AbstractLeastSquaresSolver):
    """A discrete method as an `optimistix.AbstractLeastSquaresSolver`, for `optimistix.least_squares(fn, solver, y0)`.

    It minimises `|r|^2 / 2`, `r` the PyTree that `fn(y, args)` returns, with our directions: n x n systems where there are more parameters than
    residuals, `J` by reverse mode there and by forward mode elsewhere, the factorisation by the conditioning. It ends as optimistix's own solvers
    do: after a step that was taken and changed `y` and `r` by less than `atol + rtol |.|` in every entry, by `norm`.

    Arguments:

    - `rtol`, `atol`: tolerances, the first positive and the second at least 0.
    - `method`: a discrete method that takes all residuals at every step and draws nothing; by default
      `LevenbergMarquardt(TrustRegion())`. A step that a trust region rejects counts as a step.
    - `norm`: of a PyTree of quotients, `optimistix.max_norm` by default.

    The final state holds the method's `report`. Raises: `ValueError` for wrong tolerances, another method, one that draws its batches.

    >>> import jax.numpy as jnp, optimistix as optx, riemgn as rg
    >>> def rosenbrock(y, args):
    ...     return 10 * (y["b"] - y["a"] ** 2), args - y["a"]
    >>> solution = optx.least_squares(rosenbrock, rg.OptimistixSolver(1e-5, 1e-5), {"a": jnp.array(-1.2), "b": jnp.array(1.0)}, args=1.0)
    >>> round(float(solution.value["a"]), 3), round(float(solution.value["b"]), 3)
    (1.0, 1.0)

    Reference: Rader, Lyons, Kidger, Optimistix, arXiv:2402.09983.
    """

    rtol: float
    atol: float
    method: AbstractMethod
    norm: Callable[[PyTree], Scalar]

    def __init__(
        self,
        rtol: float,
        atol: float,
        method: AbstractMethod | None = None,
        norm: Callable[[PyTree], Scalar] = optx.max_norm,
    ):
        self.rtol, self.atol = positive("rtol", rtol), finite_number("atol", atol, positive=False)
        self.method = LevenbergMarquardt(TrustRegion()) if method is None else method
        self.norm = norm
        if not isinstance(self.method, AbstractMethod):
            raise ValueError(f"`method` must be a discrete method such as GaussNewton(), got {type(method).__name__}.")
        if self.method.stochastic:
            raise ValueError(
                f"The method '{self.method.name}' draws its batches, and optimistix has no key to give: take all residuals."
            )

    def __repr__(self) -> str:
        return short_repr(self)

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> "_State":
        problem = _problem(fn, y, args, f_struct)
        rank = jnp.asarray(min(problem.n, problem.p))
        if self.method.matrix_free is None:
            rank = numerical_rank(spectrum(problem.linearise(problem.w0, formed=False).jac), (problem.n, problem.p))
        return _State(self.method.init(problem, problem.w0, rank), jnp.array(False))

    def step(self, fn, y, args, options, state: "_State", tags) -> tuple[PyTree, "_State", PyTree]:
        f, aux = fn(y, args)
        problem = _problem(fn, y, args, f)
        # the key of a method that draws nothing
        w, inner = self.method.step(problem, problem.w0, state.method, jr.key(0))
        new = jax.tree.map(lambda value, old: value.astype(old.dtype), problem.unflatten(w), y)
        taken = inner.report["accepted"] > 0 if "accepted" in inner.report else jnp.array(True)
        small = self._small(problem.w0, w) & self._small(problem.outputs(problem.w0), problem.outputs(w))
        return new, _State(inner, taken & small), aux

    def terminate(self, fn, y, args, options, state: "_State", tags) -> tuple[Flag, optx.RESULTS]:
        return state.done, optx.RESULTS.successful

    def postprocess(
        self, fn, y, aux, args, options, state: "_State", tags, result
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        return y, aux, {}

    def _small(self, old: Array, new: Array) -> Flag:
        return self.norm(jnp.abs(new - old) / (self.atol + self.rtol * jnp.abs(new))) < 1


class _State(eqx.Module):
    """The method's state and whether the last step was small."""

    method: MethodState
    done: Flag


class _Residuals(AbstractModel):
    """The residuals `fn(y, args)` as outputs; `x` only counts them."""

    fn: Callable
    args: PyTree
    dtypes: tuple = eqx.field(static=True)
    rowwise: bool = eqx.field(static=True, default=False)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params: PyTree, x: Array) -> Array:
        leaves, structure = jax.tree.flatten(params)
        y = jax.tree.unflatten(structure, [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)])
        return ravel_pytree(self.fn(y, self.args)[0])[0].astype(float)


def _problem(fn: Callable, y: PyTree, args: PyTree, f: PyTree) -> Problem:
    """`min |fn(y, args)|^2 / 2` from `y`; `f` has the shapes of the residuals."""
    count = sum(leaf.size for leaf in jax.tree.leaves(f))
    none = jnp.zeros(count)
    model = _Residuals(fn=fn, args=args, dtypes=tuple(leaf.dtype for leaf in jax.tree.leaves(y)))
    return Problem(model, y, none, none)
