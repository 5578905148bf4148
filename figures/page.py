"""Write figures/README.md from the docstrings of the essays and the lists of figures."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import jinja2

from riemgn.experiment.reproduce import discover, Item

ROOT = Path(__file__).resolve().parent
INTRODUCTION = """
You need to know a little about manifolds, and nothing about the papers. A model with p parameters, evaluated
on n data points, is a map `f : R^p -> R^n`. The set of its outputs `M = f(W)` is the *output manifold*. `J` is
the Jacobian of `f`, and `P = J J^+` projects on its range, the tangent space of `M`. The loss is `g`, by default
`|f - y|^2 / 2`.
""".strip()
PAGE, TEMPLATE = ROOT / "README.md", ROOT / "page.md.jinja"
HEADINGS = ("**What to see.**", "**In code.**", "**What it does not show.**", "**References.**")


@dataclass(frozen=True)
class Essay:
    """An essay: the first line of its docstring is the title, the rest is Markdown."""

    item: Item
    title: str
    text: str

    @property
    def alt(self) -> str:
        """The claim of the essay, as the alternative text of its picture."""
        return f"{self.item.claim[0].upper()}{self.item.claim[1:]}"

    @property
    def script(self) -> Path:
        """The file of the essay."""
        return self.item.folder / f"{self.item.id}.py"


def essay_of(item: Item) -> Essay:
    """Read the essay of an item without running it.

    Raises: `ValueError` if the title differs from the one in claims.toml, or if one of the
    `HEADINGS` is missing.
    """
    path = item.folder / f"{item.id}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    title, _, text = docstring.partition("\n")
    if title != f"{item.title}.":
        raise ValueError(
            f"The docstring of '{path.name}' must begin with the title of its entry, '{item.title}.', got {title!r}."
        )
    missing = [heading for heading in HEADINGS if heading not in text]
    if missing:
        raise ValueError(f"The docstring of '{path.name}' lacks {' and '.join(missing)}.")
    return Essay(item, item.title, text.strip())


def essays() -> list[Essay]:
    """All essays in reading order."""
    return [essay_of(item) for item in discover(ROOT)]


def page() -> str:
    """The text of figures/README.md."""
    papers: dict[str, list[tuple[Item, bool]]] = {}
    for item in discover():
        record = ROOT / item.paper / f"{item.id}.json"
        if record.is_file():
            papers.setdefault(item.paper, []).append((item, json.loads(record.read_text(encoding="utf-8"))["quick"]))
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        introduction=INTRODUCTION, essays=essays(), papers=papers
    )
