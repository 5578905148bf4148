"""What a docstring owes its reader: every argument by name, what is raised, where a formula comes from; and functions of a readable length."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_layers import package_trees, python_files, relative

pytestmark = pytest.mark.checkout  # it reads the sources
LONGEST = 60  # lines of a function, its docstring apart
NOTATION = {"K = J J^T", "J = U S V^T"}  # names of things, used everywhere
Definition = ast.FunctionDef | ast.ClassDef


def code_lines(function: ast.FunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if has_docstring else 0)


def too_long(tree: ast.AST) -> list[str]:
    """Functions of more than `LONGEST` lines whose docstring has no paragraph that begins "Long:" and says why."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > LONGEST
    ]
    return [node.name for node in found if not re.search(r"^Long: \S", ast.get_docstring(node) or "", re.MULTILINE)]


def test_functions_fit_a_screen_or_say_why():
    files = python_files("riemgn", "tests", "paper_repro", "figures")
    assert {relative(path): found for path in files if (found := too_long(ast.parse(path.read_text())))} == {}


def test_a_long_function_is_seen_and_may_give_its_reason():
    body = "    a = 1\n" * LONGEST
    assert too_long(ast.parse(f"def f():\n{body}")) == ["f"]
    assert too_long(ast.parse(f'def f():\n    """One line.\n\n    Long: a table of cases.\n    """\n{body}')) == []
    words = "    more\n" * LONGEST
    assert too_long(ast.parse(f'def f():\n    """A line.\n\n{words}    """\n    return 1\n')) == []


# --- the faces: every name that an __init__.py hands on --------------------------------------------------------------


@cache
def definitions() -> dict[str, list[tuple[str, Definition]]]:
    """Functions and classes of the package by name, with their files."""
    found: dict[str, list[tuple[str, Definition]]] = {}
    for file, tree in package_trees():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.setdefault(node.name, []).append((file, node))
    return found


@cache
def public() -> dict[str, Definition]:
    """`file: name` -> definition of all that some face, `riemgn` or one of its rooms, hands on as `X as X`."""
    faces = [(file, node) for file, tree in package_trees() if file.endswith("/__init__.py") for node in ast.walk(tree)]
    handed_on = {(Path(file).parent, node.module.split(".")[0], alias.name) for file, node in faces
                 if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
                 for alias in node.names if alias.asname == alias.name}  # fmt: skip
    whole = {(Path(file).parent / f"{alias.name}.py").as_posix() for file, node in faces  # `from . import task as task`
             if isinstance(node, ast.ImportFrom) and node.level == 1 and not node.module for alias in node.names}  # fmt: skip
    open_modules = {f"{file}: {name}": node for name, found in definitions().items() for file, node in found
                    if file in whole and not name.startswith("_")}  # fmt: skip
    return open_modules | {
        f"{file}: {name}": node
        for folder, module, name in handed_on
        for file, node in definitions().get(name, [])
        if Path(file).is_relative_to(folder / module) or file == (folder / f"{module}.py").as_posix()
    }


def own_methods(node: Definition) -> dict[str, ast.FunctionDef]:
    return {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}


def arguments(node: Definition) -> list[str]:
    """Public arguments of a function, or of a class: of its `__init__`, else its fields."""
    maker = node if isinstance(node, ast.FunctionDef) else own_methods(node).get("__init__")
    if maker is None:
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
        return [
            each.target.id for each in fields if not re.search("ClassVar|AbstractVar", ast.unparse(each.annotation))
        ]
    spec = maker.args
    return [
        each.arg
        for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)
        if each.arg != "self" and not each.arg.startswith("_")
    ]


def named(argument: str, text: str) -> bool:
    """Whether the text has the argument between backticks, or at the head of a line of its list of arguments."""
    return bool(re.search(rf"`[^`\n]*\b{argument}\b[^`\n]*`|^\s+{argument}: \S", text, re.MULTILINE))


def unnamed(node: Definition) -> list[str]:
    """Arguments that neither the docstring names, nor that of a function it refers to: "arguments as in `other`"."""
    text = ast.get_docstring(node) or ""
    others = [each for name in re.findall(r"as in\s+`(\w+)`", text) for _, each in definitions().get(name, [])]
    known = "\n".join([text, *(ast.get_docstring(each) or "" for each in others)])
    return [argument for argument in arguments(node) if not named(argument, known)]


def raises_silently(node: Definition) -> list[str]:
    """Of a function itself, of a class its constructor and public methods: those with a `raise` and no word of it in the docstring."""
    text = ast.get_docstring(node) or ""
    bodies = {"": node} if isinstance(node, ast.FunctionDef) else own_methods(node)
    silent = []
    for name, body in bodies.items():
        at_build = name in ("", "__init__", "__check_init__", "__post_init__")
        told = text if at_build else text + (ast.get_docstring(body) or "")
        raising = any(isinstance(each, ast.Raise) and each.exc is not None for each in ast.walk(body))
        if raising and "Raises" not in told and (at_build or not name.startswith("_")):
            silent.append(name)
    return silent


def without_source(node: Definition) -> bool:
    """Whether a docstring states a formula of mathematics, `a = b` or `a <= b` with a function or power, and no source of it."""
    text = ast.get_docstring(node) or ""
    quoted = set(re.findall(r"`([^`]+)`", text.split(">>>")[0])) - NOTATION
    formulas = [each for each in quoted if re.search(r"^[\w~(' ,)|]+ (=|<=) .*(\^|\||\w\()", each)]
    return bool(formulas) and not re.search(
        r"Reference|theory\.md|papers\.md|ggn_score\.md|arXiv|[Dd]erived|[Dd]efinition", text
    )


def test_there_are_public_names():
    names = {key.rpartition(" ")[2] for key in public()}
    assert (
        len(names) > 150
        and {"solve", "Problem", "OutputManifold", "GaussNewtonFlow", "loss_curve", "certify", "circle"} <= names
    )


def test_every_public_argument_is_named():
    assert {key: missing for key, node in public().items() if (missing := unnamed(node))} == {}


def test_what_is_raised_is_said():
    assert {key: silent for key, node in public().items() if (silent := raises_silently(node))} == {}


def test_a_formula_names_its_source():
    assert [key for key, node in public().items() if without_source(node)] == []


BAD = {
    "argument": (unnamed, 'def f(x, rate):\n    """Of `x`."""', 'def f(x, rate):\n    """Of `x` at the `rate`."""'),
    "list": (
        unnamed,
        'def f(x):\n    """Of x."""',
        'def f(x):\n    """One line.\n\n    Arguments:\n        x: points (n,).\n    """',
    ),
    "reference": (
        unnamed,
        'def f(problem):\n    """As in `fly`."""',
        'def f(problem):\n    """Arguments as in `solve`."""',
    ),
    "field": (
        unnamed,
        'class C:\n    """Made."""\n    a: int',
        'class C:\n    """Of `a`."""\n    a: int\n    b: ClassVar[int]',
    ),
    "raise": (
        raises_silently,
        'def f():\n    """It."""\n    raise ValueError("no")',
        'def f():\n    """Raises: always."""\n    raise ValueError',
    ),
    "build": (
        raises_silently,
        "class C:\n    def __init__(self):\n        raise E",
        "class C:\n    def _a(self):\n        raise E",
    ),
    "method": (
        raises_silently,
        "class C:\n    def a(self):\n        raise E",
        'class C:\n    def a(self):\n        """Raises it."""\n        raise E',
    ),
    "source": (
        without_source,
        'def f():\n    """`f = |y|^2`."""',
        'def f():\n    """`f = |y|^2`.\n\n    Reference: theory.md C1.\n    """',
    ),
    "notation": (without_source, 'def f():\n    """`f = |y|^2`."""', 'def f():\n    """Eigenvalues of `K = J J^T`."""'),
}


@pytest.mark.parametrize(("rule", "wrong", "right"), BAD.values(), ids=BAD)
def test_each_rule_can_say_no(rule, wrong, right):
    assert rule(ast.parse(wrong).body[0]) and not rule(ast.parse(right).body[0])
