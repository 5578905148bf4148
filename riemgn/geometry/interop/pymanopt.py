"""Output manifolds as manifolds and problems of pymanopt, which the first call imports."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import curvature
from ..output_manifold import checked_manifold, OutputManifold
from ..retraction import AbstractRetraction, checked_retraction


def to_pymanopt(
    manifold: OutputManifold, *, retraction: str | AbstractRetraction = "corrected", radius: float = 0.5
) -> Any:
    """Convert the minimisation of the loss `g` on an output manifold to a `pymanopt.Problem`.

    The problem has the cost, the Riemannian gradient `P grad g` and the Riemannian Hessian. You can
    use its `.manifold` with another cost too. A point is an array of parameters (p,), a tangent
    vector an ambient one (m,). If a retraction fails, the point is NaN and its cost infinite, so
    that line searches shorten their step and trust regions shrink.

    Arguments:

    - `manifold`: an `OutputManifold`.
    - `retraction`: "chart", "corrected", "projection", "exponential" or a retraction of your own.
        Trust regions need one of second order, such as the default "corrected".
    - `radius`: random points have parameters in the ball of this radius about the problem's start.
        An optimiser draws one unless you pass `initial_point`, for example `problem.w0`.

    Returns: a `pymanopt.Problem`.

    Raises: `ValueError` for another type, an unknown retraction, a radius that is not positive, or
    if pymanopt is not installed.

    >>> import numpy as np, pymanopt, riemgn as rg
    >>> rg.enable_x64()
    >>> circle = rg.OutputManifold(rg.task.circle(radius=2.0, target=1.0))
    >>> optimizer = pymanopt.optimizers.TrustRegions(verbosity=0)
    >>> result = optimizer.run(rg.to_pymanopt(circle), initial_point=np.asarray(circle.problem.w0))
    >>> round(result.cost, 9)
    0.5

    Reference: Townsend, Koep, Weichwald, Pymanopt, JMLR 17 (2016) 137.
    """
    checked_manifold(manifold)
    move = checked_retraction(retraction)
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be positive and finite, got {radius}.")
    try:
        import pymanopt
        from pymanopt.manifolds.manifold import Manifold
    except ModuleNotFoundError as missing:
        if missing.name != "pymanopt":
            raise
        raise ValueError(
            'to_pymanopt needs pymanopt, which is not installed: run `pip install "riemgn[pymanopt]"`.'
        ) from None
    space = type("PymanoptManifold", (PymanoptMethods, Manifold), {})(manifold, move, radius)
    immersion = manifold.immersion

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


class PymanoptMethods:
    """The methods of a pymanopt manifold, without its base class, which is imported late.

    A point is an array of parameters (p,), a tangent vector an ambient one (m,).

    Reference: Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section
    8.1, for the transport by projection.
    """

    def __init__(self, manifold: OutputManifold, retraction: AbstractRetraction, radius: float):
        self.manifold = manifold
        self.move = retraction
        self.radius = radius
        name = f"Output manifold of dimension {manifold.dim} in R^{manifold.ambient_dim}"
        super().__init__(name, manifold.dim)  # pyright: ignore[reportCallIssue]

    def embed(self, point):
        """Return the ambient point (m,)."""
        return np.array(self.manifold.embed(point))

    def inner_product(self, point, tangent_vector_a, tangent_vector_b):
        """Compute `<u, v>` in the ambient form."""
        return float(self.manifold.inner(tangent_vector_a, tangent_vector_b))

    def norm(self, point, tangent_vector):
        """Compute `sqrt <u, u>`."""
        return float(np.sqrt(max(self.inner_product(point, tangent_vector, tangent_vector), 0.0)))

    def projection(self, point, vector):
        """Compute `P v`."""
        return np.array(_tangent_part(self.manifold.immersion, jnp.asarray(point), jnp.asarray(vector)))

    def to_tangent_space(self, point, vector):
        """Compute `P v`."""
        return self.projection(point, vector)

    def transport(self, point_a, point_b, tangent_vector_a):
        """Compute `P_b u`, the vector transport by projection."""
        return self.projection(point_b, tangent_vector_a)

    def retraction(self, point, tangent_vector):
        """Compute the retraction, NaN if it fails."""
        return np.array(_retract(self.manifold.immersion, jnp.asarray(point), jnp.asarray(tangent_vector), self.move))

    def exp(self, point, tangent_vector):
        """Compute the exponential map."""
        return np.array(self.manifold.exp(point, self.projection(point, tangent_vector)))

    def log(self, point_a, point_b):
        """Compute the inverse of the exponential map, by shooting."""
        return np.array(self.manifold.log(point_a, point_b))

    def dist(self, point_a, point_b):
        """Compute the geodesic distance."""
        return float(self.manifold.dist(point_a, point_b))

    def pair_mean(self, point_a, point_b):
        """Compute the midpoint of the geodesic between two points."""
        return self.exp(point_a, self.log(point_a, point_b) / 2)

    def random_point(self):
        """Draw parameters uniformly from the ball about `w0`, with numpy's global generator."""
        step = np.random.normal(size=self.manifold.p)  # noqa: NPY002 (as pymanopt does)
        height = np.random.uniform() ** (1 / step.size)  # noqa: NPY002
        return np.asarray(self.manifold.problem.w0) + self.radius * height * step / np.linalg.norm(step)

    def random_tangent_vector(self, point):
        """Draw a tangent vector of unit length, with numpy's global generator."""
        seed = np.random.randint(2**31)  # noqa: NPY002 (as pymanopt does)
        return np.array(self.manifold.random_tangent(point, key=jr.key(seed)))

    def zero_vector(self, point):
        """Return zeros (m,)."""
        return np.zeros(self.manifold.ambient_dim)


# --- compiled functions at one point


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
