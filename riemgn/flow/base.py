"""Base classes of the flows: a velocity in parameter space, and spectral flows with a gain."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._repr import short_repr
from .._types import Count, Outputs, Scalar, Weights
from ..linalg import AbstractProducts, BRANCHES, largest_eigenvalue, MatrixFree, spectrum
from ..problem import Linearisation, Problem
from .damping import AbstractDamping, ConstantDamping, Rank


class InitialRates(eqx.Module):
    """Rates of a flow at its start, from which `solve` chooses the integrator.

    `fastest` and `slowest` estimate the extreme rates of its modes, in units of 1 / t, 0 if
    unknown. `branch` is the index of its linear solver in `riemgn.linalg.BRANCHES`, or -1 for CG.
    """

    fastest: Scalar
    slowest: Scalar
    branch: Count


class AbstractFlow(eqx.Module):
    """A flow `w' = F(t, w)` that lowers an objective. Subclass it to integrate your own flow.

    - `name`: short name for tables, legends and the command line.
    - `inverts`: True if the velocity inverts `J` without damping. Then a loss of rank ends `solve`.
    - `intrinsic`: True if `f'` depends on `f`, `J` and `t` alone. Then the error of the outputs
      controls explicit steps, otherwise that of the parameters.
    - `matrix_free`: how to find the direction by products with `J`. None forms `J`.

    Reference: Statements, definitions.
    """

    name: eqx.AbstractClassVar[str]
    inverts: eqx.AbstractVar[bool]
    intrinsic: eqx.AbstractClassVar[bool]
    matrix_free: eqx.AbstractVar[AbstractProducts | None]

    def __repr__(self) -> str:
        return short_repr(self)

    @abc.abstractmethod
    def velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Rank) -> tuple[Weights, Outputs]:
        """Return `(w', f' = J w')` at time `t`, shapes (p,) and (n,), with `J` of this `rank`."""

    def objective(self, problem: Problem, w: Weights) -> Scalar:
        """Return what the flow lowers: `g(f(w))`, plus the penalty if the flow has one."""
        return problem.objective(w)

    @abc.abstractmethod
    def initial_rates(self, problem: Problem, point: Linearisation, singular_values: Array, rank: Rank) -> InitialRates:
        """Return the rates at `point`, where `J` has the `singular_values` (none if not formed)."""


class AbstractSpectralFlow(AbstractFlow):
    """A flow with a gain on the singular values of the Jacobian, `w' = -V phi(S^2) S^+ U^T g`.

    With `J = U S V^T` and `g = grad g(f)` the outputs obey `f' = -U phi(S^2) U^T g`. A flow that
    uses the loss Hessian `B` applies the same formula to `B^{1/2} J` and `B^{-1/2} g`.

    `damping` is the schedule for `rho`, and `whitens` says whether the flow uses `B`.

    Reference: Statements, definitions and C10.
    """

    damping: eqx.AbstractVar[AbstractDamping]
    intrinsic: ClassVar[bool] = True
    whitens: ClassVar[bool] = False

    def __repr__(self) -> str:
        damping = self.damping.rho if isinstance(self.damping, ConstantDamping) else self.damping
        return short_repr(self, damping=damping, mix=damping)

    @abc.abstractmethod
    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        """Return `phi(s)` at the eigenvalues `s` of `K = J J^T` and the damping `rho`."""

    @abc.abstractmethod
    def direction_and_branch(self, point: Linearisation, damping: Scalar, rank: Rank) -> tuple[Weights, Count]:
        """Return the velocity (p,) and the index in `riemgn.linalg.BRANCHES` of its solver."""

    def direction(self, point: Linearisation, damping: Scalar, rank: Rank) -> Weights:
        """Return the velocity (p,) at `point`."""
        return self.direction_and_branch(point, damping, rank)[0]

    def preconditioned(self, point: Linearisation) -> Linearisation:
        """Return `point`, whitened by the loss Hessian if the flow uses it."""
        return point.whitened() if self.whitens else point

    def velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Rank) -> tuple[Weights, Outputs]:
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            at = problem.without_jacobian(f)
            w_dot = self.matrix_free.direction(forward, backward, w, at.loss_gradient, self.damping(t, at, rank)).w_dot
            return w_dot, forward(w_dot)
        point = problem.linearise(w, formed=False)
        whitened = self.preconditioned(point)
        w_dot = self.direction(whitened, self.damping(t, whitened, rank), rank)
        return w_dot, point.jac @ w_dot

    def initial_rates(self, problem: Problem, point: Linearisation, singular_values: Array, rank: Rank) -> InitialRates:
        """Return the extremes of the rates `phi(s_i^2) Hess g` of the outputs."""
        start = jnp.zeros(())
        if self.matrix_free is not None:
            _, forward, backward = problem.products(problem.w0)
            largest = largest_eigenvalue(forward, backward, problem.w0)
            rate = self.gain(largest, self.damping(start, point, rank)) * jnp.max(point.loss_hessian)
            branch = -1 if isinstance(self.matrix_free, MatrixFree) else BRANCHES.index("product")
            return InitialRates(rate, jnp.zeros_like(rate), jnp.array(branch))
        whitened = self.preconditioned(point)
        s = spectrum(whitened.jac) if self.whitens else singular_values
        rho = self.damping(start, whitened, rank)
        gains, non_zero = self.gain(s**2, rho), jnp.arange(s.size) < rank
        fastest = jnp.max(gains, where=non_zero, initial=0.0) * jnp.max(whitened.loss_hessian)
        slowest = jnp.min(gains, where=non_zero, initial=jnp.inf) * jnp.min(whitened.loss_hessian)
        return InitialRates(fastest, slowest, self.direction_and_branch(whitened, rho, rank)[1])
