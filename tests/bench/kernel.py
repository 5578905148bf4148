"""The tangent kernel of a network, layer by layer, against the product of a Jacobian taken per sample and one taken by `jacrev`.

Protocol: float64, BLAS on one thread; compiled before the clock starts (the first call is a column of its own); medians of five. Error: largest
difference to the product of the per-sample Jacobian, relative to its largest entry.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import riemgn as rg

from .clock import median_seconds, seconds

CONSOLE = Console(width=140)
REPETITIONS = 5
SIZES = ((10, 90, 90, 1), (20, 475, 1), (8, 64, 64, 64, 3))
SAMPLES = 500


@eqx.filter_jit
def _layerwise(problem, w):
    return problem.ntk(w)


@eqx.filter_jit
def _per_sample(problem, w):
    jac = problem.jac(w)
    return jac @ jac.T


@eqx.filter_jit
def _reverse(problem, w):
    jac = jax.jacrev(problem.outputs)(w)
    return jac @ jac.T


def main() -> None:
    table = Table(title=f"Tangent kernel of an MLP, {SAMPLES} samples, milliseconds")
    for column in ("sizes", "p", "first call", "layer by layer", "per sample + product", "ratio", "jacrev + product", "ratio", "error"):
        table.add_column(column)
    for sizes in SIZES:
        net, rng = rg.MLP(sizes), np.random.default_rng(0)
        targets = np.zeros((SAMPLES,) if sizes[-1] == 1 else (SAMPLES, sizes[-1]))
        problem = rg.Problem(net, net.init(key=jax.random.key(0)), rng.standard_normal((SAMPLES, sizes[0])), targets)
        w = problem.w0
        first = seconds(lambda problem=problem, w=w: _layerwise(problem, w))
        times = []
        for work in (_layerwise, _per_sample, _reverse):
            seconds(lambda work=work, problem=problem, w=w: work(problem, w))
            times.append(1e3 * median_seconds(lambda work=work, problem=problem, w=w: work(problem, w), REPETITIONS))
        ours, per_sample, reverse = times
        reference = _per_sample(problem, w)
        error = float(jnp.max(jnp.abs(_layerwise(problem, w) - reference)) / jnp.max(jnp.abs(reference)))
        cells = [f"{1e3 * first:.0f}", f"{ours:.1f}", f"{per_sample:.0f}", f"{per_sample / ours:.0f}", f"{reverse:.0f}", f"{reverse / ours:.0f}"]
        table.add_row(str(sizes), str(problem.p), *cells, f"{error:.0e}")
    CONSOLE.print(table)
