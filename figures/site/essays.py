"""Write a page for each essay from its script: title, picture, text, numbers, code."""

import ast

from figures.page import Essay, essays, INTRODUCTION

from .records import check_table, record_of

OPENING = (
    f"# Essays\n\nEach essay explains one idea in one picture. `make gallery` draws them again.\n\n{INTRODUCTION}\n"
)


def code_starts(essay: Essay) -> int:
    """The line of the script where its code begins, after the docstring."""
    return ast.parse(essay.script.read_text(encoding="utf-8")).body[1].lineno


def essay_page(essay: Essay) -> str:
    name, record = essay.item.id, record_of(essay.item)
    lines = [f"# {essay.title}", "", f"```{{image}} ../pictures/essays/{name}.png", f":alt: {essay.alt}", "```"]
    lines += ["", essay.text, ""]
    if record is not None:
        lines += [
            "## Its numbers",
            "",
            f"Verdict: {record.verdict}. To compute them again, run `python -m figures {name}` in a checkout.",
            "",
            check_table(record.checks),
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
    """The text of each page by path, with the scripts that the pages include."""
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
