"""Rigorous mode: enclosures by ball arithmetic at the start of small problems."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree

from ..loss import SquaredLoss
from ..model import AbstractModel, Centred, LinearModel, MLP, Reparametrised, Scaled
from ..problem import Problem
from .certificate import Status
from .constants import fitting_lipschitz, output_scale

PRECISIONS = (128, 256, 512, 1024)
MAX_ENTRIES = 1_000_000  # of the Jacobian
Arb = Any  # flint.arb, a real number with an error bound
ArbMatrix = Any  # flint.arb_mat


@dataclass(frozen=True)
class Interval:
    """A proved enclosure `lower <= value <= upper`, with ends rounded outward."""

    lower: float
    upper: float

    @property
    def relative_width(self) -> float:
        """`(upper - lower) / lower`, infinite if the lower end is not positive."""
        return (self.upper - self.lower) / self.lower if self.lower > 0 else math.inf

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper

    def __str__(self) -> str:
        return f"[{self.lower:.12g}, {self.upper:.12g}]"


@dataclass(frozen=True)
class StartEnclosure:
    """Proved facts on a problem at its starting point.

    - `eigenvalue`: `lambda_min` of `K = J J^T` if n <= p, else of `J^T J`.
    - `sigma_min`: its square root, the smallest singular value of `J`.
    - `positive`: `"holds"` if `lambda_min > 0` is proved, else `"undecided"`.
    - `targets`, `residual`: `|y|` and `|f(w0) - y|`.
    - `threshold`: `alpha_0` of `alpha_threshold` with the analytic Lipschitz constant. None for
      another loss, without an analytic bound, or if `positive` is undecided.
    - `threshold_met`: whether `alpha >= alpha_0` holds, fails or is undecided.
    - `bits`: working precision that sufficed.
    """

    eigenvalue: Interval
    sigma_min: Interval
    positive: Status
    targets: Interval
    residual: Interval
    threshold: Interval | None
    threshold_met: Status
    bits: int


def enclose_start(problem: Problem, *, tolerance: float = 1e-9, delta: float = 0.5) -> StartEnclosure:
    """Enclose `lambda_min`, `sigma_min(J)`, `|y|`, `|f - y|` and `alpha_0` at the start.

    Data, parameters and alpha are exact inputs. All operations are enclosed, with 128 bits and
    more. With an approximate eigenvector `v` of the Gram matrix `K`,

        theta = v^T K v / |v|^2 >= lambda_min,     and     K - s I > 0  =>  lambda_min > s

    for `s = theta (1 - tolerance)`. Schur complements prove that the matrix is positive definite.
    The precision is doubled, up to 1024 bits, until they do. The Lipschitz constant of the
    threshold is computed in float64 and enlarged by 1e-9 of itself for its own rounding.

    Arguments:

    - `tolerance`: relative width of the enclosure of `lambda_min`, in (0, 1/2).
    - `delta`: as in `alpha_threshold`.

    Returns: a `StartEnclosure`.

    Raises: `ValueError` without python-flint, for other models than smooth MLP, linear models and
    their wrappers, or for a problem that is too large.

    Reference: Rump, Acta Numerica 19 (2010), section 10. Johansson, IEEE Trans. Comput. 66.
    """
    try:
        flint = importlib.import_module("flint")
    except ModuleNotFoundError:
        raise ValueError("Rigorous mode needs python-flint; install it by `pip install python-flint`.") from None
    if not 0 < tolerance < 0.5:
        raise ValueError(f"`tolerance` must be in (0, 1/2), got {tolerance}.")
    if problem.n * problem.p > MAX_ENTRIES:
        raise ValueError(f"Rigorous mode needs at most {MAX_ENTRIES:,} entries of J, got {problem.n} x {problem.p}.")
    for bits in PRECISIONS:
        with flint.ctx.workprec(bits):
            weights = [flint.arb(float(v)) for v in np.asarray(problem.w0)]
            inputs = _matrix(flint, problem.x.reshape(problem.x.shape[0], -1))
            outputs, jac = _evaluate(flint, problem.model, weights, inputs)
            gram = jac * jac.transpose() if problem.n <= problem.p else jac.transpose() * jac
            ends = _smallest_eigenvalue(flint, gram, tolerance)
            if bits < PRECISIONS[-1] and (ends is None or ends[1] - ends[0] > 2 * tolerance * ends[1]):
                continue
            return _start_enclosure(
                flint, problem, outputs, ends or (flint.arb(0), _rayleigh_bound(flint, gram)), delta
            )
    raise AssertionError("the last precision always returns")


def _start_enclosure(flint: Any, problem: Problem, outputs: list[Arb], ends: tuple[Arb, Arb], delta: float):
    lower, upper = ends
    targets = [flint.arb(float(v)) for v in np.asarray(problem.y)]
    residual = _length(flint, [f - y for f, y in zip(outputs, targets, strict=True)])
    sigma, positive = lower.sqrt().union(upper.sqrt()), bool(lower > 0)
    threshold, met = _threshold(flint, problem, sigma, residual, delta) if positive else (None, Status.UNDECIDED)
    return StartEnclosure(
        eigenvalue=_interval(lower.union(upper)),
        sigma_min=_interval(sigma),
        positive=Status.HOLDS if positive else Status.UNDECIDED,
        targets=_interval(_length(flint, targets)),
        residual=_interval(residual),
        threshold=threshold,
        threshold_met=met,
        bits=flint.ctx.prec,
    )


def _interval(number: Arb) -> Interval:
    """The ends of a non-negative number as floats, rounded outward."""
    lower, upper = float(number.lower()), float(number.upper())
    return Interval(max(math.nextafter(lower, -math.inf), 0.0), math.nextafter(upper, math.inf))


def _matrix(flint: Any, array: Any) -> ArbMatrix:
    return flint.arb_mat([[flint.arb(float(v)) for v in row] for row in np.asarray(array)])


def _length(flint: Any, entries: list[Arb]) -> Arb:
    row = flint.arb_mat([entries])
    return (row * row.transpose())[0, 0].sqrt()


def _threshold(flint: Any, problem: Problem, sigma: Arb, residual: Arb, delta: float) -> tuple[Interval | None, Status]:
    """`alpha_0` of the squared loss: `4 L |f0 - y| / (delta sigma^2)`, `delta = 1` if p > n."""
    if not isinstance(problem.loss, SquaredLoss):
        return None, Status.UNDECIDED
    try:
        lipschitz = fitting_lipschitz(problem, float(sigma.upper()) * (1 + 1e-9)).value * (1 + 1e-9)
    except ValueError:
        return None, Status.UNDECIDED
    share = flint.arb(delta) if problem.p <= problem.n else flint.arb(1)
    ratio = 4 * flint.arb(lipschitz) * residual / (share * sigma * sigma)
    met = Status.HOLDS if ratio <= 1 else Status.FAILS if ratio > 1 else Status.UNDECIDED
    return _interval(ratio * flint.arb(output_scale(problem.model))), met


def _smallest_eigenvalue(flint: Any, gram: ArbMatrix, tolerance: float) -> tuple[Arb, Arb] | None:
    """Bounds of the smallest eigenvalue, or None if a positive lower bound is not proved."""
    theta = _rayleigh_bound(flint, gram)
    if not theta > 0:
        return None
    size = gram.nrows()
    for slack in (tolerance, 1e-6, 1e-3, 0.5):
        shift = (theta * (1 - flint.arb(slack))).mid()
        diagonal = flint.arb_mat([[shift if i == j else 0 for j in range(size)] for i in range(size)])
        if shift > 0 and _positive_definite(flint, gram - diagonal):
            return shift, theta.upper()
    return None


def _rayleigh_bound(flint: Any, gram: ArbMatrix) -> Arb:
    """An upper bound of the smallest eigenvalue, from a refined Rayleigh quotient."""
    middle = gram.mid()
    floats = np.array([[float(v) for v in row] for row in middle.tolist()])
    vector = _matrix(flint, np.linalg.eigh(floats)[1][:, :1])
    try:
        inverse = middle.inv().mid()
    except ZeroDivisionError:
        inverse = None  # singular to working precision; any vector gives a bound
    last = math.inf
    for _ in range(200 if inverse is not None else 0):
        vector = (inverse * vector).mid()
        vector = (vector * (1 / _length(flint, vector.entries()))).mid()
        now = float((vector.transpose() * inverse * vector)[0, 0])
        if abs(now - last) <= 1e-14 * abs(now):
            break
        last = now
    return ((vector.transpose() * gram * vector)[0, 0] / (vector.transpose() * vector)[0, 0]).upper()


def _positive_definite(flint: Any, matrix: ArbMatrix) -> bool:
    """Prove that the matrix is positive definite: `A11 > 0` and `A22 - A21 A11^-1 A21^T > 0`."""
    size = matrix.nrows()
    if size == 1:
        return bool(matrix[0, 0] > 0)
    rows, half = matrix.tolist(), size // 2
    first = flint.arb_mat([row[:half] for row in rows[:half]])
    if not _positive_definite(flint, first):
        return False
    below = flint.arb_mat([row[:half] for row in rows[half:]])
    try:
        complement = flint.arb_mat([row[half:] for row in rows[half:]]) - below * first.solve(below.transpose())
    except ZeroDivisionError:
        return False
    return _positive_definite(flint, complement)


def _evaluate(flint: Any, model: AbstractModel, weights: list[Arb], x: ArbMatrix) -> tuple[list[Arb], ArbMatrix]:
    """Outputs (n,) and Jacobian (n, p) at flat parameters, in the order of `problem.w0`."""
    match model:
        case Scaled():
            outputs, jac = _evaluate(flint, model.model, weights, x)
            alpha = flint.arb(float(model.alpha))
            return [alpha * f for f in outputs], jac * alpha
        case Centred():
            outputs, jac = _evaluate(flint, model.model, weights, x)
            origin = [flint.arb(float(v)) for v in np.asarray(ravel_pytree(model.origin)[0])]
            start = _evaluate(flint, model.model, origin, x)[0]
            return [f - f0 for f, f0 in zip(outputs, start, strict=True)], jac
        case Reparametrised():
            matrix = _matrix(flint, model.matrix)
            moved = (matrix * flint.arb_mat([[v] for v in weights])).entries()
            origin = np.asarray(ravel_pytree(model.origin)[0])
            outputs, jac = _evaluate(
                flint, model.model, [flint.arb(float(o)) + v for o, v in zip(origin, moved, strict=True)], x
            )
            return outputs, jac * matrix
        case LinearModel():
            return _linear(flint, weights, x)
        case MLP() if model.activation in _ACTIVATIONS:
            return _network(flint, model, weights, x)
    models = f"MLP ({', '.join(_ACTIVATIONS)}), LinearModel and their wrappers"
    name = f"MLP with {model.activation}" if isinstance(model, MLP) else type(model).__name__
    raise ValueError(f"Rigorous mode supports {models}, got {name}.")


def _linear(flint: Any, weights: list[Arb], x: ArbMatrix) -> tuple[list[Arb], ArbMatrix]:
    features, outputs = x.ncols(), len(weights) // x.ncols()
    table = flint.arb_mat([weights[i * outputs : (i + 1) * outputs] for i in range(features)])
    rows = []
    for sample in x.tolist():
        for k in range(outputs):
            row = [flint.arb(0)] * len(weights)
            row[k::outputs] = sample
            rows.append(row)
    return (x * table).entries(), flint.arb_mat(rows)


def _network(flint: Any, model: MLP, weights: list[Arb], x: ArbMatrix) -> tuple[list[Arb], ArbMatrix]:
    """Forward through the layers, then backward once for each output."""
    samples, outs = x.nrows(), model.sizes[-1]
    layers, slopes = [], []
    h, used = x, 0
    for depth, (fan_in, fan_out) in enumerate(zip(model.sizes[:-1], model.sizes[1:], strict=True)):
        scale = 1 / flint.arb(fan_in).sqrt() if model.scaled[depth] else flint.arb(1)
        bias = weights[used : used + fan_out] if model.bias else [flint.arb(0)] * fan_out
        used += fan_out if model.bias else 0
        weight = flint.arb_mat(fan_out, fan_in, weights[used : used + fan_out * fan_in]) * scale
        used += fan_out * fan_in
        layers.append((scale, weight, h.tolist()))
        rows = (h * weight.transpose()).tolist()
        rows = [[a + b for a, b in zip(row, bias, strict=True)] for row in rows]
        if depth < len(model.sizes) - 2:
            pairs = [[_ACTIVATIONS[model.activation](flint, a) for a in row] for row in rows]
            rows = [[value for value, _ in row] for row in pairs]
            slopes.append([[slope for _, slope in row] for row in pairs])
        h = flint.arb_mat(rows)
    jac: list[list[Arb]] = [[] for _ in range(samples * outs)]
    for k in range(outs):
        delta = flint.arb_mat([[1 if j == k else 0 for j in range(outs)] for _ in range(samples)])
        for depth in reversed(range(len(layers))):
            scale, weight, below = layers[depth]
            for i, row in enumerate(delta.tolist()):
                by_weight = [scale * d * value for d in row for value in below[i]]
                jac[i * outs + k] = (row if model.bias else []) + by_weight + jac[i * outs + k]
            if depth:
                rows = zip((delta * weight).tolist(), slopes[depth - 1], strict=True)
                delta = flint.arb_mat([[a * s for a, s in zip(row, slope, strict=True)] for row, slope in rows])
    return h.entries(), flint.arb_mat(jac)


def _tanh(flint: Any, z: Arb) -> tuple[Arb, Arb]:
    value = z.tanh()
    return value, 1 - value * value


def _silu(flint: Any, z: Arb) -> tuple[Arb, Arb]:
    share = 1 / (1 + (-z).exp())
    return z * share, share * (1 + z * (1 - share))


def _gelu(flint: Any, z: Arb) -> tuple[Arb, Arb]:
    share = (1 + (z / flint.arb(2).sqrt()).erf()) / 2
    return z * share, share + z * (-z * z / 2).exp() / (2 * flint.arb.pi()).sqrt()


_ACTIVATIONS: dict[str, Callable[[Any, Arb], tuple[Arb, Arb]]] = {  # value and derivative
    "tanh": _tanh,
    "softplus": lambda flint, z: (z.exp().log1p(), 1 / (1 + (-z).exp())),
    "silu": _silu,
    "erf": lambda flint, z: (z.erf(), 2 / flint.arb.pi().sqrt() * (-z * z).exp()),
    "gelu": _gelu,
}
