"""Flows on geomstats' own embedded manifolds: charts of the sphere, hyperboloid, Stiefel and SPD manifolds, as targets or as constraints."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._types import Params, Weights
from ..loss import AbstractLoss
from ..model import AbstractModel, FunctionModel
from ..problem import Problem

ON_MANIFOLD = 1e-8


class AbstractEmbeddedChart(AbstractModel):
    """A smooth, injective parametrisation `v -> psi(v)` of a manifold N in its embedding space, with `psi(0)` the base point.

    As a model it ignores its inputs: `chart(v, x) = psi(v)`, so that the outputs of a problem with it lie on N.

    - `base`: the base point, of the shape of a point; an array, so that another base point compiles nothing anew.
    - `dim`: dimension of N, the number of parameters.
    - `ambient`: diagonal of the ambient form that induces N's metric, for `OutputManifold(problem, ambient=...)`; None is Euclidean.
    """

    base: eqx.AbstractVar[Array]
    dim: eqx.AbstractVar[int]
    ambient: eqx.AbstractVar[Array | None]

    @abc.abstractmethod
    def point(self, v: Weights) -> Array:
        """`psi(v)`, of the shape of the base point."""

    @abc.abstractmethod
    def coordinates(self, point: Array) -> Weights:
        """`v` (dim,) with `psi(v) = point`, for a point of N within the chart."""

    def __call__(self, params: Params, x: Array) -> Array:
        return self.point(params)


class CayleyChart(AbstractEmbeddedChart):
    """Cayley chart of the orthonormal frames St(n, p) around a frame X; for one column, the sphere's stereographic chart from the antipode of X.

    `psi(Omega, K) = (2 X + X' K) S^-1 - X`,  `S = I - Omega / 2 + K^T K / 4`,  with Omega skew (p, p), K any (n - p, p), and X' (n, n - p) an
    orthonormal basis of the complement of X. S is never singular. The chart leaves out the frames Y where `X^T Y + I` is singular, for the sphere
    the antipode alone, and for p = n those of the other determinant.

    The induced metric is the Euclidean (Frobenius) one: the round metric of the sphere, but not the canonical metric of geomstats' Stiefel.
    At X the chart is an isometry.

    Reference: derived; it is `(I - B / 2)^-1 (I + B / 2)` on X for the skew `B = [[Omega, -K^T], [K, 0]]`, Wen and Yin, Math. Program. 142 (2013).
    """

    base: Float[Array, "n *p"]
    complement: Float[Array, "n q"]
    dim: int = eqx.field(static=True)
    ambient: None
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, base: ArrayLike):
        self.base = jnp.asarray(base, dtype=float)
        n, p = self._frame.shape
        self.complement = jnp.asarray(np.linalg.qr(np.asarray(self._frame), mode="complete")[0][:, p:])
        self.dim = n * p - p * (p + 1) // 2
        self.ambient = None
        self.rowwise = False
        self.smooth = True

    @property
    def _frame(self) -> Float[Array, "n p"]:
        return self.base.reshape(self.base.shape[0], -1)

    def point(self, v: Weights) -> Array:
        p = self._frame.shape[1]
        above = np.triu_indices(p, 1)
        count = above[0].size
        upper = jnp.zeros((p, p), v.dtype).at[above].set(v[:count] / 2**0.5)
        k = v[count:].reshape(-1, p)
        s = jnp.eye(p, dtype=v.dtype) - (upper - upper.T) / 2 + k.T @ k / 4
        frame = jnp.linalg.solve(s.T, (2 * self._frame + self.complement @ k).T).T - self._frame
        return frame.reshape(self.base.shape)

    def coordinates(self, point: Array) -> Weights:
        frame = point.reshape(self._frame.shape)
        p = frame.shape[1]
        s = 2 * jnp.linalg.inv(self._frame.T @ frame + jnp.eye(p, dtype=frame.dtype))
        return jnp.concatenate([2**0.5 * (s.T - s)[np.triu_indices(p, 1)], (self.complement.T @ frame @ s).reshape(-1)])


class HyperboloidChart(AbstractEmbeddedChart):
    """The hyperboloid `-x_0^2 + |x|^2 = -1`, `x_0 > 0`, as a graph over its spatial coordinates: `psi(v) = (sqrt(1 + |x|^2), x)`, `x = v + x_base`.

    The whole of it. `ambient` is the Minkowski form diag(-1, 1, ..., 1), which induces the hyperbolic metric of curvature -1; the Gauss-Newton flow
    itself minimises over the same points in the Euclidean metric.
    """

    base: Float[Array, " n+1"]
    dim: int = eqx.field(static=True)
    ambient: Float[Array, " n+1"]
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, base: ArrayLike):
        self.base = jnp.asarray(base, dtype=float)
        self.dim = self.base.size - 1
        self.ambient = jnp.ones_like(self.base).at[0].set(-1.0)
        self.rowwise = False
        self.smooth = True

    def point(self, v: Weights) -> Array:
        space = self.base[1:] + v
        return jnp.concatenate([jnp.sqrt(1 + space @ space)[None], space])

    def coordinates(self, point: Array) -> Weights:
        return point[1:] - self.base[1:]


class CholeskyChart(AbstractEmbeddedChart):
    """Symmetric positive definite matrices by a Cholesky factor relative to that of the base point: `psi(v) = L L^T`, `L = L_0 V`.

    V is lower triangular with the exponentials of the first n parameters on the diagonal and the others below it; the chart reaches all of SPD(n).
    The induced metric is the Euclidean (Frobenius) one, geomstats' `SPDEuclideanMetric`, flat and not complete; it is not the affine-invariant metric
    that geomstats' SPDMatrices comes with.
    """

    base: Float[Array, "n n"]
    factor: Float[Array, "n n"]
    dim: int = eqx.field(static=True)
    ambient: None
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, base: ArrayLike):
        self.base = jnp.asarray(base, dtype=float)
        self.factor = jnp.linalg.cholesky(self.base)
        n = self.base.shape[0]
        self.dim = n * (n + 1) // 2
        self.ambient = None
        self.rowwise = False
        self.smooth = True

    def point(self, v: Weights) -> Array:
        n = self.base.shape[0]
        relative = jnp.diag(jnp.exp(v[:n])).at[np.tril_indices(n, -1)].set(v[n:])
        factor = self.factor @ relative
        return factor @ factor.T

    def coordinates(self, point: Array) -> Weights:
        n = self.base.shape[0]
        relative = jsl.solve_triangular(self.factor, jnp.linalg.cholesky(point), lower=True)
        return jnp.concatenate([jnp.log(jnp.diag(relative)), relative[np.tril_indices(n, -1)]])


class Constrained(AbstractModel):
    """A model whose parameters are a point of a manifold: `f(v) = model(psi(v), x)`.

    The Gauss-Newton flow in `v` moves the outputs, and the point, independently of the chart (theory.md C3) as long as `f` is immersed.

    Arguments:

    - `chart`: an embedded chart, see `from_geomstats`.
    - `model`: an `AbstractModel` or a function `model(point, x) -> outputs`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> from riemgn.geometry.charts import CayleyChart, Constrained
    >>> Constrained(CayleyChart(jnp.array([0.0, 1.0])), rg.LinearModel())(jnp.zeros(1), jnp.eye(2)).tolist()
    [0.0, 1.0]
    """

    chart: AbstractEmbeddedChart
    model: AbstractModel
    rowwise: bool = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, chart: AbstractEmbeddedChart, model: AbstractModel | Callable):
        self.chart = chart
        self.model = model if isinstance(model, AbstractModel) else FunctionModel(function=model)
        self.rowwise = self.model.rowwise
        self.smooth = self.model.smooth

    def __call__(self, params: Params, x: Array) -> Array:
        return self.model(self.chart.point(params), x)


def from_geomstats(space: Any, base_point: ArrayLike | None = None) -> AbstractEmbeddedChart:
    """The chart of a geomstats manifold around a point of it.

    Arguments:

    - `space`: a geomstats `Hypersphere`, `Hyperboloid`, `Stiefel` or `SPDMatrices`, whatever metric it is equipped with.
    - `base_point`: a point of it, `psi(0)`; by default the first axis, the first axis, the first p axes, the identity.

    Returns: `CayleyChart` (Hypersphere, Stiefel), `HyperboloidChart` or `CholeskyChart`.

    Raises: `ValueError` for another space, and for a base point of another shape or off the manifold, saying by how much.

    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> from_geomstats(load("geomstats.geometry.stiefel").Stiefel(4, 2)).dim
    5

    Reference: derived, theory.md sections 2 and 4; geomstats.md section 2.
    """
    names = [cls.__name__ for cls in type(space).__mro__ if cls.__module__.startswith("geomstats.geometry.")]
    kind = next((name for name in names if name in _KINDS), None)
    if kind is None:
        raise ValueError(
            f"There is a chart for geomstats' {', '.join(_KINDS)}, not for {type(space).__name__}: write its parametrisation as a function "
            "model(params, x) and give that to Problem."
        )
    chart, default, complain = _KINDS[kind]
    start = default(space)
    if base_point is None:
        return chart(start)
    point = np.asarray(base_point, dtype=float)
    if point.shape != start.shape or not np.isfinite(point).all():
        raise ValueError(
            f"`base_point` must be a finite point of {kind}, of shape {start.shape}, got shape {point.shape}."
        )
    if complaint := complain(point):
        raise ValueError(f"`base_point` must lie on {kind}: {complaint}.")
    return chart(point)


def embedded_problem(
    space: Any,
    target: ArrayLike,
    function: AbstractModel | Callable | None = None,
    x: ArrayLike | None = None,
    *,
    base_point: ArrayLike | None = None,
    loss: AbstractLoss | None = None,
) -> Problem:
    """The problem `min g(psi)` over the points psi of a geomstats manifold, or `min g(function(psi, x))`, started at the base point.

    Without a function the outputs are the point itself (the manifold as target), the rows of a matrix in the place of samples; with one, the manifold
    constrains the parameters of that function. `problem.model.point(v)`, or `problem.model.chart.point(v)` with a function, turns parameters into
    points.

    Arguments:

    - `space`: a geomstats `Hypersphere`, `Hyperboloid`, `Stiefel` or `SPDMatrices`.
    - `target`: `y`, of the shape of a point, or of the function's outputs.
    - `function`: an `AbstractModel` or `function(point, x) -> outputs`.
    - `x`: inputs of the function, leading axis = samples; by default zeros, one row per row of the target.
    - `base_point`: where the flow starts. A start at a critical point, such as the antipode of the target on a sphere, is never left.
    - `loss`: an `AbstractLoss`, by default `SquaredLoss()`.

    Raises: `ValueError` as `from_geomstats` and `Problem` do.

    >>> import riemgn as rg
    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> problem = embedded_problem(load("geomstats.geometry.hypersphere").Hypersphere(2), [0.0, 0.6, 0.8])
    >>> problem.outputs(rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0).params[-1]).round(4).tolist()
    [0.0, 0.6, 0.8]

    Reference: derived, theory.md sections 2 and 4.
    """
    chart = from_geomstats(space, base_point)
    y = np.asarray(target)
    if function is None and y.shape != chart.base.shape:
        raise ValueError(f"`target` must have the shape of a point, {chart.base.shape}, got {y.shape}.")
    model = chart if function is None else Constrained(chart, function)
    inputs = np.zeros((len(np.atleast_1d(y)), 1)) if x is None else x
    return Problem(model, jnp.zeros(chart.dim), inputs, y, loss)


def _complain_frame(point: np.ndarray) -> str | None:
    frame = point.reshape(len(point), -1)
    off = np.abs(frame.T @ frame - np.eye(frame.shape[1])).max()
    return None if off <= ON_MANIFOLD else f"X^T X differs from the identity by {off:.3g}"


def _complain_hyperboloid(point: np.ndarray) -> str | None:
    off = abs(point[0] - np.sqrt(1 + point[1:] @ point[1:]))
    return None if off <= ON_MANIFOLD else f"x_0 differs from sqrt(1 + |x|^2) by {off:.3g}"


def _complain_spd(point: np.ndarray) -> str | None:
    skew, least = np.abs(point - point.T).max(), np.linalg.eigvalsh(point)[0]
    if skew > ON_MANIFOLD:
        return f"the matrix differs from its transpose by {skew:.3g}"
    return None if least > 0 else f"its least eigenvalue is {least:.3g}"


# geomstats' class name -> (chart, default base point, what is wrong with a base point)
_KINDS: dict[str, tuple[Callable, Callable, Callable]] = {
    "Hypersphere": (CayleyChart, lambda space: np.eye(space.dim + 1)[0], _complain_frame),
    "Hyperboloid": (HyperboloidChart, lambda space: np.eye(space.dim + 1)[0], _complain_hyperboloid),
    "Stiefel": (CayleyChart, lambda space: np.eye(space.n, space.p), _complain_frame),
    "SPDMatrices": (CholeskyChart, lambda space: np.eye(space.n), _complain_spd),
}
