"""Define the under-parameterised problem of these items: a tanh network on the diabetes data.

The data have 442 samples of 10 standardised inputs.
"""

import jax
import jax.numpy as jnp

import riemgn as rg

WIDTH = 3

# Golden tolerance of a number that is an error: any size below the tolerance of the check is fine.
ERROR = 1.0


def network(alpha, seed=0, sizes=(10, WIDTH, 1)):
    """`f = alpha (phi(w) - phi(w0))`, by default a 10-3-1 tanh network with n = 442, p = 37.

    The network has biases and the NTK scaling.
    """
    x, y = rg.load_data("diabetes")
    net = rg.MLP(sizes)
    params = net.init(key=jax.random.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, jnp.asarray(x), jnp.asarray(y))


def setup(problem, alpha, tolerance, rho=0, seeds="0"):
    """The caption's words for this network."""
    words = {"data": "diabetes (442 x 10), tanh network 10-3-1, squared loss", "n": problem.n, "p": problem.p}
    return {**words, "alpha": alpha, "rho": rho, "seeds": seeds, "tolerance": tolerance}
