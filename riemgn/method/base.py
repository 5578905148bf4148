"""What a discrete method is: a step, a step size, and a state that reports on the step just taken."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import short_repr
from .._types import Count, Key, Scalar, Weights
from ..linalg import MatrixFree
from ..problem import Problem


class MethodState(eqx.Module):
    """What a method carries from step to step.

    - `time`: sum of the step sizes so far, the time of the flow that the method discretises.
    - `count`: steps taken.
    - `memory`: the method's own PyTree (rank at the start, order of the samples, moments, ...).
    - `report`: scalars about the step just taken, always with `"step_size"`; the driver collects them, one array per name.
    """

    time: Scalar
    count: Count
    memory: Any
    report: dict[str, Scalar]

    def after(self, memory: Any, report: dict[str, Scalar]) -> "MethodState":
        """The state one step later."""
        return MethodState(self.time + report["step_size"], self.count + 1, memory, report)


class AbstractMethod(eqx.Module):
    """`w_{k+1} = w_k + step_size * d_k`: a flow's direction `d` and a step along it.

    - `step_size`: `eta > 0`, in units of the flow's time; an array, so sweeping it compiles nothing anew.
    - `name`: short name for tables and legends.
    - `inverts`: whether the undamped inverse of the whole `J` appears, so that the method ends where `J` loses rank.
    - `stochastic`: whether `step` uses its key.
    - `matrix_free`: how to solve by products with `J`; None forms `J`.
    """

    step_size: eqx.AbstractVar[Array]
    name: eqx.AbstractClassVar[str]
    inverts: eqx.AbstractVar[bool]
    stochastic: eqx.AbstractVar[bool]
    matrix_free: eqx.AbstractVar[MatrixFree | None]

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        """The state before the first step, with a report of the same names as after a step, all zero.

        `rank` is the number of singular values of `J` that count as non-zero; the driver decides it once, at the start.
        """

    @abc.abstractmethod
    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        """One step: the new parameters (p,) and the new state."""


def first_state(w: Weights, memory: Any, *names: str) -> MethodState:
    """The state before the first step: time 0, and a report of zeros under `"step_size"` and `names`."""
    zero = jnp.zeros((), w.dtype)
    return MethodState(zero, jnp.zeros((), int), memory, {name: zero for name in ("step_size", *names)})


def check_use(method: AbstractMethod, key: Key | None, spectra: bool) -> None:
    """Look whether a `method` can be used with this `key` and these `spectra`.

    Raises: `ValueError` where a method that draws has no key, or one that inverts `J` is not told its rank.
    """
    if key is None and method.stochastic:
        raise ValueError(f"The method '{method.name}' draws its batches: `key` must be a JAX random key, got None.")
    if not spectra and method.inverts:
        raise ValueError(
            f"The method '{method.name}' inverts J and needs its rank: `spectra=False` is for damped methods and mini-batches."
        )
