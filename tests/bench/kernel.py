"""The tangent kernel of a network, layer by layer, against Jacobian products and other packages.

The error is the largest difference to the product of the per-sample Jacobian, relative to its
largest entry, and at most 1e-9.
"""

import importlib
from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import numpy as np

import riemgn as rg
from tests.bench.compare import call, Contender, Protocol, Runner
from tests.bench.row import Row

SIZES = ((10, 90, 90, 1), (20, 475, 1), (8, 64, 64, 64, 3))
SAMPLES = 500


@eqx.filter_jit
def _by_layers(problem, w):
    return problem.ntk(w)


@eqx.filter_jit
def _by_samples(problem, w):
    jac = problem.jac(w)
    return jac @ jac.T


@eqx.filter_jit
def _by_reverse_mode(problem, w):
    jac = jax.jacrev(problem.outputs)(w)
    return jac @ jac.T


def by_neural_tangents(problem):
    """Contract the Jacobians of the same function with neural-tangents."""
    empirical = importlib.import_module("neural_tangents").empirical_ntk_fn
    kernel = jax.jit(
        empirical(lambda params, x: problem.model(params, x), trace_axes=(), vmap_axes=0, implementation=1)
    )
    return lambda _: kernel(problem.x, None, problem.params)


def by_curvlinops(problem):
    from tests.bench.peer_torch import kernel_by_curvlinops

    kernel = kernel_by_curvlinops(problem.model.sizes, problem.params, problem.x)
    return lambda _: kernel()


def network_rows(runner: Runner, sizes: tuple[int, ...]) -> Iterator[Row]:
    net, rng = rg.MLP(sizes), np.random.default_rng(0)
    targets = np.zeros((SAMPLES,) if sizes[-1] == 1 else (SAMPLES, sizes[-1]))
    problem = rg.Problem(net, net.init(key=jax.random.key(0)), rng.standard_normal((SAMPLES, sizes[0])), targets)
    w = problem.w0
    reference = np.asarray(_by_samples(problem, w))

    def error(kernel) -> float:
        return float(np.abs(np.asarray(kernel).reshape(reference.shape) - reference).max() / np.abs(reference).max())

    ours = Contender("riemgn ntk, layer by layer", call(_by_layers, problem, w))
    peers = [
        Contender("Jacobian per sample + product", call(_by_samples, problem, w), at_least=10.0),
        Contender("jax.jacrev + product", call(_by_reverse_mode, problem, w), at_least=100.0),
        Contender("neural-tangents", partial(by_neural_tangents, problem), ("neural_tangents",), 2.0),
        Contender("curvlinops J (J^T I)", partial(by_curvlinops, problem), ("torch", "curvlinops")),
    ]
    work = f"NTK of MLP {'-'.join(map(str, sizes))}, n = {SAMPLES}, p = {problem.p}"
    yield from runner.compare(work, ours, peers[:3] if runner.quick else peers, Protocol(error, accuracy=1e-9))


def rows(runner: Runner) -> Iterator[Row]:
    for sizes in SIZES[:1] if runner.quick else SIZES:
        yield from network_rows(runner, sizes)
