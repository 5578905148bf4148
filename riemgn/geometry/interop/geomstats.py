"""Output manifolds and parameter spaces as spaces of geomstats, which the first call imports."""

from typing import Any

import jax.numpy as jnp

from ...flow import GGNScoreFlow
from ...problem import check_problem, Problem
from ..output_manifold import checked_manifold, OutputManifold


def to_geomstats(manifold: OutputManifold, chart: bool = False, *, radius: float = 0.5) -> Any:
    """Convert an output manifold to a geomstats space, for its statistics and learning tools.

    There are two linked spaces. In the *image*, points are in R^m with the induced metric. In its
    `.chart`, points are parameters with the pullback metric, and `.image` leads back. Both take
    NumPy arrays. Projections, inner products, `norm`, `exp`, `log`, `dist`, parallel transport and
    curvature also take JAX arrays and tracers.

    The image finds the parameters of every point by Newton's method from the problem's start.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `chart`: whether to return the chart. Use the image for statistics: a principal component
        analysis of coordinates depends on the coordinates.
    - `radius`: random points have parameters in the ball of this radius about the start.

    Returns: a geomstats `Manifold`, or an `ImmersedSet`, equipped with its metric.

    Raises: `ValueError` for another type, a radius that is not positive, float32, or geomstats'
    pytorch backend.

    >>> import riemgn as rg
    >>> rg.enable_x64()
    >>> space = rg.to_geomstats(rg.OutputManifold(rg.task.sphere()))
    >>> space.dim, space.shape, space.chart.shape
    (2, (3,), (2,))

    Reference: Miolane et al., Geomstats, JMLR 21 (2020) 223.
    """
    checked_manifold(manifold)
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be positive and finite, got {radius}.")
    _check_float64(manifold.problem)
    from .chart import ParameterChart
    from .image import ImageSpace

    image, coordinates = ImageSpace(manifold, radius), ParameterChart(manifold, radius)
    image.chart, coordinates.image = coordinates, image
    return coordinates if chart else image


def score_space(problem: Problem, flow: GGNScoreFlow) -> Any:
    """Return the parameters as a geomstats space R^p with the metric of the GGN-SCORE flow.

        G(w) = c D + J^T Q J

    The flow is the gradient flow of its objective in this metric. `G` is positive definite wherever
    the penalty is strictly convex, so it needs no rank.

    Arguments:

    - `problem`, `flow`: a `Problem` and a `GGNScoreFlow`. `space.metric.riemannian_gradient(w)` is
        `-w'`.

    Returns: a geomstats `Euclidean` space of dimension p, equipped with the metric.

    Raises: `ValueError` for another flow, float32, or geomstats' pytorch backend.

    >>> import numpy as np, riemgn as rg
    >>> rg.enable_x64()
    >>> problem, flow = rg.task.circle(), rg.GGNScoreFlow(rg.PseudoHuberPenalty(), weight=1e-2)
    >>> space = rg.geometry.score_space(problem, flow)
    >>> w = np.asarray(problem.w0)
    >>> gradient = space.metric.riemannian_gradient(w)
    >>> bool(np.allclose(gradient, -flow.velocity(0.0, w, problem, 1)[0]))
    True
    """
    check_problem(problem)
    if not isinstance(flow, GGNScoreFlow):
        raise ValueError(f"`flow` must be a GGNScoreFlow, got {type(flow).__name__}.")
    _check_float64(problem)
    from .score import space_with_metric

    return space_with_metric(problem, flow)


def _check_float64(problem: Problem) -> None:
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("JAX is set to float32, but geomstats needs float64: call riemgn.enable_x64() first.")
    if problem.w0.dtype != "float64":
        raise ValueError(
            f"The problem has {problem.w0.dtype} parameters, but geomstats needs float64: make it after "
            "riemgn.enable_x64()."
        )
