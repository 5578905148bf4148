"""The map from each statement of the papers to code and verdict, and a page of pictures and numbers for each paper."""

import tomllib
from collections.abc import Sequence

import riemgn.experiment.reproduce
from riemgn.theory import CLAIMS
from riemgn.theory.claim import Claim

from .records import check_table, items_shown, Shown

OPENING = """# Theorems, code and verdicts

What the three papers state, or what is derived here from them, as this package can examine it. A *claim* is a computation: given a trajectory,
it lists what the statement presupposes, each hypothesis with the number that decides it, what it predicts, what was measured, and a verdict
([](concepts/certificate.md)). A *figure* is our own experiment for a claim, with checks of its own.

This page is written when the site is built. The verdicts of figures come from the numbers in the committed records `figures/PAPER/FIGURE.json`:
each check is judged again, and compared with the golden numbers of its size. The verdict on a claim is that of its certificates, which the
command beside it computes anew; no table of them is stored here. What a verdict does not say stands in [](limits.md).

Docstrings cite the project's working notes, `theory.md` (statements C1 to C18) and `papers.md` (proofs D1 to D17), which are not part of the
package. The labels below are theirs.
"""


def paper_titles() -> dict[str, str]:
    """What each paper's list of items calls it, by folder."""
    lists = {path.parent.name: path for path in sorted(riemgn.experiment.reproduce.ROOT.glob("*/claims.toml"))}
    order = list(dict.fromkeys([claim.paper for claim in CLAIMS.values()] + list(lists)))
    return {paper: tomllib.loads(lists[paper].read_text(encoding="utf-8"))["title"] for paper in order}


def figure_line(found: Shown) -> str:
    held = sum(check["holds"] for check in found.checks)
    return f"{{ref}}`{found.item.title} <{found.item.paper}-{found.item.id}>`: {found.verdict}, {held} of {len(found.checks)} checks, {found.size} size"


def claim_row(claim: Claim, figures: Sequence[Shown]) -> str:
    held = ", ".join(f"{{ref}}`{each.item.id} <{each.item.paper}-{each.item.id}>` {each.verdict}" for each in figures)
    code = f"{claim.examine.__module__}.{claim.examine.__qualname__}"
    link = f"{{py:func}}`{code.split('.')[-2]} <{code}>`"
    return f"| {{ref}}`{claim.name} <claim-{claim.name}>` | {claim.theory} | {held or 'none'} | {link} | {claim.reference} |"


def claim_section(claim: Claim, figures: Sequence[Shown]) -> str:
    code = f"{claim.examine.__module__}.{claim.examine.__qualname__}"
    lines = [f"(claim-{claim.name})=", f"### {claim.name}", "", claim.statement, ""]
    lines += [f"- Source: {claim.reference}; `theory.md` {claim.theory}, proof {claim.proof}"]
    lines += [
        f"- To examine: `riemgn certify {claim.name}`, or `rg.certify({claim.name!r}, evidence)` with {claim.evidence} as evidence"
    ]
    lines += [f"- Figure: {figure_line(each)}" for each in figures] or ["- Figure: none; the certificate alone decides"]
    return "\n".join([*lines, "", "```{eval-rst}", f".. autofunction:: {code}", "```", ""])


def theorems_page(found: Sequence[Shown]) -> str:
    by_claim = {name: [each for each in found if name in each.item.claims] for name in CLAIMS}
    rows = ["| claim | label | figures | examined in | source |", "| --- | --- | --- | --- | --- |"]
    rows += [claim_row(claim, by_claim[name]) for name, claim in CLAIMS.items()]
    parts = [OPENING, "\n".join(rows), ""]
    for paper, title in paper_titles().items():
        parts += [f"## {title}", "", f"Pictures and numbers: [](papers/{paper}.md).", ""]
        parts += [claim_section(claim, by_claim[name]) for name, claim in CLAIMS.items() if claim.paper == paper]
        others = [each for each in found if each.item.paper == paper and not each.item.claims]
        if others:
            lines = [f"- {figure_line(each)}. {each.item.claim[0].upper()}{each.item.claim[1:]}." for each in others]
            parts += [f"### Figures of {paper} for no claim of `riemgn certify`", "", *lines, ""]
    return "\n".join(parts)


def figure_section(found: Shown) -> str:
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
            f"**Verdict: {found.verdict}**, {found.size} size, computed at commit `{found.commit}`. `riemgn reproduce {item.name}` makes it again.",
            "",
            check_table(found.checks),
            "",
        ]
    )


def paper_page(paper: str, title: str, found: Sequence[Shown]) -> str:
    opening = "Our own experiments for the paper's claims, not copies of its plots; the line below each picture states data, sizes, seeds and tolerances."
    text = f"{opening} What to see and what a picture does not show is at the head of its script in `paper_repro/{paper}/`."
    return "\n".join(
        [f"# {title}", "", text, "", *(figure_section(each) for each in found if each.item.paper == paper)]
    )


def paper_pages() -> dict[str, str]:
    """Text by path."""
    found, titles = items_shown(), paper_titles()
    toc = "\n".join(f"papers/{paper}" for paper in titles)
    theorems = f"{theorems_page(found)}\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n"
    return {
        "theorems.md": theorems,
        **{f"papers/{paper}.md": paper_page(paper, title, found) for paper, title in titles.items()},
    }
