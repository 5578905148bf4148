"""A Jacobian given by its products and its kernel, formed only if its entries are needed."""

import abc
import itertools

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Jac, Outputs, Scalar, Weights

BLOCKS = 4
BLOCK_MIN_ROWS = 256  # smaller products are quicker in one piece, because blocks cost copies


class AbstractJacobian(eqx.Module):
    """A Jacobian `J` (n, p) with `jac @ v` for `J v` and `u @ jac` for `u^T J`."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, p)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> jnp.dtype: ...

    @abc.abstractmethod
    def __matmul__(self, v: Weights) -> Outputs:
        """`J v`, shape (n,)."""

    @abc.abstractmethod
    def __rmatmul__(self, u: Outputs) -> Weights:
        """`J^T u`, shape (p,)."""

    @abc.abstractmethod
    def formed(self) -> Jac:
        """`J` as an array."""

    def kernel(self) -> Float[Array, "n n"]:
        """`K = J J^T`."""
        return outer_gram(self.formed())

    def squared_norm(self) -> Scalar:
        """`|J|_F^2`, the trace of `K`."""
        return jnp.sum(self.formed() ** 2)

    def scale_rows(self, factors: Outputs) -> "Jac | AbstractJacobian":
        """`diag(factors) J`."""
        return factors[:, None] * self.formed()

    def scale_columns(self, factors: Weights) -> "Jac | AbstractJacobian":
        """`J diag(factors)`."""
        return self.formed() * factors


def formed(jac: Jac | AbstractJacobian) -> Jac:
    """Return `jac` as an array."""
    return jac.formed() if isinstance(jac, AbstractJacobian) else jac


def kernel_of(jac: Jac | AbstractJacobian) -> Float[Array, "n n"]:
    """Compute `K = J J^T` for `J = jac`."""
    return jac.kernel() if isinstance(jac, AbstractJacobian) else outer_gram(jac)


def outer_gram(a: Float[Array, "n p"]) -> Float[Array, "n n"]:
    """Compute `A A^T` for `A = a`, for many rows in blocks of which the upper ones are copied."""
    n = a.shape[0]
    if n < BLOCK_MIN_ROWS:
        return a @ a.T
    edges = [n * i // BLOCKS for i in range(BLOCKS + 1)]
    parts = [a[low:high] for low, high in itertools.pairwise(edges)]
    lower = [[parts[i] @ parts[j].T for j in range(i + 1)] for i in range(BLOCKS)]
    return jnp.block([[lower[i][j] if j <= i else lower[j][i].T for j in range(BLOCKS)] for i in range(BLOCKS)])


def squared_norm(jac: Jac | AbstractJacobian) -> Scalar:
    """Compute `|J|_F^2` for `J = jac`."""
    return jac.squared_norm() if isinstance(jac, AbstractJacobian) else jnp.sum(jac**2)


def scale_rows(factors: Outputs, jac: Jac | AbstractJacobian) -> Jac | AbstractJacobian:
    """Compute `diag(factors) J` for `J = jac`."""
    return jac.scale_rows(factors) if isinstance(jac, AbstractJacobian) else factors[:, None] * jac


def scale_columns(jac: Jac | AbstractJacobian, factors: Weights) -> Jac | AbstractJacobian:
    """Compute `J diag(factors)` for `J = jac`."""
    return jac.scale_columns(factors) if isinstance(jac, AbstractJacobian) else jac * factors


class FilledJacobian(AbstractJacobian):
    """`[J, diag(fill)]` (n, p + n), of full rank if `fill` is non-zero where `jac` has empty rows.

    The first p entries of a direction are then those of `J` without its empty rows.
    """

    jac: Jac | AbstractJacobian
    fill: Outputs

    @property
    def shape(self) -> tuple[int, int]:
        n, p = self.jac.shape
        return n, p + n

    @property
    def dtype(self) -> jnp.dtype:
        return self.jac.dtype

    def __matmul__(self, v: Weights) -> Outputs:
        p = self.jac.shape[1]
        return self.jac @ v[:p] + self.fill * v[p:]

    def __rmatmul__(self, u: Outputs) -> Weights:
        return jnp.concatenate([u @ self.jac, self.fill * u])

    def kernel(self) -> Float[Array, "n n"]:
        return kernel_of(self.jac) + jnp.diag(self.fill**2)

    def squared_norm(self) -> Scalar:
        return squared_norm(self.jac) + jnp.sum(self.fill**2)

    def formed(self) -> Jac:
        return jnp.concatenate([formed(self.jac), jnp.diag(self.fill)], axis=1)
