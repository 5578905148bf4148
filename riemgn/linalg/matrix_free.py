"""Directions from products with the Jacobian and its transpose alone."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx

from .._types import Count, Flag, Outputs, Scalar, Weights
from .._validation import positive_integer

POWER_STEPS = 20  # of the estimate of the largest eigenvalue; each takes one product with J and one with J^T


class KrylovSolution(NamedTuple):
    """A direction `w_dot` (p,), the number of `steps` it took, and whether they `converged`."""

    w_dot: Weights
    steps: Count
    converged: Flag


class AbstractProducts(eqx.Module):
    """How a flow finds its direction from products with `J` and `J^T` alone."""

    @abc.abstractmethod
    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        """Find the direction, NaN if the solve did not converge.

        `forward` is `v -> J v`, `backward` is `u -> J^T u`, and `at` is any vector (p,).
        """


class GradientProduct(AbstractProducts):
    """`-J^T g`, the direction of gradient flow: one product. The damping is not used."""

    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        return KrylovSolution(-backward(loss_gradient), jnp.zeros((), int), jnp.array(True))


class MatrixFree(AbstractProducts):
    """Damped directions by conjugate gradients, without forming the Jacobian.

    `(K + rho I) z = -g, w' = J^T z` if n < p, else `(G + rho I) w' = -J^T g`. Each step costs one
    `J v` and one `J^T u`. The number of steps grows like `sqrt(1 + |J|^2 / rho) log(1 / rtol)`. The
    relative error is about `rtol (1 + |J|^2 / rho)`: use a small `rtol` if the damping is weak.

    Arguments:

    - `rtol`: tolerance of each entry of the residual, relative to the largest entry of the
      right-hand side (default 1e-8).
    - `max_steps`: maximum number of steps of one solve (default 1000). If it is reached, the
      direction is NaN and `solve` or `iterate` stops with the status `krylov_limit`.

    Raises: `ValueError` for a tolerance outside (0, 1) or a number of steps below 1.

    >>> import riemgn as rg
    >>> flow = rg.LevenbergMarquardtFlow(0.1, matrix_free=rg.MatrixFree(rtol=1e-10))
    >>> rg.solve(rg.task.circle(), flow, t1=1.0).ts[-1].item()
    1.0

    Reference: Hestenes and Stiefel (1952), implemented by lineax.
    """

    rtol: float = eqx.field(static=True, default=1e-8)
    max_steps: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        if isinstance(self.rtol, bool) or not isinstance(self.rtol, int | float) or not 0 < self.rtol < 1:
            raise ValueError(f"`rtol` of MatrixFree must be a number between 0 and 1, got {self.rtol!r}.")
        positive_integer("max_steps", self.max_steps)

    def direction(
        self, forward: Callable, backward: Callable, at: Weights, loss_gradient: Outputs, damping: Scalar
    ) -> KrylovSolution:
        """Solve for `-(G + rho I)^{-1} J^T g`, `rho > 0`, or NaN if the solve did not converge."""
        dual = loss_gradient.size < at.size

        def apply(x):
            return (forward(backward(x)) if dual else backward(forward(x))) + damping * x

        right = -loss_gradient if dual else -backward(loss_gradient)
        # lineax asks |r_i| <= atol + rtol |b_i|: the largest entry of b sets the scale of all
        scale = jnp.max(jnp.abs(right))
        safe = jnp.where(scale > 0, scale, 1.0)
        operator = lx.FunctionLinearOperator(apply, right, lx.positive_semidefinite_tag)
        solver = lx.CG(rtol=self.rtol, atol=self.rtol, max_steps=self.max_steps)
        solution = lx.linear_solve(operator, right / safe, solver, throw=False)
        converged = solution.result == lx.RESULTS.successful
        w_dot = safe * (backward(solution.value) if dual else solution.value)
        return KrylovSolution(jnp.where(converged, w_dot, jnp.nan), jnp.asarray(solution.stats["num_steps"]), converged)


def largest_eigenvalue(forward: Callable, backward: Callable, at: Weights) -> Scalar:
    """Estimate the largest eigenvalue of `J^T J` from below by the power method.

    `forward`, `backward` and `at` are as in `AbstractProducts.direction`. The result is 0 if the
    products vanish or are not finite.
    """

    def advance(_, v):
        image = backward(forward(v))
        return image / jnp.linalg.norm(image)

    v = jax.lax.fori_loop(0, POWER_STEPS, advance, jr.normal(jr.key(0), at.shape, at.dtype))
    value = jnp.sum(forward(v) ** 2)
    return jnp.where(jnp.isfinite(value), value, 0.0)  # products that vanish gave 0 / 0


def checked_matrix_free(value: Any, undamped: bool) -> MatrixFree | None:
    """Return `value`. Raises: `ValueError` unless it is None or a `MatrixFree` not `undamped`."""
    if value is not None and not isinstance(value, MatrixFree):
        raise ValueError(f"`matrix_free` must be a MatrixFree or None, got {value!r}.")
    if value is not None and undamped:
        raise ValueError("`matrix_free` needs a positive damping, got 0.")
    return value
