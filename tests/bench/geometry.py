"""The tangent projection against its own factorisation, and Christoffel symbols and geodesics against geomstats' generic pullback metric.

Ours is the plain call, which looks at its arguments; inside `jax.jit` it is quicker. geomstats runs the same map at the same point with its default
settings (autograd backend, 100 Euler steps) in a process started by this one. Errors are against the closed form on the sphere: they are not equal.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from tests.bench.contest import Contender, Contest, Protocol
from tests.bench.peer_geometry import point_and_velocity
from tests.bench.row import Row, Timing


def rows(bench: Contest) -> Iterator[Row]:
    yield from projection_rows(bench)
    for p in (2,) if bench.quick else (2, 10):
        yield from sphere_rows(bench, p)


def projection_rows(bench: Contest) -> Iterator[Row]:
    """`to_tangent` beside one Jacobian and its thin QR."""
    problem = rg.teacher_student(n=1000, width=20, inputs=8, cond=10.0, key=jax.random.key(0))
    manifold, w = rg.OutputManifold(problem), problem.w0
    v = jax.random.normal(jax.random.key(1), (problem.n,))
    factorise = eqx.filter_jit(lambda problem, w: jnp.linalg.qr(problem.jac(w)))
    ours = Contender("riemgn to_tangent", lambda: lambda _: manifold.to_tangent(w, v))
    peer = Contender("Jacobian + thin QR", lambda: lambda _: factorise(problem, w))
    yield from bench.compare(
        f"tangent projection, n = {problem.n}, p = {problem.p}", ours, [peer], Protocol(repetitions=15)
    )


def sphere_rows(bench: Contest, p: int) -> Iterator[Row]:
    """Ours beside geomstats' on the stereographic chart of S^p."""
    w, a = point_and_velocity(p)
    manifold = rg.OutputManifold(rg.Problem(_stereographic, w, np.zeros((p + 1, 1)), np.zeros(p + 1)))
    work = {
        "Christoffel symbols": ("christoffels", manifold.christoffels, (w,), exact_christoffels(w)),
        "geodesic exp": ("exp", manifold.exp, (w, manifold.push_forward(w, a)), exact_exp(w, a)),
    }
    for title, (name, method, arguments, exact) in work.items():
        arrays = [jnp.asarray(argument) for argument in arguments]
        ours = Contender("riemgn, checked call", lambda method=method, arrays=arrays: lambda _: method(*arrays))
        peer = Contender(
            "geomstats PullbackMetric",
            lambda name=name, exact=exact: by_geomstats(p, name, exact),
            ("geomstats", "autograd"),
        )
        protocol = Protocol(
            lambda value, exact=exact: np.abs(np.asarray(value) - exact).max(), patience=60.0, repetitions=15
        )
        yield from bench.compare(f"{title}, chart of S^{p}", ours, [peer], protocol)


def by_geomstats(p: int, name: str, exact: np.ndarray) -> Timing:
    """What geomstats takes, in a process of its own with its backend."""
    environment = os.environ | {"GEOMSTATS_BACKEND": "autograd"}
    command = [sys.executable, "-m", "tests.bench.peer_geometry", str(p), name]
    peer = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    error = float(np.abs(np.asarray(peer["value"]) - exact).max())
    return Timing("geomstats PullbackMetric", peer["seconds"], error)


def _stereographic(params, x):
    square = jnp.sum(params**2)
    return jnp.append(2 * params, square - 1) / (square + 1)


def exact_christoffels(w: np.ndarray) -> np.ndarray:
    """`Gamma^k_ij = -2 (w_i d_jk + w_j d_ik - w_k d_ij) / (1 + |w|^2)`: the metric is `4 I / (1 + |w|^2)^2`."""
    identity = np.eye(w.size)
    by_i, by_j, by_k = (
        np.einsum("i,jk->kij", w, identity),
        np.einsum("j,ik->kij", w, identity),
        np.einsum("k,ij->kij", w, identity),
    )
    return -2 * (by_i + by_j - by_k) / (1 + w @ w)


def exact_exp(w: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The great circle, carried back by the stereographic projection."""
    square = w @ w
    point = np.append(2 * w, square - 1) / (square + 1)
    velocity = np.append(2 * a, 2 * w @ a) / (square + 1) - point * 2 * (w @ a) / (square + 1)
    speed = np.linalg.norm(velocity)
    end = np.cos(speed) * point + np.sin(speed) * velocity / speed
    return end[:-1] / (1 - end[-1])
