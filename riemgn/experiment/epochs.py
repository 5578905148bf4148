"""Training by epochs: the points at chosen epochs, and the seconds of training until each."""

import itertools
import time

import jax
import jax.random as jr
import numpy as np


def taken(problem, method, carry, key, steps):
    """`carry = (w, state)` after `steps` more steps, a number that may be traced; the key of a step is `fold_in(key, steps before it)`."""
    return jax.lax.fori_loop(
        0, steps, lambda _, carry: method.step(problem, *carry, jr.fold_in(key, carry[1].count)), carry
    )


def walked(advance, carry, epochs):
    """Train until the last of `epochs` (ascending, 0 first); `advance(carry, count)` trains for `count` epochs more.

    Returns: the parameters at `epochs`, the seconds of training until each, and `carry` at the end. What `advance` compiles at its first call is
    counted: call it before, with `count` 0.
    """
    points, seconds = [carry[0]], [0.0]
    for before, now in itertools.pairwise(epochs):
        start = time.perf_counter()
        carry = jax.block_until_ready(advance(carry, now - before))
        seconds.append(seconds[-1] + time.perf_counter() - start)
        points.append(carry[0])
    return points, np.array(seconds), carry
