"""to_geomstats: an output manifold becomes a citizen of geomstats, score_space: so do the parameters. geomstats is imported by the first call."""

from typing import Any

import jax.numpy as jnp

from ..flow import GGNScoreFlow
from ..problem import Problem
from .submanifold import OutputManifold


def to_geomstats(manifold: OutputManifold, chart: bool = False, *, radius: float = 0.5) -> Any:
    """An output manifold as a geomstats space, for its statistics, its learning tools and its tests.

    Two spaces are made over one geometry and linked: the *image*, points in R^m with the induced metric, and its `.chart`, points are parameters with
    the pullback metric, whose `.image` leads back. Both take numpy arrays and return numpy arrays, or take JAX arrays and tracers and return JAX.

    geomstats knows points by arrays alone: the image finds the parameters of every point again, from the starting point of the problem.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `chart`: return the chart instead of the image. Statistics belong on the image: a principal component analysis of coordinates depends on them.
    - `radius`: random points have parameters in the ball of this radius about the starting point.

    Returns: a geomstats `Manifold`, or an `ImmersedSet`, equipped with its metric.

    Raises: `ValueError` for another type, a radius that is not positive, float32, or geomstats' pytorch backend.

    >>> import riemgn as rg
    >>> rg.enable_x64()
    >>> space = rg.to_geomstats(rg.OutputManifold(rg.task.sphere()))
    >>> space.dim, space.shape, space.chart.shape
    (2, (3,), (2,))

    Reference: geomstats, Miolane et al., JMLR 21 (2020) 223; theory.md section 2.
    """
    if not isinstance(manifold, OutputManifold):
        raise ValueError(f"`manifold` must be an OutputManifold, got {type(manifold).__name__}.")
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be positive and finite, got {radius}.")
    _check_double(manifold.problem)
    from .geomstats_chart import ParameterChart
    from .geomstats_space import ImageSpace

    image, coordinates = ImageSpace(manifold, radius), ParameterChart(manifold, radius)
    image.chart, coordinates.image = coordinates, image
    return coordinates if chart else image


def score_space(problem: Problem, flow: GGNScoreFlow) -> Any:
    """The parameters as a geomstats space R^p, with the metric `G(w) = c D + J^T Q J` of GGN-SCORE's flow, the gradient flow of its objective.

    Unlike the chart of an output manifold it needs no rank: `G` is positive definite wherever the penalty is strictly convex.

    Arguments:

    - `problem`, `flow`: a `Problem` and a `GGNScoreFlow`; `space.metric.riemannian_gradient(w)` is `-w'`.

    Returns: a geomstats `Euclidean` space of dimension p, equipped with the metric.

    Raises: `ValueError` for another flow, float32, or geomstats' pytorch backend.

    >>> import numpy as np, riemgn as rg
    >>> rg.enable_x64()
    >>> problem, flow = rg.task.circle(), rg.GGNScoreFlow(rg.PseudoHuberPenalty(), weight=1e-2)
    >>> space = rg.geometry.score_space(problem, flow)
    >>> w = np.asarray(problem.w0)
    >>> bool(np.allclose(space.metric.riemannian_gradient(w), -flow.velocity(0.0, w, problem, 1)[0]))
    True

    Reference: derived.
    """
    if not isinstance(problem, Problem):
        raise ValueError(f"`problem` must be a riemgn.Problem, got {type(problem).__name__}.")
    if not isinstance(flow, GGNScoreFlow):
        raise ValueError(f"`flow` must be a GGNScoreFlow, got {type(flow).__name__}.")
    _check_double(problem)
    from .geomstats_score import space_with_metric

    return space_with_metric(problem, flow)


def _check_double(problem: Problem) -> None:
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("geomstats computes in float64, but JAX is set to float32: call riemgn.enable_x64() first, before any array is made.")
    if problem.w0.dtype != "float64":
        raise ValueError(f"geomstats computes in float64, but the problem was made in {problem.w0.dtype}: make it after riemgn.enable_x64().")
