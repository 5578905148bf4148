"""The command line: exit status, messages, tables and JSON."""

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from riemgn import cli
from riemgn.cli.session import prepare_jax
from riemgn.experiment import cases, certification, read_record, RunSpec

ROOT = Path(__file__).resolve().parents[2]
TINY = ("run", "--data", "diabetes", "--subset", "30", "--width", "2", "--alpha", "1000", "--t1", "2")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("RIEMGN_CACHE", "off")
    monkeypatch.chdir(tmp_path)


def call(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


BAD = [
    (("run", "--data", "dabetes"), "'dabetes'"),
    (("run", "--flow", "newton"), "'newton'"),
    (("run", "--flow", "lm", "--damping", "-1"), "-1"),
    (("run", "--flow", "lm"), "'lm' needs a damping"),
    (("run", "--flow", "gn", "--damping", "1"), "takes no damping, got 1"),
    (("run", "--flow", "interpolated", "--damping", "2"), "2"),
    (("run", "--flow", "lm", "--damping", "1", "--damping-kind", "odd"), "'odd'"),
    (("run", "--t1", "0"), "0"),
    (("run", "--t1", "-3"), "-3"),
    (("run", "--t1", "inf"), "inf"),
    (("run", "--width", "0"), "0"),
    (("run", "--width", "many"), "'many'"),
    (("run", "--width", "2.5"), "2.5"),
    (("run", "--depth", "0"), "0"),
    (("run", "--alpha", "nan"), "nan"),
    (("run", "--alpha", "0"), "0"),
    (("run", "--activation", "step"), "'step'"),
    (("run", "--loss", "hinge"), "'hinge'"),
    (("run", "--loss", "poisson"), "Poisson"),
    (("run", "--scaling", "big"), "'big'"),
    (("run", "--solver", "euler"), "'euler'"),
    (("run", "--cond", "0.5"), "0.5"),
    (("certify", "thirteen"), "'thirteen'"),
    (("certify", "--seeds", "0"), "0"),
    (("certify", "--jobs", "-1"), "-1"),
    (("certify", "--rtol", "2"), "2"),
    (("certify", "--quick", "--seeds", "few"), "'few'"),
    (("run", "--rtol", "0"), "0"),
    (("run", "--seed", "-1"), "-1"),
    (("run", "--subset", "0"), "0"),
    (("run", "--subset", "100000"), "100000"),
    (("run", "--loss-tol", "-1"), "-1"),
    (("run", "--ball-radius", "0"), "0"),
    (("run", "--max-steps", "0"), "0"),
    (("run", "--data-dir", "no/such/folder"), "'no/such/folder'"),
    (("run", "--data", "missing.csv"), "missing.csv"),
    (("run", "--out", "file/sub"), "'file/sub'"),
    (("run", "--colour", "red"), "--colour"),
    (("run", "--width"), "--width"),
    (("reproduce", "nobody2000"), "'nobody2000'"),
    (("reproduce", "--jobs", "0"), "0"),
    (("reproduce", "--data-dir", "no/such/folder"), "'no/such/folder'"),
    (("conquer",), "'conquer'"),
    ((), "command"),
]


@pytest.mark.parametrize(("words", "quoted"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_gives_status_2_and_leaves_nothing(capsys, words, quoted):
    Path("file").write_text("")
    status, out, err = call(capsys, *words)
    assert status == 2 and out == ""
    assert err.startswith("riemgn: ") and err.count("\n") == 1 and "Traceback" not in err
    assert quoted in err, err
    assert os.listdir() == ["file"]


def assert_fits(out: str, columns: int):
    """Every line fits, except a single word that is longer, and no line is padded."""
    for line in out.splitlines():
        assert line == line.rstrip() and (len(line) <= columns or " " not in line[24:].strip()), line


def test_run_writes_record_and_figure_and_repeats(capsys, monkeypatch):
    status, out, _ = call(capsys, *TINY, "--out", "a")
    assert status == 0
    assert sorted(os.listdir("a")) == ["record.json", "record.npz", "trajectory.pdf", "trajectory.png"]
    arrays, metadata = read_record("a")
    assert metadata["result"] == "successful" and metadata["n"] == 30 and metadata["dtype"] == "float64"
    assert {"versions", "python", "commit", "seconds", "seed", "data", "spec", "hash", "device"} <= set(metadata)
    assert arrays["outputs"].shape == (len(arrays["ts"]), 30)
    assert metadata["summary"]["losses"][1] == arrays["losses"][-1]
    assert "successful" in out and "trajectory.png" in out
    assert_fits(out, 80)
    again = json.loads(call(capsys, *TINY, "--out", "b", "--json")[1])
    assert again["schema"] == 1 and again["hash"] == metadata["hash"] and Path(again["files"]["png"]).is_file()
    repeated = read_record("b")[0]
    assert all(np.array_equal(arrays[name], repeated[name]) for name in arrays)
    monkeypatch.setenv("COLUMNS", "150")
    status, out, _ = call(capsys, *TINY)
    (folder,) = Path("runs").iterdir()
    assert status == 0 and folder.name.startswith("diabetes-gn-") and str(folder) in out
    assert max(map(len, out.splitlines())) > 80


def test_step_limit_gives_status_1_and_is_saved(capsys):
    status, out, _ = call(capsys, *TINY, "--max-steps", "2", "--out", "here")
    assert status == 1 and "step_limit" in out and Path("here/record.json").is_file()


def test_interrupted_run_leaves_nothing(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("riemgn.experiment.run", interrupted)
    status, out, err = call(capsys, *TINY, "--out", "here")
    assert status == 130 and out == "" and "not saved in 'here'" in err and "again" in err
    assert os.listdir() == []


@pytest.mark.parametrize(("entries", "shown"), [(1, True), (10**9, False)], ids=["large", "small"])
def test_progress_bar_is_shown_for_large_problems(monkeypatch, entries, shown):
    module, requests = importlib.import_module("riemgn.experiment.run"), []
    solve = module.solve

    def record(*arguments, progress, **options):
        requests.append(progress)
        return solve(*arguments, **options)

    monkeypatch.setattr(module, "ENTRIES_FOR_PROGRESS", entries)
    monkeypatch.setattr(module, "solve", record)
    module.run(RunSpec(data="diabetes", subset=30, width=2, alpha=1000.0, t1=2.0), progress=True)
    assert set(requests) == {shown}


def test_only_the_warning_of_replaced_workers_is_hidden(monkeypatch):
    def app(**options):
        warnings.warn("A worker stopped while some jobs were given to the executor.", stacklevel=1)
        warnings.warn("A worker stopped.", stacklevel=1)

    monkeypatch.setattr(cli.commands, "app", app)
    with pytest.warns(UserWarning) as record, pytest.raises(SystemExit):
        cli.main(["list"])
    assert [str(warning.message) for warning in record] == ["A worker stopped."]


def test_list_contains_every_section(capsys):
    status, out, _ = call(capsys, "list")
    assert status == 0
    for word in ("claims", "figures", "data", "flows", "solvers", "diabetes", "interpolated", "dopri8"):
        assert word in out
    status, out, _ = call(capsys, "list", "--json")
    sections = json.loads(out)
    assert status == 0 and sections["schema"] == 1
    assert set(sections["flows"]) == {"gf", "gn", "lm", "interpolated", "ggn"}


@pytest.mark.parametrize("command", ["run", "sweep", "reproduce", "certify", "bench", "report", "list"])
def test_help_fits_80_columns(capsys, command):
    status, out, _ = call(capsys, command, "--help")
    assert status == 0 and max(map(len, out.splitlines())) <= 80


def test_run_has_an_option_for_every_field_of_the_spec(capsys):
    words = call(capsys, "run", "--help")[1].replace("\n", " ").split()
    for name, field in RunSpec.model_fields.items():
        assert f"--{name.replace('_', '-')}" in words
        assert " ".join(field.description.split()) in " ".join(words), name


@pytest.mark.slow
@pytest.mark.parametrize("module", ["riemgn", "paper_repro"])
def test_modules_are_commands(tmp_path, module):
    command = [sys.executable, "-m", module, "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr


def test_compiled_programs_are_cached_in_the_users_folder(monkeypatch, tmp_path):
    settings = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: settings.update({name: value}))
    monkeypatch.delenv("RIEMGN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in (
        "COMPILATION_CACHE_DIR",
        "PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
        "PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
    ):
        monkeypatch.setenv(f"JAX_{name}", "")  # so that the values of before come back
    prepare_jax()
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "riemgn" / "jax")
    assert settings["jax_enable_x64"] is True


CERTIFY = ("certify", "ggn_score_descent", "minibatch_contraction", "--quick", "--json")


def test_certify_prints_tables_and_reuses_its_file(capsys):
    status, out, _ = call(capsys, *CERTIFY, "certificates.json")
    assert status == 0
    for word in ("hypothesis", "predicted", "measured", "margin", "error", "2404.14875", "2 certificates: 2 holds"):
        assert word in out
    assert_fits(out, 80)
    record = json.loads(Path("certificates.json").read_text())
    assert record["schema"] == 1 and record["quick"] is True and record["rigorous"] is False
    first = record["certificates"][0]
    assert {"claim", "subject", "problem", "seed", "seconds", "statement", "reference", "theory", "status"} <= set(
        first
    )
    numbers = {"name", "predicted", "measured", "relation", "resolution", "error", "margin", "status"}
    assert numbers <= set(first["conclusions"][0]) and first["hypotheses"]
    status, _, _ = call(capsys, *CERTIFY, "certificates.json")
    again = json.loads(Path("certificates.json").read_text())
    assert status == 0 and again["certificates"] == record["certificates"]  # the seconds too


@pytest.mark.slow
def test_certify_gives_the_same_numbers_in_parallel(capsys):
    assert [call(capsys, *CERTIFY, f"{jobs}.json", "--jobs", jobs)[0] for jobs in ("1", "2")] == [0, 0]
    one, two = (json.loads(Path(name).read_text())["certificates"] for name in ("1.json", "2.json"))
    for a, b in zip(*(sorted(each, key=lambda c: c["claim"]) for each in (one, two)), strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_certify_gives_status_1_if_no_problem_fits(capsys, monkeypatch):
    wrong = [cases.Case("ggn_score_descent", "batches", cases.minibatch_steps, quick=True)]
    monkeypatch.setattr(certification, "CASES", wrong)
    status, out, _ = call(capsys, "certify", "ggn_score_descent", "--quick")
    assert status == 1 and "not applicable" in out
