"""The under-parameterised problem of these experiments: a tanh network on the diabetes data, 442 samples of 10 standardised inputs."""

import jax
import jax.numpy as jnp

import riemgn as rg

WIDTH = 3

# golden tolerance of a number that is itself an error: any size below the check's own tolerance is the same result
ERROR = 1.0


def network(alpha, seed=0, sizes=(10, WIDTH, 1)):
    """`f = alpha (phi(w) - phi(w0))`, a tanh network with biases in NTK scaling, by default 10-3-1: n = 442, p = 37."""
    x, y = rg.load_data("diabetes")
    net = rg.MLP(sizes)
    params = net.init(key=jax.random.key(seed))
    return rg.Problem(rg.Scaled(rg.Centred(net, params), alpha), params, jnp.asarray(x), jnp.asarray(y))


def setup(problem, alpha, tolerance, rho=0, seeds="0"):
    """The caption's words for this network."""
    words = {"data": "diabetes (442 x 10), tanh network 10-3-1, squared loss", "n": problem.n, "p": problem.p}
    return {**words, "alpha": alpha, "rho": rho, "seeds": seeds, "tolerance": tolerance}
