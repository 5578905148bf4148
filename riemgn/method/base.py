"""Discrete methods: one step from `w_k` to `w_{k+1}`, and the state that is carried along."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Scalar, Weights
from ..linalg import numerical_rank, spectrum
from ..problem import Problem


class MethodState(eqx.Module):
    """The state that a method carries from step to step.

    - `time`: sum of the step sizes, which is the time of the flow that the method discretises.
    - `count`: number of steps taken.
    - `memory`: PyTree of the method's own values, such as the rank at the start or moments.
    - `report`: scalars about the last step, always with `"step_size"`. `iterate` collects them.
    """

    time: Scalar
    count: Count
    memory: Any
    report: dict[str, Scalar]

    def after(self, memory: Any, report: dict[str, Scalar]) -> "MethodState":
        """Return the state after one more step."""
        return MethodState(self.time + report["step_size"], self.count + 1, memory, report)


class AbstractMethod(eqx.Module):
    """A discrete method `w_{k+1} = w_k + eta d_k`. You can add your own as a subclass.

    - `step_size`: `eta > 0` in units of the flow's time, an array.
    - `name`: short name for tables and legends.
    - `inverts`: whether the method uses `J^+` without damping (default False). It then stops if
      `J` loses rank.
    - `stochastic`: whether `step` uses its key (default False).
    - `matrix_free`: a `MatrixFree` for products with `J`, or None (default) to form `J`.
    """

    step_size: eqx.AbstractVar[Array]
    name: eqx.AbstractClassVar[str]
    # not annotated, because the fields of a subclass with these names would then come first
    inverts = False
    stochastic = False
    matrix_free = None

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        """Return the state before the first step.

        Its report has zeros under the names of later reports. `rank` is the numerical rank of `J`.
        """

    @abc.abstractmethod
    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        """Take one step and return the new parameters (p,) and the new state."""


def first_state(w: Weights, memory: Any, *names: str) -> MethodState:
    """Return a state at time 0 whose report holds zeros for `"step_size"` and `names`."""
    zero = jnp.zeros((), w.dtype)
    return MethodState(zero, jnp.zeros((), int), memory, {name: zero for name in ("step_size", *names)})


def initial_rank(method: AbstractMethod, problem: Problem, w: Weights, spectra: bool = True) -> Count:
    """Return the numerical rank of `J(w)`, or min(n, p) if `spectra=False` or `J` is not formed."""
    if not spectra or method.matrix_free is not None:
        return jnp.asarray(min(problem.n, problem.p))
    return numerical_rank(spectrum(problem.linearise(w, formed=False).jac), (problem.n, problem.p))


def check_use(method: AbstractMethod, key: Key | None, spectra: bool) -> None:
    """Check that you can use `method` with this `key` and `spectra`.

    Raises: `ValueError` if a stochastic method has no key, or if a method that inverts `J` is
    used with `spectra=False`.
    """
    if key is None and method.stochastic:
        raise ValueError(f"The method '{method.name}' draws its batches: `key` must be a JAX random key, got None.")
    if not spectra and method.inverts:
        raise ValueError(
            f"The method '{method.name}' inverts J and needs its rank, but got `spectra=False`: "
            "use a damped method or mini-batches."
        )
