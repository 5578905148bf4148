"""Write the API pages: every name that `riemgn` and its packages export, with its docstring."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import riemgn

PAGES = {
    "problems": ("Problems", ("problem", "model", "loss", "data", "task")),
    "flows": ("Flows and methods", ("flow", "method", "penalty")),
    "solving": ("Solving", ("solver", "trajectory", "result", "_types")),
    "geometry": ("Geometry", ("geometry",)),
    "theory": ("Theory", ("theory", "theory.rigorous")),
    "algebra": ("Jacobians and linear algebra", ("jacobian", "linalg")),
    "experiments": ("Experiments", ("experiment",)),
    "pictures": ("Pictures and reports", ("plot", "report")),
}
# Not exported by riemgn, but needed to write a flow or to read a trajectory.
EXTRA = {"riemgn.problem": ("Linearisation",), "riemgn.trajectory": ("ManifoldMethod",)}
WHOLE = ("riemgn.task", "riemgn.theory.rigorous")  # modules whose public names are all shown


def names_of(module: ModuleType) -> dict[str, object]:
    """The names that a package exports, or the public names of a module that others may use."""
    public = {
        name: value for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    if Path(module.__file__ or "").name == "__init__.py":
        return public
    own = {name: value for name, value in public.items() if getattr(value, "__module__", "") == module.__name__}
    if module.__name__ in WHOLE:
        return own
    exported = (*dir(riemgn), *EXTRA.get(module.__name__, ()))
    return {name: value for name, value in own.items() if name in exported or name.startswith("Abstract")}


def directive(name: str, value: object) -> list[str]:
    """The autodoc directive of a class, a function or a value."""
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", ""]
    return [f".. autofunction:: {name}", ""] if callable(value) else [f".. autodata:: {name}", "   :no-value:", ""]


def module_section(name: str) -> str:
    """Heading, introduction and names of a module, then each name with its docstring."""
    module = importlib.import_module(f"riemgn.{name}")
    heading = "Settings" if name.startswith("_") else f"`riemgn.{name}`"
    names = sorted(names_of(module).items(), key=lambda pair: pair[0].lower())
    paths = {f"{'riemgn' if each in dir(riemgn) else module.__name__}.{each}": value for each, value in names}
    links = ", ".join(f"{{py:obj}}`~{path}`" for path in paths)
    entries = [line for path, value in paths.items() for line in directive(path, value)]
    lines = [f"## {heading}", "", (module.__doc__ or "").strip(), "", f"{links}.", ""]
    return "\n".join([*lines, "```{eval-rst}", *entries, "```", ""])


def api_pages() -> dict[str, str]:
    """The text of each API page and of their index, by path."""
    contents = "\n".join(PAGES)
    index = (
        f"# API\n\nYou reach all of it from `import riemgn as rg`.\n\n```{{toctree}}\n:maxdepth: 2\n\n{contents}\n```\n"
    )
    pages = {
        f"api/{name}.md": "\n".join([f"# {title}", "", *map(module_section, modules)])
        for name, (title, modules) in PAGES.items()
    }
    return {"api/index.md": index, **pages}
