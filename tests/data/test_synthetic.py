"""Synthetic data: condition numbers, distances, noise levels, keys and wrong input."""

import jax
import numpy as np
import pytest

from riemgn import data

EPS = np.finfo(float).eps
KEY = jax.random.key(0)


@pytest.mark.parametrize("cond", [1.0, 1e2, 1e6])
@pytest.mark.parametrize("n, d", [(30, 5), (5, 30), (12, 12)])
def test_synthetic_inputs_have_the_condition_number(n, d, cond):
    x = data.synthetic_inputs(n, d, cond, key=KEY)
    assert x.shape == (n, d) and x.dtype == np.float64
    # rounding changes the smallest singular value by a few eps of the largest
    np.testing.assert_allclose(np.linalg.cond(x), cond, rtol=max(1e-12, 20 * EPS * cond))
    np.testing.assert_allclose(np.sqrt(np.mean(np.sum(x**2, axis=1))), 1.0, rtol=1e-12)


@pytest.mark.parametrize("cond", [1.0, 1e2, 1e6])
def test_conditioned_matrix_has_log_spaced_singular_values(cond):
    s = np.linalg.svd(data.conditioned_matrix(9, cond, key=KEY), compute_uv=False)
    np.testing.assert_allclose(s, np.geomspace(1, 1 / cond, 9), rtol=max(1e-12, 20 * EPS * cond))


def test_data_depend_on_the_key():
    for draw in (
        lambda key: data.synthetic_inputs(6, 3, 10.0, key=key),
        lambda key: data.conditioned_matrix(4, 10.0, key=key),
    ):
        np.testing.assert_array_equal(draw(KEY), draw(jax.random.PRNGKey(0)))
        assert not np.allclose(draw(KEY), draw(jax.random.key(1)))


@pytest.mark.parametrize("distance", [0.0, 1e-6, 0.5])
def test_near_duplicates_have_the_distance(distance):
    x = data.synthetic_inputs(10, 4, 3.0, key=KEY)
    doubled = data.near_duplicates(x, distance, key=KEY)
    np.testing.assert_array_equal(doubled[:10], x)
    np.testing.assert_allclose(np.linalg.norm(doubled[10:] - x, axis=1), distance, rtol=1e-12, atol=8 * EPS)


def test_noise_has_the_level():
    y = np.linspace(0, 1, 20000)
    np.testing.assert_array_equal(data.add_noise(y, 0.0, key=KEY), y)
    # five standard errors of the deviation of 20000 draws
    np.testing.assert_allclose(np.std(data.add_noise(y, 0.3, key=KEY) - y), 0.3, rtol=0.025)


REJECTED = [
    (lambda: data.synthetic_inputs(5, 3, 0.5, key=KEY), "0.5"),
    (lambda: data.synthetic_inputs(5, 3, np.nan, key=KEY), "nan"),
    (lambda: data.synthetic_inputs(5, 3, 1e17, key=KEY), "1e+17"),
    (lambda: data.synthetic_inputs(0, 3, 2.0, key=KEY), "`n`"),
    (lambda: data.synthetic_inputs(5, -1, 2.0, key=KEY), "-1"),
    (lambda: data.synthetic_inputs(5, 1, 2.0, key=KEY), "single"),
    (lambda: data.synthetic_inputs(5, 3, 2.0, key=3), "key", "3"),
    (lambda: data.conditioned_matrix(4, 0.9, key=KEY), "0.9"),
    (lambda: data.conditioned_matrix(4, 2.0, key=jax.random.split(KEY, 3)), "(3,)"),
    (lambda: data.near_duplicates(np.ones(3), 0.1, key=KEY), "(3,)"),
    (lambda: data.near_duplicates(np.ones((3, 2)), -0.1, key=KEY), "-0.1"),
    (lambda: data.add_noise(np.ones(3), np.inf, key=KEY), "inf"),
]


@pytest.mark.parametrize("call, words", [(case[0], case[1:]) for case in REJECTED])
def test_wrong_argument_is_one_sentence(call, words):
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words)
