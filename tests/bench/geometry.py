"""The tangent projection against its own factorisation, and Christoffel symbols and geodesics against geomstats' generic pullback metric.

Protocol: float64, BLAS on one thread; compiled before the clock starts (the first call is a column of its own); medians. "checked" is a plain call,
which looks at its arguments; "in jit" is the same method inside `jax.jit`, as in a loop. geomstats runs the same map at the same point with its
default settings (autograd backend, 100 Euler steps) in a process started by this one. Errors are against the closed form on the sphere.
"""

import json
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import riemgn as rg

from .clock import median_seconds, seconds
from .peer_geometry import point_and_velocity

CONSOLE = Console(width=120)  # a piped table keeps its columns


def main() -> None:
    tangent_table()
    peer_table()


def tangent_table() -> None:
    """`to_tangent` beside one Jacobian and its thin QR."""
    table = Table(title="Projection on the tangent space, milliseconds")
    for column in ("problem", "Jacobian + thin QR", "to_tangent", "ratio", "riemannian_grad", "second_fundamental_form"):
        table.add_column(column)
    problem = rg.teacher_student(n=1000, width=20, inputs=8, cond=10.0, key=jax.random.key(0))
    manifold, w = rg.OutputManifold(problem), problem.w0
    v = jax.random.normal(jax.random.key(1), (problem.n,))
    factorise = eqx.filter_jit(lambda problem, w: jnp.linalg.qr(problem.jac(w)))
    u = manifold.to_tangent(w, v)
    work = [
        lambda: factorise(problem, w),
        lambda: manifold.to_tangent(w, v),
        lambda: manifold.riemannian_grad(w),
        lambda: manifold.second_fundamental_form(w, u, u),
    ]
    for call in work:
        seconds(call)
    reference, projection, gradient, second = (median_seconds(call, 15) for call in work)
    name = f"tanh network, n = {problem.n}, p = {problem.p}"
    cells = [f"{1e3 * reference:.1f}", f"{1e3 * projection:.1f}", f"{projection / reference:.2f}", f"{1e3 * gradient:.1f}", f"{1e3 * second:.1f}"]
    table.add_row(name, *cells)
    CONSOLE.print(table)


def peer_table() -> None:
    """Ours beside geomstats' on the stereographic chart of S^p."""
    table = Table(title="Stereographic chart of S^p against geomstats' pullback metric (autograd), seconds")
    for column in ("p", "function", "geomstats", "first call", "checked", "ratio", "in jit", "ratio", "error geomstats", "error riemgn"):
        table.add_column(column)
    for p in (2, 10):
        environment = os.environ | {"GEOMSTATS_BACKEND": "autograd"}
        command = [sys.executable, "-m", "tests.bench.peer_geometry", str(p)]
        peer = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        w, a = point_and_velocity(p)
        problem = rg.Problem(_stereographic, w, np.zeros((p + 1, 1)), np.zeros(p + 1))
        manifold = rg.OutputManifold(problem)
        u = manifold.push_forward(w, a)
        ours = {"christoffels": (manifold.christoffels, (w,)), "exp": (manifold.exp, (w, u))}
        exact = {"christoffels": exact_christoffels(w), "exp": exact_exp(w, a)}
        for name, (method, arguments) in ours.items():
            fast, arrays = jax.jit(method), [jnp.asarray(argument) for argument in arguments]
            first = seconds(lambda method=method, arrays=arrays: method(*arrays))
            checked = median_seconds(lambda method=method, arrays=arrays: method(*arrays), 15)
            seconds(lambda fast=fast, arrays=arrays: fast(*arrays))
            in_jit = median_seconds(lambda fast=fast, arrays=arrays: fast(*arrays), 101)
            errors = [np.abs(np.asarray(value) - exact[name]).max() for value in (peer[name]["value"], fast(*arrays))]
            theirs = peer[name]["seconds"]
            times = [f"{theirs:.2g}", f"{first:.1f}", f"{checked:.1e}", f"{theirs / checked:.0f}", f"{in_jit:.1e}", f"{theirs / in_jit:.0f}"]
            table.add_row(str(p), name, *times, *(f"{e:.0e}" for e in errors))
    CONSOLE.print(table)


def _stereographic(params, x):
    square = jnp.sum(params**2)
    return jnp.append(2 * params, square - 1) / (square + 1)


def exact_christoffels(w: np.ndarray) -> np.ndarray:
    """`Gamma^k_ij = -2 (w_i d_jk + w_j d_ik - w_k d_ij) / (1 + |w|^2)`: the metric is `4 I / (1 + |w|^2)^2`."""
    identity = np.eye(w.size)
    by_i, by_j, by_k = np.einsum("i,jk->kij", w, identity), np.einsum("j,ik->kij", w, identity), np.einsum("k,ij->kij", w, identity)
    return -2 * (by_i + by_j - by_k) / (1 + w @ w)


def exact_exp(w: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The great circle, carried back by the stereographic projection."""
    square = w @ w
    point = np.append(2 * w, square - 1) / (square + 1)
    velocity = np.append(2 * a, 2 * w @ a) / (square + 1) - point * 2 * (w @ a) / (square + 1)
    speed = np.linalg.norm(velocity)
    end = np.cos(speed) * point + np.sin(speed) * velocity / speed
    return end[:-1] / (1 - end[-1])
