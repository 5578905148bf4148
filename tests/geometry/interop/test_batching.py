"""The bridge: kinds of arrays in and out, batch axes, one compilation per size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn.geometry.interop import batching as bridge

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


def test_numpy_in_gives_writable_float64_numpy_out():
    for point in (POINTS, POINTS.astype(np.float32), POINTS.tolist()):
        out = bridge.call(double, 2.0, point, ndims=(1,))
        assert type(out) is np.ndarray and out.dtype == np.float64 and out.flags.writeable
        np.testing.assert_allclose(out, 2.0 * np.asarray(point), rtol=1e-15)
        out += 1.0
    assert not np.asarray(jnp.ones(3)).flags.writeable  # what a plain conversion would give


def test_a_single_number_comes_out_as_a_number():
    flag, norm = (
        bridge.call(is_positive, 1.0, np.ones(3), ndims=(1,)),
        bridge.call(weighted, 1.0, np.ones(3), np.ones(3), ndims=(1, 1))[1],
    )
    assert type(flag) is np.bool_ and flag and type(norm) is np.float64 and norm == 3.0


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_one_jax_array_is_enough_for_jax_out(which):
    arrays = [jnp.asarray(array) if place in which else array for place, array in enumerate((POINTS, VECTORS))]
    out, norm = bridge.call(weighted, 2.0, *arrays, ndims=(1, 1))
    assert isinstance(out, jax.Array) and isinstance(norm, jax.Array) and out.dtype == jnp.float64
    np.testing.assert_allclose(out, by_loop(POINTS, VECTORS), rtol=1e-14)


def test_tracers_pass():
    def first(point, vector):
        return bridge.call(weighted, 2.0, point, vector, ndims=(1, 1))[0]

    expected = by_loop(POINTS, VECTORS)
    np.testing.assert_allclose(jax.jit(first)(POINTS, VECTORS), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(first)(POINTS, VECTORS), expected, rtol=1e-14)
    np.testing.assert_allclose(
        jax.jacfwd(first, argnums=1)(POINTS[0], VECTORS[0]), 2.0 * POINTS[0].sum() * np.eye(3), rtol=1e-14
    )


SHAPES = [
    ((), ()),
    ((5,), (5,)),
    ((), (5,)),
    ((5,), ()),
    ((1,), (5,)),
    ((2, 3), (2, 3)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((0,), ()),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_leading_axes_broadcast(left, right):
    rng = np.random.default_rng(2)
    point, vector = rng.standard_normal((*left, 3)), rng.standard_normal((*right, 3))
    out, norm = bridge.call(weighted, 2.0, point, vector, ndims=(1, 1))
    np.testing.assert_allclose(out, 2.0 * point.sum(-1, keepdims=True) * vector, rtol=1e-14)
    np.testing.assert_allclose(norm, np.broadcast_to((point**2).sum(-1), np.broadcast_shapes(left, right)), rtol=1e-14)
    assert out.shape == (*np.broadcast_shapes(left, right), 3)


def test_sizes_up_to_a_power_of_two_share_one_compilation():
    TRACES.clear()
    for size in (5, 6, 7, 8, 5):
        bridge.call(weighted, 3.0, np.ones((size, 4)), np.ones(4), ndims=(1, 1))
    assert len(TRACES) == 1
    bridge.call(weighted, 3.0, np.ones((9, 4)), np.ones(4), ndims=(1, 1))
    assert len(TRACES) == 2
    assert [bridge.power_of_two(size) for size in (0, 1, 2, 3, 4, 5, 8, 9)] == [1, 1, 2, 4, 4, 8, 8, 16]


def test_the_manifold_is_an_argument():
    TRACES.clear()
    for scale in (1.0, 2.0):
        out, _ = bridge.call(weighted, jnp.array(scale), POINTS[:2], VECTORS[:2], ndims=(1, 1))
        np.testing.assert_allclose(out, by_loop(POINTS[:2], VECTORS[:2], scale), rtol=1e-14)
    assert len(TRACES) == 1


def test_bad_shapes_are_told():
    with pytest.raises(ValueError, match=r"leading axes must broadcast, got \(5,\) and \(4,\)"):
        bridge.call(weighted, 1.0, POINTS, VECTORS[:4], ndims=(1, 1))
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        bridge.call(double, 1.0, 3.0, ndims=(1,))


def test_kinds_are_told_apart():
    assert bridge.namespace(POINTS, jnp.ones(2)) is jnp and bridge.namespace(POINTS, [1.0]) is np
    assert bridge.is_concrete(POINTS, jnp.ones(2))
    assert jax.jit(lambda x: x if bridge.is_concrete(x) else -x)(1.0) == -1.0
