"""Sweep specs: reading a TOML file, the keys of errors, and the command `riemgn sweep`."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import riemgn as rg
from riemgn.cli import main
from riemgn.experiment import read_sweep_plan, read_sweep_spec, run, run_spec
from tests.helpers import RESTORE_CTRL_C

ROOT = Path(__file__).parents[2]
SPEC = """\
name = "conditioning"
seeds = 2

[base]
data = "diabetes"
width = 2
subset = 12
t1 = 0.5

[axes]
alpha = [100, 1000]
cond = { start = 1, stop = 1e3, num = 2, scale = "log" }

[[flows]]
flow = "gn"

[[flows]]
flow = "lm"
damping = 0.1
"""


@pytest.fixture
def spec(tmp_path):
    """Return a function that writes a spec with some of its text replaced."""

    def write(old="", new=""):
        assert old in SPEC
        path = tmp_path / "sweep.toml"
        path.write_text(SPEC.replace(old, new))
        return path

    return write


def test_spec_is_frozen_and_hashed_by_content(spec):
    one, other = read_sweep_spec(spec()), read_sweep_spec(spec("t1 = 0.5", "t1 = 0.6"))
    assert one.hash == read_sweep_spec(spec("seeds = 2\n", "seeds = 2  # two\n")).hash != other.hash
    with pytest.raises(ValueError, match="frozen"):
        one.seeds = 3


def test_plan_contains_every_cell(spec):
    _, plan = read_sweep_plan(spec())
    assert dict(plan.grid.axes) == {"alpha": [100, 1000], "cond": [1.0, 1000.0]}
    assert plan.grid.flows == ["gn", "lm"] and plan.grid.seeds == [0, 1]
    linear = read_sweep_plan(spec('num = 2, scale = "log"', "num = 3"))[1]
    assert linear.grid.axes["cond"] == [1.0, 500.5, 1000.0]


WRONG = [
    ("width = 2", "width = 0", ["`base.width`", "greater than or equal to 1", "got 0"]),
    ("width = 2", "widht = 2", ["`base.widht`", "width"]),
    ("[base]", "[base]\nseed = 3", ["`base.seed`"]),
    ("seeds = 2", "seeds = 'a'", ["`seeds`", "'a'"]),
    ("seeds = 2", "seeds = []", ["`seeds`", "at least 1"]),
    ("seeds = 2", "seeds = [0, -1]", ["`seeds[1]`", "-1"]),
    ("[100, 1000]", "[]", ["`axes.alpha`", "at least 1"]),
    ("[100, 1000]", "100", ["`axes.alpha`", "list", "100"]),
    ("[100, 1000]", "[100, 7, -1]", ["`axes.alpha[2]`", "-1"]),
    ("num = 2", "num = 1000000000", ["`axes.cond.num`", "1000000000"]),
    ("num = 2", "num = 1000000", ["`axes`", "at most 1000000", "8e+06"]),
    ("start = 1,", "start = -1,", ["`axes.cond`", "same sign", "-1"]),
    ('"log"', '"lin"', ["axes.cond.scale", "'lin'", "'log'"]),
    ("[axes]", "[axis]", ["`axis`", "axes"]),
    ('flow = "gn"', 'flow = "nn"', ["`flows[0].flow`", "'nn'", "'gn'"]),
    ("damping = 0.1", "", ["`flows[1]`", "'lm'", "damping"]),
    ('flow = "gn"', 'flow = "lm"\ndamping = 1', ["`flows[1]`", "'lm'", "`label`"]),
    ("alpha = [100, 1000]", "damping = [0.1]", ["`flows[0]`", "'gn'", "no damping"]),
    ("[100, 1000]", "[100, 1000", ["not TOML", "line 12"]),
]


@pytest.mark.parametrize(("old", "new", "quoted"), WRONG)
def test_wrong_spec_error_names_the_key(spec, capsys, tmp_path, old, new, quoted):
    path = spec(old, new)
    with pytest.raises(SystemExit) as leaving:
        main(["sweep", str(path), "--out", str(tmp_path / "runs")])
    message = capsys.readouterr().err
    assert leaving.value.code == 2 and message.count("\n") == 1
    assert all(word in message for word in quoted), message
    assert os.listdir(tmp_path) == ["sweep.toml"]


def test_unreadable_file_raises(tmp_path):
    path = tmp_path / "sweep.toml"
    with pytest.raises(ValueError, match="cannot be read: no such file"):
        read_sweep_spec(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        read_sweep_spec(path)


def sweep(capsys, *words):
    """Run the command and return its exit status, stdout and stderr."""
    with pytest.raises(SystemExit) as leaving:
        main(["sweep", *map(str, words)])
    return leaving.value.code, *capsys.readouterr()


def test_records_equal_single_runs(spec, capsys, tmp_path):
    folder, path = tmp_path / "runs", spec()
    status, out, _ = sweep(capsys, path, "--out", folder, "--json")
    summary = json.loads(out)
    assert status == 0 and summary["cells"] == 16 and summary["results"] == {"successful": 16}
    row = rg.load_runs(folder).iloc[13]
    fields = {name: row[name].item() for name in ("alpha", "cond", "seed")}
    alone = run(run_spec(data="diabetes", width=2, subset=12, t1=0.5, flow=row["flow"], damping=0.1, **fields))
    assert row["flow"] == "lm" and row["num_steps"] == alone.metadata["stats"]["num_steps"]
    assert row["loss_end"] == pytest.approx(alone.metadata["summary"]["losses"][1], rel=1e-9)
    status, out, _ = sweep(capsys, path, "--out", folder, "--resume")
    assert status == 0 and "16 successful" in out and str(folder) in out
    table = [line for line in out.splitlines() if str(folder) not in line]
    assert max(map(len, table)) <= 80 and not any(line.endswith(" ") for line in table)


SMALL = 'seeds = 4\nbatch = 2\n[base]\ndata = "diabetes"\nsubset = 12\nwidth = 2\nt1 = 0.5\n'


def test_failed_cells_give_status_1(tmp_path, capsys):
    (tmp_path / "sweep.toml").write_text(SMALL.replace("diabetes", "missing.csv"))
    status, out, _ = sweep(capsys, tmp_path / "sweep.toml", "--out", tmp_path / "runs")
    assert status == 1 and "4 runs: 4 error" in out


def test_interrupted_command_resumes(tmp_path, capsys, monkeypatch):
    module = importlib.import_module("riemgn.experiment.sweep")  # the package exports the function
    solve = module.map_unordered

    def interrupted(*arguments):
        yield next(solve(*arguments))
        raise KeyboardInterrupt

    path, folder = tmp_path / "sweep.toml", tmp_path / "runs"
    path.write_text(SMALL)
    monkeypatch.setattr(module, "map_unordered", interrupted)
    status, _, err = sweep(capsys, path, "--out", folder)
    assert status == 130 and f"2 of 4 cells are saved in '{folder}'" in err and "--resume" in err
    monkeypatch.undo()
    status, out, _ = sweep(capsys, path, "--out", folder, "--resume")
    assert status == 0 and "4 runs: 4 successful" in out


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "interrupt"), [("1", "SIGTERM"), ("2", "Ctrl-C")])
def test_signal_keeps_finished_cells(tmp_path, capsys, jobs, interrupt):
    path, folder = tmp_path / "sweep.toml", tmp_path / "runs"
    path.write_text(SMALL.replace("seeds = 4\nbatch = 2", "seeds = 90\nbatch = 3"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RIEMGN_CACHE": str(tmp_path / "cache")}
    program = f"{RESTORE_CTRL_C}import sys; from riemgn.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "sweep", str(path), "--out", str(folder), "--jobs", jobs]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not [*folder.glob("cells/0*")] and time.monotonic() < deadline:
        time.sleep(0.05)
    if interrupt == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    else:
        process.terminate()  # a batch system sends it to the first process only
    err = process.communicate(timeout=60)[1]  # returns when no worker is left that could write to it
    saved = len(rg.load_runs(folder))
    assert process.returncode == 130 and 3 <= saved < 90
    assert f"{saved} of 90 cells are saved" in err and "--resume" in err and "Traceback" not in err
    status, out, _ = sweep(capsys, path, "--out", folder, "--resume")
    assert status == 0 and "90 runs: 90 successful" in out
