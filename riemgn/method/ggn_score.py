"""GGN-SCORE: generalised Gauss-Newton steps for a loss with a self-concordant penalty."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._repr import setting_text, short_repr
from .._types import Count, Key, Scalar, Weights
from .._validation import checked_number
from ..linalg import Recycled, score_direction
from ..penalty import AbstractPenalty, checked_penalty, checked_score_damping
from ..problem import Problem
from .base import first_state, MethodState
from .batch import AbstractBatchMethod, batch_objective, batch_outputs, linearise_batch

RULES = ("reference", "theory", "analytic")
REPORT = ("decrement", "slope", "local_norm", "objective", "decrease", "predicted_decrease", "linearisation_error")


class GGNScore(AbstractBatchMethod):
    """GGN-SCORE for `F(w) = g(f(w)) + tau sum_i h_mu(w_i)`, on all samples or on mini-batches.

    `(c D + J^T Q J) d = -(J^T e + tau h')` and `w_{k+1} = w_k + s d`, with `e = grad g(f)`,
    `Q = Hess g(f)`, `h' = h_mu'(w)` and `D = diag h_mu''(w)`. The step size `s` follows one of
    three rules, with `a = min(step_size, 1)`:

    - `"reference"`: `s = min(1, a / (1 + M_g eta))`, `eta = tau sqrt(sum h'^2 / h'')`, as in the
      released code.
    - `"theory"`: the same with `eta = tau^{(3 - nu)/2} sqrt(sum h'^2 / h'')`, which is how the
      constants of `tau h_mu` scale.
    - `"analytic"`: `s = a (1 - (1 + t/q)^{-q}) / t` with `q = (nu - 2) / (4 - nu)`,
      `t = (nu/2 - 1) M |d|^{3 - nu} lambda^{nu - 2}` and `M = tau^{1 - nu/2} M_g`. For `nu = 2`,
      `s = a log(1 + t) / t` with `t = M |d|`. This step minimises the upper bound of `F` if `f` is
      linear and `c = tau`.

    Arguments:

    - `penalty`: `h_mu`, such as `PseudoHuberPenalty(smoothing=0.1)`.
    - `weight`: `tau >= 0` (default 1e-4).
    - `step_size`: `alpha > 0` (default 0.95). Values above 1 count as 1.
    - `damping`: `c`, a positive number, `"unit"` (default) for `c = 1` as in the released code, or
      `"tau"` for `c = tau`, which gives the Gauss-Newton part of the Hessian of `F`.
    - `rule`: `"reference"` (default), `"theory"` or `"analytic"`.
    - `batch_size`, `order`: samples per step (default all) and their order (default `"shuffled"`),
      see `AbstractBatchMethod`. `F` is then the objective of the batch.
    - `recycle`: solve by conjugate gradients, preconditioned with the inverse matrix of an earlier
      step (default False). The direction is the same. Use it for many steps on all of more than
      some hundred samples. It stores a matrix of min(n, p) rows.

    Each step reports `step_size` (`s`), `decrement` (`lambda = sqrt(d^T (c D + J^T Q J) d)`),
    `slope` (`<grad F, d> = -lambda^2`), `local_norm` (`eta`), `objective` (`F(w)`), `decrease`
    (`F(w) - F(w + s d)`), `linearisation_error` (`|f(w + s d) - f(w) - s J d|`) and
    `predicted_decrease = s lambda^2 - s^2/2 d^T J^T Q J d - tau s^2 omega_nu(d_nu) d^T D d`. The
    last is a lower bound of `decrease` if `f` is linear, the loss quadratic and `M_g` a valid
    constant. It is minus infinity if `d_nu >= 1`. Use `SquaredLoss(mean=True)` for the paper's `F`.

    Raises: `ValueError` for another type of penalty, a negative weight, a step size or damping that
    is not positive, an unknown rule, `c = tau = 0`, and `recycle` with batches or without float64.

    >>> import riemgn as rg
    >>> method = rg.GGNScore(rg.PseudoHuberPenalty(), weight=1e-4)
    >>> traj = rg.iterate(rg.task.circle(), method, steps=5)
    >>> bool((traj.stats["per_step"]["slope"] < 0).all())
    True

    Reference: Adeoye, Petersen, Bemporad, arXiv:2404.14875; Statement C13; Sun and Tran-Dinh,
    arXiv:1703.04599.
    """

    penalty: AbstractPenalty
    weight: Array
    step_size: Array
    damping: Array | None
    rule: str = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    order: str = eqx.field(static=True)
    recycle: bool = eqx.field(static=True)
    name: ClassVar[str] = "ggn-score"

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
        self.rule, self.batch_size, self.order = rule, batch_size, order
        self.recycle = _checked_recycle(recycle, batch_size)

    def __repr__(self) -> str:
        damping = "tau" if self.damping is None else "unit" if setting_text(self.damping) == "1" else self.damping
        return short_repr(self, damping=damping)

    def init(self, problem: Problem, w: Weights, rank: Count) -> MethodState:
        recycled = Recycled.start(min(problem.n, problem.p), w.dtype) if self.recycle else None
        return first_state(w, (self.initial_samples(problem), recycled), *REPORT)

    def step(self, problem: Problem, w: Weights, state: MethodState, key: Key) -> tuple[Weights, MethodState]:
        samples, recycled = state.memory
        samples, batch = self.draw(samples, state.count, key)
        point, valid = linearise_batch(problem, w, batch)
        white = point.whitened()
        tau = self.weight.astype(w.dtype)
        c = tau if self.damping is None else self.damping.astype(w.dtype)
        gradient, metric = tau * self.penalty.gradient(w), self.penalty.hessian_diagonal(w)
        d, recycled = score_direction(white.jac, white.loss_gradient, gradient, metric, c, recycled)
        change = point.jac @ d
        loss_term, penalty_term = jnp.sum(point.loss_hessian * change**2), jnp.sum(metric * d**2)
        decrement = jnp.sqrt(loss_term + c * penalty_term)
        size, eta = self._step_size(w, tau, jnp.linalg.norm(d), decrement)
        distance = self.penalty.distance(problem.p, size * jnp.linalg.norm(d), size * jnp.sqrt(penalty_term))
        penalty_bound = jnp.where(tau > 0, tau * self.penalty.omega(distance), 0.0) * penalty_term
        w_new, g = w + size * d, batch_objective(problem, batch)
        error = batch_outputs(problem, w_new, batch) - point.outputs - size * change

        def objective(w):
            return g(w) + tau * self.penalty(w)

        report = {
            "step_size": size,
            "decrement": decrement,
            "slope": change @ point.loss_gradient + gradient @ d,
            "local_norm": eta,
            "predicted_decrease": size * decrement**2 - size**2 * (loss_term / 2 + penalty_bound),
            "objective": objective(w),
            "decrease": objective(w) - objective(w_new),
            "linearisation_error": jnp.linalg.norm(jnp.where(valid, error, 0.0)),
        }
        return w_new, state.after((samples, recycled), report)

    def _step_size(self, w: Weights, tau: Scalar, length: Scalar, decrement: Scalar) -> tuple[Scalar, Scalar]:
        """Return `(s, eta)`."""
        a = jnp.minimum(self.step_size.astype(w.dtype), 1.0)
        nu, m_g = self.penalty.order, self.penalty.self_concordance(w.size)
        if self.rule == "analytic":
            eta = tau * self.penalty.local_norm(w)
            if nu == 2:
                return a * _ratio(jnp.log1p, m_g * length), eta
            q = (nu - 2) / (4 - nu)
            # tau^(1 - nu/2) lambda^(nu - 2) = (lambda / sqrt(tau))^(nu - 2), and 0 if tau = 0: F is
            # then quadratic and the full step is the best
            scaled = jnp.where(tau > 0, decrement / jnp.sqrt(jnp.where(tau > 0, tau, 1.0)), 0.0)
            distance = (nu / 2 - 1) * m_g * length ** (3 - nu) * scaled ** (nu - 2)
            return a * _ratio(lambda t: -jnp.expm1(-q * jnp.log1p(t / q)), distance), eta
        eta = (tau if self.rule == "reference" else tau ** ((3 - nu) / 2)) * self.penalty.local_norm(w)
        return jnp.minimum(1.0, a / (1 + m_g * eta)), eta


def _checked_recycle(recycle, batch_size: int | None) -> bool:
    if not isinstance(recycle, bool):
        raise ValueError(f"`recycle` must be True or False, got {recycle!r}.")
    if recycle and batch_size is not None:
        raise ValueError(f"`recycle=True` needs all samples at every step, got batch_size={batch_size}: omit it.")
    if recycle and jnp.result_type(float) != jnp.float64:
        raise ValueError("`recycle=True` solves to float64: call riemgn.enable_x64() first.")
    return recycle


def _ratio(numerator, t: Scalar) -> Scalar:
    """Return `numerator(t) / t`, and 1 at 0."""
    return jnp.where(t > 0, numerator(t) / jnp.where(t > 0, t, 1.0), 1.0)
