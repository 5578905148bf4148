"""Pages of the API: every name that `riemgn` and its rooms show, grouped by room, each introduced by its own docstring."""

import importlib
import inspect
from types import ModuleType

import riemgn

PAGES = {
    "problems": ("Problems", ("problem", "model", "loss", "data", "task")),
    "flows": ("Flows and methods", ("flow", "method", "regularizer")),
    "solving": ("Solving", ("solve", "solve_batch", "iterate", "trajectory", "result", "sharding", "_settings")),
    "geometry": ("Geometry", ("geometry",)),
    "theory": ("Theory", ("theory", "theory.rigorous")),
    "algebra": ("Kernels and linear algebra", ("kernel", "linalg")),
    "experiments": ("Experiments", ("experiment",)),
    "pictures": ("Pictures and reports", ("plot", "report")),
}


def names_of(room: ModuleType) -> dict[str, object]:
    """What a room shows: a folder what its face imports, a file its public classes and functions that others may use."""
    shown = {name: value for name, value in vars(room).items() if not name.startswith("_") and not inspect.ismodule(value)}
    if hasattr(room, "__path__"):
        return shown
    ours = {name: value for name, value in shown.items() if getattr(value, "__module__", "") == room.__name__}
    if room is riemgn.task or room.__name__ == "riemgn.theory.rigorous":
        return ours
    return {name: value for name, value in ours.items() if name in dir(riemgn) or name.startswith("Abstract")}


def directive(name: str, value: object) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", ""]
    return [f".. autofunction:: {name}", ""] if callable(value) else [f".. autodata:: {name}", "   :no-value:", ""]


def api_page(title: str, rooms: tuple[str, ...]) -> str:
    lines = [f"# {title}", ""]
    for name in rooms:
        room = importlib.import_module(f"riemgn.{name}")
        lines += [f"## `riemgn.{name}`" if not name.startswith("_") else "## Settings", "", (room.__doc__ or "").strip(), "", "```{eval-rst}"]
        for shown, value in sorted(names_of(room).items(), key=lambda pair: pair[0].lower()):
            home = "riemgn" if shown in dir(riemgn) else room.__name__
            lines += directive(f"{home}.{shown}", value)
        lines += ["```", ""]
    return "\n".join(lines)


def api_pages() -> dict[str, str]:
    """Text by path, with an index of its own."""
    toc = "\n".join(PAGES)
    index = f"# API\n\nEverything below is reached from `import riemgn as rg`.\n\n```{{toctree}}\n:maxdepth: 2\n\n{toc}\n```\n"
    return {"api/index.md": index, **{f"api/{name}.md": api_page(*page) for name, page in PAGES.items()}}
