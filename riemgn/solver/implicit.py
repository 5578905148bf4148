"""Stage solves of implicit Runge-Kutta methods that use the low-rank Gauss-Newton part of a flow's Jacobian."""

import abc
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._types import Jac, Outputs, Scalar, Weights
from ..flow import AbstractFlow, AbstractSpectralFlow, GradientFlow
from ..linalg import AbstractJacobian, formed, kernel_of, where_or_compute
from ..problem import Problem

# A Jacobian of more entries than this (32 MiB in float64) is not carried from stage to stage: its products are taken by differentiation instead.
LARGEST_CARRIED = 2**22

# A network's Jacobian of at most so many entries is formed for its products, two calls each, though its kernel is summed over the layers; a larger
# one stays in its layers.
LARGEST_FORMED = 2**16

# In a curved valley the first updates may grow before they shrink, since each one leaves the valley's floor; growth beyond this is divergence.
LARGEST_GROWTH = 100.0

# The matrix is taken anew at the present iterate where this many more updates at the contraction seen would not do: it costs about as much.
PATIENCE = 3


class AbstractStageMatrix(eqx.Module):
    """`M = I + c A`, factorised, where `A` stands for `-dF/dw` of a flow `w' = F(w)` and `c = h gamma` is the step times the method's diagonal."""

    @abc.abstractmethod
    def solve(self, problem: Problem, v: Weights) -> Weights:
        """`M^{-1} v`, shape (p,)."""


class LowRankPart(eqx.Module):
    """The Gauss-Newton part of a flow's Jacobian, `-dF/dw = (a G + rho I)^{-1} J^T B J` with `G = J^T J`, without derivatives of `J`.

    - `jac`: `J` (n, p), whitened for a flow that whitens.
    - `curvature`: the diagonal of `B`, (n,); negative entries count as zero, so that `I + c A` is never indefinite.
    - `share`, `damping`: `a` and `rho`. Every flow here has the gain `phi(s) = s / (a s + rho)`: (0, 1) is gradient flow, (1, 0) Gauss-Newton,
        (1, rho) Levenberg-Marquardt.
    """

    jac: Jac | AbstractJacobian
    curvature: Outputs
    share: Scalar
    damping: Scalar

    def weights(self, c: Scalar) -> tuple[Outputs, Outputs]:
        """The square root of `D = a I + c B`, and `D^{-1/2} c B`, both (n,)."""
        root = jnp.sqrt(self.share + c * self.curvature)
        return root, jnp.where(root > 0, c * self.curvature / jnp.where(root > 0, root, 1.0), 0.0)


class WideStage(AbstractStageMatrix):
    """`M^{-1} v = v - J^T D^{1/2} (D^{1/2} K D^{1/2} + rho I)^{-1} D^{-1/2} c B J v` with `K = J J^T`, `D = a I + c B`: one n x n Cholesky.

    Reference: derived; Woodbury's identity on `(a G + c J^T B J + rho I)^{-1} (a G + rho I)`.
    """

    jac: Jac | AbstractJacobian
    left: Outputs
    right: Outputs
    factor: Float[Array, "n n"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return v - (self.left * jsl.cho_solve((self.factor, True), self.right * (self.jac @ v))) @ self.jac


class MatrixFreeStage(AbstractStageMatrix):
    """`WideStage` that keeps the point of linearisation instead of `J`: products with `J` and `J^T` by differentiation of the model there."""

    at: Weights
    left: Outputs
    right: Outputs
    factor: Float[Array, "n n"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        if problem.keeps_layers:
            return WideStage(problem.linearise(self.at, formed=False).jac, self.left, self.right, self.factor).solve(
                problem, v
            )
        _, pull_back = jax.vjp(problem.outputs, self.at)
        _, jac_v = jax.jvp(problem.outputs, (self.at,), (v,))
        return v - pull_back(self.left * jsl.cho_solve((self.factor, True), self.right * jac_v))[0]


class TallStage(AbstractStageMatrix):
    """`M^{-1} v = (J^T D J + rho I)^{-1} (a G + rho I) v` with `D = a I + c B`: one p x p Cholesky, for `p <= n`."""

    factor: Float[Array, "p p"]
    numerator: Float[Array, "p p"]

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return jsl.cho_solve((self.factor, True), self.numerator @ v)


class DenseStage(AbstractStageMatrix):
    """`M = I - c dF/dw` exact, residual curvature and all: one p x p LU."""

    lu: Float[Array, "p p"]
    pivots: Array

    def solve(self, problem: Problem, v: Weights) -> Weights:
        return jsl.lu_solve((self.lu, self.pivots), v)


def parameter_velocity(flow: AbstractFlow, t: Scalar, w: Weights, problem: Problem, rank: Array | int) -> Weights:
    """`w'` alone, shape (p,): one reverse pass for gradient flow, `-J^T grad g(f)` without `J`; the flow's own direction for the others."""
    if isinstance(flow, GradientFlow):
        value, gradient = jax.value_and_grad(problem.objective)(w)
        # a derivative can be finite where the value is NaN: the branch not taken of a `where` has slope 0
        return jnp.where(jnp.isfinite(value), -gradient, jnp.nan)
    return flow.velocity(t, w, problem, rank)[0]


def low_rank_part(
    flow: AbstractSpectralFlow, t: Scalar, w: Weights, problem: Problem, rank: Array | int
) -> LowRankPart:
    """The low-rank part of the Jacobian of `flow` at time `t` and parameters `w`.

    `a = lim 1 / phi(s)` for `s -> inf` and `rho = lim s / phi(s)` for `s -> 0` read the two numbers of the gain off it.
    """
    point = problem.linearise(w, formed=False)
    seen = point.whitened() if flow.whitens else point
    rho = flow.damping(t, seen, rank)
    limits = jnp.finfo(seen.jac.dtype)
    huge, tiny = jnp.sqrt(limits.max), jnp.sqrt(limits.tiny)
    at_huge, at_tiny = flow.gain(jnp.stack([huge, tiny]), rho)
    return LowRankPart(seen.jac, jnp.maximum(seen.loss_hessian, 0.0), 1 / at_huge, tiny / at_tiny)


def factorise(part: LowRankPart, c: Scalar) -> WideStage | TallStage:
    """Factorise `I + c A` on the smaller side of `J`.

    Arguments:

    - `part`: the low-rank part `A`.
    - `c`: step times the method's diagonal coefficient, >= 0.

    Returns: a `WideStage` when n < p, else a `TallStage`.

    >>> import jax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.solver.implicit import factorise, low_rank_part
    >>> problem = rg.task.linear(4, 7, 10.0, key=jax.random.key(0))
    >>> part = low_rank_part(rg.GradientFlow(), 0.0, problem.w0, problem, 4)
    >>> x = factorise(part, 2.0).solve(problem, jnp.ones(7))
    >>> bool(jnp.allclose(x + 2.0 * problem.gram(problem.w0) @ x, 1.0, atol=1e-5))
    True

    Reference: solvers.md section 2.
    """
    n, p = part.jac.shape
    left, right = part.weights(c)
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
    """The stage matrix; the size of the last update and of the one before, in units of the step tolerance; how many updates there were."""

    matrix: AbstractStageMatrix
    size: Scalar
    size_before: Scalar
    step: Array


class _Stage(eqx.Module):
    """What diffrax hands to the root finder of a stage `k = F(t, y + c k)`, made one for both of its forms (`f`-space and `k`-space).

    An unknown of `k`-space is the step times one of `f`-space: `increment` is what one unit of the unknown adds to `y`.
    """

    index: Array
    increment: Scalar
    c: Scalar
    t: Scalar
    partial: PyTree
    args: Any

    @staticmethod
    def of(arguments: Any) -> "_Stage":
        if not isinstance(arguments, tuple) or len(arguments) not in (7, 8):
            raise ValueError(
                "`LowRankChord` solves the stages of a diffrax implicit Runge-Kutta method and got the arguments of another problem."
            )
        index, diagonal, *_, t, partial, args, control = arguments
        if any(getattr(args, name, None) is None for name in ("problem", "flow", "rank")):
            raise ValueError(
                f"`LowRankChord` needs `args` of diffeqsolve with `problem`, `flow` and `rank`, got {type(args).__name__}."
            )
        c = diagonal * control
        return _Stage(index, c if len(arguments) == 8 else diagonal, c, t, partial, args)

    def point(self, unknown: PyTree) -> Weights:
        """The stage's point `y + c k`, flat, of the unknown."""
        return ravel_pytree(self.partial)[0] + self.increment * ravel_pytree(unknown)[0]


class LowRankChord(optx.AbstractRootFinder):
    """Simplified Newton iteration for the stages of a diffrax ESDIRK method, with the stage matrix of the flow's low-rank part.

        k <- k - (I + h gamma A)^{-1} (k - F(y + h gamma k)),    A = (a G + rho I)^{-1} J^T B J

    One Jacobian and one Cholesky factor of the smaller side a step, taken at the predicted point of the second stage and shared by the stages; none
    for the explicit first stage. The iteration corrects what `A` leaves out, so the order of the method stays; where it converges too slowly the
    matrix is taken anew at the iterate. An update is measured as the change of the stage's point, `h gamma dk`, in units of `atol + rtol |y|`: the
    iteration ends when that is at most `kappa`, after one update already, or when the contraction seen promises it. It fails, and diffrax then takes
    a shorter step, when an update is not finite or is a hundred times the one before.

    The state of the solve is one flat vector (p,) or a PyTree that flattens to it, such as `{"w": w}`; `args` of diffeqsolve holds `problem`, `flow`
    and `rank`.

    Arguments:

    - `rtol`, `atol`: the tolerances of the step, in the units of the state; diffrax.with_stepsize_controller_tols(LowRankChord)() takes them from the
        step controller.
    - `norm`: measures a PyTree like the state.
    - `kappa`: tolerance of the iteration, in units of the tolerance of the step.
    - `curvature`: `"gauss-newton"`, or `"exact"` for `I - h gamma dF/dw` with everything in it, a p x p LU: for small p. A flow that is no gain on
        the singular values of `J` takes `"exact"` always.

    Raises: `ValueError` for another `curvature`, or `args` without problem and flow.

    >>> import diffrax, jax.numpy as jnp, riemgn as rg
    >>> from riemgn.solver.implicit import LowRankChord
    >>> solver = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(LowRankChord)())
    >>> rg.solve(rg.task.circle(), rg.GradientFlow(), t1=1.0, solver=solver).succeeded
    True

    Reference: solvers.md section 2; Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.8.
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
        stage = _Stage.of(args)
        w = stage.point(y)

        def matrix():
            return self._matrix(stage, w)

        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(matrix))
        # the explicit first stage has nothing to solve
        never = jnp.asarray(jnp.inf, w.dtype)
        return _ChordState(where_or_compute(stage.c == 0, nothing, matrix), never, never, jnp.asarray(0))

    def _matrix(self, stage: _Stage, w: Weights) -> AbstractStageMatrix:
        flow, problem, rank = stage.args.flow, stage.args.problem, stage.args.rank
        if self.curvature == "exact" or not isinstance(flow, AbstractSpectralFlow):
            slope = jax.jacfwd(lambda w: parameter_velocity(flow, stage.t, w, problem, rank))(w)
            return DenseStage(*jsl.lu_factor(jnp.eye(w.size, dtype=w.dtype) - stage.c * slope))
        matrix = factorise(low_rank_part(flow, stage.t, w, problem, rank), stage.c)
        if isinstance(matrix, WideStage) and sum(leaf.size for leaf in jax.tree.leaves(matrix.jac)) > LARGEST_CARRIED:
            return MatrixFreeStage(w, matrix.left, matrix.right, matrix.factor)
        return matrix

    def step(self, fn, y, args, options, state, tags):
        stage = _Stage.of(args)
        excess, aux = fn(y, args)
        flat, unravel = ravel_pytree(excess)
        slow = (state.step >= 2) & (state.size * (state.size / state.size_before) ** PATIENCE > self.kappa)
        # a loop of no rounds hands the old matrix on without a copy, which a choice between branches would make
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
        # in low precision an update cannot be smaller than the rounding error of what it updates
        rounding = 16 * jnp.finfo(state.size.dtype).eps / jnp.maximum(self.rtol, jnp.finfo(state.size.dtype).eps)
        target = jnp.maximum(self.kappa, jnp.minimum(rounding, 0.5))
        contraction = state.size / state.size_before
        again = state.step >= 2
        promised = again & (contraction < 1) & (state.size * contraction <= target * (1 - contraction))
        done = (state.step >= 1) & (state.size <= target) | promised
        failed = (state.step >= 1) & ~jnp.isfinite(state.size) | again & (contraction >= LARGEST_GROWTH)
        result = optx.RESULTS.where(failed & ~done, optx.RESULTS.nonlinear_divergence, optx.RESULTS.successful)
        return done | failed, result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}
