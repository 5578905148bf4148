"""Runge-Kutta steps in exponential time, where the exact residual law is a straight line."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from .._types import Scalar
from ._diffrax import WrappedSolver

UNIFORM = 0.01  # rates at the start that differ by less than this fraction count as one


class _InExponentialTime(diffrax.AbstractTerm):
    """`dy/dsigma = F(t, y) / (rate (1 - sigma))` with `t = start - log(1 - sigma) / rate`."""

    term: diffrax.AbstractTerm
    start: ArrayLike
    rate: Scalar

    def vf(self, t, y, args):
        slope = self.term.vf(self.start - jnp.log(1 - t) / self.rate, y, args)
        return jax.tree.map(lambda v: v / (self.rate * (1 - t)), slope)

    def contr(self, t0, t1, **kwargs):
        # the term knows the direction of time, so an ODETerm cannot replace it
        return self.term.contr(t0, t1, **kwargs)

    def prod(self, vf, control):
        return self.term.prod(vf, control)


class _Interpolation(diffrax.AbstractLocalInterpolation):
    """The interpolation of the wrapped method over one step, evaluated at `sigma(t)`."""

    t0: ArrayLike
    t1: ArrayLike
    rate: Scalar
    inner: PyTree[Array]
    solver: diffrax.AbstractERK

    def _sigma(self, t: ArrayLike) -> Scalar:
        return -jnp.expm1(-self.rate * jnp.subtract(t, self.t0))

    def evaluate(self, t0, t1=None, left=True):
        over_step = self.solver.interpolation_cls(t0=jnp.zeros_like(self.t1), t1=self._sigma(self.t1), **self.inner)
        return over_step.evaluate(self._sigma(t0), None if t1 is None else self._sigma(t1), left)


class ExponentialTime(WrappedSolver):
    """An explicit Runge-Kutta method that steps in `sigma = 1 - exp(-rate (t - t_n))`, not in `t`.

    Gauss-Newton flow has `f(w_t) = f* + exp(-t) (f(w_0) - f*)`, a straight line in `sigma` that
    every method follows exactly. So only the curvature of the parameter path limits the step. It
    has no advantage if modes decay at different rates.

    Arguments:

    - `solver`: an explicit Runge-Kutta method such as `diffrax.Dopri8()`.
    - `rate`: the common decay rate, in units of 1 / t (default 1).

    Raises: `ValueError` for another kind of solver.

    >>> import diffrax, riemgn as rg
    >>> from riemgn.solver.exponential_time import ExponentialTime
    >>> solver = ExponentialTime(diffrax.Dopri8())
    >>> rg.solve(rg.task.circle(), rg.GaussNewtonFlow(), t1=20.0, solver=solver).status
    'successful'

    Reference: Statement C6.
    """

    solver: diffrax.AbstractERK
    rate: Scalar | float = 1.0

    def __check_init__(self):
        if not isinstance(self.solver, diffrax.AbstractERK):
            raise ValueError(
                "`solver` must be an explicit Runge-Kutta method such as diffrax.Dopri8(), "
                f"got {type(self.solver).__name__}."
            )

    @property
    def interpolation_cls(self):
        return lambda *, t0, t1, rate, inner: _Interpolation(t0, t1, rate, inner, self.solver)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        rate = jnp.asarray(self.rate, jnp.result_type(t1 - t0))
        # Runge-Kutta methods do not change under shifts of time, so sigma can restart at 0
        sigma = -jnp.expm1(-rate * (t1 - t0))
        local = _InExponentialTime(terms, t0, rate)
        # the derivative that is passed from step to step is the one in t
        start = _scaled(lambda v: v / rate, solver_state)
        zero = jnp.zeros_like(sigma)
        y1, error, inner, state, result = self.solver.step(local, zero, sigma, y0, args, start, made_jump)
        return y1, error, {"rate": rate, "inner": inner}, _scaled(lambda v: v * (rate * (1 - sigma)), state), result


def explicit_solver(slowest: float, fastest: float) -> diffrax.AbstractERK | ExponentialTime:
    """Return Dopri8, in exponential time if all rates from `slowest` to `fastest` nearly agree."""
    if 0 < fastest * (1 - UNIFORM) <= slowest:
        return ExponentialTime(diffrax.Dopri8(), jnp.asarray(fastest))
    return diffrax.Dopri8()


def solver_name(solver: diffrax.AbstractSolver) -> str:
    """Return the class name of a solver, or of the solver that runs in exponential time."""
    if isinstance(solver, ExponentialTime):
        return f"{type(solver.solver).__name__} in exponential time"
    return type(solver).__name__


def _scaled(scale: Callable, state: Any) -> Any:
    return jax.tree.map(lambda leaf: scale(leaf) if eqx.is_inexact_array(leaf) else leaf, state)
