"""Claim: a statement of a paper, or one derived here, with the computation that examines it; and certify, which runs it with error bars."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from .certificate import Certificate, Findings, with_errors

Evidence = Any  # a Trajectory, a ManifoldPath, or a sequence of them


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
        return {name: getattr(self, name) for name in ("name", "statement", "theory", "proof", "paper", "reference", "evidence")}


def examine(claim: Claim, evidence: Evidence, subject: str | None = None, **options: Any) -> Certificate:
    """The certificate of a claim on evidence, with the change from the evidence to its tighter twin as error bar.

    Arguments:

    - `evidence`: what `claim.evidence` names; solved with `error=True`, so that each piece carries its twin `tight`.
    - `subject`: what to call the evidence; by default its own description.

    Raises: `ValueError` with one sentence where the evidence is not of the kind the claim is about.
    """
    loose = claim.examine(evidence, **options)
    twin = tightened(evidence)
    tight = None if twin is None else claim.examine(twin, **options)
    hypotheses = loose.hypotheses if tight is None else tight.hypotheses
    words = describe(evidence) if subject is None else subject
    return Certificate(claim.name, words, claim.statement, claim.reference, claim.theory, hypotheses, with_errors(loose, tight))


def tightened(evidence: Evidence) -> Evidence | None:
    """The twin of the evidence at tighter tolerances, None where a piece has none."""
    if isinstance(evidence, Sequence):
        twins = [tightened(piece) for piece in evidence]
        return None if any(twin is None for twin in twins) else twins
    return evidence.tight


def describe(evidence: Evidence) -> str:
    """A few words for the evidence."""
    if isinstance(evidence, Sequence):
        return f"{len(evidence)} trajectories, the first: {evidence[0]}"
    return str(evidence)


def bibliography() -> Mapping[str, str]:
    """BibTeX entries by key."""
    text = resources.files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in text.split("\n\n") if entry.strip()]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
