"""Directions from products with the Jacobian and its transpose alone."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx

from .._types import Count, Flag, Outputs, Scalar, Weights

# Products with the Jacobian and its transpose, each, that the estimate of its largest singular value takes.
POWER_STEPS = 20


class KrylovSolution(eqx.Module):
    """A direction `w_dot` (p,), the conjugate-gradient `steps` it took, and whether they `converged`."""

    w_dot: Weights
    steps: Count
    converged: Flag


class AbstractProducts(eqx.Module):
    """How a flow finds its direction from products with `J` and `J^T` alone."""

    @abc.abstractmethod
    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        """The direction, NaN where it was not found.

        Arguments:

        - `forward`: `v -> J v`, (p,) to (n,).
        - `backward`: `u -> J^T u`, (n,) to (p,).
        - `at`: any vector (p,), for its shape and type.
        - `loss_gradient`: `g`, shape (n,).
        - `damping`: `rho`.
        """


class GradientProduct(AbstractProducts):
    """`-J^T g`, the direction of gradient flow: one product, nothing to solve; the damping is not used."""

    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        return KrylovSolution(-backward(loss_gradient), jnp.zeros((), int), jnp.array(True))


class MatrixFree(AbstractProducts):
    """Damped directions by conjugate gradients on the smaller side; the Jacobian is never formed.

    `(K + rho I) z = -g, w' = J^T z` where n < p, else `(G + rho I) w' = -J^T g`; each step costs one `J v` and one `J^T u`. The solve ends when the
    residual's largest entry is below `rtol` times that of the right-hand side in the worst place, `|r_i| <= rtol (|b_i| + max |b|)`. The number of
    steps grows like `sqrt(1 + |J|^2 / rho) log(1 / rtol)`, and the relative error of the direction is at most about `rtol (1 + |J|^2 / rho)`.

    Arguments:

    - `rtol`: tolerance of the residual, 1e-8 by default.
    - `max_steps`: a solve that needs more has not converged, and its direction is NaN: drivers stop there and say so.

    Raises: `ValueError` for a tolerance outside (0, 1) or a number of steps below 1.

    >>> import riemgn as rg
    >>> flow = rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree(rtol=1e-10))
    >>> rg.solve(rg.task.circle(), flow, t1=1.0).ts[-1].item()
    1.0

    Reference: Hestenes and Stiefel (1952), by lineax.
    """

    rtol: float = eqx.field(static=True, default=1e-8)
    max_steps: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        if isinstance(self.rtol, bool) or not isinstance(self.rtol, int | float) or not 0 < self.rtol < 1:
            raise ValueError(f"`rtol` of MatrixFree must be a number between 0 and 1, got {self.rtol!r}.")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise ValueError(f"`max_steps` of MatrixFree must be a positive integer, got {self.max_steps!r}.")

    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        """`-(G + rho I)^{-1} J^T g` for `rho > 0`, NaN where the solve did not converge."""
        dual = loss_gradient.size < at.size

        def apply(x):
            return (forward(backward(x)) if dual else backward(forward(x))) + damping * x

        right = -loss_gradient if dual else -backward(loss_gradient)
        # lineax asks |r_i| <= atol + rtol |b_i| in every entry: the largest entry of b sets the scale of all
        scale = jnp.max(jnp.abs(right))
        safe = jnp.where(scale > 0, scale, 1.0)
        operator = lx.FunctionLinearOperator(apply, right, lx.positive_semidefinite_tag)
        solver = lx.CG(rtol=self.rtol, atol=self.rtol, max_steps=self.max_steps)
        solution = lx.linear_solve(operator, right / safe, solver, throw=False)
        converged = solution.result == lx.RESULTS.successful
        w_dot = safe * (backward(solution.value) if dual else solution.value)
        return KrylovSolution(jnp.where(converged, w_dot, jnp.nan), jnp.asarray(solution.stats["num_steps"]), converged)


def largest_eigenvalue(forward: Callable, backward: Callable, at: Weights) -> Scalar:
    """An estimate from below of the largest eigenvalue of `J^T J`, by `POWER_STEPS` steps of the power method from a seeded vector.

    0 where the products vanish or are not finite. `forward`: `v -> J v`, `backward`: `u -> J^T u`, at the parameters `at` (p,).

    Reference: Golub and Van Loan, Matrix Computations, 4th ed., section 8.2.
    """

    def advance(_, v):
        pushed = backward(forward(v))
        return pushed / jnp.linalg.norm(pushed)

    v = jax.lax.fori_loop(0, POWER_STEPS, advance, jr.normal(jr.key(0), at.shape, at.dtype))
    found = jnp.sum(forward(v) ** 2)
    return jnp.where(jnp.isfinite(found), found, 0.0)  # products that vanish gave 0 / 0


def checked_matrix_free(value: Any, undamped: bool) -> MatrixFree | None:
    """`value` as it is; `undamped` says that there is no damping.

    Raises: `ValueError` unless it is None, or a `MatrixFree` beside a positive damping.
    """
    if value is not None and not isinstance(value, MatrixFree):
        raise ValueError(f"`matrix_free` must be a MatrixFree or None, got {value!r}.")
    if value is not None and undamped:
        raise ValueError("`matrix_free` needs a positive damping, got 0.")
    return value
