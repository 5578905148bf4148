"""The command line: exit status, one sentence for what is wrong, one JSON object where asked."""

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from riemgn import cli
from riemgn.cli.session import prepare_jax
from riemgn.experiment import read_record

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
def test_bad_input_is_one_sentence_and_status_2(capsys, words, quoted):
    Path("file").write_text("")
    status, out, err = call(capsys, *words)
    assert status == 2 and out == ""
    assert err.startswith("riemgn: ") and err.count("\n") == 1 and "Traceback" not in err
    assert quoted in err, err


def test_a_run_leaves_its_record_and_its_picture(capsys):
    status, out, _ = call(capsys, *TINY, "--out", "here")
    assert status == 0
    assert sorted(os.listdir("here")) == ["record.json", "record.npz", "trajectory.pdf", "trajectory.png"]
    arrays, metadata = read_record("here")
    assert metadata["result"] == "successful" and metadata["n"] == 30 and metadata["dtype"] == "float64"
    assert {"versions", "python", "commit", "seconds", "seed", "data", "spec", "hash", "device"} <= set(metadata)
    assert arrays["outputs"].shape == (len(arrays["ts"]), 30)
    assert metadata["summary"]["losses"][1] == arrays["losses"][-1]
    assert "successful" in out and "trajectory.png" in out


def test_json_is_one_object_and_nothing_else_and_repeats(capsys):
    first = call(capsys, *TINY, "--cond", "100", "--out", "a", "--json")
    second = call(capsys, *TINY, "--cond", "100", "--out", "b", "--json")
    assert first[0] == 0
    one, two = json.loads(first[1]), json.loads(second[1])
    assert one["schema"] == 1 and one["spec"]["cond"] == 100 and one["hash"] == two["hash"]
    assert Path(one["files"]["png"]).is_file()
    a, b = read_record("a")[0], read_record("b")[0]
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_where_it_is_saved_is_said_when_no_folder_is_named(capsys):
    status, out, _ = call(capsys, *TINY)
    (folder,) = Path("runs").iterdir()
    assert status == 0 and folder.name.startswith("diabetes-gn-") and str(folder) in out


def test_a_solve_that_gives_up_is_status_1_and_is_saved(capsys):
    status, out, _ = call(capsys, *TINY, "--max-steps", "2", "--out", "here")
    assert status == 1 and "step_limit" in out and Path("here/record.json").is_file()


def test_an_interruption_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("riemgn.experiment.run", interrupted)
    status, out, err = call(capsys, *TINY, "--out", "here")
    assert status == 130 and out == "" and "not saved in 'here'" in err and "again" in err


@pytest.mark.parametrize(("entries", "shown"), [(1, True), (10**9, False)])
def test_a_bar_is_shown_where_the_problem_is_large(monkeypatch, entries, shown):
    from riemgn.experiment import run, RunSpec

    module, asked = importlib.import_module("riemgn.experiment.run"), []
    solve = module._solve
    monkeypatch.setattr(module, "ENTRIES_FOR_PROGRESS", entries)
    monkeypatch.setattr(
        module, "_solve", lambda problem, spec, ts, progress: asked.append(progress) or solve(problem, spec, ts, False)
    )
    run(RunSpec(data="diabetes", subset=30, width=2, alpha=1000.0, t1=2.0), progress=True)
    assert set(asked) == {shown}


def test_a_worker_replaced_is_no_news_and_other_warnings_are(monkeypatch):
    def app(**options):
        warnings.warn(
            "A worker stopped while some jobs were given to the executor. This can be caused by a memory leak.",
            stacklevel=1,
        )
        warnings.warn("A worker stopped.", stacklevel=1)

    monkeypatch.setattr(cli.commands, "app", app)
    with pytest.warns(UserWarning) as heard, pytest.raises(SystemExit):
        cli.main(["list"])
    assert [str(warning.message) for warning in heard] == ["A worker stopped."]


def test_the_list_names_everything(capsys):
    status, out, _ = call(capsys, "list")
    assert status == 0
    for word in ("claims", "figures", "data", "flows", "solvers", "diabetes", "interpolated", "dopri8"):
        assert word in out
    status, out, _ = call(capsys, "list", "--json")
    listed = json.loads(out)
    assert status == 0 and listed["schema"] == 1 and set(listed["flows"]) == {"gf", "gn", "lm", "interpolated", "ggn"}


def test_help_names_every_field_of_the_spec(capsys):
    from riemgn.experiment import RunSpec

    status, out, _ = call(capsys, "run", "--help")
    assert status == 0
    assert [name for name in RunSpec.model_fields if f"--{name.replace('_', '-')}" not in out] == []


@pytest.mark.parametrize("module", ["riemgn", "paper_repro"])
def test_the_modules_are_commands(tmp_path, module):
    command = [sys.executable, "-m", module, "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    import jax

    seen = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: seen.update({name: value}))
    monkeypatch.delenv("RIEMGN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("dir", "persistent"):
        monkeypatch.setenv(f"JAX_COMPILATION_CACHE_{name.upper()}", "")
    prepare_jax()
    for name in [name for name in os.environ if name.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE"))]:
        monkeypatch.delenv(name)
    assert seen["jax_compilation_cache_dir"] == str(tmp_path / "riemgn" / "jax") and seen["jax_enable_x64"] is True


def test_certify_prints_its_numbers_and_takes_up_what_is_done(capsys, tmp_path):
    words = ("certify", "ggn_score_descent", "minibatch_contraction", "--quick", "--json", "certificates.json")
    status, out, _ = call(capsys, *words)
    assert status == 0
    for word in (
        "hypothesis",
        "predicted",
        "measured",
        "margin",
        "error",
        "2404.14875",
        "holds",
        "2 certificates: 2 holds",
    ):
        assert word in out
    record = json.loads(Path("certificates.json").read_text())
    assert record["schema"] == 1 and record["quick"] is True and record["rigorous"] is False
    first = record["certificates"][0]
    assert {
        "claim",
        "subject",
        "problem",
        "seed",
        "seconds",
        "statement",
        "reference",
        "theory",
        "status",
        "hypotheses",
        "conclusions",
    } <= set(first)
    assert {"name", "predicted", "measured", "relation", "resolution", "error", "margin", "status"} <= set(
        first["conclusions"][0]
    )
    status, _, _ = call(capsys, *words)
    again = json.loads(Path("certificates.json").read_text())
    assert status == 0 and [entry["seconds"] for entry in again["certificates"]] == [
        entry["seconds"] for entry in record["certificates"]
    ]


def test_certify_with_several_jobs_comes_to_the_same_numbers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("certify", "ggn_score_descent", "minibatch_contraction", "--quick", "--json")
    assert [call(capsys, *words, f"{jobs}.json", "--jobs", jobs)[0] for jobs in ("1", "2")] == [0, 0]
    one, two = (
        sorted(json.loads(Path(name).read_text())["certificates"], key=lambda c: c["claim"])
        for name in ("1.json", "2.json")
    )
    for a, b in zip(one, two, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_certify_exits_1_where_a_claim_holds_nowhere(capsys, monkeypatch):
    from riemgn.experiment import cases, certification

    broken = [cases.Case("ggn_score_descent", "batches", cases.minibatch_steps, quick=True)]
    monkeypatch.setattr(certification, "CASES", broken)
    status, out, _ = call(capsys, "certify", "ggn_score_descent", "--quick")
    assert status == 1 and "not applicable" in out
