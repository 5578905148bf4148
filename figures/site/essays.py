"""A page for each essay, from its script: title, picture, text, numbers, code."""

import ast

from figures.page import Essay, essays, INTRODUCTION

from .records import check_table, shown

OPENING = f"# Essays\n\nOne idea each, in one picture, with the script that draws it; `make gallery` draws them again.\n\n{INTRODUCTION}\n"


def code_starts(essay: Essay) -> int:
    """The script's first line of code, after the docstring that is the essay's text."""
    return ast.parse(essay.script.read_text(encoding="utf-8")).body[1].lineno


def essay_page(essay: Essay) -> str:
    name, found = essay.item.id, shown(essay.item)
    lines = [
        f"# {essay.title}",
        "",
        f"```{{image}} ../pictures/essays/{name}.png",
        f":alt: {essay.alt}",
        "```",
    ]
    lines += ["", essay.text, ""]
    if found is not None:
        lines += [
            "## Its numbers",
            "",
            f"Verdict: {found.verdict}. `python -m figures {name}`, in a checkout, computes them again.",
            "",
            check_table(found.checks),
            "",
        ]
    lines += [
        "## Its code",
        "",
        f"`figures/essays/{name}.py`:",
        "",
        f"```{{literalinclude}} {name}.py",
        ":language: python",
        f":lines: {code_starts(essay)}-",
        "```",
        "",
    ]
    return "\n".join(lines)


def essay_pages() -> dict[str, str]:
    """Text by path; the scripts too, for what their pages include."""
    found = essays()
    toc = "\n".join(essay.item.id for essay in found)
    index = f"{OPENING}\n```{{toctree}}\n:maxdepth: 1\n\n{toc}\n```\n"
    pages = {"essays/index.md": index}
    for essay in found:
        pages |= {
            f"essays/{essay.item.id}.md": essay_page(essay),
            f"essays/{essay.item.id}.py": essay.script.read_text(encoding="utf-8"),
        }
    return pages
