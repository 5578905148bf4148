"""The gallery's page, figures/README.md: essays from the docstrings of their scripts, the papers' figures from their lists of items."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import jinja2

from riemgn.experiment.reproduce import discover, Item

ROOT = Path(__file__).resolve().parent
INTRODUCTION = """
For someone who knows a little of manifolds and has not read the papers. Throughout, a model with p parameters, evaluated on its n data points, is
a map `f : R^p -> R^n`; its outputs sweep out a set `M = f(W)`, the *output manifold*. `J` is the Jacobian of `f`, `P = J J^+` projects on its range,
the tangent space of `M`, and `g` is the loss, `|f - y|^2 / 2` where nothing else is said.
""".strip()
PAGE, TEMPLATE = ROOT / "README.md", ROOT / "page.md.jinja"
HEADINGS = ("**What to see.**", "**In code.**", "**What it does not show.**", "**References.**")


@dataclass(frozen=True)
class Essay:
    """What an essay's script says of itself: the first line of its docstring is the title, the rest is Markdown."""

    item: Item
    title: str
    text: str

    @property
    def alt(self) -> str:
        """The picture in words: what the essay claims."""
        return f"{self.item.claim[0].upper()}{self.item.claim[1:]}"

    @property
    def script(self) -> Path:
        return self.item.folder / f"{self.item.id}.py"


def essay_of(item: Item) -> Essay:
    """The essay of an item, read without running it.

    Raises: `ValueError` where the docstring has another title than the entry in claims.toml, or lacks one of the `HEADINGS`.
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
    """All essays, in the order in which they are read."""
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
