"""The tangent kernel of a network, layer by layer, against the product of a Jacobian taken per sample, one taken by `jacrev`, and the peers' own.

Error: largest difference to the product of the per-sample Jacobian, relative to its largest entry; at most 1e-9.
"""

import importlib
from collections.abc import Iterator

import equinox as eqx
import jax
import numpy as np

import riemgn as rg
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.row import Row

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


def by_neural_tangents(problem):
    """Its own contraction of Jacobians, on the same function."""
    empirical = importlib.import_module("neural_tangents").empirical_ntk_fn
    kernel = jax.jit(
        empirical(lambda params, x: problem.model(params, x), trace_axes=(), vmap_axes=0, implementation=1)
    )
    return lambda _: kernel(problem.x, None, problem.params)


def by_curvlinops(problem):
    from tests.bench.peer_torch import kernel_by_curvlinops

    work = kernel_by_curvlinops(problem.model.sizes, problem.params, problem.x)
    return lambda _: work()


def contest(bench: Contest, sizes: tuple[int, ...]) -> Iterator[Row]:
    net, rng = rg.MLP(sizes), np.random.default_rng(0)
    targets = np.zeros((SAMPLES,) if sizes[-1] == 1 else (SAMPLES, sizes[-1]))
    problem = rg.Problem(net, net.init(key=jax.random.key(0)), rng.standard_normal((SAMPLES, sizes[0])), targets)
    w = problem.w0
    reference = np.asarray(_per_sample(problem, w))

    def error(kernel) -> float:
        return float(np.abs(np.asarray(kernel).reshape(reference.shape) - reference).max() / np.abs(reference).max())

    ours = Contender("riemgn ntk, layer by layer", lambda: lambda _: _layerwise(problem, w))
    peers = [
        Contender("Jacobian per sample + product", lambda: lambda _: _per_sample(problem, w), at_least=10.0),
        Contender("jax.jacrev + product", lambda: lambda _: _reverse(problem, w), at_least=100.0),
        Contender("neural-tangents", lambda: by_neural_tangents(problem), ("neural_tangents",), 2.0),
        Contender("curvlinops J (J^T I)", lambda: by_curvlinops(problem), ("torch", "curvlinops")),
    ]
    peers = peers[:3] if bench.quick else peers
    shape = "-".join(str(size) for size in sizes)
    yield from bench.compare(
        f"NTK of MLP {shape}, n = {SAMPLES}, p = {problem.p}", ours, peers, Protocol(error, accuracy=1e-9)
    )


def rows(bench: Contest) -> Iterator[Row]:
    for sizes in SIZES[:1] if bench.quick else SIZES:
        yield from contest(bench, sizes)
