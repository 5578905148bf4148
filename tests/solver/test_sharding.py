"""One problem over several devices: the same numbers as on one, and what each device holds. The devices are forced ones, in one other process."""

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
from riemgn.model import FunctionModel
from tests.helpers import tanh_net
from tests.solver.sharded import OTHERS, PRODUCTS, SAMPLES

DEVICES = 8


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What `sharded.py` wrote on eight devices."""
    path = tmp_path_factory.mktemp("sharding") / "seen.json"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.solver.sharded", str(path)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", [*PRODUCTS, *OTHERS])
def test_runs_give_what_one_device_gives(seen, name):
    run = seen["runs"][name]
    assert run["error"] < 1e-10
    assert run["moved"] > 0.01
    assert run["codes"] == ["successful", "successful"]


@pytest.mark.parametrize("count", [1, 2, DEVICES])
def test_objective_gradient_and_products_are_those_of_one_device(seen, count):
    errors = seen["pointwise"][str(count)]
    assert set(errors) == {"outputs", "J v", "J^T u", "objective", "gradient"}
    assert max(errors.values()) < (1e-13 if count > 1 else 1e-15)


def test_rows_are_dealt_out_and_the_rest_is_everywhere(seen):
    per_output, scalar, rows = 2 * SAMPLES, [], SAMPLES // DEVICES
    dealt = {
        "x": [8, [rows]],
        "y": [8, [2 * rows]],
        "outputs": [8, [2 * rows]],
        "weights": [8, [2]],
        "alpha": [8, scalar],
    }
    assert seen["placing"]["dealt"] == dealt
    assert seen["placing"]["two"]["outputs"] == [2, [SAMPLES]]
    assert seen["placing"]["alone"]["outputs"] == [1, [per_output]]
    assert seen["placing"]["alone"]["weights"] == [1, [2]]


@pytest.mark.parametrize("way", ["moved", "again"])
def test_a_problem_made_of_a_sharded_one_is_sharded(seen, way):
    assert seen["rebuilt"][way] == seen["placing"]["dealt"]


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_free_programs_sum_over_devices_and_gather_nothing(seen, name):
    run = seen["runs"][name]
    assert len(run["dealt"]) == 3
    assert max(program["summed"] for program in run["dealt"]) > 1
    for program in run["dealt"]:
        assert program["gathering"] == []
        assert program["summed"] <= run["p"]


@pytest.mark.parametrize("name", [name for name, (size, _) in PRODUCTS.items() if size[0] == SAMPLES])
def test_no_device_sees_all_outputs_or_its_rows_of_the_jacobian(seen, name):
    run = seen["runs"][name]
    for program in run["dealt"]:
        assert run["n"] not in program["sides"]
        assert program["largest"] < run["n"] // DEVICES * run["p"]


@pytest.mark.parametrize("name", [*PRODUCTS, *OTHERS])
def test_a_problem_that_is_not_sharded_lies_on_one_device(seen, name):
    run = seen["runs"][name]
    assert run["devices"] == [1, DEVICES]
    for program in run["alone"]:
        assert (program["gathering"], program["summed"]) == ([], 0)
    assert any(run["n"] in program["sides"] for program in run["alone"])


@pytest.mark.parametrize("name", ["Gauss-Newton flow", "Gauss-Newton method, n < p", "LM method, formed"])
def test_a_factorised_jacobian_is_gathered_on_each_device(seen, name):
    run = seen["runs"][name]
    assert any("all-gather" in program["gathering"] for program in run["dealt"])
    assert max(program["largest"] for program in run["dealt"]) >= run["n"] * run["p"]


def test_memory_of_a_direction_falls_with_the_number_of_devices(seen):
    one, two, eight = (seen["directions"][count]["temporary"] for count in ("1", "2", "8"))
    assert 1.8 < one / two < 2.2
    assert 7 < one / eight < 9
    assert one < 8 * seen["directions"]["entries of J"] / 2


def test_samples_that_the_devices_do_not_divide_are_refused(seen):
    message = "The number of samples must be a multiple of the number of devices, got 100 and 8: leave out 4 samples or pass 5 of the devices."
    assert seen["refusal"] == message


def test_one_device_will_do():
    problem = tanh_net(12, (3, 4, 1))
    same = rg.shard(problem, jax.devices()[:1])
    method = rg.LevenbergMarquardt(1.0, matrix_free=rg.MatrixFree())
    alone, dealt = rg.iterate(problem, method, steps=3), rg.iterate(same, method, steps=3)
    np.testing.assert_array_equal(dealt.outputs, alone.outputs)
    assert same.y.sharding.spec == jax.sharding.PartitionSpec("data")


def test_parameters_that_are_the_data_too_are_not_dealt_out():
    x = jnp.eye(3)
    same = rg.shard(rg.Problem(rg.LinearModel(), x, x, x))
    assert same.x.sharding.spec == jax.sharding.PartitionSpec("data")
    assert same.params.sharding.spec == jax.sharding.PartitionSpec()


def test_a_plain_function_that_says_it_is_row_wise_is_dealt_out():
    model = FunctionModel(lambda params, x: x @ params, rowwise=True)
    problem = rg.Problem(model, jnp.ones(2), jnp.ones((4, 2)), jnp.zeros(4))
    np.testing.assert_array_equal(rg.shard(problem).outputs(problem.w0), problem.outputs(problem.w0))


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (
            lambda problem: rg.shard(problem, []),
            r"`devices` must be a list of one or more different JAX devices such as jax.devices\(\), got \[\]",
        ),
        (lambda problem: rg.shard(problem, 2 * jax.devices()[:1]), "one or more different JAX devices"),
        (lambda problem: rg.shard(problem, 2), "got 2"),
        (lambda problem: rg.shard(problem, ["cpu"]), r"got \['cpu'\]"),
        (lambda problem: rg.shard(problem.x), "`problem` must be a riemgn.Problem, got"),
        (
            lambda problem: rg.shard(rg.Problem(lambda params, x: x @ params, jnp.ones(3), problem.x, problem.y)),
            r"`shard` needs a row-wise model, and FunctionModel .* riemgn.FunctionModel\(function, rowwise=True\)",
        ),
    ],
)
def test_wrong_arguments_are_quoted(make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make(tanh_net(12, (3, 4, 1)))
