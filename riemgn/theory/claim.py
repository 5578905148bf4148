"""Claim: a statement of a paper, or one derived here, with the computation that examines it; and certify, which runs it with error bars."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..trajectory import Trajectory
from .certificate import Certificate, Findings, Hypothesis, with_errors
from .constants import output_scale
from .rigorous import enclose_start

THRESHOLD = "alpha_0 / alpha"
Evidence = Any  # a Trajectory, or a sequence of them


@dataclass(frozen=True)
class Claim:
    """One claim by name.

    - `name`: as in `rg.certify`.
    - `statement`: one sentence with its formula.
    - `theory`, `proof`: the sections of theory.md and papers.md, or of ggn_score.md.
    - `paper`: key of `references.bib`; `reference`: how it is cited, with the version of the preprint, or "derived".
    - `evidence`: what `certify` wants, in words.
    - `examine`: the computation, evidence to `Findings`; it runs once on the evidence and once on its tighter twin.
    """

    name: str
    statement: str
    theory: str
    proof: str
    paper: str
    reference: str
    evidence: str
    examine: Callable[..., Findings]

    def to_dict(self) -> dict[str, str]:
        """The claim's words, without its computation."""
        return {
            name: getattr(self, name)
            for name in ("name", "statement", "theory", "proof", "paper", "reference", "evidence")
        }


def examine(
    claim: Claim, evidence: Evidence, subject: str | None = None, rigorous: bool = False, **options: Any
) -> Certificate:
    """The certificate of a claim on evidence, with the change from the evidence to its tighter twin as error bar.

    Arguments:

    - `evidence`: what `claim.evidence` names; solved with `error=True`, so that each piece carries its twin `tight`.
    - `subject`: what to call the evidence; by default its own description.
    - `rigorous`: also prove `lambda_min > 0`, and `alpha >= alpha_0` where the claim asks for it, by ball arithmetic at each starting point.

    Raises: `ValueError` with one sentence where the evidence is not of the kind the claim is about.
    """
    loose = claim.examine(evidence, **options)
    twin = tightened(evidence)
    tight = None if twin is None else claim.examine(twin, **options)
    hypotheses = loose.hypotheses if tight is None else tight.hypotheses
    hypotheses += proved(evidence, any(h.name == THRESHOLD for h in hypotheses)) if rigorous else ()
    words = describe(evidence) if subject is None else subject
    return Certificate(
        claim.name, words, claim.statement, claim.reference, claim.theory, hypotheses, with_errors(loose, tight)
    )


def proved(evidence: Evidence, with_threshold: bool) -> tuple[Hypothesis, ...]:
    """Hypotheses at the starting points, enclosed by ball arithmetic; undecided for a model that cannot be enclosed."""
    found = []
    for i, piece in enumerate(evidence if isinstance(evidence, Sequence) else [evidence]):
        if not isinstance(piece, Trajectory):
            continue
        where = f", run {i}" if isinstance(evidence, Sequence) else ""
        try:
            start = enclose_start(piece.problem)
        except ValueError as trouble:
            found.append(
                Hypothesis(
                    f"lambda_min at the start is positive{where}", math.nan, "at_least", 0.0, f"not enclosed: {trouble}"
                )
            )
            continue
        source = f"proved, {start.bits} bits"
        found.append(
            Hypothesis(
                f"lambda_min at the start{where}", start.eigenvalue.lower, "at_least", sys.float_info.min, source
            )
        )
        if with_threshold:
            ratio = math.nan if start.threshold is None else start.threshold.upper / output_scale(piece.problem.model)
            found.append(Hypothesis(f"{THRESHOLD}{where}, upper end", ratio, "at_most", 1.0, source))
    return tuple(found)


def tightened(evidence: Evidence) -> Evidence | None:
    """The twin of the evidence at tighter tolerances, None where a piece has none."""
    if isinstance(evidence, Sequence):
        twins = [tightened(piece) for piece in evidence]
        return None if any(twin is None for twin in twins) else twins
    return evidence.tight


def describe(evidence: Evidence) -> str:
    """A few words for the evidence."""
    if isinstance(evidence, Sequence):
        return f"{len(evidence)} trajectories, the first: {describe(evidence[0])}"
    return evidence.description if isinstance(evidence, Trajectory) else str(evidence)


def bibliography() -> Mapping[str, str]:
    """BibTeX entries by key."""
    text = resources.files(__name__.rpartition(".")[0]).joinpath("references.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in text.split("\n\n") if entry.strip()]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
