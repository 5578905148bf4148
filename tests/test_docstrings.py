"""Public docstrings name every argument and error, and the source of every formula."""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from functools import cache
from types import ModuleType

import pytest

import riemgn

pytestmark = pytest.mark.checkout  # reads the sources
NOTATION = {"K = J J^T", "J = U S V^T"}
SOURCE = r"Reference|Statement [CD]\d|arXiv|[Dd]erived|[Dd]efinition"
Definition = ast.FunctionDef | ast.ClassDef


def packages() -> list[ModuleType]:
    """`riemgn`, its packages, and the module of ready-made problems."""
    names = [info.name for info in pkgutil.walk_packages(riemgn.__path__, "riemgn.") if info.ispkg]
    return [importlib.import_module(name) for name in ("riemgn", "riemgn.task", *names)]


@cache
def public() -> dict[str, Definition]:
    """The definition of every function and class that a package exports, by its qualified name."""
    found = {}
    for module in packages():
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) or ""
            if (
                not name.startswith("_")
                and own.startswith("riemgn")
                and (inspect.isfunction(value) or inspect.isclass(value))
            ):
                source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
                found[f"{own}.{name}"] = ast.parse(source).body[0]
    return found


def own_methods(node: Definition) -> dict[str, ast.FunctionDef]:
    return {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}


def arguments(node: Definition) -> list[str]:
    """The public arguments of a function or constructor, or the fields of a class without one."""
    function = node if isinstance(node, ast.FunctionDef) else own_methods(node).get("__init__")
    if function is None:
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
        names = [
            each.target.id for each in fields if not re.search("ClassVar|AbstractVar", ast.unparse(each.annotation))
        ]
    else:
        spec = function.args
        names = [each.arg for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return [name for name in names if name != "self" and not name.startswith("_")]


def missing_arguments(node: Definition) -> list[str]:
    """Arguments that no code span or list names, also not where "as in `other`" refers to."""
    text = ast.get_docstring(node) or ""
    for other in re.findall(r"as in\s+`(\w+)`", text):
        text += "".join(ast.get_docstring(each) or "" for key, each in public().items() if key.endswith(f".{other}"))
    spans = " ".join(re.findall(r"`[^`\n]*`|^ +\w+: ", text, re.MULTILINE))
    return [argument for argument in arguments(node) if not re.search(rf"\b{argument}\b", spans)]


def silent_errors(node: Definition) -> list[str]:
    """Functions, constructors and public methods that raise without saying so in a docstring."""
    text = ast.get_docstring(node) or ""
    bodies = {"": node} if isinstance(node, ast.FunctionDef) else own_methods(node)
    silent = []
    for name, body in bodies.items():
        constructs = name in ("", "__init__", "__check_init__", "__post_init__")
        announced = "Raises" in text or (not constructs and "Raises" in (ast.get_docstring(body) or ""))
        raises = any(isinstance(each, ast.Raise) and each.exc is not None for each in ast.walk(body))
        silent += [name] if raises and not announced and (constructs or not name.startswith("_")) else []
    return silent


def formulas_without_source(node: Definition) -> list[str]:
    """Formulas `a = b` or `a <= b` with a function or power in a docstring that names no source."""
    text = ast.get_docstring(node) or ""
    spans = set(re.findall(r"`([^`]+)`", text.split(">>>")[0])) - NOTATION
    formulas = [span for span in spans if re.search(r"^[\w~(' ,)|]+ (=|<=) .*(\^|\||\w\()", span)]
    return [] if re.search(SOURCE, text) else formulas


RULES = {"arguments": missing_arguments, "errors": silent_errors, "source": formulas_without_source}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_public_docstrings_name(rule):
    assert len(public()) > 150
    assert {key: missing for key, node in public().items() if (missing := rule(node))} == {}


VIOLATIONS = {
    "argument": (missing_arguments, 'def f(x, rate):\n    """Of `x`."""', 'def f(x):\n    """Of `x`."""'),
    "field": (missing_arguments, 'class C:\n    """Made."""\n    a: int', 'class C:\n    """Of `a`."""\n    a: int'),
    "error": (silent_errors, "def f():\n    raise E", 'def f():\n    """Raises: E."""\n    raise E'),
    "method": (
        silent_errors,
        "class C:\n    def a(self):\n        raise E",
        "class C:\n    def _a(self):\n        raise E",
    ),
    "source": (
        formulas_without_source,
        'def f():\n    """`f = |y|^2`."""',
        'def f():\n    """`f = |y|^2`. Derived."""',
    ),
}


@pytest.mark.parametrize(("rule", "wrong", "right"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_docstring_rule_says_no(rule, wrong, right):
    assert rule(ast.parse(wrong).body[0]) and not rule(ast.parse(right).body[0])
