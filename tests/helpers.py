"""Problems, one flow of each kind, and dense NumPy references that share no code with riemgn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import riemgn as rg
from riemgn.model import ACTIVATIONS

# For a process that a test interrupts: if an ancestor runs in the background, it ignores Ctrl-C.
RESTORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "

# One flow of every kind. Add a new flow here, and the laws of tests/flow/test_spectral.py test it.
FLOWS = {
    "gf": rg.GradientFlow(),
    "gn": rg.GaussNewtonFlow(),
    "lm": rg.LevenbergMarquardtFlow(0.3),
    "lm undamped": rg.LevenbergMarquardtFlow(0.0),
    "lm weakly damped": rg.LevenbergMarquardtFlow(1e-9),
    "lm exponential": rg.LevenbergMarquardtFlow(rg.ExponentialDamping(0.3, 2.0)),
    "lm spectral": rg.LevenbergMarquardtFlow(rg.SpectralDamping(0.5)),
    "lm residual": rg.LevenbergMarquardtFlow(rg.ResidualDamping(0.1)),
    "lm gradient": rg.LevenbergMarquardtFlow(rg.GradientDamping(0.1, 2.0)),
    "interpolated": rg.InterpolatedFlow(0.4),
    "interpolated 0": rg.InterpolatedFlow(0.0),
    "interpolated 1": rg.InterpolatedFlow(1.0),
    "ggn": rg.GeneralizedGaussNewtonFlow(),
    "ggn damped": rg.GeneralizedGaussNewtonFlow(0.2),
}


def matrix_with(n: int, p: int, singular_values, seed: int = 0) -> np.ndarray:
    """An (n, p) matrix with the given non-zero singular values."""
    rng = np.random.default_rng(seed)
    s = np.asarray(singular_values, float)
    u = np.linalg.qr(rng.standard_normal((n, n)))[0][:, : s.size]
    v = np.linalg.qr(rng.standard_normal((p, p)))[0][:, : s.size]
    return (u * s) @ v.T


def matrix_problem(matrix: np.ndarray, loss=None, seed: int = 1, targets=None) -> rg.Problem:
    """The linear model whose Jacobian is `matrix`."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(matrix.shape[0]) if targets is None else targets
    return rg.Problem(rg.LinearModel(), rng.standard_normal(matrix.shape[1]), matrix, y, loss)


def tanh_net(n: int, sizes: tuple[int, ...], seed: int = 0, loss=None, **options) -> rg.Problem:
    """A network on Gaussian inputs with Gaussian targets."""
    net = rg.MLP(sizes, **options)
    rng = np.random.default_rng(seed)
    shape = (n,) if sizes[-1] == 1 else (n, sizes[-1])
    return rg.Problem(
        net, net.init(key=jax.random.key(seed)), rng.standard_normal((n, sizes[0])), rng.standard_normal(shape), loss
    )


def paired_net(n: int, width: int, seed: int = 0) -> rg.Problem:
    """Duplicated neurons, `f(w0) = 0`: rank-deficient in the under-parameterised regime."""
    net = rg.MLP((3, width, 1))
    rng = np.random.default_rng(seed)
    params = net.init(key=jax.random.key(seed), paired=True)
    return rg.Problem(net, params, rng.standard_normal((n, 3)), rng.standard_normal(n))


ZOO: dict[str, Callable[[], rg.Problem]] = {
    "teacher-student": lambda: rg.teacher_student(n=30, width=3, cond=10.0, key=jax.random.key(0)),
    "under-parameterised": lambda: tanh_net(40, (3, 4, 1)),
    "over-parameterised": lambda: tanh_net(8, (3, 10, 1)),
    "deep": lambda: tanh_net(12, (2, 4, 4, 1)),
    "several outputs": lambda: tanh_net(9, (3, 5, 2)),
    "standard scaling, no bias": lambda: tanh_net(12, (3, 4, 1), scaling="standard", bias=False, activation="softplus"),
    "duplicated neurons": lambda: paired_net(40, 4),
    "rank one": lambda: rg.task.rank_one(4, 3, key=jax.random.key(2)),
    "linear": lambda: rg.task.linear(12, 4, 1e2, key=jax.random.key(3)),
    "circle": lambda: rg.task.circle(radius=2.0, target=1.0, angle=1.0),
    "torus": lambda: rg.task.torus(),
}


def relative_error(a, b) -> float:
    """`|a - b| / |b|`."""
    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def finite_difference(function, point, step: float = 1e-6) -> np.ndarray:
    """Jacobian of `function` by central differences, shape (outputs, len(point))."""
    point = np.asarray(point, float)
    columns = []
    for i in range(point.size):
        e = np.zeros_like(point)
        e[i] = step
        columns.append((np.asarray(function(point + e)) - np.asarray(function(point - e))) / (2 * step))
    return np.stack(columns, axis=-1)


def dense_direction(name: str, jac, loss_gradient, curvature, damping: float) -> np.ndarray:
    """The velocity of each kind of flow, from its definition, by dense NumPy solves."""
    jac, loss_gradient, curvature = np.asarray(jac), np.asarray(loss_gradient), np.asarray(curvature)
    gram, identity = jac.T @ jac, np.eye(jac.shape[1])
    if name == "gf":
        return -jac.T @ loss_gradient
    if name == "gn":
        return -np.linalg.pinv(jac, rcond=1e-12) @ loss_gradient
    if name == "lm":
        return -np.linalg.solve(gram + damping * identity, jac.T @ loss_gradient)
    if name == "interpolated":
        return -np.linalg.solve((1 - damping) * gram + damping * identity, jac.T @ loss_gradient)
    if name == "ggn":
        weighted = jac.T @ (curvature[:, None] * jac)
        return -np.linalg.pinv(weighted + damping * identity, rcond=1e-12, hermitian=True) @ (jac.T @ loss_gradient)
    raise AssertionError(name)


class TwoLayerTanh:
    """`f = V tanh(W x / sqrt(d) + b) / sqrt(m) + c` in NumPy, with a Jacobian written by hand.

    The flat parameters are in the order of `rg.MLP`: layer by layer, bias before weight.
    """

    def __init__(self, x, width: int):
        self.x, self.m = np.asarray(x), width
        self.d = self.x.shape[1]

    def split(self, w):
        m, d = self.m, self.d
        b, weights, c, v = np.split(w, np.cumsum([m, m * d, 1]))
        return b, weights.reshape(m, d), c[0], v

    def outputs(self, w):
        b, weights, c, v = self.split(w)
        return np.tanh(self.x @ weights.T / np.sqrt(self.d) + b) @ v / np.sqrt(self.m) + c

    def jac(self, w):
        b, weights, _, v = self.split(w)
        h = np.tanh(self.x @ weights.T / np.sqrt(self.d) + b)
        by_bias = (1 - h**2) * v / np.sqrt(self.m)
        by_weight = by_bias[:, :, None] * self.x[:, None, :] / np.sqrt(self.d)
        ones = np.ones((len(h), 1))
        return np.concatenate([by_bias, by_weight.reshape(len(h), -1), ones, h / np.sqrt(self.m)], axis=1)


def network_jacobian(net: rg.MLP, params, x) -> np.ndarray:
    """Jacobian of an MLP by back-propagation in NumPy, one sample and one output at a time."""
    act = ACTIVATIONS[net.activation][0]
    scaled = {
        "ntk": [True] * len(params),
        "standard": [False] * len(params),
        "output": [False] * (len(params) - 1) + [True],
    }[net.scaling]
    scales = [
        layer["weight"].shape[1] ** -0.5 if divided else 1.0 for layer, divided in zip(params, scaled, strict=True)
    ]
    weights = [scale * np.asarray(layer["weight"]) for layer, scale in zip(params, scales, strict=True)]
    rows = []
    for sample in np.asarray(x):
        inputs, slopes = [sample], []
        for weight, layer in zip(weights[:-1], params[:-1], strict=True):
            z = weight @ inputs[-1] + np.asarray(layer.get("bias", 0.0))
            slopes.append(np.asarray(jax.vmap(jax.grad(act))(z)))
            inputs.append(np.asarray(act(z)))
        for output in np.eye(net.sizes[-1]):
            row, back = [], output
            for depth in range(len(params) - 1, -1, -1):
                by_weight = scales[depth] * np.outer(back, inputs[depth]).reshape(-1)
                row = [back, by_weight, *row] if net.bias else [by_weight, *row]
                back = (back @ weights[depth]) * slopes[depth - 1] if depth else back
            rows.append(np.concatenate(row))
    return np.stack(rows)


def jnp_matrix(*args, **kwargs):
    """`matrix_with` as a JAX array."""
    return jnp.asarray(matrix_with(*args, **kwargs))
