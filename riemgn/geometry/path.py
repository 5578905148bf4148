"""ManifoldPath: points along a flow or a descent on the output manifold, and how it ended."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ..result import RESULTS
from .immersion import Immersion, TangentFrame
from .output_manifold import GeometryError, OutputManifold
from .retraction import AbstractRetraction, RETRACTIONS

# The names are those of `RESULTS` where the ending is one that solve() knows too; the sentences say what is particular to a path.
ENDINGS = {
    "successful": "The path arrived.",
    "gradient_tolerance_met": "The Riemannian gradient fell to `grad_tol` times its value at the start, as asked.",
    "step_limit": "All steps were used. Allow more, or loosen the tolerance that was asked for.",
    "line_search_failed": (
        "No step along the gradient lowered the loss: rounding hides what is left to gain, or the retraction does not arrive. "
        "Loosen `grad_tol`, or choose another retraction."
    ),
    "retraction_failed": "A step did not arrive on the manifold: the retraction left the chart. Take smaller steps, or damp.",
    "rank_lost": str(RESULTS[RESULTS.rank_lost]),
    "step_collapsed": str(RESULTS[RESULTS.step_collapsed]),
    "non_finite": str(RESULTS[RESULTS.non_finite]),
}
RANK_TOL = 1e-5  # as in solve(): a path ends where sigma_min falls below this share of its starting value
LEAST_LENGTH = 64  # runs of up to so many steps share one compilation; longer ones are filled up to a power of two
# Endings that are no trouble: they pass where `throw=True`.
GOOD_ENDINGS = ("successful", "gradient_tolerance_met")


class ManifoldPath(eqx.Module):
    """Points `psi_i` of `M` at increasing times, each with parameters that name it.

    - `manifold`: the `OutputManifold` they lie on.
    - `ts`: times (t,), in the flow's own time; for a descent the sum of the step sizes so far.
    - `params`: flat parameters (t, p).
    - `points`: ambient points (t, m): `F(params)`, or the state of an ambient flow, which leaves `M` by the integrator's error.
    - `losses`: `g(psi)` (t,); `grad_norms`: `|grad_M g|` (t,), in the norm of `M`.
    - `result`: a key of `ENDINGS`; `message` is its sentence.
    - `step_sizes`: (t - 1,), for methods that choose them; else None.
    - `drift`: `|psi - F(w)|` (t,) of the parameters `w` carried beside an ambient flow, `distance`: `|psi - F(params)|` (t,) from `M`; else None.
    - `stats`: method, retraction, number of steps and the like.
    - `tight`: the same path at a hundredth of the tolerances, where it was asked for; else None.
    """

    manifold: OutputManifold
    ts: Float[Array, " t"]
    params: Float[Array, "t p"]
    points: Float[Array, "t m"]
    losses: Float[Array, " t"]
    grad_norms: Float[Array, " t"]
    result: str = eqx.field(static=True)
    step_sizes: Float[Array, " s"] | None = None
    drift: Float[Array, " t"] | None = None
    distance: Float[Array, " t"] | None = None
    stats: dict[str, Any] = eqx.field(default_factory=dict)
    tight: "ManifoldPath | None" = None

    @property
    def message(self) -> str:
        """The sentence that says why the path ended, cause first and cure second."""
        return ENDINGS[self.result]

    @property
    def outputs(self) -> Float[Array, "t n"]:
        """The points' first n components, the outputs of the model."""
        return self.points[:, : self.manifold.problem.n]

    @property
    def succeeded(self) -> bool:
        """Whether the path ended where it was asked to."""
        return self.result in GOOD_ENDINGS

    def __str__(self) -> str:
        return (
            f"{self.stats['method']} on an output manifold of dimension {self.manifold.dim}: loss {float(self.losses[0]):.6g} -> "
            f"{float(self.losses[-1]):.6g} at t = {float(self.ts[-1]):.6g} in {self.stats['num_steps']} steps; {self.result}"
        )


class PathError(GeometryError):
    """A path that ended in trouble. `path` holds everything up to that point."""

    path: ManifoldPath

    def __init__(self, path: ManifoldPath):
        self.path = path

    def __str__(self) -> str:
        return f"{self.path.message} (stopped at t = {float(self.path.ts[-1]):.6g}; pass throw=False to get the path)"


def finished(path: ManifoldPath, throw: bool, expected: tuple[str, ...] = GOOD_ENDINGS) -> ManifoldPath:
    """The path, or `PathError` if it ended otherwise than expected and `throw`."""
    if throw and path.result not in expected:
        raise PathError(path)
    return path


def gradient_at(
    immersion: Immersion, frame: TangentFrame, point: Float[Array, " m"]
) -> tuple[Float[Array, " m"], Scalar]:
    """`grad_M g` with the loss taken at an ambient point, and its norm `sqrt(dg(grad_M g))`."""
    differential = immersion.loss_gradient(point)
    gradient = frame.gradient(differential)
    return gradient, jnp.sqrt(jnp.maximum(differential @ gradient, 0.0))


def least_singular_value(frame: TangentFrame) -> Scalar:
    """The smallest singular value kept in the frame's core."""
    return jnp.linalg.svd(frame.core, compute_uv=False)[-1]


def checked_manifold(manifold: Any) -> OutputManifold:
    """The manifold, if it is one."""
    if not isinstance(manifold, OutputManifold):
        raise ValueError(f"`manifold` must be an OutputManifold, got {type(manifold).__name__}.")
    return manifold


def checked_retraction(retraction: Any) -> AbstractRetraction:
    """A retraction, or the one of that name."""
    if isinstance(retraction, AbstractRetraction):
        return retraction
    if not isinstance(retraction, str) or retraction not in RETRACTIONS:
        raise ValueError(
            f"`retraction` must be one of {', '.join(RETRACTIONS)} or a retraction of your own, got {retraction!r}."
        )
    return RETRACTIONS[retraction]()


def checked_steps(steps: Any) -> int:
    """A positive whole number of steps."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"`steps` must be a positive integer, got {steps!r}.")
    return steps


def room(steps: int) -> int:
    """How many points a compiled run of `steps` steps has room for."""
    return max(LEAST_LENGTH, 1 << (steps - 1).bit_length()) + 1
