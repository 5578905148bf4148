"""Mini-batches: their orders, and the problem restricted to a batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.linalg import formed
from riemgn.method.batch import batch_objective, linearise_batch
from tests.helpers import matrix_problem, tanh_net
from tests.method.shared import WIDE

KEY = jax.random.key(0)


def draw(order: str, steps: int) -> list[np.ndarray]:
    """The samples of each step, 7 samples in batches of 3."""
    method, drawn = rg.GramGaussNewton(3, order=order), []
    samples = method.initial_samples(matrix_problem(WIDE))
    for k in range(steps):
        samples, batch = method.draw(samples, jnp.asarray(k), jax.random.fold_in(KEY, k))
        drawn.append(np.asarray(batch.rows)[np.asarray(batch.valid)])
    return drawn


@pytest.mark.parametrize("order", ["cyclic", "shuffled"])
def test_epoch_takes_every_sample_once(order):
    batches = draw(order, 6)
    assert [len(rows) for rows in batches] == [3, 3, 1, 3, 3, 1]
    epochs = [np.concatenate(batches[i : i + 3]) for i in (0, 3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert np.array_equal(*epochs) == (order == "cyclic")


def test_random_order_draws_cyclic_batches():
    assert {tuple(rows) for rows in draw("random", 20)} == {(0, 1, 2), (3, 4, 5), (6,)}


def test_subset_order_draws_any_subset():
    subsets = [frozenset(rows.tolist()) for rows in draw("subset", 20)]
    assert all(len(subset) == 3 for subset in subsets)
    assert len(set(subsets)) > 10


def test_batch_equals_the_problem_of_its_samples():
    """A padded batch of two of 8 samples, for a row-wise model and for one that is not."""
    rowwise = tanh_net(8, (3, 4, 2), loss=rg.PseudoHuberLoss(mean=True))
    model, y = rowwise.model, rowwise.y.reshape(8, 2)
    other = rg.Problem(lambda params, x: model(params, x), rowwise.params, rowwise.x, y, rowwise.loss)
    batch = rg.GramGaussNewton(3, order="cyclic").draw(jnp.arange(8), jnp.asarray(2), KEY)[1]
    part = rg.Problem(model, rowwise.params, rowwise.x[6:], y[6:], rowwise.loss)
    expected = part.linearise(part.w0)
    for problem in (rowwise, other):
        point, valid = eqx.filter_jit(linearise_batch)(problem, problem.w0, batch)
        assert valid.tolist() == [True] * 4 + [False] * 2
        for name in ("outputs", "residual", "loss_gradient", "loss_hessian"):
            np.testing.assert_allclose(getattr(point, name)[:4], getattr(expected, name), atol=1e-14)
        np.testing.assert_allclose(formed(point.jac), np.pad(expected.jac, ((0, 2), (0, 0))), atol=1e-14)
        loss = jax.jit(batch_objective(problem, batch))(part.w0)
        np.testing.assert_allclose(loss, part.objective(part.w0), rtol=1e-14)
