"""Write the page that maps claims to code and verdicts, and a page of figures for each paper."""

import tomllib
from collections.abc import Sequence

import riemgn.experiment.reproduce
from riemgn.theory import CLAIMS
from riemgn.theory.claim import Claim

from .records import check_table, paper_records, Record

OPENING = """# Claims, code and verdicts

This page lists what the package can examine. A *claim* is a computation. Given a trajectory, it
lists each hypothesis with its measured value, the prediction, the measurement and a verdict
([](concepts/certificate.md)). The labels C1 to C18 refer to the [statements](statements.md), with
formulas, assumptions and proofs. A *figure* is our own experiment for a claim, with its own checks.

The page is written when the site is built. The verdicts of figures come from the committed records
`figures/PAPER/FIGURE.json`: each check is judged again and compared with the golden numbers of its
size. To get the verdict on a claim, run the command next to it. [](limits.md) says what a verdict
does not show.
"""


def paper_titles() -> dict[str, str]:
    """The title of each paper by folder."""
    lists = {path.parent.name: path for path in sorted(riemgn.experiment.reproduce.ROOT.glob("*/claims.toml"))}
    order = list(dict.fromkeys([claim.paper for claim in CLAIMS.values()] + list(lists)))
    return {paper: tomllib.loads(lists[paper].read_text(encoding="utf-8"))["title"] for paper in order}


def figure_line(found: Record) -> str:
    held = sum(check["holds"] for check in found.checks)
    link = f"{{ref}}`{found.item.title} <{found.item.paper}-{found.item.id}>`"
    return f"{link}: {found.verdict}, {held} of {len(found.checks)} checks, {found.size} size"


def claim_row(claim: Claim, figures: Sequence[Record]) -> str:
    held = ", ".join(f"{{ref}}`{each.item.id} <{each.item.paper}-{each.item.id}>` {each.verdict}" for each in figures)
    code = f"{claim.compute.__module__}.{claim.compute.__qualname__}"
    link = f"{{py:func}}`{code.split('.')[-2]} <{code}>`"
    name = f"{{ref}}`{claim.name} <claim-{claim.name}>`"
    return f"| {name} | {claim.theory} | {held or 'none'} | {link} | {claim.reference} |"


def claim_section(claim: Claim, figures: Sequence[Record]) -> str:
    code = f"{claim.compute.__module__}.{claim.compute.__qualname__}"
    lines = [f"(claim-{claim.name})=", f"### {claim.name}", "", claim.statement, ""]
    lines += [f"- Source: {claim.reference}. Statement {claim.theory}, proof {claim.proof}: [](statements.md)"]
    call = f"`rg.certify({claim.name!r}, evidence)` with {claim.evidence} as evidence"
    lines += [f"- To examine: `riemgn certify {claim.name}`, or {call}"]
    lines += [f"- Figure: {figure_line(each)}" for each in figures] or ["- Figure: none"]
    return "\n".join([*lines, "", "```{eval-rst}", f".. autofunction:: {code}", "```", ""])


def theorems_page(found: Sequence[Record]) -> str:
    by_claim = {name: [each for each in found if name in each.item.claims] for name in CLAIMS}
    rows = ["| claim | statement | figures | examined in | source |", "| --- | --- | --- | --- | --- |"]
    rows += [claim_row(claim, by_claim[name]) for name, claim in CLAIMS.items()]
    parts = [OPENING, "\n".join(rows), ""]
    for paper, title in paper_titles().items():
        parts += [f"## {title}", "", f"Pictures and numbers: [](papers/{paper}.md).", ""]
        parts += [claim_section(claim, by_claim[name]) for name, claim in CLAIMS.items() if claim.paper == paper]
        others = [each for each in found if each.item.paper == paper and not each.item.claims]
        if others:
            lines = [f"- {figure_line(each)}. {each.item.claim[0].upper()}{each.item.claim[1:]}." for each in others]
            parts += [f"### Other figures of {paper}", "", *lines, ""]
    return "\n".join(parts)


def figure_section(found: Record) -> str:
    item = found.item
    return "\n".join(
        [
            f"({item.paper}-{item.id})=",
            f"## {item.title}",
            "",
            f"The paper's claim, arXiv:{item.arxiv}: {item.claim}.",
            "",
            f"```{{image}} ../pictures/{found.picture}",
            f":alt: {item.title}",
            "```",
            "",
            f"**Verdict: {found.verdict}**, {found.size} size, computed at commit `{found.commit}`.",
            f"To make it again, run `riemgn reproduce {item.name}`.",
            "",
            check_table(found.checks),
            "",
        ]
    )


def paper_page(paper: str, title: str, found: Sequence[Record]) -> str:
    """The page of a paper: every figure with its numbers."""
    text = (
        "These are our own experiments for the paper's claims, not copies of its plots. The line below each picture "
        f"states data, sizes, seeds and tolerances. The docstring of each script in `paper_repro/{paper}/` says what "
        "to see and what the picture does not show."
    )
    sections = (figure_section(each) for each in found if each.item.paper == paper)
    return "\n".join([f"# {title}", "", text, "", *sections])


def paper_pages() -> dict[str, str]:
    """The text of each page by path."""
    found, titles = paper_records(), paper_titles()
    toc = "\n".join(f"papers/{paper}" for paper in titles)
    theorems = f"{theorems_page(found)}\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    return {
        "theorems.md": theorems,
        **{f"papers/{paper}.md": paper_page(paper, title, found) for paper, title in titles.items()},
    }
