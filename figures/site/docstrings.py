"""A Sphinx extension that lets autodoc parse our docstrings as Markdown."""

import re

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser

EXAMPLE = re.compile(r"^(>>> .*(?:\n(?!\n).*)*)", re.MULTILINE)  # Markdown would read `>>>` as three quotations


class MarkdownBlock(Directive):
    """A directive whose content is parsed by MyST."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        document = self.state.document
        part = new_document(document["source"], document.settings)
        MystParser().parse("\n".join(self.content), part)
        document.note_source(document["source"], self.lineno)
        return part.children


def as_markdown(app, what, name, obj, options, lines: list[str]) -> None:
    """Put a docstring into a `markdown-block`, with its examples fenced."""
    text = EXAMPLE.sub(r"```pycon\n\1\n```", "\n".join(lines).strip())
    lines[:] = [".. markdown-block::", "", *(f"   {line}" for line in text.split("\n")), ""] if text else []


def setup(app) -> dict[str, bool]:
    app.add_directive("markdown-block", MarkdownBlock)
    app.connect("autodoc-process-docstring", as_markdown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
