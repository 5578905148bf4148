"""A Jacobian known by its products, its kernel and its rows, formed only where a factorisation asks for it."""

import abc
import itertools

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Jac, Outputs, Scalar, Weights

BLOCKS = 4
BLOCKS_PAY = 256  # rows from which on blocks are worth their copies


class AbstractJacobian(eqx.Module):
    """`J` (n, p) that writes like a matrix: `jac @ v` is `J v`, `u @ jac` is `u^T J`, for vectors (p,) and (n,)."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, p)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> jnp.dtype:
        """The type of its entries."""

    @abc.abstractmethod
    def __matmul__(self, v: Weights) -> Outputs:
        """`J v`, shape (n,)."""

    @abc.abstractmethod
    def __rmatmul__(self, u: Outputs) -> Weights:
        """`J^T u`, shape (p,)."""

    @abc.abstractmethod
    def kernel(self) -> Float[Array, "n n"]:
        """`K = J J^T`."""

    @abc.abstractmethod
    def squared_norm(self) -> Scalar:
        """`|J|_F^2`, the trace of `K`."""

    @abc.abstractmethod
    def scale_rows(self, factors: Outputs) -> "AbstractJacobian":
        """`diag(factors) J`."""

    @abc.abstractmethod
    def scale_columns(self, factors: Weights) -> "AbstractJacobian":
        """`J diag(factors)`."""

    @abc.abstractmethod
    def formed(self) -> Jac:
        """`J` as an array."""


def formed(jac: Jac | AbstractJacobian) -> Jac:
    """`J` as an array, whichever way `jac` came."""
    return jac.formed() if isinstance(jac, AbstractJacobian) else jac


def kernel_of(jac: Jac | AbstractJacobian) -> Float[Array, "n n"]:
    """`K = J J^T` of `J`, `jac`, by the operator's own way where it has one."""
    return jac.kernel() if isinstance(jac, AbstractJacobian) else outer_gram(jac)


def outer_gram(a: Float[Array, "n p"]) -> Float[Array, "n n"]:
    """`A A^T` of `a`, by `BLOCKS` blocks of rows where it is large: of two blocks that are transposes one is computed, 5/8 of the operations."""
    n = a.shape[0]
    if n < BLOCKS_PAY:
        return a @ a.T
    edges = [n * i // BLOCKS for i in range(BLOCKS + 1)]
    parts = [a[low:high] for low, high in itertools.pairwise(edges)]
    lower = [[parts[i] @ parts[j].T for j in range(i + 1)] for i in range(BLOCKS)]
    return jnp.block([[lower[i][j] if j <= i else lower[j][i].T for j in range(BLOCKS)] for i in range(BLOCKS)])


def squared_norm(jac: Jac | AbstractJacobian) -> Scalar:
    """`|J|_F^2` of `J`, `jac`."""
    return jac.squared_norm() if isinstance(jac, AbstractJacobian) else jnp.sum(jac**2)


def scale_rows(factors: Outputs, jac: Jac | AbstractJacobian) -> Jac | AbstractJacobian:
    """`diag(factors) J` of `J`, `jac`."""
    return jac.scale_rows(factors) if isinstance(jac, AbstractJacobian) else factors[:, None] * jac


def scale_columns(jac: Jac | AbstractJacobian, factors: Weights) -> Jac | AbstractJacobian:
    """`J diag(factors)` of `J`, `jac`."""
    return jac.scale_columns(factors) if isinstance(jac, AbstractJacobian) else jac * factors


class FilledJacobian(AbstractJacobian):
    """`[J, diag(fill)]` (n, p + n) of a `jac` J whose rows are zero where `fill` is not, so that a batch cut short loses no rank by its empty rows.

    Its pseudo-inverse and `(K + rho I)^{-1}` act on the rows of `J` and on the empty ones apart: the first p entries of a direction are those of `J`.
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

    def scale_rows(self, factors: Outputs) -> "FilledJacobian":
        return FilledJacobian(scale_rows(factors, self.jac), factors * self.fill)

    def scale_columns(self, factors: Weights) -> "FilledJacobian":
        p = self.jac.shape[1]
        return FilledJacobian(scale_columns(self.jac, factors[:p]), self.fill * factors[p:])

    def formed(self) -> Jac:
        return jnp.concatenate([formed(self.jac), jnp.diag(self.fill)], axis=1)
