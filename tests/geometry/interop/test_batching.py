"""Tests of the conversion between NumPy and JAX: types, batch axes, compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.geometry.interop.batching import call

TRACES = []


def weighted(scale, point, vector):
    TRACES.append(point.shape)
    return scale * point.sum() * vector, point @ point


def double(scale, point):
    return scale * point


def is_positive(scale, point):
    return jnp.all(scale * point > 0)


POINTS = np.random.default_rng(0).standard_normal((5, 3))
VECTORS = np.random.default_rng(1).standard_normal((5, 3))


def by_loop(points, vectors, scale=2.0):
    return np.stack([scale * point.sum() * vector for point, vector in zip(points, vectors, strict=True)])


def test_numpy_gives_writable_float64_numpy():
    for point in (POINTS, POINTS.astype(np.float32), POINTS.tolist()):
        out = call(double, 2.0, point, ndims=(1,))
        assert type(out) is np.ndarray and out.dtype == np.float64 and out.flags.writeable
        np.testing.assert_allclose(out, 2.0 * np.asarray(point), rtol=1e-15)
        out += 1.0


def test_no_axes_give_a_number():
    flag, norm = (
        call(is_positive, 1.0, np.ones(3), ndims=(1,)),
        call(weighted, 1.0, np.ones(3), np.ones(3), ndims=(1, 1))[1],
    )
    assert type(flag) is np.bool_ and flag and type(norm) is np.float64 and norm == 3.0


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_one_jax_array_gives_jax_arrays(which):
    arrays = [jnp.asarray(array) if place in which else array for place, array in enumerate((POINTS, VECTORS))]
    out, norm = call(weighted, 2.0, *arrays, ndims=(1, 1))
    assert isinstance(out, jax.Array) and isinstance(norm, jax.Array) and out.dtype == jnp.float64
    np.testing.assert_allclose(out, by_loop(POINTS, VECTORS), rtol=1e-14)


def test_tracers_are_accepted():
    def first(point, vector):
        return call(weighted, 2.0, point, vector, ndims=(1, 1))[0]

    expected = by_loop(POINTS, VECTORS)
    np.testing.assert_allclose(jax.jit(first)(POINTS, VECTORS), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(first)(POINTS, VECTORS), expected, rtol=1e-14)
    np.testing.assert_allclose(
        jax.jacfwd(first, argnums=1)(POINTS[0], VECTORS[0]), 2.0 * POINTS[0].sum() * np.eye(3), rtol=1e-14
    )


SHAPES = [((), ()), ((), (5,)), ((5,), ()), ((1,), (5,)), ((2, 1), (1, 3)), ((0,), ())]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_leading_axes_broadcast(left, right):
    rng = np.random.default_rng(2)
    point, vector = rng.standard_normal((*left, 3)), rng.standard_normal((*right, 3))
    out, norm = call(weighted, 2.0, point, vector, ndims=(1, 1))
    np.testing.assert_allclose(out, 2.0 * point.sum(-1, keepdims=True) * vector, rtol=1e-14)
    np.testing.assert_allclose(norm, np.broadcast_to((point**2).sum(-1), np.broadcast_shapes(left, right)), rtol=1e-14)
    assert out.shape == (*np.broadcast_shapes(left, right), 3)


def test_batch_sizes_share_programs():
    TRACES.clear()
    for size in (5, 6, 7, 8, 5):
        call(weighted, 3.0, np.ones((size, 4)), np.ones(4), ndims=(1, 1))
    assert len(TRACES) == 1
    call(weighted, 3.0, np.ones((9, 4)), np.ones(4), ndims=(1, 1))
    assert len(TRACES) == 2


def test_arrays_of_the_manifold_are_arguments():
    TRACES.clear()
    for scale in (1.0, 2.0):
        out, _ = call(weighted, jnp.array(scale), POINTS[:2], VECTORS[:2], ndims=(1, 1))
        np.testing.assert_allclose(out, by_loop(POINTS[:2], VECTORS[:2], scale), rtol=1e-14)
    assert len(TRACES) == 1


def test_bad_shapes_raise():
    with pytest.raises(ValueError, match=r"leading axes must broadcast, got \(5,\) and \(4,\)"):
        call(weighted, 1.0, POINTS, VECTORS[:4], ndims=(1, 1))
    with pytest.raises(ValueError, match=r"Got shape \(\), expected an array with at least 1 axes"):
        call(double, 1.0, 3.0, ndims=(1,))
