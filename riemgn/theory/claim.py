"""Claims: statements with the computation that checks them, their registry, and `certify`."""

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ..trajectory import ManifoldMethod, Trajectory
from .certificate import Certificate, Findings, Hypothesis, with_errors
from .constants import output_scale
from .rigorous import enclose_start

THRESHOLD = "alpha_0 / alpha"
Evidence = Any  # a Trajectory or a sequence of them
KINDS = ("trajectory", "trajectories", "one or several trajectories", "pair")


@dataclass(frozen=True)
class Claim:
    """A statement with the computation that checks it.

    - `name`: as in `rg.certify`.
    - `statement`: one sentence with its formula.
    - `theory`, `proof`: numbers on the page of statements, such as "C6" and "D4".
    - `paper`: key in `references.bib`.
    - `reference`: how the paper is cited, with its version, or "derived".
    - `evidence`: what `certify` needs, in words.
    - `compute`: function from evidence to `Findings`. It runs on the evidence and on its twin.
    - `kind`: type of the evidence: `"trajectory"` (default), `"trajectories"`,
        `"one or several trajectories"`, or `"pair"` of trajectories.

    Raises: `ValueError` for another `kind`.
    """

    name: str
    statement: str
    theory: str
    proof: str
    paper: str
    reference: str
    evidence: str
    compute: Callable[..., Findings]
    kind: str = KINDS[0]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(map(repr, KINDS))}, got {self.kind!r}.")

    def to_dict(self) -> dict[str, str]:
        """Return the texts of the claim."""
        texts = ("name", "statement", "theory", "proof", "paper", "reference", "evidence")
        return {name: getattr(self, name) for name in texts}

    def check_evidence(self, evidence: Evidence) -> None:
        """Check the type of the evidence.

        Raises: `ValueError` that says what was given and what is needed.
        """
        several = isinstance(evidence, Sequence) and not isinstance(evidence, str)
        pieces = list(evidence) if several else [evidence]
        fits = several != (self.kind == "trajectory") or self.kind == "one or several trajectories"
        counts = len(pieces) == 2 if self.kind == "pair" else len(pieces) > 0
        trajectories = all(isinstance(piece, Trajectory) for piece in pieces)
        # only the second of a pair may come from the output manifold
        others = pieces[:1] if self.kind == "pair" else pieces
        if fits and counts and trajectories:
            if not any(isinstance(piece.flow, ManifoldMethod) for piece in others):
                return
            raise ValueError(f"The claim `{self.name}` needs {self.evidence}; got a trajectory of an output manifold.")
        given = type(evidence).__name__
        given += f" of {', '.join(type(piece).__name__ for piece in pieces[:3]) or 'nothing'}" if several else ""
        raise ValueError(f"The claim `{self.name}` needs {self.evidence}; got {given}.")


CLAIMS: dict[str, Claim] = {}


def register(*claims: Claim) -> None:
    """Make your own `claims` known to `rg.certify` and `rg.claims`.

    Raises: `ValueError` if another claim has the same name.
    """
    for claim in claims:
        if CLAIMS.setdefault(claim.name, claim) is not claim:
            raise ValueError(f"There is another claim {claim.name!r}; choose a new name.")


def find_claim(name: str) -> Claim:
    """Return the claim called `name`.

    Raises: `ValueError` that lists the known names.
    """
    if name not in CLAIMS:
        raise ValueError(f"Unknown claim {name!r}; known: {', '.join(CLAIMS)}.")
    return CLAIMS[name]


def claims() -> dict[str, dict[str, str]]:
    """Return every claim by name, with its statement, paper, version and the evidence it needs.

    >>> import riemgn as rg
    >>> rg.claims()["exact_residual_law"]["statement"]
    'Over-parameterised Gauss-Newton on least squares: f_t - y = exp(-t) (f_0 - y).'
    """
    return {name: claim.to_dict() for name, claim in CLAIMS.items()}


def certify(
    name: str | Claim, evidence: Evidence, subject: str | None = None, *, rigorous: bool = False, **options: Any
) -> Certificate:
    """Check one claim on evidence: hypotheses, prediction, measurement, numerical error and status.

    The quantities are computed on the evidence and on its twin at a hundredth of the tolerances.
    Their difference is the numerical error. If you solve without `error=True` there is no twin and
    every conclusion is undecided.

    Arguments:

    - `name`: name as in `rg.claims()`, which also says what evidence is needed, or a `Claim`.
    - `evidence`: for example a `Trajectory` solved with `error=True`, or a sequence of them.
    - `subject`: name of the evidence. Defaults to its description.
    - `rigorous`: also prove the hypotheses at the starting point by ball arithmetic. It needs the
      extra `rigorous`. A hypothesis that cannot be proved is undecided.
    - `options`: for claims that have some, such as `x_new` of `kernel_limit`.

    Returns: a `Certificate`. Use `print` for its table.

    Raises: `ValueError` for an unknown claim or option, or for evidence of the wrong type.

    >>> import jax, riemgn as rg
    >>> rg.enable_x64()
    >>> problem = rg.teacher_student(n=5, width=4, cond=2.0, key=jax.random.key(0))
    >>> options = {"t1": 2.0, "rtol": 1e-10, "atol": 1e-12, "error": True}
    >>> traj = rg.solve(problem, rg.GaussNewtonFlow(), **options)
    >>> rg.certify("exact_residual_law", traj).status == "holds"
    True

    Reference: that of the claim, see `print(rg.cite(cert))`.
    """
    claim = name if isinstance(name, Claim) else find_claim(name)
    claim.check_evidence(evidence)
    names = list(inspect.signature(claim.compute).parameters)[1:]
    if unknown := set(options) - set(names):
        listed = ", ".join(names) or "none"
        raise ValueError(f"The claim `{claim.name}` has no option {sorted(unknown)[0]!r}; its options: {listed}.")
    loose, twin = claim.compute(evidence, **options), _twin(evidence)
    tight = None if twin is None else claim.compute(twin, **options)
    hypotheses = loose.hypotheses if tight is None else tight.hypotheses
    if rigorous:
        hypotheses += _proved(evidence, any(part.name == THRESHOLD for part in hypotheses))
    words = _description(evidence) if subject is None else subject
    texts = (claim.name, words, claim.statement, claim.reference, claim.theory)
    return Certificate(*texts, hypotheses, with_errors(loose, tight))


def cite(what: Certificate | str | Iterable[Certificate | str]) -> str:
    """Return BibTeX entries of the papers behind `what`, each paper once.

    You can pass a certificate, the name of a claim, or several of either.

    Raises: `ValueError` for an unknown claim.

    >>> import riemgn as rg
    >>> rg.cite("equivalence").splitlines()[0]
    '@article{cayci2024,'
    """
    pieces = [what] if isinstance(what, Certificate | str) else list(what)
    names = [piece if isinstance(piece, str) else piece.claim for piece in pieces]
    entries = bibliography()
    return "\n\n".join(entries[key] for key in dict.fromkeys(find_claim(name).paper for name in names))


def bibliography() -> Mapping[str, str]:
    """Return the BibTeX entries by key."""
    text = resources.files(__name__.rpartition(".")[0]).joinpath("references.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in text.split("\n\n") if entry.strip()]
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _twin(evidence: Evidence) -> Evidence | None:
    """The evidence at tighter tolerances, or None if a piece has none."""
    if isinstance(evidence, Sequence):
        twins = [piece.tight for piece in evidence]
        return None if any(twin is None for twin in twins) else twins
    return evidence.tight


def _description(evidence: Evidence) -> str:
    if isinstance(evidence, Sequence):
        return f"{len(evidence)} trajectories, the first: {evidence[0].description}"
    return evidence.description


def _proved(evidence: Evidence, with_threshold: bool) -> tuple[Hypothesis, ...]:
    """Hypotheses at the starting points, proved by ball arithmetic, undecided if that fails."""
    proved = []
    several = isinstance(evidence, Sequence)
    for i, piece in enumerate(evidence if several else [evidence]):
        if not isinstance(piece, Trajectory):
            continue
        run = f", run {i}" if several else ""
        name = f"lambda_min at the start{run}"
        try:
            start = enclose_start(piece.problem)
        except ValueError as error:
            proved.append(Hypothesis(name, math.nan, "at_least", 0.0, f"not enclosed: {error}"))
            continue
        source = f"proved, {start.bits} bits"
        proved.append(Hypothesis(name, start.eigenvalue.lower, "at_least", sys.float_info.min, source))
        if with_threshold:
            ratio = math.nan if start.threshold is None else start.threshold.upper / output_scale(piece.problem.model)
            proved.append(Hypothesis(f"{THRESHOLD}{run}, upper end", ratio, "at_most", 1.0, source))
    return tuple(proved)
