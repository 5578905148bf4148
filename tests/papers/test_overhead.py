"""What a step of Gram-Gauss-Newton costs: no second is tested here but at full size, only what is timed and judged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paper_repro.cai2019 import overhead
from tests.papers import assert_reproduced, verdicts


@pytest.mark.slow
def test_it_holds_at_full_size(tmp_path):
    assert_reproduced("cai2019/overhead", tmp_path, quick=False)


@pytest.mark.parametrize("method", ["GGN", "SGD"])
def test_what_is_timed_takes_a_step(method):
    run = overhead.stepper(method, 32, 8)
    (w, state), start = run(), run.args[1]
    assert int(state.count) == 1
    assert jnp.all(jnp.isfinite(w)) and float(jnp.linalg.norm(w - start)) > 0


def test_each_precision_is_that_of_its_steps():
    for dtype in overhead.LOOKS:
        with jax.enable_x64(dtype == "float64"):
            assert overhead.stepper("GGN", 32, 8).args[1].dtype == np.dtype(dtype)


def a_result(**ggn):
    runs = [
        {"dtype": dtype, "batch": overhead.REFERENCE, "width": 256, "ggn": ggn.get(dtype, 1.5), "sgd": 1.0}
        for dtype in overhead.LOOKS
    ]
    return {"runs": runs, "width": 256}


@pytest.mark.parametrize(("ratio", "refused"), [(1.5, 0), (4.1, 1), (np.nan, 1)])
def test_much_more_than_twice_a_step_of_sgd_is_refused(ratio, refused):
    assert sum(not holds for holds in verdicts(overhead.checks(a_result(float32=ratio))).values()) == refused
