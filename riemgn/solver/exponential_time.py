"""Runge-Kutta steps in an exponential time variable, in which the exact residual law is a straight line."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from .._types import Scalar

# Modes whose rates at the start differ by less than this share decay together: their law is a straight line in exponential time.
UNIFORM = 0.01


class _InExponentialTime(diffrax.AbstractTerm):
    """`dy/dsigma = F(t, y) / (rate (1 - sigma))` with `t = start - log(1 - sigma) / rate`."""

    term: diffrax.AbstractTerm
    start: ArrayLike
    rate: Scalar

    def vf(self, t, y, args):
        remaining = 1 - t
        slope = self.term.vf(self.start - jnp.log(remaining) / self.rate, y, args)
        return jax.tree.map(lambda v: v / (self.rate * remaining), slope)

    def contr(self, t0, t1, **kwargs):
        return self.term.contr(t0, t1, **kwargs)

    def prod(self, vf, control):
        return self.term.prod(vf, control)


class _Interpolation(diffrax.AbstractLocalInterpolation):
    """The inner method's interpolation over one step, read at the step's `sigma`."""

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


class ExponentialTime(diffrax.AbstractAdaptiveSolver):
    """An explicit Runge-Kutta method that takes each step in `sigma = 1 - exp(-rate (t - t_n))` instead of `t`.

    Gauss-Newton flow has `f(w_t) = f* + exp(-t) (f(w_0) - f*)` (theory.md C6): a straight line in `sigma`, which every method follows exactly, so
    that only the bend of the parameters limits the step. It is the method `solver` on the time-changed equation; as methods do not see an affine
    change of time, starting `sigma` anew at each step leaves the same numbers as one variable for the whole horizon, without its loss of digits near
    `sigma = 1`. Times, tolerances, events and dense output stay in `t`.

    A plain diffrax solver. Where modes decay at different rates it gains nothing and long steps are held by the singularity at `sigma = 1`.

    Arguments:

    - `solver`: an explicit Runge-Kutta method such as `diffrax.Dopri8()`.
    - `rate`: the common rate of decay, in units of 1 / t; a number or a scalar array.

    Raises: `ValueError` for another kind of solver.

    >>> import diffrax, riemgn as rg
    >>> from riemgn.solver.exponential_time import ExponentialTime
    >>> line = rg.task.circle(radius=2.0, target=1.0, angle=1.0)
    >>> rg.solve(line, rg.GaussNewtonFlow(), t1=20.0, solver=ExponentialTime(diffrax.Dopri8())).succeeded
    True

    Reference: solvers.md section 1; the time change per step is derived.
    """

    solver: diffrax.AbstractERK
    rate: Scalar | float = 1.0

    def __check_init__(self):
        if not isinstance(self.solver, diffrax.AbstractERK):
            raise ValueError(
                f"`solver` must be an explicit Runge-Kutta method such as diffrax.Dopri8(), got {type(self.solver).__name__}."
            )

    @property
    def term_structure(self):
        return self.solver.term_structure

    @property
    def interpolation_cls(self):
        return lambda *, t0, t1, rate, inner: _Interpolation(t0, t1, rate, inner, self.solver)

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        return self.solver.init(terms, t0, t1, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        rate = jnp.asarray(self.rate, jnp.result_type(t1 - t0))
        sigma = -jnp.expm1(-rate * (t1 - t0))
        # the slope handed from step to step is that in t
        inward, outward = lambda v: v / rate, lambda v: v * (rate * (1 - sigma))
        local = _InExponentialTime(terms, t0, rate)
        start = _scaled(inward, solver_state)
        y1, error, inner, state, result = self.solver.step(
            local, jnp.zeros_like(sigma), sigma, y0, args, start, made_jump
        )
        return y1, error, {"rate": rate, "inner": inner}, _scaled(outward, state), result

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)


def explicit_solver(slowest: float, fastest: float) -> diffrax.AbstractERK | ExponentialTime:
    """Dopri8, in exponential time where the rates of all modes, from `slowest` to `fastest`, differ by at most `UNIFORM`."""
    if 0 < fastest * (1 - UNIFORM) <= slowest:
        return ExponentialTime(diffrax.Dopri8(), jnp.asarray(fastest))
    return diffrax.Dopri8()


def solver_name(solver: diffrax.AbstractSolver) -> str:
    """For statistics and tables: the name of the class, of what it wraps in exponential time."""
    return (
        f"{type(solver.solver).__name__} in exponential time"
        if isinstance(solver, ExponentialTime)
        else type(solver).__name__
    )


def _scaled(scale, state: Any) -> Any:
    return jax.tree.map(lambda leaf: scale(leaf) if eqx.is_inexact_array(leaf) else leaf, state)
