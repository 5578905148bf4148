"""Conditionals that stay lazy under `vmap` and have derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from riemgn.linalg import where_or_compute


def test_a_batch_computes_only_if_a_member_needs_it():
    calls = []

    def root(x):
        def compute():
            jax.debug.callback(lambda _: calls.append(1), x)
            return jnp.sqrt(-x)

        return where_or_compute(x > 0, x, compute)

    batch = jax.jit(jax.vmap(root))
    assert batch(jnp.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    jax.effects_barrier()
    assert calls == []
    assert batch(jnp.array([1.0, -4.0])).tolist() == [1.0, 2.0]
    jax.effects_barrier()
    assert calls
    nested = jax.vmap(jax.vmap(root))(jnp.array([[1.0, -4.0], [2.0, 3.0]]))
    assert nested.tolist() == [[1.0, 2.0], [2.0, 3.0]]


def test_derivatives_in_both_modes_and_under_vmap():
    def function(x):
        return where_or_compute(x > 0, x**2, lambda: jnp.sin(x))

    def linearised(function):
        return lambda x: jax.linearize(function, x)[1](1.0)

    at, exact = jnp.array([0.5, -0.5]), np.array([1.0, np.cos(0.5)])
    for derivative in (jax.grad, jax.jacfwd, linearised):
        np.testing.assert_allclose([derivative(function)(x) for x in at], exact, rtol=1e-15)
        np.testing.assert_allclose(jax.jit(jax.vmap(derivative(function)))(at), exact, rtol=1e-15)
