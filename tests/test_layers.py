"""The house rules of the package: who imports whom, what a class may be, who prints, who writes."""

import ast
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest

pytestmark = pytest.mark.checkout
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "riemgn"
HARD_LIMIT = 500
FACE = "riemgn/__init__.py"
PRINTER = "riemgn/cli/"
WRITER = "riemgn/experiment/storage.py"
NO_ROOM = {"util", "utils", "core", "common", "misc"}
WRITING_CALLS = {
    "write_text", "write_bytes", "writelines", "savefig", "save", "savez", "savez_compressed", "savetxt", "tofile",
    "dump", "to_csv", "to_json", "to_netcdf", "mkdir", "makedirs", "touch", "urlretrieve", "copyfile",
    "tree_serialise_leaves",
}  # fmt: skip
NOT_AT_IMPORT = ("matplotlib", "geomstats", "sklearn", "pandas")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_trees() -> list[tuple[str, ast.Module]]:
    return [(relative(path), ast.parse(path.read_text())) for path in python_files("riemgn")]


def module_names() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], prefix="riemgn.")
    return ["riemgn", *(info.name for info in found if not info.name.endswith("__main__"))]


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


# --- imports ---------------------------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the package that lies in `folder`, which comes first on the path."""
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    search_path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(ROOT / "setup.cfg"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
    )


def test_import_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


ILLEGAL_IMPORTS = [
    ("loss.py", "from riemgn.solve import solve", "Imports go down"),
    ("loss.py", "from .problem import Problem", "Imports go down"),
    ("loss.py", "from riemgn.data import load_data", "Imports go down"),
    ("solve.py", "import matplotlib.pyplot", "Only plot knows matplotlib"),
    ("trajectory.py", "import geomstats", "Only geometry knows geomstats"),
    ("flow/__init__.py", "import diffrax", "do not know the solver"),
    ("trajectory.py", "import rich", "Only the command line"),
]


@pytest.mark.parametrize(("file", "line", "contract"), ILLEGAL_IMPORTS)
def test_import_contracts_reject(tmp_path, file, line, contract):
    copy = tmp_path / "riemgn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode != 0, done.stdout
    assert re.search(rf"{contract}.* BROKEN", done.stdout), done.stdout + done.stderr


def face_imports(name: str, tree: ast.Module) -> list[str]:
    """Imports of names from the package's own face, `riemgn/__init__.py`; a module of the package is no such name."""
    depth = len(Path(name).parts) - 1  # how many dots lead from this file to riemgn itself
    modules = {path.stem for path in PACKAGE.iterdir()}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name == "riemgn"]
        elif isinstance(node, ast.ImportFrom):
            absolute = node.level == 0 and node.module == "riemgn"
            upward = node.level == depth and node.module is None
            names = {alias.name for alias in node.names}
            if absolute or (upward and not names <= modules):
                found.append(ast.unparse(node))
    return found


def test_no_file_imports_the_face():
    assert {name: found for name, tree in package_trees() if name != FACE and (found := face_imports(name, tree))} == {}


@pytest.mark.parametrize(
    "line", ["import riemgn", "import riemgn as rg", "from riemgn import solve", "from .. import GaussNewtonFlow"]
)
def test_face_imports_are_seen(line):
    assert face_imports("riemgn/flow/base.py", ast.parse(line))


def test_the_face_re_exports_in_the_x_as_x_form():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    aliases = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in aliases if alias.asname not in (alias.name, f"_{alias.name}")] == []


def test_annotations_are_never_postponed():
    postponed = [relative(path) for path in python_files("riemgn", "tests", "paper_repro", "figures")
                 if re.search(r"^from __future__ import", path.read_text(), re.MULTILINE)]  # fmt: skip
    assert postponed == []


def test_the_import_is_light_and_leaves_the_settings_alone():
    code = (
        "import sys, jax; before = dict(jax.config.values); import riemgn; after = dict(jax.config.values); "
        f"print([m for m in {NOT_AT_IMPORT} if m in sys.modules], "
        "[k for k in after if before.get(k) != after[k]], before['jax_enable_x64'], after['jax_enable_x64'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[] [] False False", done.stdout + done.stderr


# --- classes and names -----------------------------------------------------------------------------------------------


def own_classes() -> list[type]:
    """Every class of the package that derives from equinox.Module."""
    classes = {}
    for module_name in module_names():
        for value in vars(importlib.import_module(module_name)).values():
            if inspect.isclass(value) and issubclass(value, eqx.Module) and value.__module__.startswith("riemgn"):
                classes[value] = None
    return list(classes)


def is_abstract(cls: type) -> bool:
    return cls.__name__.startswith(("Abstract", "_Abstract"))


def broken_class_rules(classes: list[type]) -> list[str]:
    """Say which class is derived from a final one and which method is written twice."""
    wrong = []
    for cls in classes:
        for base in cls.__mro__[1:]:
            if base not in classes:
                continue
            if not is_abstract(base):
                wrong.append(f"{cls.__name__} derives from {base.__name__}, which is final")
            for name, value in vars(cls).items():
                above = vars(base).get(name)
                is_method = isinstance(value, property | staticmethod | classmethod) or inspect.isroutine(value)
                wanted = above is None or getattr(above, "__isabstractmethod__", False)
                if is_method and not wanted and not (name.startswith("__") and name != "__call__"):
                    wrong.append(f"{cls.__name__}.{name} overrides {base.__name__}.{name}")
    return wrong


def test_every_class_is_abstract_or_final():
    classes = own_classes()
    assert len(classes) > 5
    assert broken_class_rules(classes) == []


class AbstractShape(eqx.Module):
    def area(self) -> float:
        return 1.0


class Square(AbstractShape):
    def area(self) -> float:
        return 2.0


class Unit(Square):
    pass


def test_class_rules_can_say_no():
    wrong = broken_class_rules([AbstractShape, Square, Unit])
    assert wrong == ["Square.area overrides AbstractShape.area", "Unit derives from Square, which is final"]


def test_no_super_and_no_hasattr():
    called = [(name, dotted(node.func)) for name, tree in package_trees() for node in ast.walk(tree)
              if isinstance(node, ast.Call) and dotted(node.func) in {"super", "hasattr"}]  # fmt: skip
    assert called == []


def public_names() -> list[str]:
    package = vars(importlib.import_module("riemgn"))
    return sorted(name for name, value in package.items() if not name.startswith("_") and not inspect.ismodule(value))


def test_every_public_name_is_documented():
    package = importlib.import_module("riemgn")
    assert len(public_names()) > 10
    bare = []
    for name in public_names():
        text = inspect.getdoc(getattr(package, name)) or ""
        if not text or text.startswith(f"{name}("):  # a dataclass writes its signature where no docstring is
            bare.append(name)
    assert bare == []


def test_no_file_is_too_long():
    files = python_files("riemgn", "tests", "paper_repro", "figures")
    lengths = {relative(path): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > HARD_LIMIT} == {}


def test_rooms_are_named_by_their_noun():
    parts = {part.removesuffix(".py").strip("_") for path in python_files("riemgn", "tests", "paper_repro", "figures")
             for part in path.relative_to(ROOT).parts}  # fmt: skip
    assert parts & NO_ROOM == set()


# --- who prints, who writes ------------------------------------------------------------------------------------------


def printing(tree: ast.AST) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(tree)
            if (isinstance(node, ast.Call) and re.fullmatch(r"(.*\.)?p?print", dotted(node.func)))
            or (isinstance(node, ast.Attribute) and dotted(node) in {"sys.stdout", "sys.stderr"})]  # fmt: skip


def opens_to_write(call: ast.Call) -> bool:
    """Whether an `open` call may write: its mode is not a literal that only reads."""
    is_method = isinstance(call.func, ast.Attribute)
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[0 if is_method else 1 :][
        :1
    ]
    return any(not isinstance(mode, ast.Constant) or set(str(mode.value)) & set("wax+") for mode in modes)


def writing(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            last = dotted(node.func).rpartition(".")[2]
            if last in WRITING_CALLS or (last == "open" and opens_to_write(node)):
                found.append(ast.unparse(node))
    return found


def test_only_the_command_line_prints():
    assert {
        name: found for name, tree in package_trees() if not name.startswith(PRINTER) and (found := printing(tree))
    } == {}


def test_only_the_store_writes_files():
    assert {name: found for name, tree in package_trees() if name != WRITER and (found := writing(tree))} == {}


@pytest.mark.parametrize(
    "line", ["print(1)", "jax.debug.print('{}', x)", "Console().print(1)", "sys.stdout.write('a')"]
)
def test_printing_is_seen(line):
    assert printing(ast.parse(line))


WRITES = [
    "open(p, 'w')",
    "open(p, mode=m)",
    "Path(p).open('ab')",
    "Path(p).write_text(t)",
    "fig.savefig(p)",
    "np.savez(p, a=a)",
]


@pytest.mark.parametrize("line", WRITES)
def test_writing_is_seen(line):
    assert writing(ast.parse(line))


@pytest.mark.parametrize(
    "line", ["open(p)", "open(p, 'rb')", "Path(p).open('rb')", "Path(p).read_text()", "np.load(p)"]
)
def test_reading_is_allowed(line):
    assert writing(ast.parse(line)) == []
