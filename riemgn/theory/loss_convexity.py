"""Strong convexity and smoothness of the loss on a sublevel set or on a box of outputs."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from ..loss import LOSSES
from ..problem import Problem


@dataclass(frozen=True)
class LossConstants:
    """Convexity of the loss on a stated set of outputs.

    - `nu`, `mu`: `nu I <= Hess g <= mu I` on the set.
    - `gap`: `g(f(w0)) - inf g`.
    - `gradient`: `sqrt(2 mu gap)`, a bound of `|grad g|` if the set contains the sublevel set.
    - `where`: the set, in words.
    """

    nu: float
    mu: float
    gap: float
    gradient: float
    where: str


def loss_constants(problem: Problem, outputs: Float[ArrayLike, "t n"] | None = None) -> LossConstants:
    """Compute `nu` and `mu` of the loss on the sublevel set of the start, or on a box of outputs.

    On the sublevel set every term obeys `scale (l(f_i) - min l) <= g(f(w0)) - inf g`, which is an
    interval for each `f_i`. `l''` is monotone or has one peak, so its minimum is at an end. With
    hard labels (logistic: y in {0, 1}, Poisson: y = 0) the interval is unbounded and `nu = 0`. Then
    pass the outputs of a path.

    Arguments:

    - `outputs`: outputs (t, n) of a path, such as `traj.outputs`, to use the box that they span.

    Raises: `ValueError` for a loss that is not one of riemgn's, or outputs of another shape.

    >>> import riemgn.theory.constants as constants, riemgn as rg
    >>> constants.loss_constants(rg.task.circle()).nu
    1.0

    Reference: derived. `gradient` is `B` of Statement C5.
    """
    loss, y = problem.loss, np.asarray(problem.y)
    if type(loss) not in LOSSES.values():
        message = f"Constants on the sublevel set are known for {', '.join(LOSSES)}, got {type(loss).__name__}"
        raise ValueError(f"{message}; use its `strong_convexity` and `smoothness`.")
    gap = max(float(problem.objective(problem.w0) - loss.infimum(problem.y)), 0.0)
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
    """Diagonal of `Hess g`. At an infinite end its limit is 0 for every loss that has one."""
    finite = np.isfinite(f)
    return np.where(finite, np.asarray(problem.loss_hessian(jnp.asarray(np.where(finite, f, 0.0)))), 0.0)


def _sublevel_interval(problem: Problem, excess: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of `{f_i : l(f_i, y_i) - min l <= excess}`, rounded outward, possibly infinite."""
    y = problem.y
    minima = np.asarray(problem.loss.minima(y))
    allowed = excess + 1e-12 * (1 + np.abs(minima))

    def inside(f):
        return np.asarray(problem.loss.pointwise(jnp.asarray(f), y)) - minima <= allowed

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
    """The minimiser of each term, or the starting output without one."""
    y, name = np.asarray(problem.y), type(problem.loss).__name__
    if name in ("SquaredLoss", "PseudoHuberLoss"):
        return y.copy()
    with np.errstate(divide="ignore"):
        minimiser = np.log(y) if name == "PoissonLoss" else np.log(y) - np.log1p(-y)
    return np.where(np.isfinite(minimiser), minimiser, np.asarray(problem.outputs(problem.w0)))
