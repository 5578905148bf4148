"""A page for each essay, from its script: title, picture, text, numbers, code."""

import ast

from figures.page import Essay, essays

from .records import check_table, shown

OPENING = """# Essays

One idea each, in one picture, with the script that draws it. For someone who knows a little of manifolds and has not read the papers.
Throughout, a model with p parameters, evaluated on its n data points, is a map `f : R^p -> R^n`; its outputs sweep out a set `M = f(W)`, the
*output manifold*. `J` is the Jacobian of `f`, `P = J J^+` projects on its range, the tangent space of `M`, and `g` is the loss, `|f - y|^2 / 2`
where nothing else is said. `make gallery` draws them again.
"""


def code_starts(essay: Essay) -> int:
    """The script's first line of code, after the docstring that is the essay's text."""
    return ast.parse(essay.script.read_text(encoding="utf-8")).body[1].lineno


def essay_page(essay: Essay) -> str:
    name, found = essay.item.id, shown(essay.item)
    lines = [
        f"# {essay.title}",
        "",
        f"```{{image}} ../pictures/essays/{name}.png",
        f":alt: {essay.item.claim[0].upper()}{essay.item.claim[1:]}",
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
        pages |= {f"essays/{essay.item.id}.md": essay_page(essay), f"essays/{essay.item.id}.py": essay.script.read_text(encoding="utf-8")}
    return pages
