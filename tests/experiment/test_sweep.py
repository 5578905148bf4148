"""Sweeps: order of the cells, records, tables, resuming, and interruptions of every kind."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import filelock
import jax
import numpy as np
import pandas as pd
import pytest

import riemgn as rg
from riemgn.experiment import parallel
from riemgn.experiment.storage import read_record
from riemgn.experiment.sweep import Grid, MAX_CELLS

sweep_module = importlib.import_module("riemgn.experiment.sweep")  # the package exports the function
ROOT = Path(__file__).parents[2]
TIMES = ["seconds", "compile_seconds", "path"]
AXES = {"angle": [0.3, 0.6, 0.9], "radius": [1.0, 2.0]}
FLOWS = {"gn": rg.GaussNewtonFlow(), "damped": rg.LevenbergMarquardtFlow(0.1)}
ONE = {"axes": {"angle": [0.5]}}


def circles(out, make=rg.task.circle, **options):
    return rg.sweep(make, **{"axes": AXES, "flows": FLOWS, "t1": 1.0, "batch": 4, "out": out, **options})


def assert_same(table: pd.DataFrame, other: pd.DataFrame, exact: bool = True):
    """Compare all but times; processes give XLA one thread, so that numbers differ by rounding."""
    options = {"check_exact": True} if exact else {"rtol": 1e-8}
    pd.testing.assert_frame_equal(table.drop(columns=TIMES), other.drop(columns=TIMES), **options)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The table and the folder of a sweep that nothing interrupted."""
    folder = tmp_path_factory.mktemp("complete")
    return circles(folder), folder


def finished(folder: Path) -> dict[str, int]:
    """Return the names of the records with the time when each was written."""
    paths = [path for path in folder.glob("cells/*/*.json") if not path.parent.name.startswith(".")]
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_seed_varies_fastest_and_flow_slowest():
    grid = Grid({"a": [1, 2], "b": ["x"]}, ["gn", "lm"], [5, 6])
    cells = [grid.cell(i) for i in range(len(grid))]
    assert [(cell.flow, cell.point["a"], cell.point["b"], cell.seed) for cell in cells] == [
        (flow, a, "x", seed) for flow in ("gn", "lm") for a in (1, 2) for seed in (5, 6)
    ]
    assert [list(chunk) for chunk in grid.chunks(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("axes", "flows", "seeds", "quoted"),
    [({"a": []}, ["gn"], [0], "`a`"), ({}, [], [0], "`flows`"), ({"a": range(10**9)}, ["gn"], [0], f"{MAX_CELLS}")],
)
def test_empty_axis_or_too_many_cells_raise(axes, flows, seeds, quoted):
    with pytest.raises(ValueError, match=quoted):
        Grid(axes, flows, seeds)


def test_every_run_equals_a_single_solve(complete):
    table, _ = complete
    assert len(table) == 12 and set(table["result"]) == {"successful"}
    for _, row in table.iloc[[0, 3, 11]].iterrows():
        alone = rg.solve(rg.task.circle(angle=row["angle"], radius=row["radius"]), FLOWS[row["flow"]], t1=1.0)
        assert (row["n"], row["p"], row["t_end"], row["num_steps"]) == (2, 1, 1.0, alone.stats["num_steps"])
        for column, values in (("loss", alone.losses), ("grad_norm", alone.grad_norms), ("sigma_min", alone.sigma_min)):
            ends = [row[f"{column}_start"], row[f"{column}_end"]]
            np.testing.assert_allclose(ends, np.asarray(values)[[0, -1]], rtol=1e-9, atol=1e-12)


def test_record_contains_its_origin(complete):
    path = Path(complete[0]["path"].iloc[3])
    arrays, metadata = read_record(path.parent, path.name)
    assert arrays.keys() == {"ts", "losses", "grad_norms", "sigma_min"}
    assert metadata["versions"]["jax"] and metadata["dtype"] == "float64" and metadata["stats"]["rtol"] == 1e-8
    assert metadata["seconds"] > 0 and metadata["compile_seconds"] >= 0 and metadata["batch_size"] == 4


def test_curves_are_one_data_set(complete):
    table, folder = complete
    curves = rg.load_curves(folder)
    assert curves["losses"].dims == ("run", "time") and curves["losses"].shape[0] == len(table)
    np.testing.assert_array_equal(curves["losses"].isel(time=-1), table["loss_end"])
    np.testing.assert_array_equal(curves["angle"], table["angle"])


def test_keep_all_stores_parameters_and_outputs(tmp_path):
    table = circles(tmp_path, axes={"angle": [0.5]}, flows=[rg.GaussNewtonFlow()], keep="all")
    path = Path(table["path"].iloc[0])
    arrays, _ = read_record(path.parent, path.name)
    assert arrays["params"].shape == (129, 1) and arrays["outputs"].shape == (129, 2)


def network(seed, width):
    if width == 3:
        raise ZeroDivisionError("no net of width 3")
    net = rg.MLP((2, width, 1))
    return rg.Problem(net, net.init(key=jax.random.key(seed)), np.eye(2), np.ones(2))


def test_exception_in_a_cell_is_recorded(tmp_path):
    flows = [rg.GaussNewtonFlow()]
    table = rg.sweep(network, axes={"width": [3, 2]}, flows=flows, seeds=[0, 1], t1=0.5, out=tmp_path)
    assert table["result"].tolist() == ["error"] * 2 + ["successful"] * 2
    assert set(table["message"][:2]) == {"ZeroDivisionError: no net of width 3"}
    assert table["seed"].tolist() == [0, 1] * 2 and table["p"].dropna().tolist() == [9.0, 9.0]
    curves = rg.load_curves(tmp_path)
    assert np.isnan(curves["losses"][0]).all() and not np.isnan(curves["losses"][2]).any()


def test_non_finite_cell_affects_no_other(tmp_path, complete):
    def make(angle, radius):
        return rg.task.circle(angle=angle, radius=1e200 if angle == 0.6 and radius == 2.0 else radius)

    table, expected = (each.drop(columns=[*TIMES, "message"]) for each in (circles(tmp_path, make), complete[0]))
    odd = (table["angle"] == 0.6) & (expected["radius"] == 2.0)
    assert set(table["result"][odd]) == {"non_finite"}
    pd.testing.assert_frame_equal(table[~odd], expected[~odd], rtol=1e-9, check_dtype=False)


def test_resumed_sweep_equals_an_uninterrupted_one(tmp_path, complete):
    circles(tmp_path)
    for name in ("000000", "000008"):  # an interruption leaves incomplete chunks
        (tmp_path / "cells" / name).rename(tmp_path / "cells" / f".{name}.4711.part")
    before, done = finished(tmp_path), []
    assert len(before) == 4 == len(rg.load_runs(tmp_path))
    table = circles(tmp_path, resume=True, on_done=lambda now, total: done.append((now, total)))
    assert_same(table, complete[0])
    assert done == [(4, 12), (8, 12), (12, 12)]
    assert before.items() <= finished(tmp_path).items() and not list(tmp_path.glob("cells/.*"))


def test_only_the_same_sweep_resumes_a_folder(tmp_path, monkeypatch):
    circles(tmp_path, **ONE)
    with pytest.raises(ValueError, match="--resume"):
        circles(tmp_path, **ONE)
    damped = {**FLOWS, "damped": rg.LevenbergMarquardtFlow(0.2)}
    for change in ({"axes": {"angle": [0.6]}}, {"t1": 2.0}, {"flows": damped}, {"batch": 5}, {"keep": "all"}):
        with pytest.raises(ValueError, match="contains another sweep"):
            circles(tmp_path, resume=True, **{**ONE, **change})
    with pytest.raises(ValueError, match="contains another sweep"):
        circles(tmp_path, partial(rg.task.circle, target=1.0), resume=True, **ONE)
    monkeypatch.setattr(sweep_module, "source_hash", lambda files: "of tomorrow")
    with pytest.raises(ValueError, match="another version"):
        circles(tmp_path, resume=True, **ONE)


@pytest.mark.parametrize(
    ("change", "quoted"),
    [
        ({"axes": {"angel": [1.0]}}, "`angel`"),
        ({"seeds": [0, 1]}, "`seed`"),
        ({"flows": [rg.GaussNewtonFlow(), rg.GaussNewtonFlow()]}, "one name"),
        ({"batch": 0}, "`batch`"),
        ({"keep": "none"}, "none"),
        ({"jobs": 0}, "`jobs`"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(tmp_path, change, quoted):
    with pytest.raises(ValueError, match=quoted) as error:
        circles(tmp_path / "new", **change)
    assert "\n" not in str(error.value) and os.listdir(tmp_path) == []


def test_folder_without_records_raises(tmp_path):
    for name, message in (("missing", "no folder"), (".", "no records")):
        with pytest.raises(ValueError, match=message):
            rg.load_runs(tmp_path / name)


def test_two_sweeps_cannot_share_a_folder(tmp_path):
    circles(tmp_path, **ONE)
    with filelock.FileLock(tmp_path / sweep_module.LOCK), pytest.raises(ValueError, match="Another sweep is writing"):
        circles(tmp_path, resume=True, **ONE)
    circles(tmp_path, resume=True, **ONE)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 96 KiB, and a function that enlarges it."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield place, lambda: subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_full_disk_keeps_finished_cells(small_disk, complete):
    folder, enlarge = small_disk
    with pytest.raises(ValueError, match="no space left on device"):
        circles(folder)
    before = finished(folder)
    assert 0 < len(before) < 12 and len(rg.load_runs(folder)) == len(before)
    enlarge()
    assert_same(circles(folder, resume=True), complete[0])
    assert before.items() <= finished(folder).items()


def kill_worker_once(flag, angle, radius):
    if angle == 0.9 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rg.task.circle(angle=angle, radius=radius)


@pytest.mark.slow
def test_dead_worker_keeps_finished_cells(tmp_path, complete):
    make, folder = partial(kill_worker_once, str(tmp_path / "flag")), tmp_path / "runs"
    with pytest.raises(ValueError, match=r"worker process was killed.*\d of 12 cells are saved.*resume"):
        circles(folder, make, jobs=2)
    before = finished(folder)
    assert_same(circles(folder, make, jobs=2, resume=True), complete[0], exact=False)
    assert before.items() <= finished(folder).items()


SWEEP = """
import sys
import riemgn as rg
from riemgn.cli.session import prepare_jax

def make(angle):
    with open(sys.argv[2], "a") as log:
        log.write(f"{angle} ")
    return rg.task.circle(angle=angle)

prepare_jax()
axes, flows = {"angle": [0.3 + 0.01 * k for k in range(80)]}, [rg.GaussNewtonFlow()]
rg.sweep(make, axes=axes, flows=flows, t1=1.0, batch=4, out=sys.argv[1], resume=True)
"""


@pytest.mark.slow
def test_repeatedly_killed_sweep_gives_the_same_table(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RIEMGN_CACHE": str(tmp_path / "cache")}
    folder, log, draw = tmp_path / "killed", tmp_path / "log", random.Random(0)

    def start(out):
        return subprocess.Popen([sys.executable, "-c", SWEEP, str(out), str(log)], env=environment)

    for _ in range(8):
        before = len(finished(folder))
        angles = {json.loads(path.read_text())["point"]["angle"] for path in folder.glob("cells/0*/*.json")}
        log.write_text("")
        process = start(folder)
        while len(finished(folder)) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.wait()
        assert not angles & set(map(float, log.read_text().split()))  # no finished cell is repeated
    assert start(folder).wait() == 0 == start(tmp_path / "complete").wait()
    assert_same(rg.load_runs(folder), rg.load_runs(tmp_path / "complete"))


@pytest.mark.slow
def test_dask_workers_give_the_same_table(tmp_path, complete):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        table = circles(tmp_path, scheduler=cluster.scheduler_address)
    assert_same(table, complete[0], exact=False)


def test_unreachable_scheduler_raises(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "CONNECT", 1.0)
    with pytest.raises(ValueError, match="cannot be reached"):
        circles(tmp_path, scheduler="tcp://127.0.0.1:9")


def swallow_interrupt(_):
    """Drop exceptions, as compiled code that calls Python may do."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5.0)
    except KeyboardInterrupt:
        return "dropped"
    return "no interrupt"


def test_dropped_interrupt_is_raised_again():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            [*parallel.map_unordered(swallow_interrupt, [(1,), (2,)])]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert [*parallel.map_unordered(abs, [(-1,), (2,)])] == [1, 2]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_arguments_are_taken_lazily():
    taken = []

    def arguments():
        for k in range(10**7):
            taken.append(k)
            yield (k,)

    results = parallel.map_unordered(abs, arguments(), 2)
    assert [next(results) for _ in range(3)] and len(taken) < 1000
    results.close()
