"""One problem on several devices: the results of one device, and what each device holds.

One other process with eight forced host devices runs `sharded.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riemgn as rg
from riemgn.solver import sharding
from tests.helpers import tanh_net
from tests.solver.sharded import FORMED, PRODUCTS, SAMPLES

pytestmark = pytest.mark.slow  # a process of its own compiles every flow on eight devices
DEVICES = 8
ROW_SHARDED = jax.sharding.PartitionSpec("data")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what `sharded.py` wrote on eight devices."""
    path = tmp_path_factory.mktemp("sharding") / "seen.json"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    command, root = [sys.executable, "-m", "tests.solver.sharded", str(path)], Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", [*PRODUCTS, *FORMED])
def test_results_equal_those_of_one_device(seen, name):
    run = seen["runs"][name]
    assert run["error"] < 1e-10 and run["moved"] > 0.01
    assert run["codes"] == ["successful", "successful"] and run["devices"] == [1, DEVICES]


@pytest.mark.parametrize("count", [2, DEVICES])
def test_products_equal_those_of_one_device(seen, count):
    errors = seen["pointwise"][str(count)]
    assert set(errors) == {"outputs", "J v", "J^T u", "objective", "gradient"}
    assert max(errors.values()) < 1e-13


def test_rows_are_distributed_and_the_rest_is_replicated(seen):
    rows = SAMPLES // DEVICES
    expected = {
        "x": [8, [rows]],
        "y": [8, [2 * rows]],
        "outputs": [8, [2 * rows]],
        "weights": [8, [2]],
        "alpha": [8, []],
    }
    assert seen["placing"]["sharded"] == expected
    assert seen["placing"]["two"]["outputs"] == [2, [SAMPLES]]
    assert seen["placing"]["alone"]["outputs"] == [1, [2 * SAMPLES]]
    # a problem made of a sharded one, and one that is sharded again
    assert seen["rebuilt"] == {"moved": expected, "again": expected}


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_free_programs_gather_nothing(seen, name):
    run = seen["runs"][name]
    assert len(run["sharded"]) == 3
    assert max(program["summed"] for program in run["sharded"]) > 1
    for program in run["sharded"]:
        assert program["gathering"] == [] and program["summed"] <= run["p"]
        # no device holds all outputs, or its rows of the Jacobian
        assert run["n"] not in program["sides"] and program["largest"] < run["n"] // DEVICES * run["p"]


@pytest.mark.parametrize("name", [*PRODUCTS, *FORMED])
def test_unsharded_problem_stays_on_one_device(seen, name):
    run = seen["runs"][name]
    assert all((program["gathering"], program["summed"]) == ([], 0) for program in run["alone"])
    assert any(run["n"] in program["sides"] for program in run["alone"])


@pytest.mark.parametrize("name", FORMED)
def test_factorised_jacobian_is_gathered(seen, name):
    run = seen["runs"][name]
    assert any("all-gather" in program["gathering"] for program in run["sharded"])
    assert max(program["largest"] for program in run["sharded"]) >= run["n"] * run["p"]


def test_memory_of_a_direction_falls_with_the_devices(seen):
    one, eight = (seen["directions"][count]["temporary"] for count in ("1", "8"))
    assert 7 < one / eight < 9
    assert one < 8 * seen["directions"]["entries of J"] / 2


def test_one_device_is_enough():
    problem = tanh_net(12, (3, 4, 1))
    sharded = rg.shard(problem, jax.devices()[:1])
    method = rg.LevenbergMarquardt(1.0, matrix_free=rg.MatrixFree())
    one, other = (rg.iterate(each, method, steps=3, spectra=False) for each in (problem, sharded))
    np.testing.assert_array_equal(one.outputs, other.outputs)
    assert sharded.y.sharding.spec == ROW_SHARDED


def test_parameters_that_equal_the_data_are_replicated():
    x = jnp.eye(3)
    sharded = rg.shard(rg.Problem(rg.LinearModel(), x, x, x))
    assert sharded.x.sharding.spec == ROW_SHARDED
    assert sharded.params.sharding.spec == jax.sharding.PartitionSpec()


def test_rowwise_function_can_be_sharded():
    model = rg.FunctionModel(lambda params, x: x @ params, rowwise=True)
    problem = rg.Problem(model, jnp.ones(2), jnp.ones((4, 2)), jnp.zeros(4))
    np.testing.assert_array_equal(rg.shard(problem).outputs(problem.w0), problem.outputs(problem.w0))


def test_samples_must_be_a_multiple_of_the_devices(monkeypatch):
    monkeypatch.setattr(sharding, "_checked_devices", lambda devices: [None] * 8)
    message = "got 100 and 8: leave out 4 samples or pass 5 of the devices"
    with pytest.raises(ValueError, match=message):
        rg.shard(tanh_net(100, (3, 4, 1)))


@pytest.mark.parametrize(("make", "fragment"), [
    (lambda problem: rg.shard(problem, []), r"`devices` must be .* such as jax.devices\(\), got \[\]"),
    (lambda problem: rg.shard(problem, 2 * jax.devices()[:1]), "one or more different JAX devices"),
    (lambda problem: rg.shard(problem, 2), "got 2"),
    (lambda problem: rg.shard(problem, ["cpu"]), r"got \['cpu'\]"),
    (lambda problem: rg.shard(problem.x), "`problem` must be a riemgn.Problem, got"),
    (
        lambda problem: rg.shard(rg.Problem(lambda params, x: x @ params, jnp.ones(3), problem.x, problem.y)),
        r"needs a row-wise model, and FunctionModel .* riemgn.FunctionModel\(function, rowwise=True\)",
    ),
])  # fmt: skip
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make(tanh_net(12, (3, 4, 1)))
