"""Pages of the API: every name that `riemgn` and its rooms show, grouped by room, each introduced by its own docstring."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import riemgn

PAGES = {
    "problems": ("Problems", ("problem", "model", "loss", "data", "task")),
    "flows": ("Flows and methods", ("flow", "method", "regularizer")),
    "solving": ("Solving", ("solve", "solve_batch", "iterate", "trajectory", "result", "_types")),
    "geometry": ("Geometry", ("geometry",)),
    "theory": ("Theory", ("theory", "theory.rigorous")),
    "algebra": ("Kernels and linear algebra", ("kernel", "linalg")),
    "experiments": ("Experiments", ("experiment",)),
    "pictures": ("Pictures and reports", ("plot", "report")),
}

BESIDE = {"riemgn.problem": ("Linearisation",)}  # what those meet who write a flow; in a file, not on a face


def names_of(room: ModuleType) -> dict[str, object]:
    """What a room shows: a folder what its face imports, a file its public classes and functions that others may use."""
    shown = {
        name: value for name, value in vars(room).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    if Path(room.__file__ or "").name == "__init__.py":
        return shown
    ours = {name: value for name, value in shown.items() if getattr(value, "__module__", "") == room.__name__}
    if room is riemgn.task or room.__name__ == "riemgn.theory.rigorous":
        return ours
    wanted = (*dir(riemgn), *BESIDE.get(room.__name__, ()))
    return {name: value for name, value in ours.items() if name in wanted or name.startswith("Abstract")}


def directive(name: str, value: object) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", ""]
    return [f".. autofunction:: {name}", ""] if callable(value) else [f".. autodata:: {name}", "   :no-value:", ""]


def room_section(name: str) -> str:
    """Heading, the room's own introduction, its names in one line, then each with its docstring."""
    room = importlib.import_module(f"riemgn.{name}")
    heading = "Settings" if name.startswith("_") else f"`riemgn.{name}`"
    found = sorted(names_of(room).items(), key=lambda pair: pair[0].lower())
    paths = {f"{'riemgn' if shown in dir(riemgn) else room.__name__}.{shown}": value for shown, value in found}
    links = ", ".join(f"{{py:obj}}`~{path}`" for path in paths)
    listed = [line for path, value in paths.items() for line in directive(path, value)]
    return "\n".join(
        [f"## {heading}", "", (room.__doc__ or "").strip(), "", f"{links}.", "", "```{eval-rst}", *listed, "```", ""]
    )


def api_page(title: str, rooms: tuple[str, ...]) -> str:
    return "\n".join([f"# {title}", "", *map(room_section, rooms)])


def api_pages() -> dict[str, str]:
    """Text by path, with an index of its own."""
    toc = "\n".join(PAGES)
    index = f"# API\n\nEverything below is reached from `import riemgn as rg`.\n\n```{{toctree}}\n:maxdepth: 2\n\n{toc}\n```\n"
    return {"api/index.md": index, **{f"api/{name}.md": api_page(*page) for name, page in PAGES.items()}}
