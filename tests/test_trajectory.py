"""Trajectories as tables of pandas and data sets of xarray: nothing is lost, also on the way through a file."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import riemgn as rg
from riemgn.trajectory import CURVES, TIME


@pytest.fixture(scope="module")
def flowed():
    return rg.solve(rg.task.circle(angle=1.0), rg.LevenbergMarquardtFlow(0.25), t1=2.0, ts=[0.0, 0.5, 2.0], error=True)


@pytest.fixture(scope="module")
def stepped():
    x = jnp.linspace(0.0, 1.0, 6)[:, None]
    decay = rg.Problem(
        lambda w, x: w["a"] * jnp.exp(-w["rates"][0] * x[:, 0]),
        {"a": 1.0, "rates": jnp.ones(2)},
        x,
        jnp.exp(-2 * x[:, 0]),
    )
    return rg.iterate(decay, rg.LevenbergMarquardt(rg.TrustRegion()), steps=4)


@pytest.mark.parametrize("name", ["flowed", "stepped"])
def test_a_data_set_has_every_sampled_number_with_its_name_and_unit(name, request):
    traj = request.getfixturevalue(name)
    data = traj.to_xarray()
    for key, values in traj.arrays().items():
        found = data["time" if key == "ts" else key]
        np.testing.assert_array_equal(found, values)
        assert found.attrs["long_name"] and found.attrs["units"]
    assert dict(data.sizes) == {"time": traj.ts.size, "output": traj.problem.n, "parameter": traj.problem.p} | (
        {"step": 4} if name == "stepped" else {}
    )


def test_a_data_set_says_how_it_was_made(flowed):
    said = flowed.to_xarray().attrs
    assert said["flow"] == "lm" and "0.25" in said["settings"] and said["result"] == "successful"
    assert said["rtol"] == flowed.stats["rtol"] and said["solver"] == flowed.stats["solver"] and said["n"] == 2
    assert json.loads(said["dropped_singular_values"]) == flowed.stats["dropped_singular_values"]
    assert not any(value is None or isinstance(value, bool) for value in said.values())


def test_parameters_are_named_by_their_leaf_and_steps_have_an_axis(stepped):
    data = stepped.to_xarray()
    assert data["leaf"].values.tolist() == ["['a']", "['rates']", "['rates']"]
    np.testing.assert_array_equal(data["gain"], stepped.stats["per_step"]["gain"])
    np.testing.assert_array_equal(data["params"].isel(parameter=data["leaf"] == "['rates']"), stepped.params[:, 1:])


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
@pytest.mark.parametrize("name", ["flowed", "stepped"])
def test_a_data_set_survives_a_file(name, engine, request, tmp_path):
    if engine == "h5netcdf":
        pytest.importorskip("h5netcdf")
        pytest.importorskip("h5py")
    data = request.getfixturevalue(name).to_xarray()
    data.to_netcdf(tmp_path / "traj.nc", engine=engine)
    with xr.open_dataset(tmp_path / "traj.nc", engine=engine) as read:
        xr.testing.assert_equal(read.load(), data)
        assert read.attrs == data.attrs
        assert read["losses"].attrs == data["losses"].attrs


def test_a_table_has_the_curves_over_time(flowed, stepped):
    table = flowed.to_pandas()
    assert table.index.name == "time" and table.index.tolist() == [0.0, 0.5, 2.0]
    assert list(table.columns) == list(CURVES)
    np.testing.assert_array_equal(table["losses"], flowed.losses)
    assert list(stepped.to_pandas().columns) == [name for name in CURVES if name != "error"]  # none was measured


def test_a_folder_of_runs_uses_the_same_names_and_words(flowed, tmp_path):
    rg.sweep(rg.task.circle, axes={"angle": [1.0]}, flows={"lm": rg.LevenbergMarquardtFlow(0.25)}, t1=2.0, out=tmp_path)
    curves, one = rg.load_curves(tmp_path), flowed.to_xarray()
    assert set(curves.data_vars) - {"ts"} <= set(one.data_vars) and "losses" in curves
    assert curves["ts"].attrs == one["time"].attrs == dict(zip(("long_name", "units"), TIME, strict=True))
    for name in set(curves.data_vars) - {"ts"}:
        assert curves[name].attrs == one[name].attrs
    assert curves["losses"].isel(run=0, time=-1).item() == pytest.approx(float(flowed.losses[-1]), rel=1e-6)
