"""The constants the theorems ask for: analytic bounds and measured ones, convexity on the sublevel set, balls, thresholds. Each says which it is."""

import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.optimize
from jaxtyping import Array, ArrayLike, Float

from .._types import Key, Scalar, Weights
from ..geometry.immersion import Immersion
from ..linalg import numerical_rank, singular_values
from ..loss import LOSSES
from ..model import AbstractModel, Centred, Reparametrised, Scaled
from ..problem import Problem
from .network_bounds import ball_bounds

ANALYTIC = "analytic upper bound"
MEASURED = "measured lower bound"


@dataclass(frozen=True)
class Constant:
    """A number with its name, the formula it comes from, and which kind of constant it is.

    - `source`: `"analytic upper bound"`, `"measured lower bound"` or `"exact"`.
    - `error`: numerical error of `value`, 0 where rounding only.
    """

    name: str
    value: float
    formula: str
    source: str
    error: float = 0.0

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.name} = {self.value:.6g} [{self.source}: {self.formula}]"


def jacobian_bound(model: AbstractModel, x: ArrayLike, params: Any, radius: float) -> Constant:
    """An upper bound of the operator norm `|Df(w)|` for `|w - w0| <= radius`.

    Arguments:

    - `params`: the centre `w0`, a PyTree as the model takes it; `x`: inputs (n, d).

    Raises: `ValueError` for a model of which no analytic bound is known.

    >>> import jax.numpy as jnp, riemgn.theory.constants as constants, riemgn as rg
    >>> float(constants.jacobian_bound(rg.LinearModel(), 2.0 * jnp.eye(3), jnp.zeros(3), 1.0))
    2.0

    Reference: derived; formula in `layer_bounds.ball_bounds`.
    """
    value = ball_bounds(model, x, params, radius).jacobian
    return Constant("|Df|", value, f"layer norms propagated on the ball of radius {radius:.3g}", ANALYTIC)


def jacobian_lipschitz(model: AbstractModel, x: ArrayLike, params: Any, radius: float) -> Constant:
    """An upper bound `L` of `|Df(w) - Df(w')| / |w - w'|` (operator norm) for `w`, `w'` within `radius` of `w0`.

    Arguments:

    - `params`: the centre `w0`, a PyTree as the model takes it; `x`: inputs (n, d).

    Raises: `ValueError` for a model of which no analytic bound is known, or whose activation is not twice differentiable.

    >>> import jax, jax.numpy as jnp, riemgn.theory.constants as constants, riemgn as rg
    >>> net = rg.MLP((2, 4, 1))
    >>> constants.jacobian_lipschitz(net, jnp.eye(2), net.init(key=jax.random.key(0)), 0.1).source
    'analytic upper bound'

    Reference: derived; formula in `layer_bounds.ball_bounds`.
    """
    value = ball_bounds(model, x, params, radius).lipschitz
    if math.isinf(value):
        raise ValueError(
            "Lip(Df) is infinite: the activation relu has no second derivative; use a smooth activation such as tanh."
        )
    return Constant("Lip(Df)", value, f"layer norms propagated on the ball of radius {radius:.3g}", ANALYTIC)


# --- measured on a path ----------------------------------------------------------------------------------------------


@eqx.filter_jit
def _steepest_bend(immersion: Immersion, w: Weights, start: Float[Array, "s p"]) -> Scalar:
    """The largest `|D^2 f(w)[a, b]|` over unit `a`, `b` that alternating maximisation finds from the rows of `start`."""

    def unit(v):
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def sweep(pair, _):
        a, b = pair
        c = unit(immersion.second_derivative(w, a, b))
        b = unit(immersion.pulled_second_derivative(w, c, a))
        a = unit(immersion.pulled_second_derivative(w, c, b))
        return (a, b), None

    def climb(a):
        a, b = jax.lax.scan(sweep, (unit(a), unit(a)), length=30)[0]
        return jnp.linalg.norm(immersion.second_derivative(w, a, b))

    return jnp.max(jax.lax.map(climb, start))


def second_derivative_norm(problem: Problem, w: Weights, *, key: Key | None = None, starts: int = 3) -> Constant:
    """`max |D^2 f(w)[a, b]|` over unit vectors, by power iteration on `(a, b, c) -> <c, D^2 f(w)[a, b]>` (each sweep can only raise it).

    A lower bound of the maximum, and usually equal to it: the iteration may stop at a lesser local maximum, so it is started `starts` times.

    Arguments:

    - `w`: flat parameters (p,).

    Reference: De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000), best rank-one approximation.
    """
    directions = jr.normal(jr.key(0) if key is None else key, (starts, problem.p), dtype=problem.w0.dtype)
    value = _steepest_bend(Immersion(problem, None, None, problem.p), jnp.asarray(w), directions)
    return Constant("|D^2 f|", float(value), "power iteration at one point", MEASURED)


def measured_lipschitz(
    problem: Problem, params: Float[ArrayLike, "t p"], *, points: int = 8, key: Key | None = None
) -> Constant:
    """A lower bound of `Lip(Df)` on any ball that holds the path: the larger of two observed quantities.

    `max |J(w_i) - J(w_j)| / |w_i - w_j|` over pairs of points of the path, and `max_i |D^2 f(w_i)[a, b]|` over unit vectors by power iteration.

    Arguments:

    - `params`: the path, flat parameters (t, p), such as `traj.params`; `points` of them are used, equally spaced in index.

    Raises: `ValueError` for another shape.
    """
    rows = np.asarray(params)
    if rows.ndim != 2 or rows.shape[1] != problem.p or not len(rows):
        raise ValueError(f"`params` must have shape (t, {problem.p}), got {rows.shape}.")
    rows = np.unique(rows[np.unique(np.linspace(0, len(rows) - 1, points).astype(int))], axis=0)
    jacobians = [np.asarray(_jac(problem, w)) for w in rows]
    quotients = [
        np.linalg.norm(jacobians[i] - jacobians[j], 2) / np.linalg.norm(rows[i] - rows[j])
        for i in range(len(rows))
        for j in range(i)
    ]
    bends = [second_derivative_norm(problem, w, key=key).value for w in rows]
    chord, bend = float(max(quotients, default=0.0)), max(bends)
    formula = "|D^2 f[a, b]| by power iteration" if bend >= chord else "difference quotient of J"
    return Constant("Lip(Df)", max(chord, bend), f"{formula}, largest over {len(rows)} points of the path", MEASURED)


@eqx.filter_jit
def _gap(problem: Problem) -> Scalar:
    return problem.objective(problem.w0) - problem.loss.infimum(problem.y)


@eqx.filter_jit
def _loss_hess(problem: Problem, f: Array) -> Array:
    return problem.loss_hessian(f)


@eqx.filter_jit
def _jac(problem: Problem, w: Weights) -> Array:
    return problem.jac(w)


# --- the loss --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossConstants:
    """Convexity of the loss on a stated set of outputs.

    - `nu`, `mu`: `nu I <= Hess g <= mu I` on the set.
    - `gap`: `g(f(w0)) - inf g`.
    - `gradient`: `sqrt(2 mu gap)`, an upper bound of `|grad g|` on the sublevel set; on a box of outputs only if the box holds that set.
    - `where`: the set, in words.
    """

    nu: float
    mu: float
    gap: float
    gradient: float
    where: str


def loss_constants(problem: Problem, outputs: Float[ArrayLike, "t n"] | None = None) -> LossConstants:
    """`nu` and `mu` of the loss on the sublevel set of the start, or on the smallest box that holds given outputs.

    On `{g <= g(f(w0))}` every term obeys `scale (l(f_i) - min l) <= g(f(w0)) - inf g`, an interval for each `f_i`; `l''` of every loss here is
    monotone or has one peak, at 0 or at `y_i`, so that its least value is at an end. With hard labels (logistic: y in {0, 1}; Poisson: y = 0) the
    interval has no end on one side and `nu = 0`: pass the outputs of a path for the constants of the box it stays in.

    Arguments:

    - `outputs`: outputs (t, n) of a path, such as `traj.outputs`, to take the box they span instead of the sublevel set.

    Raises: `ValueError` for a loss that is not one of riemgn's, or outputs of another shape.

    >>> import riemgn.theory.constants as constants, riemgn as rg
    >>> constants.loss_constants(rg.task.circle()).nu
    1.0

    Reference: derived; `gradient` is the bound `B` of theory.md C5, `G0` of papers.md D11.
    """
    loss, y = problem.loss, np.asarray(problem.y)
    if type(loss) not in LOSSES.values():
        raise ValueError(
            f"Sublevel-set constants are known for {', '.join(LOSSES)}, got {type(loss).__name__}; use its `strong_convexity` and `smoothness`."
        )
    gap = max(float(_gap(problem)), 0.0)
    if outputs is None:
        low, high = _sublevel_interval(problem, gap / loss.scale(problem.n))
        where = "sublevel set of the start"
    else:
        box = np.asarray(outputs)
        if box.ndim != 2 or box.shape[1] != problem.n:
            raise ValueError(f"`outputs` must have shape (t, {problem.n}), got {box.shape}.")
        low, high = box.min(axis=0), box.max(axis=0)
        where = "box of the given outputs"
    ends = [_curvature(problem, low), _curvature(problem, high)]
    peaks = [_curvature(problem, np.clip(peak, low, high)) for peak in (np.zeros_like(y), y)]
    nu, mu = float(np.min(ends)), float(np.max([*ends, *peaks]))
    return LossConstants(nu, mu, gap, math.sqrt(2 * mu * gap), where)


def _curvature(problem: Problem, f: np.ndarray) -> np.ndarray:
    """Diagonal of `Hess g`, its limit where an output is infinite (no loss here has one other than 0 on the side where it is bounded)."""
    finite = np.isfinite(f)
    return np.where(finite, np.asarray(_loss_hess(problem, jnp.asarray(np.where(finite, f, 0.0)))), 0.0)


def _sublevel_interval(problem: Problem, excess: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of `{f_i : l(f_i, y_i) - min l <= excess}`, rounded outward; infinite where the term stays below for ever."""
    y = problem.y
    least = np.asarray(problem.loss.minima(y))
    allowed = excess + 1e-12 * (1 + np.abs(least))

    def inside(f):
        return np.asarray(problem.loss.pointwise(jnp.asarray(f), y)) - least <= allowed

    start = _minimiser(problem)
    ends = []
    for sign in (-1.0, 1.0):
        near, step = start.copy(), np.ones_like(start)
        for _ in range(120):
            outward = inside(start + sign * step)
            near, step = np.where(outward, start + sign * step, near), np.where(outward, 2 * step, step)
        endless, far = step > 2.0**100, start + sign * step
        for _ in range(100):
            middle = (near + far) / 2
            within = inside(middle)
            near, far = np.where(within, middle, near), np.where(within, far, middle)
        ends.append(np.where(endless, sign * np.inf, far))
    return ends[0], ends[1]


def _minimiser(problem: Problem) -> np.ndarray:
    """A point of each term's sublevel set: its minimiser, or the starting output where it has none."""
    y, name = np.asarray(problem.y), type(problem.loss).__name__
    if name in ("SquaredLoss", "PseudoHuberLoss"):
        return y.copy()
    with np.errstate(divide="ignore"):
        minimiser = np.log(y) if name == "PoissonLoss" else np.log(y) - np.log1p(-y)
    return np.where(np.isfinite(minimiser), minimiser, np.asarray(problem.outputs(problem.w0)))


# --- balls and thresholds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ball:
    """The ball `|w - w0| <= radius` on which `sigma_min(J) >= sigma_start / 2`.

    - `radius`: `r0 = sigma_start / (2 L)`; infinite for a linear model.
    - `sigma_start`: smallest non-zero singular value of `J(w0)`; `sigma_least = sigma_start / 2`, its lower bound on the ball.
    - `lipschitz`: the `L` used, valid on this ball when it is the analytic one.
    """

    radius: float
    sigma_start: float
    sigma_least: float
    lipschitz: Constant


def convergence_ball(problem: Problem, lipschitz: Constant | None = None) -> Ball:
    """The ball of theory.md C5 and papers.md D6, D11: `r0 = sigma_min(J(w0)) / (2 L)`.

    The analytic `L` grows with the ball it is taken on; `r0` is where `r L(r) = sigma / 2`, so that `L` holds on the ball it makes. It does not
    depend on the output scale.

    Arguments:

    - `lipschitz`: the `L` to use instead, such as `measured_lipschitz`.

    Raises: `ValueError` for a rank-deficient start (no positive smallest singular value of index `min(n, p)`), or without an analytic bound.

    Reference: theory.md C5.
    """
    s = singular_values(_jac(problem, problem.w0))
    kept, sigma = int(numerical_rank(s, (problem.n, problem.p))), float(s[-1])
    if kept < s.size:
        raise ValueError(
            f"The theorems ask for a Jacobian of full rank {s.size} at the start, got numerical rank {kept}."
        )

    lipschitz = fitting_lipschitz(problem, sigma) if lipschitz is None else lipschitz
    if lipschitz.value == 0:
        return Ball(math.inf, sigma, sigma, lipschitz)
    return Ball(sigma / (2 * lipschitz.value), sigma, sigma / 2, lipschitz)


def fitting_lipschitz(problem: Problem, sigma: float) -> Constant:
    """The analytic `L` that holds on the ball of radius `sigma / (2 L)` it makes: where `r L(r) = sigma / 2`, and a little more.

    Raises: `ValueError` without an analytic bound.
    """

    def excess(log_radius):
        return math.exp(log_radius) * bound(math.exp(log_radius)).value - sigma / 2

    def bound(radius):
        return jacobian_lipschitz(problem.model, problem.x, problem.params, radius)

    if bound(1.0).value == 0:
        return bound(1.0)
    low = high = math.log(sigma / (2 * bound(1.0).value))
    while excess(low) > 0:
        low -= 2.0
    while excess(high) < 0:
        high += 2.0
    log_radius = scipy.optimize.root_scalar(excess, bracket=(low, high), xtol=1e-12).root if low < high else low
    return bound(math.exp(log_radius) * (1 + 1e-9))


def output_scale(model: AbstractModel) -> float:
    """`alpha`: the product of the factors of all `Scaled` wrappers of a model."""
    match model:
        case Scaled():
            return float(model.alpha) * output_scale(model.model)
        case Centred() | Reparametrised():
            return output_scale(model.model)
    return 1.0


@dataclass(frozen=True)
class Threshold:
    """An output scale above which a theorem's hypothesis holds.

    - `value`: `alpha_0`; `alpha`: the present scale; `formula`; `source`: which Lipschitz constant was used.
    - `ball`, `loss`: the constants that went in.
    """

    value: float
    alpha: float
    formula: str
    source: str
    ball: Ball
    loss: LossConstants

    @property
    def ratio(self) -> float:
        """`alpha_0 / alpha`: the hypothesis holds at the present scale where this is at most 1."""
        return self.value / self.alpha


def alpha_threshold(
    problem: Problem, *, delta: float = 0.5, lipschitz: Constant | None = None, loss: LossConstants | None = None
) -> Threshold:
    """The output scale that the convergence theorems ask for: under-parameterised (p <= n) C5 and D11, over-parameterised (p > n) D6.

        p <= n:  alpha_0 = 4 L_phi G0 / (delta nu sigma_phi^2),   G0 = sqrt(2 mu (g(f(w0)) - inf g))
        p > n:   alpha_0 = 4 sqrt(2) L_phi sqrt((g(f(w0)) - inf g) / nu) / sigma_phi^2

    With `delta = 1/2` the first is C5's `2 L_phi B / (nu lambda^2)`, `lambda = sigma_phi / 2`. It is computed from `f = alpha phi` itself as
    `alpha_0 / alpha = 4 L G0 / (delta nu sigma^2)`. The hypothesis at the present scale is `ratio <= 1`; as a threshold for other scales `value`
    is valid where `f(w0) = 0` (a centred model), since the gap then does not depend on alpha. Where `nu = 0` it is infinite.

    Arguments:

    - `delta`: the share of the rate given away, in (0, 1/2].
    - `lipschitz`: the `L` of `f` to use, by default the analytic one on the ball it makes; `loss`: by default that of the sublevel set.

    Raises: `ValueError` for another `delta`, a rank-deficient start, or without an analytic bound.

    Reference: theory.md C5, C15; papers.md D6, D11.
    """
    if not 0 < delta <= 0.5:
        raise ValueError(f"`delta` must lie in (0, 1/2], got {delta}.")
    ball = convergence_ball(problem, lipschitz)
    loss = loss_constants(problem) if loss is None else loss
    alpha = output_scale(problem.model)
    if problem.p <= problem.n:
        formula, size, rate = f"4 L G0 / (delta nu sigma^2), delta = {delta:g}", loss.gradient / delta, loss.nu
    else:
        formula, size, rate = (
            "4 sqrt(2) L sqrt((g0 - inf g) / nu) / sigma^2",
            math.sqrt(2 * loss.gap),
            math.sqrt(loss.nu),
        )
    ratio = 4 * ball.lipschitz.value * size / (rate * ball.sigma_start**2) if rate else math.inf
    return Threshold(ratio * alpha, alpha, formula, ball.lipschitz.source, ball, loss)


def path_bound(
    problem: Problem, ball: Ball, loss: LossConstants, *, delta: float = 0.5, gap: float | None = None
) -> Constant:
    """An upper bound of the length of the path of the parameters, from the constants at the start.

        p <= n (D11, Gauss-Newton):    2 sqrt(2 gap / ((1 - delta) nu)) / sigma_min(J(w0)),   gap = g(f(w0)) - g_inf
        p > n  (D6, every damping):    sqrt(2 gap / nu) / sigma_0,                            gap = g(f(w0)) - inf g

    `sigma_0` is the least singular value on the ball. `gap` defaults to `g(f(w0)) - inf g`, which is never smaller.

    Reference: papers.md D6, D11.
    """
    gap = loss.gap if gap is None else gap
    if loss.nu == 0:
        return Constant("path length", math.inf, "nu = 0 on the set", ball.lipschitz.source)
    if problem.p <= problem.n:
        value = 2 * math.sqrt(2 * gap / ((1 - delta) * loss.nu)) / ball.sigma_start
        return Constant(
            "path length",
            value,
            f"D11: 2 sqrt(2 gap / ((1 - delta) nu)) / sigma_start, delta = {delta:g}",
            ball.lipschitz.source,
        )
    return Constant(
        "path length",
        math.sqrt(2 * gap / loss.nu) / ball.sigma_least,
        "D6: sqrt(2 gap / nu) / sigma_0",
        ball.lipschitz.source,
    )


def quadratic_constant(lipschitz: Constant, sigma: float) -> Constant:
    """`C = L / (2 sigma_0^2)` of `|r_{k+1}| <= C |r_k|^2` (full Gauss-Newton step, squared loss, full row rank).

    Arguments:

    - `sigma`: `sigma_0 > 0`, smallest singular value at the point stepped from, or a lower bound of it.

    Reference: papers.md D13.
    """
    return Constant("C", lipschitz.value / (2 * sigma**2), "D13: L / (2 sigma_0^2)", lipschitz.source)
