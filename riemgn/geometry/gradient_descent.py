"""Riemannian gradient descent on the output manifold: Armijo's rule, Barzilai-Borwein steps, or a fixed step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Count, Flag, Scalar, Weights
from .._validation import positive
from .immersion import Ambient, Form, Immersion, lower_index, TangentFrame
from .output_manifold import OutputManifold
from .path import (
    checked_manifold,
    checked_retraction,
    checked_steps,
    finished,
    GOOD_ENDINGS,
    gradient_at,
    least_singular_value,
    ManifoldPath,
    RANK_TOL,
    room,
)
from .retraction import AbstractRetraction

RULES = ("armijo", "barzilai_borwein")
# Share of the slope that a step must gain. On a parabola 1/4 lets pass what is at most 1.5 times the exact step, so that doubling the step before
# finds one between 0.75 and 1.5 times; Barzilai-Borwein steps need the freedom of 1e-4, which lets pass nearly twice the exact one.
GAIN = {"armijo": 0.25, "barzilai_borwein": 1e-4}
MEMORY = 0.85  # Zhang and Hager's weight of the losses before, for Barzilai-Borwein steps
MAX_TRIALS = 50
SAFEGUARD = 1e4  # a Barzilai-Borwein step lies within this factor of the step that would be exact on a flat manifold
FATES = ("", "line_search_failed", "retraction_failed", "non_finite", "rank_lost")


def riemannian_gradient_descent(
    manifold: OutputManifold,
    *,
    step: str | float = "armijo",
    retraction: str | AbstractRetraction = "projection",
    steps: int = 500,
    grad_tol: float = 1e-8,
    throw: bool = True,
) -> ManifoldPath:
    """Minimise `g` on `M` from the problem's starting point: `psi -> R(-t u)`, `u = grad_M g`.

    A trial `t` is halved until `g(R(-t u)) <= C - c t |u|^2`. Where rounding hides the difference the slope at the new point decides instead, by
    `<grad_M g(R(-t u)), u> >= (2 c - 1) |u|^2`, which says the same of a parabola.

    - "armijo": `c = 1/4`, `C = g`: the loss never rises by more than rounding. The first trial `|u|^2 / Hess g[u, u]` is exact on a flat manifold;
        later ones are twice the step before.
    - "barzilai_borwein": trials `<s, s> / <s, y>` and `<s, y> / <y, y>` in turn, with `s` the last step and `y` the change of the gradient, both
        carried to the new point by projection; where `<s, y> <= 0` the first trial of "armijo". `c = 1e-4`, and `C` is Zhang and Hager's mean of
        the losses so far, so that the loss may rise for a while.
    - a number: that step, unconditionally.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `step`: one of the above.
    - `retraction`: "chart", "corrected", "projection", "exponential" or a retraction of your own.
    - `steps`: at most so many.
    - `grad_tol`: stop where `|u|` is at most `grad_tol` times its value at the start.
    - `throw`: raise `PathError` on trouble; with False the path so far comes back. Running out of steps is no trouble.

    Returns: a `ManifoldPath` that ends with "gradient_tolerance_met", "step_limit", "line_search_failed", "retraction_failed", "non_finite" or
    "rank_lost"; its times are the sums of its step sizes.

    Raises: `ValueError` for wrong arguments; `PathError` if `throw` and the path got into trouble.

    >>> import riemgn as rg
    >>> from riemgn.geometry.gradient_descent import riemannian_gradient_descent
    >>> path = riemannian_gradient_descent(rg.OutputManifold(rg.task.circle(radius=2.0, target=1.0)), step="barzilai_borwein")
    >>> path.result, round(float(path.losses[-1]), 9)
    ('gradient_tolerance_met', 0.5)

    Reference: Iannazzo and Porcelli, IMA J. Numer. Anal. 38 (2018); Zhang and Hager, SIAM J. Optim. 14 (2004); Hager and Zhang, SIAM J. Optim. 16
    (2005), for the slope in place of the loss; Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section 4.2.
    """
    checked_manifold(manifold)
    if isinstance(step, str) and step not in RULES:
        raise ValueError(f"`step` must be one of {', '.join(RULES)} or a positive number, got {step!r}.")
    rule, size = (step, 0.0) if isinstance(step, str) else ("fixed", positive("step", step))
    move, steps = checked_retraction(retraction), checked_steps(steps)
    if not 0 <= grad_tol < 1:
        raise ValueError(f"`grad_tol` must lie in [0, 1), got {grad_tol}.")
    end = _descend(
        manifold.immersion, move, rule, jnp.asarray(size), jnp.asarray(steps), jnp.asarray(grad_tol), room(steps)
    )
    count = int(end.count)
    norms = end.saved["grad_norms"]
    if not bool(jnp.isfinite(end.saved["losses"][0]) & jnp.isfinite(norms[0])):
        raise ValueError(
            f"The path must start from a finite loss and gradient, got a loss of {float(end.saved['losses'][0])}."
        )
    step_sizes = end.step_sizes[:count]
    saved = {name: value[: count + 1] for name, value in end.saved.items()}
    met = bool(norms[count] <= grad_tol * norms[0])
    path = ManifoldPath(
        manifold=manifold,
        ts=jnp.concatenate([jnp.zeros(1, step_sizes.dtype), jnp.cumsum(step_sizes)]),
        params=saved["params"],
        points=saved["points"],
        losses=saved["losses"],
        grad_norms=saved["grad_norms"],
        result=FATES[int(end.fate)] or ("gradient_tolerance_met" if met else "step_limit"),
        step_sizes=step_sizes,
        stats={
            "method": f"gradient descent ({rule})",
            "retraction": move.name,
            "num_steps": count,
            "num_evaluations": int(end.evaluations),
        },
    )
    return finished(path, throw, (*GOOD_ENDINGS, "step_limit"))


class _Place(eqx.Module):
    """A point of `M`: its tangent frame, `psi`, the gradient `u` and its norm, the loss."""

    frame: TangentFrame
    point: Ambient
    gradient: Ambient
    size: Scalar
    loss: Scalar

    def record(self) -> dict[str, Array]:
        return {"params": self.frame.w, "points": self.point, "losses": self.loss, "grad_norms": self.size}


class _Search(eqx.Module):
    """The next trial step, the level `C` below which it must come, and the weight `Q` behind that mean."""

    trial: Scalar
    level: Scalar
    weight: Scalar


class _State(eqx.Module):
    """Where the descent is, what it tries next, and everything so far; `fate` is an index of `FATES`."""

    place: _Place
    search: _Search
    count: Count
    evaluations: Count
    fate: Count
    saved: dict[str, Array]
    step_sizes: Array


def _at(immersion: Immersion, w: Weights) -> _Place:
    frame, point = immersion.frame(w), immersion(w)
    gradient, size = gradient_at(immersion, frame, point)
    return _Place(frame, point, gradient, size, immersion.problem.objective(w))


@eqx.filter_jit
def _descend(
    immersion: Immersion,
    retraction: AbstractRetraction,
    rule: str,
    fixed: Scalar,
    steps: Array,
    grad_tol: Scalar,
    length: int,
) -> _State:
    first = _at(immersion, immersion.problem.w0)
    least_sigma = RANK_TOL * least_singular_value(first.frame)

    def low_enough(old: _Place, search: _Search, new: _Place, t: Scalar) -> Flag:
        share = GAIN.get(rule, 0.0)
        hidden = jnp.abs(new.loss - search.level) <= 8 * jnp.finfo(new.loss.dtype).eps * jnp.abs(search.level)
        by_slope = old.gradient @ lower_index(immersion.form, new.gradient) >= (2 * share - 1) * old.size**2
        return jnp.where(hidden, by_slope, new.loss <= search.level - share * t * old.size**2)

    def trials(old: _Place, search: _Search):
        """Halve the trial until the loss is low enough: the step, whether it is, the place there, how many were tried."""

        def again(found):
            _, low, _, tried = found
            return ~low & (tried < MAX_TRIALS)

        def shorter(found):
            t, _, _, tried = found
            t = jnp.where(tried == 0, t, 0.5 * t)
            new = _at(immersion, retraction(immersion, old.frame, -t * old.gradient))
            low = jnp.array(True) if rule == "fixed" else low_enough(old, search, new, t)
            return t, low, new, tried + 1

        return jax.lax.while_loop(again, shorter, (search.trial, jnp.array(False), old, jnp.zeros((), int)))

    def body(state: _State) -> _State:
        t, low, new, tried = trials(state.place, state.search)
        fate = jnp.where(least_singular_value(new.frame) < least_sigma, 4, 0)
        fate = jnp.where(jnp.isfinite(new.loss) & jnp.isfinite(new.size), fate, 3)
        fate = jnp.where(jnp.all(jnp.isfinite(new.frame.w)), fate, 2)
        fate = jnp.where(low, fate, 1)
        arrived = (fate == 0) | (fate == 4)
        count = state.count + arrived
        saved = {
            name: state.saved[name].at[count].set(jnp.where(arrived, value, state.saved[name][count]))
            for name, value in new.record().items()
        }
        step_sizes = state.step_sizes.at[state.count].set(t)
        search = _next(immersion, rule, state.place, new, state.search, t, count)
        return _State(new, search, count, state.evaluations + tried, fate, saved, step_sizes)

    def unfinished(state: _State) -> Flag:
        return (state.place.size > grad_tol * first.size) & (state.count < steps) & (state.fate == 0)

    saved = {
        name: jnp.zeros((length, *value.shape), value.dtype).at[0].set(value) for name, value in first.record().items()
    }
    search = _Search(fixed if rule == "fixed" else _flat_step(immersion, first), first.loss, jnp.ones_like(first.loss))
    zero = jnp.zeros((), int)
    start = _State(first, search, zero, zero, zero, saved, jnp.zeros(length, first.loss.dtype))
    return jax.lax.while_loop(unfinished, body, start)


def _next(
    immersion: Immersion, rule: str, old: _Place, new: _Place, search: _Search, t: Scalar, count: Count
) -> _Search:
    if rule != "barzilai_borwein":
        return _Search(search.trial if rule == "fixed" else 2 * t, new.loss, search.weight)
    carried = new.frame.tangent_part(old.gradient)
    trial = _secant_step(immersion.form, -t * carried, new.gradient - carried, _flat_step(immersion, new), count)
    weight = MEMORY * search.weight + 1
    return _Search(trial, (MEMORY * search.weight * search.level + new.loss) / weight, weight)


def _flat_step(immersion: Immersion, place: _Place) -> Scalar:
    """`|u|^2 / Hess g[u, u]`: the exact step along the gradient if `M` were flat."""
    curvature = jnp.sum(immersion.loss_hessian(place.point) * place.gradient**2)
    return jnp.where(curvature > 0, place.size**2 / curvature, 1.0)


def _secant_step(form: Form, s: Ambient, y: Ambient, flat: Scalar, count: Count) -> Scalar:
    """Barzilai and Borwein's two steps in turn, kept within a factor of the flat one."""

    def inner(a, b):
        return a @ lower_index(form, b)

    sy = inner(s, y)
    step = jnp.where(count % 2 == 0, inner(s, s) / sy, sy / inner(y, y))
    return jnp.where(sy > 0, jnp.clip(step, flat / SAFEGUARD, flat * SAFEGUARD), flat)
