"""to_geomstats, to_pymanopt: an output manifold becomes a citizen of geomstats or of pymanopt; score_space: so do the parameters of geomstats.

Each package is imported by the first call.
"""

from typing import Any

import jax.numpy as jnp

from ...flow import GGNScoreFlow
from ...problem import Problem
from ..output_manifold import checked_manifold, OutputManifold
from ..retraction import AbstractRetraction, checked_retraction


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
    checked_manifold(manifold)
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be positive and finite, got {radius}.")
    _check_double(manifold.problem)
    from .chart import ParameterChart
    from .image import ImageSpace

    image, coordinates = ImageSpace(manifold, radius), ParameterChart(manifold, radius)
    image.chart, coordinates.image = coordinates, image
    return coordinates if chart else image


def to_pymanopt(
    manifold: OutputManifold, *, retraction: str | AbstractRetraction = "corrected", radius: float = 0.5
) -> Any:
    """Minimising the loss `g` on an output manifold as a `pymanopt.Problem`, for the optimisers of pymanopt (`pip install "riemgn[pymanopt]"`).

    The problem brings cost, Riemannian gradient `P grad g` and Riemannian Hessian; its `.manifold` takes another cost of yours as well. A point is
    its parameters, flat (p,), a tangent vector is ambient (m,), both numpy arrays; each call crosses from numpy to a compiled function and back. A
    retraction that does not arrive gives a point of NaN, whose cost is infinite: line searches shorten their step, trust regions shrink.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `retraction`: "chart", "corrected", "projection", "exponential" or a retraction of your own; of second order for trust regions.
    - `radius`: random points have parameters in the ball of this radius about the starting point. An optimiser that is given no `initial_point`
        draws one: name `problem.w0` to start where the problem does.

    Returns: a `pymanopt.Problem`.

    Raises: `ValueError` for another type, an unknown retraction, a radius that is not positive, or where pymanopt is not installed.

    >>> import numpy as np, pymanopt, riemgn as rg
    >>> rg.enable_x64()
    >>> circle = rg.OutputManifold(rg.task.circle(radius=2.0, target=1.0))
    >>> found = pymanopt.optimizers.TrustRegions(verbosity=0).run(rg.to_pymanopt(circle), initial_point=np.asarray(circle.problem.w0))
    >>> round(found.cost, 9)
    0.5

    Reference: Townsend, Koep, Weichwald, Pymanopt, JMLR 17 (2016) 137.
    """
    checked_manifold(manifold)
    move = checked_retraction(retraction)
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be positive and finite, got {radius}.")
    try:
        from .pymanopt import problem_of
    except ModuleNotFoundError as missing:
        if missing.name != "pymanopt":
            raise
        raise ValueError(
            "to_pymanopt needs pymanopt, which is not installed; install it with `pip install pymanopt`."
        ) from None
    return problem_of(manifold, move, radius)


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
    from .score import space_with_metric

    return space_with_metric(problem, flow)


def _check_double(problem: Problem) -> None:
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "geomstats computes in float64, but JAX is set to float32: call riemgn.enable_x64() first, before any array is made."
        )
    if problem.w0.dtype != "float64":
        raise ValueError(
            f"geomstats computes in float64, but the problem was made in {problem.w0.dtype}: make it after riemgn.enable_x64()."
        )
