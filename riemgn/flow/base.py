"""What a flow is: a gain, a damping schedule, and a direction in parameter space."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._types import Count, Scalar, Weights
from ..linalg import formed, MatrixFree, spectral_direction, thin_svd
from ..problem import Linearisation, Problem
from .damping import AbstractDamping


class AbstractFlow(eqx.Module):
    """`w' = -V phi(S^2) S^+ U^T g`, so that `f' = -U phi(S^2) U^T g`, with `J = U S V^T` and `g = grad g(f)`.

    A flow that puts the loss Hessian `B` inside does so by whitening: the same formula with `B^{1/2} J` and `B^{-1/2} g`.

    - `damping`: the schedule for `rho`; flows without damping hold `ConstantDamping(0)`.
    - `name`: short name for tables, legends and the command line.
    - `whitens`: whether the loss Hessian is inside.
    - `inverts`: whether the undamped inverse of `J` appears, so that the flow ends where `J` loses rank.
    - `matrix_free`: how to solve by products with `J`; None forms `J`.
    """

    damping: eqx.AbstractVar[AbstractDamping]
    name: eqx.AbstractClassVar[str]
    whitens: eqx.AbstractClassVar[bool]
    inverts: eqx.AbstractVar[bool]
    matrix_free: eqx.AbstractVar[MatrixFree | None]

    @abc.abstractmethod
    def gain(self, eigenvalues: Float[Array, " k"], damping: Scalar) -> Float[Array, " k"]:
        """`phi(s)` at the eigenvalues `s` of `K = J J^T` and the damping `rho`."""

    @abc.abstractmethod
    def direction_and_branch(self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int) -> tuple[Weights, Count]:
        """The velocity of the parameters at `point`, shape (p,), the quickest sound way, and that way's place in `riemgn.linalg.BRANCHES`."""

    def direction(self, point: Linearisation, damping: Scalar, rank: Int[Array, ""] | int) -> Weights:
        """The velocity of the parameters at `point`, shape (p,)."""
        return self.direction_and_branch(point, damping, rank)[0]

    def velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int) -> tuple[Weights, Float[Array, " n"]]:
        """`(w', f')` at time `t`, shapes (p,) and (n,), with `f' = J w'`.

        `rank` is the number of singular values of `J` that count as non-zero; the driver decides it once, at the start.
        """
        if self.matrix_free is not None:
            f, forward, backward = problem.products(w)
            at = problem.without_jacobian(f)
            w_dot = self.matrix_free.direction(forward, backward, w, at.cotangent, self.damping(t, at, rank)).w_dot
            return w_dot, forward(w_dot)
        point = problem.linearise(w, formed=False)
        seen = point.whitened() if self.whitens else point
        w_dot = self.direction(seen, self.damping(t, seen, rank), rank)
        return w_dot, point.jac @ w_dot

    def spectral_velocity(self, t: Scalar, w: Weights, problem: Problem, rank: Int[Array, ""] | int) -> Weights:
        """The same `w'` from the gain alone, by a full SVD: the slow reference that `direction` is held to."""
        point = problem.linearise(w)
        seen = point.whitened() if self.whitens else point
        rho = self.damping(t, seen, rank)
        return spectral_direction(thin_svd(formed(seen.jac)), seen.cotangent, lambda s: self.gain(s, rho), rank)
