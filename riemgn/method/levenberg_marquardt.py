"""The Levenberg-Marquardt method, the explicit Euler method of the Levenberg-Marquardt flow."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._arguments import checked_number
from .._types import Count, Key, Scalar, Weights
from ..linalg import checked_matrix_free, checked_precision, damped_direction, MatrixFree, MIXED, mixed_direction_and_branch
from ..problem import Linearisation, Problem
from .base import AbstractMethod, first_state, MethodState


class LevenbergMarquardtMethod(AbstractMethod):
    """Levenberg-Marquardt, `w_{k+1} = w_k - eta (J^T J + rho_k I)^{-1} J^T grad g(f(w_k))`.

    On a linear model the mode of the eigenvalue `s` of `K` is multiplied by `1 - eta s / (s + rho_k)`: with `rho_k = c lambda_min(K_k)` and
    `eta = 1` every mode contracts at least by `c / (1 + c)`, at every conditioning.

    Arguments:

    - `damping`: `rho`, in units of the eigenvalues of `K`: a number, or a damping schedule of the flows such as `SpectralDamping(c)` or
      `ResidualDamping(c)`, any function `(time, point, rank) -> rho`; the time is the sum of the step sizes so far.
    - `step_size`: `eta > 0`, 1 by default.
    - `matrix_free`: a `MatrixFree` solves by products with `J`, for large n and p; None (default) forms `J`. The trajectory then has no `sigma_min`
      and no `grad_norms` (NaN), and `stats` no rank.
    - `precision`: `"full"` (default) or `"mixed"`, as in the flow.

    Raises: `ValueError` for negative or non-finite damping, a step size that is not positive, no damping or mixed precision where `matrix_free` is
    given, an unknown precision, and for `"mixed"` without float64.

    Reports `step_size` and `damping`; with `matrix_free` also `krylov_steps`, in mixed precision `mixed`: 1 where the float32 factor gave the step,
    0 where the way of `"full"` did.

    >>> import riemgn as rg
    >>> method = rg.LevenbergMarquardtMethod(rg.SpectralDamping(0.5))
    >>> traj = rg.iterate(rg.task.circle(), method, steps=3)
    >>> traj.stats["per_step"]["damping"].round(3).tolist()
    [2.0, 2.0, 2.0]

    Reference: theory.md C9; papers.md D13, D14.
    """

    damping: Callable | Array
    matrix_free: MatrixFree | None
    precision: str = eqx.field(static=True)
    step_size: Array
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "levenberg-marquardt"

    def __init__(self, damping: Callable | float, step_size: float = 1.0, matrix_free: MatrixFree | None = None, precision: str = "full"):
        self.damping = damping if callable(damping) else checked_number("damping", damping, positive=False)
        self.step_size = checked_number("step_size", step_size)
        self.inverts = isinstance(damping, int | float) and damping == 0
        self.matrix_free = checked_matrix_free(matrix_free, self.inverts)
        self.precision = checked_precision(precision, matrix_free)
        self.stochastic = False

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        if self.matrix_free is not None:
            return first_state(w, rank, "damping", "krylov_steps")
        return first_state(w, rank, "damping", *(["mixed"] if self.precision == "mixed" else []))

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        size = self.step_size.astype(w.dtype)
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            point = problem.without_jacobian(f)
            rho = self._damping_at(state, point, w)
            solution = self.matrix_free.direction(forward, backward, w, point.cotangent, rho)
            report = {"step_size": size, "damping": rho, "krylov_steps": solution.steps.astype(w.dtype)}
            return w + size * solution.w_dot, state.after(state.memory, report)
        point, rank = problem.linearise(w, formed=False), state.memory
        rho = self._damping_at(state, point, w)
        report = {"step_size": size, "damping": rho}
        if self.precision == "mixed":
            d, branch = mixed_direction_and_branch(point.jac, point.cotangent, rho, rank)
            report |= {"mixed": (branch == MIXED).astype(w.dtype)}
        else:
            d = damped_direction(point.jac, point.cotangent, rho, 1.0, rank)
        return w + size * d, state.after(rank, report)

    def _damping_at(self, state: MethodState, point: Linearisation, w: Weights) -> Scalar:
        return jnp.asarray(self.damping(state.time, point, state.memory) if callable(self.damping) else self.damping, w.dtype)
