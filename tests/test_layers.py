"""The structure of the package: import contracts, public names, lengths of files and functions."""

import ast
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout  # reads the sources
ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("riemgn", "tests", "paper_repro", "figures")
FILE_LINES, FUNCTION_LINES, ARGUMENTS = 400, 50, 8
VERBS = {"solve", "solve_batch", "iterate", "sweep"}  # public drivers: one keyword per option
LATE_IMPORTS = ("matplotlib", "geomstats", "sklearn", "pandas", "xarray")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_trees() -> list[tuple[str, ast.Module]]:
    return [(relative(path), ast.parse(path.read_text("utf-8"))) for path in python_files("riemgn")]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the packages in `folder`."""
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(ROOT / "setup.cfg"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )


def test_import_contracts_hold():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


ILLEGAL_IMPORTS = {
    "upward": ("riemgn/loss.py", "from .problem import Problem", "Imports go down"),
    "from_paper_repro": ("riemgn/experiment/run.py", "import paper_repro.cayci2024.alpha", "Imports go down"),
    "matplotlib": ("riemgn/solver/solve.py", "import matplotlib.pyplot", "Only plot knows matplotlib"),
    "diffrax_in_flow": ("riemgn/flow/base.py", "import diffrax", "do not know the solver"),
}


@pytest.mark.parametrize(("file", "line", "contract"), ILLEGAL_IMPORTS.values(), ids=ILLEGAL_IMPORTS)
def test_import_contract_is_broken_by(tmp_path, file, line, contract):
    for name in ("riemgn", "paper_repro", "figures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=lambda at, names: [n for n in names if "." in n[:-3]])
    with (tmp_path / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0 and re.search(rf"{contract}.* BROKEN", done.stdout), done.stdout + done.stderr


def test_import_is_light_and_keeps_jax_settings():
    code = (
        "import sys, jax; before = dict(jax.config.values); import riemgn; after = dict(jax.config.values); "
        f"print([m for m in {LATE_IMPORTS} if m in sys.modules], [k for k in after if before.get(k) != after[k]])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[] []", done.stdout + done.stderr


def test_public_names_are_documented_and_no_modules():
    package = importlib.import_module("riemgn")
    values = {name: getattr(package, name) for name in dir(package)}
    assert 50 <= len(values) <= 75 and {"solve", "Problem", "GaussNewtonFlow"} <= values.keys()
    assert [name for name, value in values.items() if inspect.ismodule(value)] == []
    # a dataclass without a docstring gets its signature as one
    assert [
        name for name, value in values.items() if (inspect.getdoc(value) or f"{name}(").startswith(f"{name}(")
    ] == []


def too_long(path: str, text: str) -> list[str]:
    """What exceeds the limits: the file, functions (without docstring), argument lists."""
    found = [f"{path}: {len(text.splitlines())} lines"] if len(text.splitlines()) > FILE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[0]
        docstring = body.end_lineno - body.lineno + 1 if ast.get_docstring(node) is not None else 0
        lines = node.end_lineno - node.lineno + 1 - docstring
        arguments = len([each for each in (*node.args.posonlyargs, *node.args.args) if each.arg != "self"])
        found += [f"{path}: {node.name}: {lines} lines"] if lines > FUNCTION_LINES else []
        found += (
            [f"{path}: {node.name}: {arguments} arguments"] if arguments > ARGUMENTS and node.name not in VERBS else []
        )
    return found


def test_files_and_functions_are_short():
    found = [line for path in python_files(*FOLDERS) for line in too_long(relative(path), path.read_text("utf-8"))]
    assert found == []
