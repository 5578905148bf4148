"""The output manifold as a manifold of pymanopt: what to_pymanopt returns. Importing this module imports pymanopt."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pymanopt
from pymanopt.manifolds.manifold import Manifold

from .. import curvature
from ..output_manifold import OutputManifold
from ..retraction import AbstractRetraction


class PymanoptManifold(Manifold):
    """An output manifold for pymanopt: a point is its parameters (p,), a tangent vector an ambient one (m,), both numpy arrays.

    Nothing raises on the way: where a retraction does not arrive the point is NaN and its cost infinite, so that a line search shortens the step and
    a trust region shrinks.

    Arguments:

    - `manifold`: the `OutputManifold`.
    - `retraction`: how to move; of second order for second-order methods.
    - `radius`: `random_point` draws parameters from the ball of this radius about the starting point.

    Reference: derived, theory.md section 2; Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section 8.1, for the
    transport by projection.
    """

    def __init__(self, manifold: OutputManifold, retraction: AbstractRetraction, radius: float):
        self.manifold = manifold
        self.move = retraction
        self.radius = radius
        name = f"Output manifold of dimension {manifold.dim} in R^{manifold.ambient_dim}"
        Manifold.__init__(self, name, manifold.dim)

    def embed(self, point):
        """The ambient point (m,)."""
        return np.array(self.manifold.embed(point))

    def inner_product(self, point, tangent_vector_a, tangent_vector_b):
        """`<u, v>` in the ambient form."""
        return float(self.manifold.inner(tangent_vector_a, tangent_vector_b))

    def norm(self, point, tangent_vector):
        """`sqrt <u, u>`."""
        return float(np.sqrt(max(self.inner_product(point, tangent_vector, tangent_vector), 0.0)))

    def projection(self, point, vector):
        """`P v`."""
        return np.array(_tangent_part(self.manifold.immersion, jnp.asarray(point), jnp.asarray(vector)))

    def to_tangent_space(self, point, vector):
        """`P v`."""
        return self.projection(point, vector)

    def transport(self, point_a, point_b, tangent_vector_a):
        """`P_b u`, the vector transport by projection."""
        return self.projection(point_b, tangent_vector_a)

    def retraction(self, point, tangent_vector):
        """The retraction; NaN where it does not arrive."""
        return np.array(_retract(self.manifold.immersion, jnp.asarray(point), jnp.asarray(tangent_vector), self.move))

    def exp(self, point, tangent_vector):
        """The exponential map."""
        return np.array(self.manifold.exp(point, self.projection(point, tangent_vector)))

    def log(self, point_a, point_b):
        """Its inverse, by shooting."""
        return np.array(self.manifold.log(point_a, point_b))

    def dist(self, point_a, point_b):
        """Geodesic distance."""
        return float(self.manifold.dist(point_a, point_b))

    def pair_mean(self, point_a, point_b):
        """The middle of the geodesic from one point to the other."""
        return self.exp(point_a, self.log(point_a, point_b) / 2)

    def random_point(self):
        """Parameters uniform in the ball of radius `radius` about `w0`, by numpy's global generator."""
        step = np.random.normal(size=self.manifold.p)  # noqa: NPY002 (the generator pymanopt uses)
        height = np.random.uniform() ** (1 / step.size)  # noqa: NPY002 (the same)
        return np.asarray(self.manifold.problem.w0) + self.radius * height * step / np.linalg.norm(step)

    def random_tangent_vector(self, point):
        """A tangent vector of unit length, by numpy's global generator."""
        seed = np.random.randint(2**31)  # noqa: NPY002 (the generator pymanopt uses)
        return np.array(self.manifold.random_tangent(point, key=jr.key(seed)))

    def zero_vector(self, point):
        """Zero, (m,)."""
        return np.zeros(self.manifold.ambient_dim)


def problem_of(manifold: OutputManifold, retraction: AbstractRetraction, radius: float) -> Any:
    """The `pymanopt.Problem` of minimising `g` on the manifold."""
    space, immersion = PymanoptManifold(manifold, retraction, radius), manifold.immersion

    @pymanopt.function.numpy(space)
    def cost(point):
        value = float(_objective(immersion, jnp.asarray(point)))
        return value if np.isfinite(value) else np.inf

    @pymanopt.function.numpy(space)
    def gradient(point):
        return np.array(_gradient(immersion, jnp.asarray(point)))

    @pymanopt.function.numpy(space)
    def hessian(point, vector):
        return np.array(_hessian(immersion, jnp.asarray(point), jnp.asarray(vector)))

    return pymanopt.Problem(space, cost, riemannian_gradient=gradient, riemannian_hessian=hessian)


# --- at one point: what is compiled -----------------------------------------------------------------------------------


@eqx.filter_jit
def _objective(immersion, w):
    return immersion.problem.objective(w)


@eqx.filter_jit
def _gradient(immersion, w):
    return curvature.riemannian_grad(immersion, immersion.frame(w))


@eqx.filter_jit
def _hessian(immersion, w, u):
    frame = immersion.frame(w)
    return curvature.riemannian_hessp(immersion, frame, frame.tangent_part(u))


@eqx.filter_jit
def _tangent_part(immersion, w, v):
    return immersion.frame(w).tangent_part(v)


@eqx.filter_jit
def _retract(immersion, w, u, retraction):
    frame = immersion.frame(w)
    return retraction(immersion, frame, frame.tangent_part(u))
