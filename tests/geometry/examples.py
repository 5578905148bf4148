"""Manifolds with closed forms, shared by the tests of this folder."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.geometry import AbstractRetraction, OutputManifold

RADIUS, REACH = 2.0, 3.0
TARGET = REACH * np.array([0.6, 0.0, 0.8])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def manifold_of(model, start, outputs: int, **options) -> OutputManifold:
    """The manifold of a function of the parameters alone, with zero targets."""
    return OutputManifold(rg.Problem(model, jnp.array(start), jnp.zeros((outputs, 1)), jnp.zeros(outputs)), **options)


def line(height: float = 0.0, start: float = 1.0) -> OutputManifold:
    """`psi = (w, 0)` with the target (0, height): the loss is `(w^2 + height^2) / 2`, the exact step 1."""
    problem = rg.Problem(
        lambda w, x: jnp.stack([w[0], 0.0 * w[0]]), jnp.array([start]), jnp.zeros((2, 1)), jnp.array([0.0, height])
    )
    return OutputManifold(problem)


def parabola(target: float) -> OutputManifold:
    """`psi = w^2` from w = 1: the chart is singular at 0, the edge of the manifold."""
    return OutputManifold(rg.Problem(lambda w, x: w**2, jnp.ones(1), jnp.zeros((1, 1)), jnp.array([target])))


class Stretched(AbstractRetraction):
    """`R(u) = F(w + factor J^+ u)` with `DR(0) = factor id`: a retraction only for the factor 1."""

    factor: jax.Array
    order: ClassVar[float] = 0
    name: ClassVar[str] = "stretched"

    def __call__(self, immersion, frame, u):
        return frame.w + self.factor * frame.coordinates(u)


def scaled(factor: float) -> Stretched:
    return Stretched(jnp.array(float(factor)))


def stereographic(params, x):
    u, v = params
    square = u**2 + v**2
    return RADIUS * jnp.stack([2 * u, 2 * v, 1 - square]) / (1 + square)


def sphere() -> OutputManifold:
    """The sphere in a chart whose straight lines are no geodesics; it is regular at the point nearest to the target."""
    return OutputManifold(rg.Problem(stereographic, jnp.array([0.1, 0.7]), jnp.zeros((3, 1)), TARGET))


def sphere_flow(t: float) -> np.ndarray:
    """The flow runs along the great circle through the target: `tan(phi_t / 2) = tan(phi_0 / 2) exp(-(s / R) t)`."""
    problem = sphere().problem
    start, pole = np.asarray(problem.outputs(problem.w0)) / RADIUS, TARGET / REACH
    phi = 2 * np.arctan(np.tan(np.arccos(start @ pole) / 2) * np.exp(-REACH / RADIUS * t))
    side = start - (start @ pole) * pole
    return RADIUS * (np.cos(phi) * pole + np.sin(phi) * side / np.linalg.norm(side))


def tangents(manifold: OutputManifold, w, count: int, seed: int = 0, length: float = 0.5) -> list[np.ndarray]:
    return [length * np.asarray(manifold.random_tangent(w, key=jax.random.key(seed + i))) for i in range(count)]
