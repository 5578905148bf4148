"""Trajectory: status and message, what is printed, tables and data sets."""

import json

import equinox as eqx
import jax
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
def test_data_set_contains_every_number_with_name_and_unit(name, request):
    traj = request.getfixturevalue(name)
    data = traj.to_xarray()
    for key, values in traj.arrays().items():
        values_in_data = data["time" if key == "ts" else key]
        np.testing.assert_array_equal(values_in_data, values)
        assert values_in_data.attrs["long_name"] and values_in_data.attrs["units"]
    assert dict(data.sizes) == {"time": traj.ts.size, "output": traj.problem.n, "parameter": traj.problem.p} | (
        {"step": 4} if name == "stepped" else {}
    )


def test_data_set_attributes_describe_the_solve(flowed):
    attributes = flowed.to_xarray().attrs
    assert attributes["flow"] == "lm" and "0.25" in attributes["settings"] and attributes["result"] == "successful"
    assert (
        attributes["rtol"] == flowed.stats["rtol"]
        and attributes["solver"] == flowed.stats["solver"]
        and attributes["n"] == 2
    )
    assert json.loads(attributes["dropped_singular_values"]) == flowed.stats["dropped_singular_values"]
    assert not any(value is None or isinstance(value, bool) for value in attributes.values())


def test_parameters_have_leaf_names_and_steps_an_axis(stepped):
    data = stepped.to_xarray()
    assert data["leaf"].values.tolist() == ["['a']", "['rates']", "['rates']"]
    np.testing.assert_array_equal(data["gain"], stepped.stats["per_step"]["gain"])
    np.testing.assert_array_equal(data["params"].isel(parameter=data["leaf"] == "['rates']"), stepped.params[:, 1:])


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
@pytest.mark.parametrize("name", ["flowed", "stepped"])
def test_data_set_is_read_back_from_a_file(name, engine, request, tmp_path):
    if engine == "h5netcdf":
        pytest.importorskip("h5netcdf")
        pytest.importorskip("h5py")
    data = request.getfixturevalue(name).to_xarray()
    data.to_netcdf(tmp_path / "traj.nc", engine=engine)
    with xr.open_dataset(tmp_path / "traj.nc", engine=engine) as read:
        xr.testing.assert_equal(read.load(), data)
        assert read.attrs == data.attrs
        assert read["losses"].attrs == data["losses"].attrs


def test_table_contains_the_curves_over_time(flowed, stepped):
    table = flowed.to_pandas()
    assert table.index.name == "time" and table.index.tolist() == [0.0, 0.5, 2.0]
    assert list(table.columns) == list(CURVES)
    np.testing.assert_array_equal(table["losses"], flowed.losses)
    assert list(stepped.to_pandas().columns) == [name for name in CURVES if name != "error"]  # none was measured


def test_curves_of_a_sweep_have_the_same_names_and_units(flowed, tmp_path):
    rg.sweep(rg.task.circle, axes={"angle": [1.0]}, flows={"lm": rg.LevenbergMarquardtFlow(0.25)}, t1=2.0, out=tmp_path)
    curves, one = rg.load_curves(tmp_path), flowed.to_xarray()
    assert set(curves.data_vars) - {"ts"} <= set(one.data_vars) and "losses" in curves
    assert curves["ts"].attrs == one["time"].attrs == dict(zip(("long_name", "units"), TIME, strict=True))
    for name in set(curves.data_vars) - {"ts"}:
        assert curves[name].attrs == one[name].attrs
    assert curves["losses"].isel(run=0, time=-1).item() == pytest.approx(float(flowed.losses[-1]), rel=1e-6)


# --- status, message and printing -----------------------------------------------------------------

CIRCLE = rg.task.circle(radius=2.0, target=1.0, angle=1.0)


@pytest.fixture(scope="module")
def flow() -> rg.Trajectory:
    return rg.solve(CIRCLE, rg.GaussNewtonFlow(), t1=5.0)


@pytest.fixture(scope="module")
def iterates() -> rg.Trajectory:
    return rg.iterate(CIRCLE, rg.GaussNewton(step_size=1.0), steps=20)


@pytest.fixture(scope="module")
def descent() -> rg.Trajectory:
    return rg.riemannian_gradient_descent(rg.OutputManifold(CIRCLE), retraction="chart")


def test_a_status_has_a_sentence(flow, iterates, descent):
    assert (flow.status, flow.message) == ("successful", "The flow reached t1 = 5.")
    assert (iterates.status, iterates.message) == ("successful", "All 20 steps were taken.")
    assert descent.status == "gradient_tolerance_met" and "`grad_tol`" in descent.message
    assert flow.succeeded and iterates.succeeded and descent.succeeded


def test_a_solve_in_trouble_says_why():
    with pytest.raises(rg.SolveError, match=r"`max_steps` .*\(stopped at t = .*pass throw=False") as caught:
        rg.solve(CIRCLE, rg.GaussNewtonFlow(), t1=5.0, max_steps=2)
    stopped = caught.value.trajectory
    assert stopped.status == "step_limit" and not stopped.succeeded and stopped.message in str(caught.value)


def test_repr_is_short_and_print_fits_80_columns(flow, iterates, descent):
    for traj in (flow, iterates, descent):
        assert repr(traj).startswith("Trajectory(") and len(repr(traj)) < 240 and "\n" not in repr(traj)
        lines = str(traj).splitlines()
        assert max(map(len, lines)) <= 80 and traj.status in str(traj)
        assert any(line.split()[0] == "loss" and line.split()[-1] == f"{float(traj.losses[-1]):.6g}" for line in lines)
        assert traj._repr_html_().startswith("<table>") and traj.status in traj._repr_html_()
    assert "20 steps" in str(iterates) and "armijo" in repr(descent)


def test_traced_and_batched_trajectories_print_their_shapes(flow):
    batched = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, flow)
    assert "f64[1,129" in str(batched) and "f64[1,129" in batched._repr_html_()
    printed = []
    jax.jit(lambda ts: printed.append(repr(eqx.tree_at(lambda t: t.ts, flow, ts))))(flow.ts)
    assert "ts=f64[129]" in printed[0]


def test_a_geometric_trajectory_can_be_exported(descent):
    data = descent.to_xarray()
    assert data.attrs["flow"] == "riemannian gradient descent" and data.attrs["solver"] == "armijo"
    assert data["step_size"].size == descent.ts.size - 1 and "points" in descent.arrays()
    assert np.array_equal(descent.to_pandas()["losses"], descent.losses)
