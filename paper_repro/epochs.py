"""Train by epochs: parameters at chosen epochs and the seconds of training until each."""

import itertools
import time

import jax
import jax.random as jr
import numpy as np


def take_steps(problem, method, carry, key, steps):
    """Take `steps` steps of a method from `carry = (w, state)`, where `steps` may be traced.

    Step number `k` uses the key `fold_in(key, k)`, such that you can continue from any `carry`.
    """
    return jax.lax.fori_loop(
        0, steps, lambda _, carry: method.step(problem, *carry, jr.fold_in(key, carry[1].count)), carry
    )


def train_epochs(advance, carry, epochs):
    """Train until the last of `epochs` (ascending, 0 first) by `advance(carry, count)`.

    Call `advance(carry, 0)` before, because compilation would count as training time.

    Returns: the parameters at `epochs`, the seconds of training until each, the last `carry`.
    """
    points, seconds = [carry[0]], [0.0]
    for before, now in itertools.pairwise(epochs):
        start = time.perf_counter()
        carry = jax.block_until_ready(advance(carry, now - before))
        seconds.append(seconds[-1] + time.perf_counter() - start)
        points.append(carry[0])
    return points, np.array(seconds), carry
