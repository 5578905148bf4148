"""Constants of the theorems: Lipschitz bounds, convexity of the loss, balls and thresholds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
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
from ..model import AbstractModel, Centred, Reparametrised, Scaled
from ..problem import Problem
from ..trajectory import Trajectory
from .loss_convexity import loss_constants, LossConstants
from .network_bounds import ball_bounds
from .path_quantities import jacobian

ANALYTIC = "analytic upper bound"
MEASURED = "measured lower bound"


@dataclass(frozen=True)
class Constant:
    """A number with its name, its formula and its kind.

    - `source`: `"analytic upper bound"`, `"measured lower bound"` or `"exact"`.
    - `error`: numerical error of `value`.
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


def jacobian_lipschitz(model: AbstractModel, x: ArrayLike, params: Any, radius: float) -> Constant:
    """Bound `|Df(w) - Df(w')| / |w - w'|` from above, for `w`, `w'` within `radius` of `w0`.

    Arguments:

    - `x`: inputs (n, d).
    - `params`: the centre `w0`, a PyTree as the model takes it.

    Raises: `ValueError` for a model without an analytic bound, or a rough activation such as relu.

    >>> import jax, jax.numpy as jnp, riemgn.theory.constants as constants, riemgn as rg
    >>> net = rg.MLP((2, 4, 1))
    >>> params = net.init(key=jax.random.key(0))
    >>> constants.jacobian_lipschitz(net, jnp.eye(2), params, 0.1).source
    'analytic upper bound'

    Reference: derived, formula in `network_bounds.ball_bounds`.
    """
    value = ball_bounds(model, x, params, radius).lipschitz
    if math.isinf(value):
        raise ValueError("Lip(Df) is infinite: relu has no second derivative; use a smooth activation such as tanh.")
    return Constant("Lip(Df)", value, f"layer norms propagated on the ball of radius {radius:.3g}", ANALYTIC)


@eqx.filter_jit
def _largest_second_derivative(immersion: Immersion, w: Weights, start: Float[Array, "s p"]) -> Scalar:
    """The largest `|D^2 f(w)[a, b]|` that alternating maximisation from rows of `start` finds."""

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
    """Compute `max |D^2 f(w)[a, b]|` over unit vectors by power iteration.

    Because the iteration can stop at a local maximum, it runs from `starts` random directions,
    drawn with `key`. The result is a lower bound, and usually the maximum, at flat parameters `w`
    (p,).

    Reference: De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000).
    """
    directions = jr.normal(jr.key(0) if key is None else key, (starts, problem.p), dtype=problem.w0.dtype)
    value = _largest_second_derivative(Immersion(problem, None, None, problem.p), jnp.asarray(w), directions)
    return Constant("|D^2 f|", float(value), "power iteration at one point", MEASURED)


def measured_lipschitz(
    problem: Problem, params: Float[ArrayLike, "t p"], *, points: int = 8, key: Key | None = None
) -> Constant:
    """Compute a lower bound of `Lip(Df)` on any ball that contains the path.

    It is the maximum of difference quotients of `J` and of `second_derivative_norm`, drawn with
    `key`, over `points` rows of the path `params` (t, p), such as `traj.params`.

    Raises: `ValueError` for another shape.
    """
    rows = np.asarray(params)
    if rows.ndim != 2 or rows.shape[1] != problem.p or not len(rows):
        raise ValueError(f"`params` must have shape (t, {problem.p}), got {rows.shape}.")
    rows = np.unique(rows[np.unique(np.linspace(0, len(rows) - 1, points).astype(int))], axis=0)
    jacobians = [np.asarray(jacobian(problem, w)) for w in rows]
    pairs = combinations(range(len(rows)), 2)
    chords = [np.linalg.norm(jacobians[i] - jacobians[j], 2) / np.linalg.norm(rows[i] - rows[j]) for i, j in pairs]
    second = max(second_derivative_norm(problem, w, key=key).value for w in rows)
    chord = float(max(chords, default=0.0))
    formula = "|D^2 f[a, b]| by power iteration" if second >= chord else "difference quotient of J"
    return Constant("Lip(Df)", max(chord, second), f"{formula}, largest over {len(rows)} points of the path", MEASURED)


@dataclass(frozen=True)
class ConvergenceBall:
    """The ball `|w - w0| <= radius` with `radius = sigma_start / (2 L)`, infinite if `L = 0`.

    - `sigma_start`, `sigma_min`: smallest singular value of `J(w0)`, and its bound on the ball.
    - `lipschitz`: the `L` that was used. It is valid on this ball if it is the analytic one.
    """

    radius: float
    sigma_start: float
    sigma_min: float
    lipschitz: Constant


def convergence_ball(problem: Problem, lipschitz: Constant | None = None) -> ConvergenceBall:
    """Compute the ball of the theorems, `r0 = sigma_min(J(w0)) / (2 L)`.

    `lipschitz` defaults to the analytic `L`, which grows with the ball. Then `r0` solves
    `r L(r) = sigma / 2`, so that `L` is valid on its own ball at every output scale.

    Raises: `ValueError` for a rank-deficient start, or without an analytic bound.

    Reference: Statements C5, D6 and D11.
    """
    s = singular_values(jacobian(problem, problem.w0))
    rank, sigma = int(numerical_rank(s, (problem.n, problem.p))), float(s[-1])
    if rank < s.size:
        raise ValueError(f"The theorems need a Jacobian of full rank {s.size} at the start, got numerical rank {rank}.")
    lipschitz = fitting_lipschitz(problem, sigma) if lipschitz is None else lipschitz
    if lipschitz.value == 0:
        return ConvergenceBall(math.inf, sigma, sigma, lipschitz)
    return ConvergenceBall(sigma / (2 * lipschitz.value), sigma, sigma / 2, lipschitz)


def fitting_lipschitz(problem: Problem, sigma: float) -> Constant:
    """Compute the analytic `L` that is valid on its own ball of radius `sigma / (2 L)`.

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
    """Return `alpha`, the product of the factors of all `Scaled` wrappers of a model."""
    match model:
        case Scaled():
            return float(model.alpha) * output_scale(model.model)
        case Centred() | Reparametrised():
            return output_scale(model.model)
    return 1.0


def swept_scales(claim: str, trajectories: Sequence[Trajectory]) -> Float[np.ndarray, " scales"]:
    """Return the output scales of trajectories for a claim on a sweep.

    Raises: `ValueError` for fewer than three scales, or less than a decade.
    """
    alphas = np.array([output_scale(traj.problem.model) for traj in trajectories])
    if len(alphas) < 3 or np.ptp(np.log10(alphas)) < 1 - 1e-9:
        raise ValueError(
            f"The claim `{claim}` needs at least three output scales over a decade, got {alphas.tolist()}."
        )
    return alphas


@dataclass(frozen=True)
class Threshold:
    """An output scale above which a theorem's hypothesis holds.

    - `value`, `alpha`: the threshold `alpha_0`, and the present scale.
    - `formula`, `source`: formula, and kind of the Lipschitz constant.
    - `ball`, `loss`: the constants in the formula.
    """

    value: float
    alpha: float
    formula: str
    source: str
    ball: ConvergenceBall
    loss: LossConstants

    @property
    def ratio(self) -> float:
        """`alpha_0 / alpha`. The hypothesis holds at the present scale if it is at most 1."""
        return self.value / self.alpha


def alpha_threshold(
    problem: Problem, *, delta: float = 0.5, lipschitz: Constant | None = None, loss: LossConstants | None = None
) -> Threshold:
    """Compute the output scale that the convergence theorems need.

        p <= n:  alpha_0 = 4 L_phi G0 / (delta nu sigma_phi^2),  G0 = sqrt(2 mu (g(f(w0)) - inf g))
        p > n:   alpha_0 = 4 sqrt(2) L_phi sqrt((g(f(w0)) - inf g) / nu) / sigma_phi^2

    It is computed from `f = alpha phi` as `alpha_0 / alpha`. The hypothesis at the present scale is
    `ratio <= 1`. `value` is valid for other scales if the model is centred, because the gap then
    does not depend on alpha. If `nu = 0` it is infinite.

    Arguments:

    - `delta`: the share of the rate that is given up, in (0, 1/2].
    - `lipschitz`: the `L` of `f`. Defaults to the analytic one on its own ball.
    - `loss`: constants of the loss. Defaults to those of the sublevel set.

    Raises: `ValueError` for another `delta`, a rank-deficient start, or without an analytic bound.

    Reference: Statements C5 and D11 (p <= n), C15 and D6 (p > n).
    """
    if not 0 < delta <= 0.5:
        raise ValueError(f"`delta` must be in (0, 1/2], got {delta}.")
    ball = convergence_ball(problem, lipschitz)
    loss = loss_constants(problem) if loss is None else loss
    alpha = output_scale(problem.model)
    if problem.p <= problem.n:
        formula, size, rate = f"4 L G0 / (delta nu sigma^2), delta = {delta:g}", loss.gradient / delta, loss.nu
    else:
        formula = "4 sqrt(2) L sqrt((g0 - inf g) / nu) / sigma^2"
        size, rate = math.sqrt(2 * loss.gap), math.sqrt(loss.nu)
    ratio = 4 * ball.lipschitz.value * size / (rate * ball.sigma_start**2) if rate else math.inf
    return Threshold(ratio * alpha, alpha, formula, ball.lipschitz.source, ball, loss)


def path_bound(
    problem: Problem, ball: ConvergenceBall, loss: LossConstants, *, delta: float = 0.5, gap: float | None = None
) -> Constant:
    """Bound the length of the path of the parameters from the constants at the start.

        p <= n, Gauss-Newton:   2 sqrt(2 gap / ((1 - delta) nu)) / sigma_start
        p > n, every damping:   sqrt(2 gap / nu) / sigma_min

    `ball` and `loss` are those of `alpha_threshold`, as is `delta`. `gap` is `g(f(w0)) - g_inf` and
    defaults to the larger `g(f(w0)) - inf g`.

    Reference: Statements D11 and D6.
    """
    gap, source = loss.gap if gap is None else gap, ball.lipschitz.source
    if loss.nu == 0:
        return Constant("path length", math.inf, "nu = 0 on the set", source)
    if problem.p <= problem.n:
        value = 2 * math.sqrt(2 * gap / ((1 - delta) * loss.nu)) / ball.sigma_start
        formula = f"D11: 2 sqrt(2 gap / ((1 - delta) nu)) / sigma_start, delta = {delta:g}"
        return Constant("path length", value, formula, source)
    value = math.sqrt(2 * gap / loss.nu) / ball.sigma_min
    return Constant("path length", value, "D6: sqrt(2 gap / nu) / sigma_min", source)


def quadratic_constant(lipschitz: Constant, sigma: float) -> Constant:
    """Compute `C = L / (2 sigma_0^2)` of `|r_{k+1}| <= C |r_k|^2` for full Gauss-Newton steps.

    `lipschitz` is `L`, and `sigma` is `sigma_0 > 0`, the smallest singular value or a lower bound.

    Reference: Statement D13.
    """
    return Constant("C", lipschitz.value / (2 * sigma**2), "D13: L / (2 sigma_0^2)", lipschitz.source)
