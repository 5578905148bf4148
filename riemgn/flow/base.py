"""What a flow is: a velocity in parameter space; and the large family whose velocity is a gain on the singular values of the Jacobian."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Count, Scalar, Weights
from ..linalg import (
    AbstractProducts,
    BRANCHES,
    formed,
    largest_eigenvalue,
    MatrixFree,
    spectral_direction,
    spectrum,
    thin_svd,
)
from ..problem import Linearisation, Problem
from .damping import AbstractDamping


class InitialRates(eqx.Module):
    """What a flow says of its start, for the choice of the integrator.

    - `fastest`, `slowest`: estimates of the largest and least rate of its modes, in units of 1 / t; a `slowest` of 0 promises nothing.
    - `branch`: the way of the direction, by its place in `riemgn.linalg.BRANCHES`; -1 for conjugate gradients.
    """

    fastest: Scalar
    slowest: Scalar
    branch: Count


class AbstractFlow(eqx.Module):
    """A flow `w' = F(t, w)` that lowers an objective: what `solve` needs to know.

    - `name`: short name for tables, legends and the command line.
    - `inverts`: whether the undamped inverse of `J` appears, so that the flow ends where `J` loses rank.
    - `intrinsic`: whether `f'` depends on `f`, `J` and `t` alone: then the error of the outputs controls explicit steps, which do not depend on the
        coordinates of the parameters, and the flow rests where `J = 0`. Else the error of the parameters controls them.
    - `matrix_free`: how to find the direction by products with `J`; None forms `J`.

    Reference: theory.md section 1.
    """

    name: eqx.AbstractClassVar[str]
    inverts: eqx.AbstractVar[bool]
    intrinsic: eqx.AbstractClassVar[bool]
    matrix_free: eqx.AbstractVar[AbstractProducts | None]

    @abc.abstractmethod
    def velocity(
        self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Float[Array, " n"]]:
        """`(w', f')` at time `t`, shapes (p,) and (n,), with `f' = J w'`.

        `rank` is the number of singular values of `J` that count as non-zero; the driver decides it once, at the start.
        """

    @abc.abstractmethod
    def objective(self, problem: Problem, w: Weights) -> Scalar:
        """What the flow lowers: `g(f(w))`, with a penalty where the flow has one."""

    @abc.abstractmethod
    def initial_rates(
        self, problem: Problem, point: Linearisation, singular_values: Float[Array, " k"], rank: Int[Array, ""]
    ) -> InitialRates:
        """Rates and way of the direction at `problem.w0`, linearised there; `singular_values` of `J`, none where the flow is matrix-free."""


class AbstractSpectralFlow(AbstractFlow):
    """`w' = -V phi(S^2) S^+ U^T g`, so that `f' = -U phi(S^2) U^T g`, with `J = U S V^T` and `g = grad g(f)`.

    A flow that puts the loss Hessian `B` inside does so by whitening: the same formula with `B^{1/2} J` and `B^{-1/2} g`.

    - `damping`: the schedule for `rho`; flows without damping hold `ConstantDamping(0)`.
    - `whitens`: whether the loss Hessian is inside.

    Reference: theory.md sections 1 and C10.
    """

    damping: eqx.AbstractVar[AbstractDamping]
    whitens: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        """`phi(s)` at the eigenvalues `s` of `K = J J^T` and the damping `rho`."""

    @abc.abstractmethod
    def direction_and_branch(
        self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Count]:
        """The velocity of the parameters at `point`, shape (p,), the quickest sound way, and that way's place in `riemgn.linalg.BRANCHES`."""

    def direction(self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int) -> Weights:
        """The velocity of the parameters at `point`, shape (p,)."""
        return self.direction_and_branch(point, damping, rank)[0]

    def velocity(
        self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int
    ) -> tuple[Weights, Float[Array, " n"]]:
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            at = problem.without_jacobian(f)
            w_dot = self.matrix_free.direction(forward, backward, w, at.loss_gradient, self.damping(t, at, rank)).w_dot
            return w_dot, forward(w_dot)
        point = problem.linearise(w, formed=False)
        seen = point.whitened() if self.whitens else point
        w_dot = self.direction(seen, self.damping(t, seen, rank), rank)
        return w_dot, point.jac @ w_dot

    def objective(self, problem: Problem, w: Weights) -> Scalar:
        return problem.objective(w)

    def initial_rates(
        self, problem: Problem, point: Linearisation, singular_values: Float[Array, " k"], rank: Int[Array, ""]
    ) -> InitialRates:
        """The rates `phi(s_i^2) Hess g`: `fastest` estimates the spectral radius of the output dynamics."""
        start = jnp.zeros(())
        if self.matrix_free is not None:
            _, forward, backward = problem.products(problem.w0)
            largest_gain = self.gain(
                largest_eigenvalue(forward, backward, problem.w0), self.damping(start, point, rank)
            )
            rate = largest_gain * jnp.max(point.loss_hessian)
            branch = -1 if isinstance(self.matrix_free, MatrixFree) else BRANCHES.index("product")
            return InitialRates(rate, jnp.zeros_like(rate), jnp.array(branch))
        seen = point.whitened() if self.whitens else point
        s = spectrum(seen.jac) if self.whitens else singular_values
        rho = self.damping(start, seen, rank)
        gains, kept = self.gain(s**2, rho), jnp.arange(s.size) < rank
        fastest = jnp.max(gains, where=kept, initial=0.0) * jnp.max(seen.loss_hessian)
        slowest = jnp.min(gains, where=kept, initial=jnp.inf) * jnp.min(seen.loss_hessian)
        return InitialRates(fastest, slowest, self.direction_and_branch(seen, rho, rank)[1])

    def spectral_velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int) -> Weights:
        """The same `w'` from the gain alone, by a full SVD: the slow reference that `direction` is held to."""
        point = problem.linearise(w)
        seen = point.whitened() if self.whitens else point
        rho = self.damping(t, seen, rank)
        return spectral_direction(thin_svd(formed(seen.jac)), seen.loss_gradient, lambda s: self.gain(s, rho), rank)
