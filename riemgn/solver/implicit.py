"""Stage solves of implicit Runge-Kutta methods by the low-rank Gauss-Newton part of a flow."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._types import Jac, Outputs, Scalar, Weights
from ..flow import AbstractFlow, AbstractSpectralFlow, GradientFlow
from ..flow.damping import Rank
from ..linalg import AbstractJacobian, formed, kernel_of, where_or_compute
from ..problem import Problem
from ._diffrax import StageProblem

LARGEST_CARRIED = 2**22  # entries of a Jacobian that is stored between stages (32 MiB in float64)
LARGEST_FORMED = 2**16  # entries up to which a layered Jacobian is formed for its products
LARGEST_GROWTH = 100.0  # a growth of the updates by more than this factor counts as divergence
UPDATES_PER_FACTORISATION = 3  # factorise again if as many more updates would not suffice


class LowRankPart(NamedTuple):
    """The Gauss-Newton part of a flow's Jacobian, `A = (a J^T J + rho I)^{-1} J^T B J`."""

    jac: Jac | AbstractJacobian  # whitened if the flow whitens
    curvature: Outputs  # diagonal of `B`, clipped at 0 so that `I + c A` is never indefinite
    share: Scalar  # `a` of the gain `phi(s) = s / (a s + rho)`
    damping: Scalar  # `rho`


class WideStage(eqx.Module):
    """Factorisation of `M = I + c A` for n < p, where `A` approximates `-dF/dw`.

        M^{-1} v = v - J^T L (L K L + rho I)^{-1} R J v,    L = D^{1/2},  R = D^{-1/2} c B

    with `D = a I + c B`, by Woodbury's identity for `(J^T D J + rho I)^{-1} (a J^T J + rho I)`.
    """

    jac: Jac | AbstractJacobian
    left: Outputs
    right: Outputs
    factor: Float[Array, "n n"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return v - (self.left * jsl.cho_solve((self.factor, True), self.right * (self.jac @ v))) @ self.jac


class MatrixFreeStage(eqx.Module):
    """`WideStage` with the linearisation point instead of `J`: products by differentiation."""

    at: Weights
    left: Outputs
    right: Outputs
    factor: Float[Array, "n n"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        if problem.has_layer_jacobian:
            jac = problem.linearise(self.at, formed=False).jac
            return WideStage(jac, self.left, self.right, self.factor).solve(problem, v)
        _, pull_back = jax.vjp(problem.outputs, self.at)
        _, jac_v = jax.jvp(problem.outputs, (self.at,), (v,))
        return v - pull_back(self.left * jsl.cho_solve((self.factor, True), self.right * jac_v))[0]


class TallStage(eqx.Module):
    """`M^{-1} v = (J^T D J + rho I)^{-1} (a J^T J + rho I) v` for p <= n, by a p x p Cholesky."""

    factor: Float[Array, "p p"]
    numerator: Float[Array, "p p"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return jsl.cho_solve((self.factor, True), self.numerator @ v)


class DenseStage(eqx.Module):
    """`M = I - c dF/dw` with all second derivatives, by one p x p LU factorisation."""

    lu: Float[Array, "p p"]
    pivots: Array

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return jsl.lu_solve((self.lu, self.pivots), v)


StageMatrix = WideStage | MatrixFreeStage | TallStage | DenseStage


def parameter_velocity(flow: AbstractFlow, t: Scalar, w: Weights, problem: Problem, rank: Rank) -> Weights:
    """Return `w'`, shape (p,). Gradient flow needs one reverse pass and no `J`."""
    if isinstance(flow, GradientFlow):
        value, gradient = jax.value_and_grad(problem.objective)(w)
        # the gradient may be finite where the value is NaN, because unused branches have slope 0
        return jnp.where(jnp.isfinite(value), -gradient, jnp.nan)
    return flow.velocity(t, w, problem, rank)[0]


def low_rank_part(flow: AbstractSpectralFlow, t: Scalar, w: Weights, problem: Problem, rank: Rank) -> LowRankPart:
    """Return the low-rank part of the Jacobian of `flow` at time `t` and parameters `w`."""
    point = flow.preconditioned(problem.linearise(w, formed=False))
    limits = jnp.finfo(point.jac.dtype)
    # a = lim 1 / phi(s) for s -> inf, rho = lim s / phi(s) for s -> 0
    huge, tiny = jnp.sqrt(limits.max), jnp.sqrt(limits.tiny)
    at_huge, at_tiny = flow.gain(jnp.stack([huge, tiny]), flow.damping(t, point, rank))
    return LowRankPart(point.jac, jnp.maximum(point.loss_hessian, 0.0), 1 / at_huge, tiny / at_tiny)


def factorise(part: LowRankPart, c: Scalar) -> WideStage | TallStage:
    """Factorise `I + c A` on the smaller side of `J`, for `c >= 0`."""
    n, p = part.jac.shape
    left = jnp.sqrt(part.share + c * part.curvature)
    right = jnp.where(left > 0, c * part.curvature / jnp.where(left > 0, left, 1.0), 0.0)
    identity = jnp.eye(min(n, p), dtype=part.jac.dtype)
    if n < p:
        kernel = left[:, None] * kernel_of(part.jac) * left
        jac = formed(part.jac) if n * p <= LARGEST_FORMED else part.jac
        return WideStage(jac, left, right, jnp.linalg.cholesky(kernel + part.damping * identity))
    jac = formed(part.jac)
    weighted = (left**2)[:, None] * jac
    numerator = part.share * (jac.T @ jac) + part.damping * identity
    return TallStage(jnp.linalg.cholesky(jac.T @ weighted + part.damping * identity), numerator)


class _ChordState(eqx.Module):
    matrix: StageMatrix
    size: Scalar  # of the last update, in units of the tolerance
    size_before: Scalar
    step: Array  # number of updates


class LowRankChord(optx.AbstractRootFinder):
    """Simplified Newton iteration for the stages of a diffrax ESDIRK method.

        k <- k - (I + h gamma A)^{-1} (k - F(y + h gamma k)),    A = (a J^T J + rho I)^{-1} J^T B J

    The stages of a step share one Cholesky factor, computed again if the iteration converges too
    slowly. The iteration corrects what `A` neglects, so the order of the method does not change. It
    stops when an update `h gamma dk` is, or is predicted to be, below `kappa` times the step
    tolerance. If an update is not finite or 100 times the one before, diffrax shortens the step.
    The state must flatten to (p,), and `args` of diffeqsolve hold `problem`, `flow` and `rank`.

    Arguments:

    - `rtol`, `atol`, `norm`: tolerances of the step and norm of a PyTree like the state.
    - `kappa`: tolerance of the iteration relative to that of the step, default 0.1.
    - `curvature`: `"gauss-newton"` (default), or `"exact"` for the p x p LU factorisation of
      `I - h gamma dF/dw`, for small p. Flows that are not spectral use `"exact"`.

    >>> import diffrax, riemgn as rg
    >>> from riemgn.solver.implicit import LowRankChord
    >>> solver = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    >>> rg.solve(rg.task.circle(), rg.GradientFlow(), t1=1.0, solver=solver).status
    'successful'

    Reference: Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.8.
    """

    rtol: float | Array
    atol: float | Array
    norm: Callable[[PyTree], Scalar] = optx.rms_norm
    kappa: float = 0.1
    curvature: Literal["gauss-newton", "exact"] = eqx.field(static=True, default="gauss-newton")

    def __check_init__(self):
        if self.curvature not in ("gauss-newton", "exact"):
            raise ValueError(f"`curvature` must be 'gauss-newton' or 'exact', got {self.curvature!r}.")

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _ChordState:
        if "init_state" in options:
            return options["init_state"]
        stage = StageProblem.of(args)
        w = stage.point(y)
        matrix = partial(self._matrix, stage, w)
        # the explicit first stage (c = 0) needs no matrix
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(matrix))
        infinite = jnp.asarray(jnp.inf, w.dtype)
        return _ChordState(where_or_compute(stage.c == 0, empty, matrix), infinite, infinite, jnp.asarray(0))

    def _matrix(self, stage: StageProblem, w: Weights) -> StageMatrix:
        flow, problem, rank = stage.args.flow, stage.args.problem, stage.args.rank
        if self.curvature == "exact" or not isinstance(flow, AbstractSpectralFlow):
            slope = jax.jacfwd(lambda w: parameter_velocity(flow, stage.t, w, problem, rank))(w)
            return DenseStage(*jsl.lu_factor(jnp.eye(w.size, dtype=w.dtype) - stage.c * slope))
        matrix = factorise(low_rank_part(flow, stage.t, w, problem, rank), stage.c)
        if isinstance(matrix, WideStage) and sum(leaf.size for leaf in jax.tree.leaves(matrix.jac)) > LARGEST_CARRIED:
            return MatrixFreeStage(w, matrix.left, matrix.right, matrix.factor)
        return matrix

    def step(self, fn, y, args, options, state, tags):
        stage = StageProblem.of(args)
        excess, aux = fn(y, args)
        flat, unravel = ravel_pytree(excess)
        predicted = state.size * (state.size / state.size_before) ** UPDATES_PER_FACTORISATION
        slow = (state.step >= 2) & (predicted > self.kappa)
        # a while_loop that does not run returns the old matrix without the copy that a cond makes
        renew = (lambda state: state[0]), lambda _: (jnp.array(False), self._matrix(stage, stage.point(y)))
        matrix = jax.lax.while_loop(*renew, (slow, state.matrix))[1]
        solved = matrix.solve(stage.args.problem, flat)
        update = unravel(jnp.where(stage.c == 0, flat, solved))
        new = jax.tree.map(jnp.subtract, y, update)

        def scaled(part, new, update):
            return stage.increment * update / (self.atol + self.rtol * jnp.abs(part + stage.increment * new))

        size = self.norm(jax.tree.map(scaled, stage.partial, new, update)).astype(state.size.dtype)
        return new, _ChordState(matrix, size, state.size, state.step + 1), aux

    def terminate(self, fn, y, args, options, state, tags):
        # in low precision an update cannot be smaller than the rounding error of the unknown
        eps = jnp.finfo(state.size.dtype).eps
        rounding = 16 * eps / jnp.maximum(self.rtol, eps)
        target = jnp.maximum(self.kappa, jnp.minimum(rounding, 0.5))
        contraction = state.size / state.size_before
        again = state.step >= 2
        predicted = again & (contraction < 1) & (state.size * contraction <= target * (1 - contraction))
        done = (state.step >= 1) & (state.size <= target) | predicted
        failed = (state.step >= 1) & ~jnp.isfinite(state.size) | again & (contraction >= LARGEST_GROWTH)
        result = optx.RESULTS.where(failed & ~done, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful)
        return done | failed, result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}
