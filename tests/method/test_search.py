"""Armijo's line search: the accepted step size, and what happens without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riemgn import GaussNewton, GradientDescent, GramGaussNewton, iterate, LevenbergMarquardt
from riemgn.method.batch import batch_objective
from tests.method.shared import NET
from tests.method.test_trust_region import FAR, VALLEY


@pytest.mark.parametrize(
    "make",
    [GaussNewton, lambda **o: LevenbergMarquardt(1e-3, **o), lambda **o: GramGaussNewton(damping=1e-3, **o)],
    ids=["gn", "lm", "ggn"],
)
def test_armijo_condition_holds_where_full_steps_overshoot(make):
    searched = iterate(FAR, make(step_size=4.0, line_search=True), steps=12, throw=False)
    losses, size, slope = np.asarray(searched.losses), *(searched.stats["per_step"][n] for n in ("step_size", "slope"))
    assert np.all(losses[1:] <= losses[:-1] + 1e-4 * size * slope)
    direction = (searched.params[1] - searched.params[0]) / size[0]
    np.testing.assert_allclose(slope[0], jax.grad(lambda w: FAR.objective(w))(FAR.w0) @ direction, rtol=1e-10)
    without = iterate(FAR, make(step_size=4.0), steps=12, throw=False)
    assert np.any(np.diff(without.losses) > 0)


@pytest.mark.parametrize(
    ("problem", "method"),
    [(VALLEY, GaussNewton(line_search=True)), (NET, GradientDescent(64.0, line_search=True))],
    ids=["gn", "gd"],
)
def test_first_accepted_step_size_is_taken(problem, method):
    trajectory = iterate(problem, method, steps=12)
    sizes, slopes = (trajectory.stats["per_step"][name] for name in ("step_size", "slope"))
    objective = jax.jit(lambda w: problem.objective(w))
    for k in range(3):
        w, loss = trajectory.params[k], float(trajectory.losses[k])
        d = (trajectory.params[k + 1] - w) / sizes[k]
        accepted = [float(objective(w + s * d)) <= loss + 1e-4 * s * slopes[k] for s in (sizes[k], 2 * sizes[k])]
        assert accepted == [True, False] or (sizes[k] == method.step_size and accepted[0])
    assert sizes.min() < method.step_size
    assert np.all(np.log2(method.step_size / sizes) % 1 == 0)
    np.testing.assert_allclose(trajectory.ts[1:], np.cumsum(sizes), rtol=1e-14)


def test_line_search_uses_the_loss_of_the_batch():
    method = GramGaussNewton(3, 8.0, 0.05, "cyclic", line_search=True)
    trajectory = iterate(NET, method, steps=3)
    sizes, slopes = (trajectory.stats["per_step"][name] for name in ("step_size", "slope"))
    for k in range(3):
        batch = method.draw(method.initial_samples(NET), jnp.asarray(k), jax.random.key(0))[1]
        before, after = (float(batch_objective(NET, batch)(trajectory.params[i])) for i in (k, k + 1))
        assert after <= before + 1e-4 * sizes[k] * slopes[k]
    assert np.all(sizes < 8.0)
