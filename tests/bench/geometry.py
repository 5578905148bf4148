"""The tangent projection against its factorisation, and geodesics against geomstats.

We time the call that checks its arguments. Inside `jax.jit` it is quicker. geomstats computes
Christoffel symbols and geodesics of its generic pullback metric, on the same map at the same point,
with its default settings (autograd backend, 100 Euler steps) and in a process of its own:
`python -m tests.bench.geometry P christoffels|exp`. Errors are differences to the closed form on
the sphere, and the two sides need not reach the same.
"""

import statistics
import sys
from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.geometry.interop.geomstats_import import load
from tests.bench.child import send
from tests.bench.compare import call, Contender, Protocol, Runner, timed
from tests.bench.row import Row, Timing
from tests.bench.supervisor import run_module

PEER = "geomstats PullbackMetric"


def rows(runner: Runner) -> Iterator[Row]:
    yield from projection_rows(runner)
    for p in (2,) if runner.quick else (2, 10):
        yield from sphere_rows(runner, p)


def projection_rows(runner: Runner) -> Iterator[Row]:
    problem = rg.teacher_student(n=1000, width=20, inputs=8, cond=10.0, key=jax.random.key(0))
    manifold, w = rg.OutputManifold(problem), problem.w0
    v = jax.random.normal(jax.random.key(1), (problem.n,))
    factorise = eqx.filter_jit(lambda problem, w: jnp.linalg.qr(problem.jac(w)))
    ours = Contender("riemgn to_tangent", call(manifold.to_tangent, w, v))
    peer = Contender("Jacobian + thin QR", call(factorise, problem, w))
    work = f"tangent projection, n = {problem.n}, p = {problem.p}"
    yield from runner.compare(work, ours, [peer], Protocol(repetitions=15))


def sphere_rows(runner: Runner, p: int) -> Iterator[Row]:
    """Compare with geomstats on the stereographic chart of S^p."""
    w, a = point_and_velocity(p)
    manifold = rg.OutputManifold(rg.Problem(_stereographic, w, np.zeros((p + 1, 1)), np.zeros(p + 1)))
    velocity = jnp.asarray(manifold.push_forward(w, a))
    works = {
        "Christoffel symbols": ("christoffels", call(manifold.christoffels, jnp.asarray(w)), exact_christoffels(w)),
        "geodesic exp": ("exp", call(manifold.exp, jnp.asarray(w), velocity), exact_exp(w, a)),
    }
    for title, (name, build, exact) in works.items():

        def error(value, exact=exact) -> float:
            return float(np.abs(np.asarray(value) - exact).max())

        peer = Contender(PEER, partial(by_geomstats, p, name, error), ("geomstats", "autograd"))
        protocol = Protocol(error, timeout=60.0, repetitions=15)
        yield from runner.compare(
            f"{title}, chart of S^{p}", Contender("riemgn, checked call", build), [peer], protocol
        )


def by_geomstats(p: int, name: str, error) -> Timing:
    timing = run_module("geometry", str(p), name, GEOMSTATS_BACKEND="autograd")
    return Timing(PEER, timing["seconds"], error(timing["value"]))


def point_and_velocity(p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(p)
    w, a = rng.standard_normal(p), rng.standard_normal(p)
    return 0.5 * w / np.linalg.norm(w), 0.4 * a / np.linalg.norm(a)


def _stereographic(params, x):
    square = jnp.sum(params**2)
    return jnp.append(2 * params, square - 1) / (square + 1)


def exact_christoffels(w: np.ndarray) -> np.ndarray:
    """Return `Gamma^k_ij = -2 (w_i d_jk + w_j d_ik - w_k d_ij) / (1 + |w|^2)`.

    The metric is `4 I / (1 + |w|^2)^2`.
    """
    outer = np.einsum("i,jk->ijk", w, np.eye(w.size))
    by_i, by_j, by_k = (outer.transpose(axes) for axes in ((2, 0, 1), (2, 1, 0), (0, 1, 2)))
    return -2 * (by_i + by_j - by_k) / (1 + w @ w)


def exact_exp(w: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return the end of the great circle in the chart."""
    square = w @ w
    point = np.append(2 * w, square - 1) / (square + 1)
    velocity = np.append(2 * a, 2 * w @ a) / (square + 1) - point * 2 * (w @ a) / (square + 1)
    speed = np.linalg.norm(velocity)
    end = np.cos(speed) * point + np.sin(speed) * velocity / speed
    return end[:-1] / (1 - end[-1])


def pullback_sphere(p: int):
    """Return S^p in its inverse stereographic projection as geomstats' generic immersed set."""
    gs = load("geomstats.backend")
    immersed = load("geomstats.geometry.base").ImmersedSet
    euclidean = load("geomstats.geometry.euclidean").Euclidean

    class StereographicSphere(immersed):
        def immersion(self, point):
            square = gs.sum(point**2, axis=-1, keepdims=True)
            return gs.concatenate([2 * point, square - 1], axis=-1) / (square + 1)

        def _define_embedding_space(self):
            return euclidean(dim=self.dim + 1)

        def is_tangent(self, vector, base_point=None, atol=1e-12):
            raise NotImplementedError

        def to_tangent(self, vector, base_point=None):
            raise NotImplementedError

    space = StereographicSphere(dim=p, equip=False)
    space.equip_with_metric(load("geomstats.geometry.pullback_metric").PullbackMetric)
    return space


def main(p: int, name: str) -> None:
    metric = pullback_sphere(p).metric
    w, a = point_and_velocity(p)
    work = {"christoffels": lambda: metric.christoffels(w), "exp": lambda: metric.exp(a, w)}[name]
    runs = [timed(work) for _ in range(5 if p <= 2 else 1)]
    median = statistics.median(seconds for seconds, _ in runs)
    send({"seconds": median, "value": np.asarray(runs[-1][1]).tolist()})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
