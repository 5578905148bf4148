"""The under-parameterised problem of these experiments: a tanh network on the diabetes data, 442 samples of 10 standardised inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import riemgn as rg

WIDTH = 3

# golden tolerance of a number that is itself an error: any size below the check's own tolerance is the same result
ERROR = 1.0


def network(alpha, seed=0):
    """`f = alpha (phi(w) - phi(w0))`, a 10-3-1 tanh network with biases in NTK scaling: n = 442, p = 37."""
    x, y = rg.load_data("diabetes")
    net = rg.MLP((10, WIDTH, 1))
    params = net.init(key=jax.random.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, jnp.asarray(x), jnp.asarray(y))


def setup(problem, alpha, tolerance, rho=0, seeds="0"):
    """The caption's words for this network."""
    words = {"data": "diabetes (442 x 10), tanh network 10-3-1, squared loss", "n": problem.n, "p": problem.p}
    return {**words, "alpha": alpha, "rho": rho, "seeds": seeds, "tolerance": tolerance}


def best_loss(problem, start=None):
    """The loss of the nearest local minimum, by SciPy's trust-region least squares: a second way to the flow's limit."""
    jac = jax.jit(lambda w: problem.jac(w))
    outputs = jax.jit(lambda w: problem.outputs(w))
    y = np.asarray(problem.y)
    fit = scipy.optimize.least_squares(
        lambda w: np.asarray(outputs(w)) - y,
        np.asarray(problem.w0 if start is None else start),
        lambda w: np.asarray(jac(w)),
        method="trf",
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=2000,
    )
    return float(fit.cost)
