"""Sphinx extension: docstrings of this package are Markdown, so they are parsed as Markdown where autodoc would read reStructuredText."""

import re

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser

EXAMPLE = re.compile(r"^(>>> .*(?:\n(?!\n).*)*)", re.MULTILINE)  # Markdown would read `>>>` as three quotations


class MarkdownBlock(Directive):
    """Its content, parsed by MyST."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        whole = self.state.document
        part = new_document(whole["source"], whole.settings)
        MystParser().parse("\n".join(self.content), part)
        whole.note_source(whole["source"], self.lineno)
        return part.children


def as_markdown(app, what, name, obj, options, lines: list[str]) -> None:
    """Hand a docstring over to `markdown-block`, its examples fenced."""
    text = EXAMPLE.sub(r"```pycon\n\1\n```", "\n".join(lines).strip())
    lines[:] = [".. markdown-block::", "", *(f"   {line}" for line in text.split("\n")), ""] if text else []


def setup(app) -> dict[str, bool]:
    app.add_directive("markdown-block", MarkdownBlock)
    app.connect("autodoc-process-docstring", as_markdown)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
