"""Synthetic inputs and matrices with a prescribed condition number, near duplicates, noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from .._validation import finite_number


def synthetic_inputs(n: int, d: int, cond: float, *, key: PRNGKeyArray) -> Float[np.ndarray, "n d"]:
    """Draw inputs with a prescribed condition number and rows of root-mean-square norm 1.

    `X = c U diag(s) V^T` with random orthonormal `U`, `V`, `s_i = cond^(-(i-1)/(r-1))`,
    `r = min(n, d)` and `c = sqrt(n / sum s_i^2)`.

    Arguments:

    - `n`, `d`: numbers of rows and columns, at least 1.
    - `cond`: largest over smallest singular value, at least 1 and below `1 / eps`. The result has
      this condition number up to a relative error of a few `eps * cond`.
    - `key`: a JAX random key.

    Returns: inputs (n, d).

    Raises: `ValueError` for a size below 1, a condition number out of range, or one other than 1
    for a single row or column.

    >>> import jax, numpy as np, riemgn as rg
    >>> x = rg.data.synthetic_inputs(20, 3, 100.0, key=jax.random.key(0))
    >>> round(float(np.linalg.cond(x)), 6)
    100.0

    Reference: Stewart, SIAM J. Numer. Anal. 17 (1980), for the orthogonal factors.
    """
    s = _singular_values(min(_size("n", n), _size("d", d)), cond)
    rng = _generator(key)
    return np.sqrt(n / np.sum(s**2)) * (_orthonormal(rng, n, len(s)) * s) @ _orthonormal(rng, d, len(s)).T


def conditioned_matrix(p: int, cond: float, *, key: PRNGKeyArray) -> Float[np.ndarray, "p p"]:
    """Draw a square matrix of norm 1 with a prescribed condition number.

    `A = U diag(s) V^T` with random orthogonal `U`, `V` and `s_i = cond^(-(i-1)/(p-1))`. You can use
    it to reparametrise a problem.

    Arguments:

    - `p`: number of rows and columns, at least 1.
    - `cond`: largest over smallest singular value, at least 1 and below `1 / eps`.
    - `key`: a JAX random key.

    Raises: `ValueError` for a size below 1 or a condition number out of range.

    >>> import jax, numpy as np, riemgn as rg
    >>> matrix = rg.data.conditioned_matrix(5, 10.0, key=jax.random.key(0))
    >>> bool(np.isclose(np.linalg.norm(matrix, 2), 1.0))
    True

    Reference: Stewart, SIAM J. Numer. Anal. 17 (1980).
    """
    s = _singular_values(_size("p", p), cond)
    rng = _generator(key)
    return (_orthonormal(rng, p, p) * s) @ _orthonormal(rng, p, p).T


def near_duplicates(x: Float[np.ndarray, "m d"], distance: float, *, key: PRNGKeyArray) -> Float[np.ndarray, "two_m d"]:
    """Append a copy of each row that is moved by `distance` in a random direction.

    `x_(m+i) = x_i + distance * u_i` with `u_i` uniform on the unit sphere. The smaller the
    distance, the larger the condition number of the kernel.

    Arguments:

    - `x`: inputs (m, d).
    - `distance`: Euclidean distance of each copy in units of `x`, at least 0.
    - `key`: a JAX random key.

    Returns: inputs (2m, d), the rows of `x` first.

    Raises: `ValueError` if `x` is not a matrix, or if the distance is negative or not finite.

    >>> import jax, numpy as np, riemgn as rg
    >>> rg.data.near_duplicates(np.eye(3), 1e-3, key=jax.random.key(0)).shape
    (6, 3)

    Reference: derived.
    """
    x = np.asarray(x, float)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"`x` must be a matrix (m, d) with m, d >= 1, got shape {x.shape}.")
    steps = _generator(key).standard_normal(x.shape)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    return np.concatenate([x, x + finite_number("distance", distance, positive=False) * steps])


def add_noise(y: Float[np.ndarray, "..."], level: float, *, key: PRNGKeyArray) -> Float[np.ndarray, "..."]:
    """Add independent normal noise, `y + level * z` with standard normal `z`.

    Arguments:

    - `y`: targets of any shape.
    - `level`: standard deviation of the noise in units of `y`, at least 0.
    - `key`: a JAX random key.

    Raises: `ValueError` if the level is negative or not finite.

    >>> import jax, numpy as np, riemgn as rg
    >>> rg.data.add_noise(np.zeros(4), 0.1, key=jax.random.key(0)).shape
    (4,)
    """
    y, level = np.asarray(y, float), finite_number("level", level, positive=False)
    return y + level * _generator(key).standard_normal(y.shape)


def _singular_values(r: int, cond: float) -> np.ndarray:
    if not 1 <= cond < 1 / np.finfo(float).eps:
        raise ValueError(f"`cond` must be at least 1 and below 1/eps = {1 / np.finfo(float).eps:.1e}, got {cond}.")
    if r == 1 and cond != 1:
        raise ValueError(f"A single row or column has condition number 1, got `cond` = {cond}.")
    return np.geomspace(1.0, 1.0 / cond, r)


def _orthonormal(rng: np.random.Generator, n: int, r: int) -> np.ndarray:
    q, upper = np.linalg.qr(rng.standard_normal((n, r)))
    return q * np.where(np.diag(upper) < 0, -1.0, 1.0)  # the signs make the distribution uniform


def _generator(key: PRNGKeyArray) -> np.random.Generator:
    """Return a NumPy generator with the seed of a JAX key, because it always draws float64."""
    if not isinstance(key, jax.Array):
        raise ValueError(f"`key` must be a JAX key such as jax.random.key(0), got {key!r}.")
    words = np.asarray(jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key)
    if words.ndim != 1 or words.dtype != np.uint32:
        raise ValueError(f"`key` must be one JAX key, got an array of shape {key.shape} and type {key.dtype}.")
    return np.random.default_rng(words.tolist())


def _size(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` must be an integer >= 1, got {value!r}.")
    return int(value)
