"""Sweeps: cells and their order, records, resuming, tables, and what stops them: full disks, dying workers, kill -9, another sweep."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest

import riemgn as rg
from riemgn.experiment import parallel
from riemgn.experiment.cell import Grid, MAX_CELLS
from riemgn.experiment.storage import read_record

sweep_module = importlib.import_module("riemgn.experiment.sweep")  # the name is the function's
ROOT = Path(__file__).parents[2]
TIMES = ["seconds", "compile_seconds", "path"]
AXES = {"angle": [0.3, 0.6, 0.9], "radius": [1.0, 2.0]}
FLOWS = {"gn": rg.GaussNewtonFlow(), "damped": rg.LevenbergMarquardtFlow(0.1)}


def circles(out, make=rg.task.circle, **options):
    return rg.sweep(make, **{"axes": AXES, "flows": FLOWS, "t1": 1.0, "batch": 4, "out": out, **options})


def lasting(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what no second run repeats."""
    return table.drop(columns=TIMES)


def same(table: pd.DataFrame, other: pd.DataFrame, exact: bool = True):
    """To the bit; where one has computed here and the other in processes, which give XLA one thread, to the tolerance of the solves."""
    pd.testing.assert_frame_equal(
        lasting(table), lasting(other), **({"check_exact": True} if exact else {"rtol": 1e-8})
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return circles(folder), folder


def finished(folder: Path) -> dict[str, int]:
    """The records there are, with the time each was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in folder.glob("cells/*/*.json")
        if not path.parent.name.startswith(".")
    }


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_cells_come_seed_by_seed_then_by_the_axes_then_by_the_flows():
    grid = Grid({"a": [1, 2], "b": ["x"]}, ["gn", "lm"], [5, 6])
    cells = [grid.cell(i) for i in range(len(grid))]
    assert [(cell.flow, cell.point["a"], cell.point["b"], cell.seed) for cell in cells] == [
        (flow, a, "x", seed) for flow in ("gn", "lm") for a in (1, 2) for seed in (5, 6)
    ]
    assert [list(chunk) for chunk in grid.chunks(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("axes", "flows", "seeds", "quoted"),
    [
        ({"a": []}, ["gn"], [0], "`a`"),
        ({}, [], [0], "`flows`"),
        ({}, ["gn"], [], "`seeds`"),
        ({"a": range(10**9)}, ["gn"], [0], f"{MAX_CELLS}"),
    ],
)
def test_an_empty_axis_and_too_many_cells_are_refused(axes, flows, seeds, quoted):
    with pytest.raises(ValueError, match=quoted):
        Grid(axes, flows, seeds)


# --- records and tables -----------------------------------------------------------------------------------------------


def test_every_run_is_the_solve_of_its_cell(whole):
    table, _ = whole
    assert len(table) == 12 and set(table["result"]) == {"successful"}
    for _, row in table.iterrows():
        alone = rg.solve(rg.task.circle(angle=row["angle"], radius=row["radius"]), FLOWS[row["flow"]], t1=1.0)
        assert (row["n"], row["p"], row["t_end"], row["num_steps"]) == (2, 1, 1.0, alone.stats["num_steps"])
        for column, values in (("loss", alone.losses), ("grad_norm", alone.grad_norms), ("sigma_min", alone.sigma_min)):
            np.testing.assert_allclose(
                [row[f"{column}_start"], row[f"{column}_end"]], np.asarray(values)[[0, -1]], rtol=1e-9, atol=1e-12
            )


def test_a_record_tells_where_it_comes_from(whole):
    table, _ = whole
    path = Path(table["path"].iloc[3])
    arrays, metadata = read_record(path.parent, path.name)
    assert arrays.keys() == {"ts", "losses", "grad_norms", "sigma_min"}
    assert metadata["versions"]["jax"] and metadata["dtype"] == "float64" and metadata["stats"]["rtol"] == 1e-8
    assert metadata["seconds"] > 0 and metadata["compile_seconds"] >= 0 and metadata["lanes"] == 4


def test_curves_are_one_data_set(whole):
    table, folder = whole
    curves = rg.load_curves(folder)
    assert curves["losses"].dims == ("run", "time") and curves["losses"].shape[0] == len(table)
    np.testing.assert_array_equal(curves["losses"].isel(time=-1), table["loss_end"])
    np.testing.assert_array_equal(curves["angle"], table["angle"])


def test_parameters_and_outputs_are_kept_on_request(tmp_path):
    table = circles(tmp_path, axes={"angle": [0.5]}, flows=[rg.GaussNewtonFlow()], keep="all")
    path = Path(table["path"].iloc[0])
    arrays, _ = read_record(path.parent, path.name)
    assert arrays["params"].shape == (129, 1) and arrays["outputs"].shape == (129, 2)


def seeded(seed, width):
    if width == 3:
        raise ZeroDivisionError("no net of width 3")
    return rg.Problem(net := rg.MLP((2, width, 1)), net.init(key=jax_key(seed)), np.eye(2), np.ones(2))


def jax_key(seed):
    import jax

    return jax.random.key(seed)


def test_a_cell_that_fails_is_a_record_and_ends_nothing(tmp_path):
    table = rg.sweep(
        seeded, axes={"width": [2, 3, 4]}, flows=[rg.GaussNewtonFlow()], seeds=[0, 1], t1=0.5, out=tmp_path
    )
    assert table["result"].tolist() == ["successful"] * 2 + ["error"] * 2 + ["successful"] * 2
    assert set(table["message"][2:4]) == {"ZeroDivisionError: no net of width 3"}
    assert table["seed"].tolist() == [0, 1] * 3 and table["p"].dropna().tolist() == [9.0, 9.0, 17.0, 17.0]
    curves = rg.load_curves(tmp_path)
    assert np.isnan(curves["losses"][2]).all() and not np.isnan(curves["losses"][4]).any()


def test_a_flow_in_trouble_has_its_code_and_spoils_no_other(tmp_path, whole):
    expected = lasting(whole[0]).drop(columns="message")
    limit = int(expected["num_steps"].min())
    slow = expected["num_steps"] > limit
    table = lasting(circles(tmp_path, max_steps=limit)).drop(columns="message")
    assert 0 < slow.sum() < 12 and set(table["result"][slow]) == {"step_limit"}
    pd.testing.assert_frame_equal(table[~slow], expected[~slow], rtol=1e-9)


def test_a_cell_that_cannot_start_spoils_no_other(tmp_path, whole):
    def make(angle, radius):
        return rg.task.circle(angle=angle, radius=1e200 if angle == 0.6 and radius == 2.0 else radius)

    table, expected = (lasting(each).drop(columns="message") for each in (circles(tmp_path, make), whole[0]))
    odd = (table["angle"] == 0.6) & (expected["radius"] == 2.0)
    assert set(table["result"][odd]) == {"non_finite"}
    pd.testing.assert_frame_equal(table[~odd], expected[~odd], rtol=1e-9, check_dtype=False)


# --- again and on -----------------------------------------------------------------------------------------------------


def cut(folder: Path, chunks: list[str]):
    """What is left of a sweep that was interrupted: some chunks, and a half-written one."""
    for name in chunks:
        place = folder / "cells" / name
        place.rename(place.with_name(f".{name}.4711.part"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_resumed_sweep_has_the_table_of_a_whole_one_and_repeats_nothing(tmp_path, whole, jobs):
    circles(tmp_path)
    cut(tmp_path, ["000000", "000008"])
    before = finished(tmp_path)
    assert len(before) == 4
    done = []
    table = circles(tmp_path, resume=True, jobs=jobs, on_done=lambda now, total: done.append((now, total)))
    same(table, whole[0], exact=jobs == 1)
    assert done == [(4, 12), (8, 12), (12, 12)]
    assert before.items() <= finished(tmp_path).items()
    assert not list(tmp_path.glob("cells/.*"))


def test_a_half_written_chunk_is_no_record(tmp_path):
    circles(tmp_path)
    cut(tmp_path, ["000004"])
    assert len(rg.load_runs(tmp_path)) == 8


def test_a_folder_in_use_is_taken_up_only_when_asked_and_only_by_the_same_sweep(tmp_path, monkeypatch):
    circles(tmp_path, axes={"angle": [0.5]})
    with pytest.raises(ValueError, match="--resume"):
        circles(tmp_path, axes={"angle": [0.5]})
    for change in (
        {"axes": {"angle": [0.6]}},
        {"t1": 2.0},
        {"flows": {**FLOWS, "damped": rg.LevenbergMarquardtFlow(0.2)}},
        {"batch": 5},
        {"keep": "all"},
    ):
        with pytest.raises(ValueError, match="contains another sweep"):
            circles(tmp_path, resume=True, **{"axes": {"angle": [0.5]}, **change})
    with pytest.raises(ValueError, match="contains another sweep"):
        circles(tmp_path, partial(rg.task.circle, target=1.0), axes={"angle": [0.5]}, resume=True)
    monkeypatch.setattr(sweep_module, "source_hash", lambda files: "of tomorrow")
    with pytest.raises(ValueError, match="another version"):
        circles(tmp_path, axes={"angle": [0.5]}, resume=True)


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
def test_wrong_arguments_are_one_sentence_and_leave_nothing(tmp_path, change, quoted):
    with pytest.raises(ValueError, match=quoted) as refusal:
        circles(tmp_path / "new", **change)
    assert "\n" not in str(refusal.value) and not finished(tmp_path)


@pytest.mark.parametrize("make", [lambda tmp_path: tmp_path / "nowhere", lambda tmp_path: tmp_path])
def test_a_folder_without_records_is_one_sentence(tmp_path, make):
    with pytest.raises(ValueError, match=r"no folder|no records"):
        rg.load_runs(make(tmp_path))


# --- what stops a sweep -----------------------------------------------------------------------------------------------


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    circles(tmp_path, axes={"angle": [0.5]})
    before = finished(tmp_path)
    with filelock.FileLock(tmp_path / sweep_module.LOCK), pytest.raises(ValueError, match="Another sweep is writing"):
        circles(tmp_path, axes={"angle": [0.5]}, resume=True)
    assert finished(tmp_path) == before
    circles(tmp_path, axes={"angle": [0.5]}, resume=True)


def test_a_folder_that_cannot_be_written_costs_no_solve(tmp_path):
    called = []
    folder = tmp_path / "file" / "runs"
    folder.parent.write_text("no folder")
    with pytest.raises(ValueError, match="cannot be written"):
        circles(folder, lambda angle, radius: called.append(angle))
    read_only = Path("/proc/riemgn") if os.access("/", os.W_OK) else tmp_path / "closed"
    if read_only.parent == tmp_path:
        read_only.mkdir(mode=0o500)
    with pytest.raises(ValueError, match="cannot be written"):
        circles(read_only, lambda angle, radius: called.append(angle))
    assert not called


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own of 96 KiB, and how to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small file system can be mounted by root alone")
    try:
        yield place, lambda: subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing_that_is_finished(small_disk, whole):
    folder, enlarge = small_disk
    with pytest.raises(ValueError, match="no space left on device"):
        circles(folder)
    before = finished(folder)
    assert 0 < len(before) < 12 and len(rg.load_runs(folder)) == len(before)
    enlarge()
    table = circles(folder, resume=True)
    same(table, whole[0])
    assert before.items() <= finished(folder).items()


def deadly(flag, angle, radius):
    """A problem whose worker is killed at one cell, the first time."""
    if angle == 0.9 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rg.task.circle(angle=angle, radius=radius)


def test_a_worker_that_dies_loses_nothing_that_is_finished(tmp_path, whole):
    make, folder = partial(deadly, str(tmp_path / "flag")), tmp_path / "runs"
    with pytest.raises(ValueError, match=r"worker process was killed.*\d of 12 cells are saved.*resume"):
        circles(folder, make, jobs=2)
    before = finished(folder)
    table = circles(folder, make, jobs=2, resume=True)
    same(table, whole[0], exact=False)
    assert before.items() <= finished(folder).items()


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import riemgn as rg
from riemgn.cli.session import prepare_jax

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
log = folder / "made"

def make(angle):
    with open(log, "a") as stream:
        stream.write(f"{angle}\\n")
    return rg.task.circle(angle=angle)

def work():
    prepare_jax()
    rg.sweep(make, axes={"angle": [0.3 + 0.01 * k for k in range(120)]}, flows=[rg.GaussNewtonFlow()], t1=1.0, batch=4, out=folder, resume=True)

def angles_done():
    cells = folder.glob("cells/*/*.json")
    return [json.loads(path.read_text())["point"]["angle"] for path in cells if not path.parent.name.startswith(".")]

draw, killed, again = random.Random(0), 0, []
while True:
    done = set(angles_done())
    log.write_text("")
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    if killed < kills and len(done) < 112:
        started = time.monotonic()
        while len(angles_done()) < len(done) + 4 * draw.randint(0, 1) and time.monotonic() < started + 60:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        killed += 1
    status = os.waitpid(child, 0)[1]
    again += done & {float(line) for line in log.read_text().split()}
    if status == 0:
        break
print(json.dumps({"killed": killed, "again": again}))
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_sweep_comes_to_the_same_table(tmp_path, kills):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RIEMGN_CACHE": str(tmp_path / "cache")}
    tables, told = [], []
    for name, count in (("killed", kills), ("whole", 0)):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", KILLED, str(tmp_path / name), str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout))
        tables.append(lasting(rg.load_runs(tmp_path / name)))
    assert told[0] == {"killed": kills, "again": []}
    assert len(tables[0]) == 120
    pd.testing.assert_frame_equal(*tables, check_exact=True)


# --- on a scheduler ---------------------------------------------------------------------------------------------------


def test_the_workers_of_a_scheduler_come_to_the_same_table(tmp_path, whole):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        table = circles(tmp_path, scheduler=cluster.scheduler_address)
    same(table, whole[0], exact=False)


def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "CONNECT", 1.0)
    with pytest.raises(ValueError, match="cannot be reached"):
        circles(tmp_path, scheduler="tcp://127.0.0.1:9")


def deaf(_):
    """As compiled code that calls Python: what was raised in the call is dropped."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5.0)
    except KeyboardInterrupt:
        return "nothing heard"
    return "nothing came"


def test_an_interrupt_dropped_on_the_way_is_heeded():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            [*parallel.map_unordered(deaf, [(1,), (2,)])]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert [*parallel.map_unordered(abs, [(-1,), (2,)])] == [1, 2]
    finally:
        signal.signal(signal.SIGINT, before)


def test_arguments_are_taken_up_as_places_get_free():
    """Ten million arguments are not put in a list."""
    taken = []

    def arguments():
        for k in range(10**7):
            taken.append(k)
            yield (k,)

    results = parallel.map_unordered(abs, arguments(), 2)
    assert [next(results) for _ in range(3)] and len(taken) < 1000
    results.close()
