"""GGN-SCORE: generalised Gauss-Newton with a self-concordant penalty and the step size that self-concordance allows."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import setting_text, short_repr
from .._types import Count, Key, Outputs, Scalar, Weights
from .._validation import checked_number
from ..linalg import Recycled, score_direction
from ..penalty import AbstractPenalty, checked_penalty, checked_score_damping
from ..problem import Problem
from .base import AbstractMethod, first_state, MethodState
from .batch import Batches, BatchPoint, linearise_batch

RULES = ("reference", "theory", "analytic")
REPORT = ("decrement", "slope", "local_norm", "objective", "decrease", "predicted_decrease", "linearisation_error")


class GGNScore(AbstractMethod):
    """GGN-SCORE on `F(w) = g(f(w)) + tau sum_i h_mu(w_i)`, on all samples or on a batch.

    `(c D + J^T Q J) d = -(J^T e + tau h'),  w+ = w + s d`, with `e = grad g(f)`, `Q = Hess g(f)`, `h' = h_mu'(w)`, `D = diag h_mu''(w)`, and

    - `"reference"`: `s = min(1, a / (1 + M_g eta))`, `eta = tau sqrt(sum h'^2 / h'')`, `a = min(step_size, 1)`: the released code;
    - `"theory"`: the same with `eta = tau^{(3 - nu)/2} sqrt(sum h'^2 / h'')`, as the constants of `tau h_mu` scale;
    - `"analytic"`: `s = a (1 - (1 + D/q)^{-q}) / D`, `q = (nu - 2) / (4 - nu)`, `D = (nu/2 - 1) M |d|^{3 - nu} lambda^{nu - 2}` (for `nu = 2`:
      `s = a log(1 + D) / D`, `D = M |d|`) with `M = tau^{1 - nu/2} M_g` and the decrement `lambda`: the step that minimises the bound for `F`
      when `f` is linear and `c = tau`.

    Arguments:

    - `penalty`: `h_mu`, such as `PseudoHuberPenalty(smoothing=...)`.
    - `weight`: `tau >= 0`.
    - `step_size`: `alpha > 0`, 0.95 by default; values above 1 count as 1.
    - `damping`: `c`, a positive number; `"unit"` (default) for `c = 1` as in the released code's low-rank branch; `"tau"` for `c = tau`, with which
        the matrix is the Gauss-Newton part of the Hessian of `F`.
    - `rule`: `"reference"` (default), `"theory"` or `"analytic"`.
    - `batch_size`, `order`: samples per step and how they are dealt, see `Batches`; None takes all. `F` is then that of the batch.
    - `recycle`: with True the step's system is solved by conjugate gradients with the inverse of an earlier step's as the preconditioner, renewed
        when that pays: to the same direction, for many steps on all of some hundred samples and more. Keeps a matrix of min(n, p) rows.

    Use it with `SquaredLoss(mean=True)` to have the paper's `F`. Any loss with a positive Hessian will do; `predicted_decrease` is then that of its
    quadratic model.

    Raises: `ValueError` for another penalty, a negative weight, a step size or damping that is not positive, an unknown rule, `c = tau = 0`,
    `recycle` with batches or without float64.

    Reports, for every step: `step_size` `s`; `decrement` `lambda = sqrt(d^T (c D + J^T Q J) d)`; `slope` `<grad F, d>`, which equals `-lambda^2`;
    `local_norm` `eta`; `objective` `F(w)` and `decrease` `F(w) - F(w+)`; `linearisation_error` `|f(w+) - f(w) - s J d|`; and

    `predicted_decrease = s lambda^2 - s^2/2 d^T J^T Q J d - tau s^2 omega_nu(d_nu) d^T D d`, a lower bound of `decrease` when `f` is linear, the loss
    quadratic and `M_g` true; minus infinity where the step reaches `d_nu >= 1`.

    >>> import riemgn as rg
    >>> traj = rg.iterate(rg.task.circle(), rg.GGNScore(rg.PseudoHuberPenalty(), weight=1e-4), steps=5)
    >>> bool((traj.stats["per_step"]["slope"] < 0).all())
    True

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; ggn_score.md 3; step sizes of Sun and Tran-Dinh, arXiv:1703.04599.
    """

    penalty: AbstractPenalty
    weight: Array
    step_size: Array
    damping: Array | None
    rule: str = eqx.field(static=True)
    batches: Batches
    recycle: bool = eqx.field(static=True)
    inverts: bool = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True)
    name: ClassVar[str] = "ggn-score"
    matrix_free: ClassVar[None] = None

    def __init__(
        self,
        penalty: AbstractPenalty,
        weight: float = 1e-4,
        step_size: float = 0.95,
        damping: float | str = "unit",
        rule: str = "reference",
        batch_size: int | None = None,
        order: str = "shuffled",
        recycle: bool = False,
    ):
        if rule not in RULES:
            raise ValueError(f"Unknown rule {rule!r}; known: {', '.join(RULES)}.")
        self.penalty = checked_penalty(penalty)
        self.weight = checked_number("weight", weight, positive=False)
        self.step_size = checked_number("step_size", step_size)
        self.damping = checked_score_damping(damping, self.weight)
        self.rule = rule
        self.batches = Batches(batch_size, order)
        self.recycle = _checked_recycle(recycle, batch_size)
        self.inverts = False
        self.stochastic = self.batches.stochastic

    def __repr__(self) -> str:
        return short_repr(
            self,
            batch_size=self.batches.size,
            order=self.batches.order,
            damping="tau" if self.damping is None else "unit" if setting_text(self.damping) == "1" else self.damping,
        )

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        recycled = Recycled.start(min(problem.n, problem.p), w.dtype) if self.recycle else None
        return first_state(w, (self.batches.start(problem), recycled), *REPORT)

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        order, recycled = state.memory
        order, batch = self.batches.draw(order, state.count, key)
        at_batch = linearise_batch(problem, w, batch, formed=False)
        seen = at_batch.point.whitened()
        tau = self.weight.astype(w.dtype)
        c = tau if self.damping is None else self.damping.astype(w.dtype)
        pull, metric = tau * self.penalty.gradient(w), self.penalty.hessian_diagonal(w)
        d, recycled = score_direction(seen.jac, seen.loss_gradient, pull, metric, c, recycled)
        change = at_batch.point.jac @ d
        along, local = jnp.sum(at_batch.point.loss_hessian * change**2), jnp.sum(metric * d**2)
        decrement = jnp.sqrt(along + c * local)
        size, eta = self._step_size(w, tau, jnp.linalg.norm(d), decrement)
        reached = self.penalty.reach(problem.p, size * jnp.linalg.norm(d), size * jnp.sqrt(local))
        bend = jnp.where(tau > 0, tau * self.penalty.growth(reached), 0.0) * local
        report = {
            "step_size": size,
            "decrement": decrement,
            "slope": change @ at_batch.point.loss_gradient + pull @ d,
            "local_norm": eta,
            "predicted_decrease": size * decrement**2 - size**2 * (along / 2 + bend),
            **_measured(at_batch, lambda w: tau * self.penalty(w), w, size * d, size * change),
        }
        return w + size * d, state.after((order, recycled), report)

    def _step_size(self, w: Weights, tau: Scalar, length: Scalar, decrement: Scalar) -> tuple[Scalar, Scalar]:
        """`(s, eta)`."""
        share, nu, m_g = (
            jnp.minimum(self.step_size.astype(w.dtype), 1.0),
            self.penalty.order,
            self.penalty.self_concordance(w.size),
        )
        if self.rule == "analytic":
            eta = tau * self.penalty.local_norm(w)
            if nu == 2:
                return share * _ratio(jnp.log1p, m_g * length), eta
            q = (nu - 2) / (4 - nu)
            # tau^(1 - nu/2) lambda^(nu - 2) = (lambda / sqrt(tau))^(nu - 2); without a penalty F is quadratic and takes the full step
            scaled = jnp.where(tau > 0, decrement / jnp.sqrt(jnp.where(tau > 0, tau, 1.0)), 0.0)
            distance = (nu / 2 - 1) * m_g * length ** (3 - nu) * scaled ** (nu - 2)
            return share * _ratio(lambda t: -jnp.expm1(-q * jnp.log1p(t / q)), distance), eta
        eta = (tau if self.rule == "reference" else tau ** ((3 - nu) / 2)) * self.penalty.local_norm(w)
        return jnp.minimum(1.0, share / (1 + m_g * eta)), eta


def _checked_recycle(recycle, batch_size: int | None) -> bool:
    if not isinstance(recycle, bool):
        raise ValueError(f"`recycle` must be True or False, got {recycle!r}.")
    if recycle and batch_size is not None:
        raise ValueError("`recycle=True` keeps what it knows of all samples from step to step: leave `batch_size` out.")
    if recycle and jnp.result_type(float) != jnp.float64:
        raise ValueError("`recycle=True` solves to float64: call riemgn.enable_x64() first.")
    return recycle


def _measured(at_batch: BatchPoint, penalty, w: Weights, step: Weights, foreseen: Outputs) -> dict[str, Scalar]:
    """What the step did: objective before, decrease, and the part of the outputs' change that the Jacobian did not foresee."""
    before, outputs = at_batch.loss + penalty(w), at_batch.outputs(w + step)
    missed = jnp.where(at_batch.counted, outputs - at_batch.point.outputs - foreseen, 0.0)
    return {
        "objective": before,
        "decrease": before - (at_batch.objective(w + step) + penalty(w + step)),
        "linearisation_error": jnp.linalg.norm(missed),
    }


def _ratio(numerator, t: Scalar) -> Scalar:
    """`numerator(t) / t`, 1 at 0."""
    return jnp.where(t > 0, numerator(t) / jnp.where(t > 0, t, 1.0), 1.0)
