"""Charts of geomstats' spheres, hyperboloids, Stiefel and SPD manifolds."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._types import Params, Weights
from ..loss import AbstractLoss
from ..model import AbstractModel, FunctionModel
from ..problem import Problem

ON_MANIFOLD = 1e-8  # largest violation of its equation for a base point


def _as_floats(value: ArrayLike) -> Array:
    return jnp.asarray(value, dtype=float)


class AbstractEmbeddedChart(AbstractModel):
    """A smooth, injective parametrisation `v -> psi(v)` of a manifold N around the point `psi(0)`.

    As a model it ignores its inputs, so the outputs of a problem with it lie on N.

    - `base`: the base point.
    - `dim`: dimension of N, which is the number of parameters.
    - `ambient`: diagonal of the ambient form that induces the metric of N, for
      `OutputManifold(problem, ambient=...)`. None is Euclidean.
    """

    base: eqx.AbstractVar[Array]
    dim: eqx.AbstractVar[int]

    rowwise: ClassVar[bool] = False
    smooth: ClassVar[bool] = True
    ambient: ClassVar[Array | None] = None

    @abc.abstractmethod
    def point(self, v: Weights) -> Array:
        """`psi(v)`, with the shape of the base point."""

    @abc.abstractmethod
    def coordinates(self, point: Array) -> Weights:
        """The `v` (dim,) with `psi(v) = point`, for a point of N within the chart."""

    def __call__(self, params: Params, x: Array) -> Array:
        return self.point(params)


class CayleyChart(AbstractEmbeddedChart):
    """Cayley chart of the orthonormal frames St(n, p) around a frame X; stereographic for p = 1.

    `psi(Omega, K) = (2 X + X' K) S^-1 - X` with `S = I - Omega / 2 + K^T K / 4`, `Omega` skew (p,
    p), `K` any (n - p, p), and `X'` (n, n - p) an orthonormal basis of the complement of X. S is
    never singular. The chart does not reach the frames Y with `X^T Y + I` singular. For the sphere
    this is the antipode of X, and for p = n the frames with the other determinant.

    The induced metric is the Euclidean (Frobenius) one, which is the round metric of the sphere but
    not geomstats' canonical metric of Stiefel. At X the chart is an isometry.

    Reference: `(I - B / 2)^-1 (I + B / 2) X` for the skew `B = [[Omega, -K^T], [K, 0]]`, as in Wen
    and Yin, Math. Program. 142 (2013).
    """

    base: Float[Array, "n *p"]
    complement: Float[Array, "n q"]

    def __init__(self, base: ArrayLike):
        self.base = _as_floats(base)
        p = self._frame.shape[1]
        self.complement = jnp.asarray(np.linalg.qr(np.asarray(self._frame), mode="complete")[0][:, p:])

    @property
    def dim(self) -> int:
        n, p = self._frame.shape
        return n * p - p * (p + 1) // 2

    @property
    def _frame(self) -> Float[Array, "n p"]:
        return self.base.reshape(self.base.shape[0], -1)

    def point(self, v: Weights) -> Array:
        p = self._frame.shape[1]
        rows, columns = np.triu_indices(p, 1)
        upper = jnp.zeros((p, p), v.dtype).at[rows, columns].set(v[: rows.size] / 2**0.5)
        k = v[rows.size :].reshape(-1, p)
        s = jnp.eye(p, dtype=v.dtype) - (upper - upper.T) / 2 + k.T @ k / 4
        frame = jnp.linalg.solve(s.T, (2 * self._frame + self.complement @ k).T).T - self._frame
        return frame.reshape(self.base.shape)

    def coordinates(self, point: Array) -> Weights:
        frame = point.reshape(self._frame.shape)
        p = frame.shape[1]
        s = 2 * jnp.linalg.inv(self._frame.T @ frame + jnp.eye(p, dtype=frame.dtype))
        return jnp.concatenate([2**0.5 * (s.T - s)[np.triu_indices(p, 1)], (self.complement.T @ frame @ s).reshape(-1)])


class HyperboloidChart(AbstractEmbeddedChart):
    """The hyperboloid `-x_0^2 + |x|^2 = -1`, `x_0 > 0`, as a graph over its spatial coordinates.

    `psi(v) = (sqrt(1 + |x|^2), x)` with `x = v + x_base`. The chart reaches all points. `ambient`
    is the Minkowski form diag(-1, 1, ..., 1), which induces the hyperbolic metric of curvature -1.
    The Gauss-Newton flow itself uses the Euclidean metric.
    """

    base: Float[Array, " n+1"] = eqx.field(converter=_as_floats)

    @property
    def dim(self) -> int:
        return self.base.size - 1

    @property
    def ambient(self) -> Array:
        return jnp.ones_like(self.base).at[0].set(-1.0)

    def point(self, v: Weights) -> Array:
        space = self.base[1:] + v
        return jnp.concatenate([jnp.sqrt(1 + space @ space)[None], space])

    def coordinates(self, point: Array) -> Weights:
        return point[1:] - self.base[1:]


class CholeskyChart(AbstractEmbeddedChart):
    """Symmetric positive definite matrices by a Cholesky factor: `psi(v) = L L^T`, `L = L_0 V`.

    `L_0` is the factor of the base point. V is lower triangular, with the exponentials of the first
    n parameters on the diagonal and the other parameters below it. The chart reaches all of SPD(n).
    The induced metric is the Euclidean one, geomstats' `SPDEuclideanMetric`, which is flat and not
    complete. It is not the affine-invariant metric, the default of geomstats' SPDMatrices.
    """

    base: Float[Array, "n n"]
    factor: Float[Array, "n n"]

    def __init__(self, base: ArrayLike):
        self.base = _as_floats(base)
        self.factor = jnp.linalg.cholesky(self.base)

    @property
    def dim(self) -> int:
        n = self.base.shape[0]
        return n * (n + 1) // 2

    def point(self, v: Weights) -> Array:
        n = self.base.shape[0]
        relative = jnp.diag(jnp.exp(v[:n])).at[np.tril_indices(n, -1)].set(v[n:])
        factor = self.factor @ relative
        return factor @ factor.T

    def coordinates(self, point: Array) -> Weights:
        relative = jsl.solve_triangular(self.factor, jnp.linalg.cholesky(point), lower=True)
        return jnp.concatenate([jnp.log(jnp.diag(relative)), relative[np.tril_indices(self.base.shape[0], -1)]])


class Constrained(AbstractModel):
    """A model whose parameters are a point of a manifold: `f(v) = model(psi(v), x)`.

    If `f` is immersed, the Gauss-Newton flow moves the outputs and the point independently of the
    chart (Statement C3).

    Arguments:

    - `chart`: an embedded chart, see `from_geomstats`.
    - `model`: an `AbstractModel` or a function `model(point, x) -> outputs`.

    >>> import jax.numpy as jnp, riemgn as rg
    >>> from riemgn.geometry.charts import CayleyChart, Constrained
    >>> model = Constrained(CayleyChart(jnp.array([0.0, 1.0])), rg.LinearModel())
    >>> model(jnp.zeros(1), jnp.eye(2)).tolist()
    [0.0, 1.0]
    """

    chart: AbstractEmbeddedChart
    model: AbstractModel

    def __init__(self, chart: AbstractEmbeddedChart, model: AbstractModel | Callable):
        self.chart = chart
        self.model = model if isinstance(model, AbstractModel) else FunctionModel(function=model)

    @property
    def rowwise(self) -> bool:
        return self.model.rowwise

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    def __call__(self, params: Params, x: Array) -> Array:
        return self.model(self.chart.point(params), x)


def from_geomstats(space: Any, base_point: ArrayLike | None = None) -> AbstractEmbeddedChart:
    """Return the chart of a geomstats manifold around one of its points.

    Arguments:

    - `space`: a geomstats `Hypersphere`, `Hyperboloid`, `Stiefel` or `SPDMatrices`, with any
      metric.
    - `base_point`: a point of it, which becomes `psi(0)`. Defaults to the first axis (sphere and
      hyperboloid), the first p axes (Stiefel) or the identity (SPD).

    Returns: a `CayleyChart` (Hypersphere, Stiefel), `HyperboloidChart` or `CholeskyChart`.

    Raises: `ValueError` for another space, and for a base point of another shape or off the
    manifold.

    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> from_geomstats(load("geomstats.geometry.stiefel").Stiefel(4, 2)).dim
    5
    """
    names = [cls.__name__ for cls in type(space).__mro__ if cls.__module__.startswith("geomstats.geometry.")]
    kind = next((name for name in names if name in _KINDS), None)
    if kind is None:
        raise ValueError(
            f"There is a chart for geomstats' {', '.join(_KINDS)}, not for {type(space).__name__}; pass its "
            "parametrisation to Problem as a function model(params, x)."
        )
    chart, default, complaint_about = _KINDS[kind]
    start = default(space)
    if base_point is None:
        return chart(start)
    point = np.asarray(base_point, dtype=float)
    if point.shape != start.shape or not np.isfinite(point).all():
        raise ValueError(f"`base_point` must be a finite point of shape {start.shape}, got shape {point.shape}.")
    if complaint := complaint_about(point):
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
    """Return the problem of minimising a loss over the points of a geomstats manifold.

    The problem is `min g(psi)`, or `min g(function(psi, x))`. Without a function the outputs are
    the point itself, with the rows of a matrix as samples. With a function the manifold constrains
    its parameters. `problem.model.point(v)`, or `problem.model.chart.point(v)` with a function,
    gives the point of the parameters `v`.

    Arguments:

    - `space`: a geomstats `Hypersphere`, `Hyperboloid`, `Stiefel` or `SPDMatrices`.
    - `target`: `y`, with the shape of a point, or of the function's outputs.
    - `function`: an `AbstractModel` or `function(point, x) -> outputs`.
    - `x`: inputs of the function, samples first. Defaults to zeros, one row per row of the target.
    - `base_point`: the start. A flow never leaves a critical point, such as the antipode of the
      target.
    - `loss`: an `AbstractLoss`. Defaults to `SquaredLoss()`.

    Raises: `ValueError` as `from_geomstats` and `Problem` do.

    >>> import riemgn as rg
    >>> from riemgn.geometry.interop.geomstats_import import load
    >>> sphere = load("geomstats.geometry.hypersphere").Hypersphere(2)
    >>> problem = embedded_problem(sphere, [0.0, 0.6, 0.8])
    >>> rg.solve(problem, rg.GaussNewtonFlow(), t1=20.0).outputs[-1].round(4).tolist()
    [0.0, 0.6, 0.8]
    """
    chart = from_geomstats(space, base_point)
    y = np.asarray(target)
    if function is None and y.shape != chart.base.shape:
        raise ValueError(f"`target` must have the shape of a point, {chart.base.shape}, got {y.shape}.")
    model = chart if function is None else Constrained(chart, function)
    inputs = np.zeros((len(np.atleast_1d(y)), 1)) if x is None else x
    return Problem(model, jnp.zeros(chart.dim), inputs, y, loss)


def _frame_complaint(point: np.ndarray) -> str | None:
    frame = point.reshape(len(point), -1)
    off = np.abs(frame.T @ frame - np.eye(frame.shape[1])).max()
    return None if off <= ON_MANIFOLD else f"X^T X differs from the identity by {off:.3g}"


def _hyperboloid_complaint(point: np.ndarray) -> str | None:
    off = abs(point[0] - np.sqrt(1 + point[1:] @ point[1:]))
    return None if off <= ON_MANIFOLD else f"x_0 differs from sqrt(1 + |x|^2) by {off:.3g}"


def _spd_complaint(point: np.ndarray) -> str | None:
    asymmetry, smallest = np.abs(point - point.T).max(), np.linalg.eigvalsh(point)[0]
    if asymmetry > ON_MANIFOLD:
        return f"the matrix differs from its transpose by {asymmetry:.3g}"
    return None if smallest > 0 else f"its smallest eigenvalue is {smallest:.3g}"


# geomstats' class name -> (chart, default base point, complaint about a base point)
_KINDS: dict[str, tuple[Callable, Callable, Callable]] = {
    "Hypersphere": (CayleyChart, lambda space: np.eye(space.dim + 1)[0], _frame_complaint),
    "Hyperboloid": (HyperboloidChart, lambda space: np.eye(space.dim + 1)[0], _hyperboloid_complaint),
    "Stiefel": (CayleyChart, lambda space: np.eye(space.n, space.p), _frame_complaint),
    "SPDMatrices": (CholeskyChart, lambda space: np.eye(space.n), _spd_complaint),
}
