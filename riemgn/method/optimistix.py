"""An adapter to optimistix: a discrete method as a least-squares solver."""

from collections.abc import Callable
from functools import partial
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
from ..model import AbstractModel
from ..problem import Problem
from .base import AbstractMethod, initial_rank, MethodState
from .levenberg_marquardt import LevenbergMarquardt
from .trust_region import TrustRegion


class OptimistixSolver(optx.AbstractLeastSquaresSolver):
    """A discrete method as a solver for `optimistix.least_squares(fn, solver, y0)`.

    It minimises `|r|^2 / 2`, where `r` is the PyTree that `fn(y, args)` returns. With more
    parameters than residuals it solves n x n systems. It stops as the solvers of optimistix do:
    after an accepted step that changes every entry of `y` and `r` by less than `atol + rtol |.|`.

    Arguments:

    - `rtol`, `atol`: tolerances, `rtol` positive and `atol` at least 0.
    - `method`: a method on all samples (default `LevenbergMarquardt(TrustRegion())`). Its `report`
      is in the final state. A rejected step counts as a step.
    - `norm`: norm of the quotients (default `optimistix.max_norm`).

    Raises: `ValueError` for wrong tolerances, another type of method, and a stochastic method.

    >>> import jax.numpy as jnp, optimistix as optx, riemgn as rg
    >>> def rosenbrock(y, args):
    ...     return 10 * (y["b"] - y["a"] ** 2), args - y["a"]
    >>> start = {"a": jnp.array(-1.2), "b": jnp.array(1.0)}
    >>> solution = optx.least_squares(rosenbrock, rg.OptimistixSolver(1e-5, 1e-5), start, args=1.0)
    >>> round(float(solution.value["a"]), 3), round(float(solution.value["b"]), 3)
    (1.0, 1.0)

    Reference: Rader, Lyons, Kidger, Optimistix, arXiv:2402.09983.
    """

    rtol: float = eqx.field(converter=partial(positive, "rtol"))
    atol: float = eqx.field(converter=partial(finite_number, "atol", positive=False))
    method: AbstractMethod = eqx.field(default_factory=lambda: LevenbergMarquardt(TrustRegion()))
    norm: Callable[[PyTree], Scalar] = optx.max_norm

    def __check_init__(self):
        if not isinstance(self.method, AbstractMethod):
            raise ValueError(
                f"`method` must be a discrete method such as GaussNewton(), got {type(self.method).__name__}."
            )
        if self.method.stochastic:
            raise ValueError(
                f"The method '{self.method.name}' draws its batches, but optimistix passes no random key: "
                "use all samples."
            )

    def __repr__(self) -> str:
        return short_repr(self)

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> "_State":
        problem = _problem(fn, y, args, f_struct)
        rank = initial_rank(self.method, problem, problem.w0)
        return _State(self.method.init(problem, problem.w0, rank), jnp.array(False))

    def step(self, fn, y, args, options, state: "_State", tags) -> tuple[PyTree, "_State", PyTree]:
        f, aux = fn(y, args)
        problem = _problem(fn, y, args, f)
        # the method is not stochastic, so the key is not used
        w, inner = self.method.step(problem, problem.w0, state.method, jr.key(0))
        accepted = inner.report.get("accepted", jnp.array(1.0)) > 0
        small = self._small(problem.w0, w) & self._small(problem.outputs(problem.w0), problem.outputs(w))
        return _cast(problem.unflatten(w), y), _State(inner, accepted & small), aux

    def terminate(self, fn, y, args, options, state: "_State", tags) -> tuple[Flag, optx.RESULTS]:
        return state.done, optx.RESULTS.successful

    def postprocess(self, fn, y, aux, args, options, state, tags, result) -> tuple[PyTree, PyTree, dict[str, Any]]:
        return y, aux, {}

    def _small(self, old: Array, new: Array) -> Flag:
        return self.norm(jnp.abs(new - old) / (self.atol + self.rtol * jnp.abs(new))) < 1


class _State(eqx.Module):
    """The state of the method, and whether the solve is done."""

    method: MethodState
    done: Flag


class _Residuals(AbstractModel):
    """A model whose outputs are the residuals `fn(y, args)`. It ignores `x`."""

    fn: Callable
    args: PyTree
    y: PyTree
    rowwise: bool = eqx.field(static=True, default=False)
    smooth: bool = eqx.field(static=True, default=True)

    def __call__(self, params: PyTree, x: Array) -> Array:
        return ravel_pytree(self.fn(_cast(params, self.y), self.args)[0])[0].astype(float)


def _cast(params: PyTree, y: PyTree) -> PyTree:
    """Return `params` with the types of `y`, because a problem computes in the default type."""
    return jax.tree.map(lambda value, like: value.astype(like.dtype), params, y)


def _problem(fn: Callable, y: PyTree, args: PyTree, f: PyTree) -> Problem:
    """Return the problem `min |fn(y, args)|^2 / 2` from `y`, with residuals shaped like `f`."""
    zeros = jnp.zeros(sum(leaf.size for leaf in jax.tree.leaves(f)))
    return Problem(_Residuals(fn=fn, args=args, y=y), y, zeros, zeros)
