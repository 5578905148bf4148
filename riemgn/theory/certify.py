"""The catalogue of claims, and the public functions that look into it: certify, claims, cite."""

from collections.abc import Iterable
from typing import Any

from . import adeoye2024, cai2019, cayci2024
from .certificate import Certificate
from .claim import bibliography, Claim, Evidence, examine

CLAIMS: dict[str, Claim] = {claim.name: claim for claim in (*cayci2024.CLAIMS, *cai2019.CLAIMS, *adeoye2024.CLAIMS)}


def find_claim(name: str) -> Claim:
    """The claim that is called `name`.

    Raises: `ValueError` that lists the known ones.
    """
    if name not in CLAIMS:
        raise ValueError(f"Unknown claim {name!r}; known: {', '.join(CLAIMS)}.")
    return CLAIMS[name]


def claims() -> dict[str, dict[str, str]]:
    """Every claim by name, with its statement, paper, version, and the evidence `certify` wants.

    >>> import riemgn as rg
    >>> rg.claims()["exact_residual_law"]["statement"]
    'Over-parameterised Gauss-Newton on least squares: f_t - y = exp(-t) (f_0 - y).'
    """
    return {name: claim.to_dict() for name, claim in CLAIMS.items()}


def certify(
    name: str, evidence: Evidence, subject: str | None = None, *, rigorous: bool = False, **options: Any
) -> Certificate:
    """Hold one claim against evidence: hypotheses, predicted and measured quantity, margin, numerical error, verdict.

    The quantities are computed on the evidence and on its twin at a hundredth of the tolerances; their difference is the error bar. Evidence
    without a twin (solved without `error=True`) leaves every conclusion undecided.

    Arguments:

    - `name`: as in `rg.claims()`, which also says what evidence it wants.
    - `evidence`: a `Trajectory` solved with `error=True`, or a sequence of them.
    - `subject`: what to call the evidence; by default its own description.
    - `rigorous`: enclose the hypotheses at the starting point by ball arithmetic (needs the extra `rigorous`); what cannot be proved is undecided.
    - `options`: for claims that take some, such as `x_new` of `kernel_limit`.

    Returns: a `Certificate`; `print` it.

    Raises: `ValueError` for an unknown claim or evidence of another kind.

    >>> import jax, riemgn as rg
    >>> rg.enable_x64()
    >>> problem = rg.teacher_student(n=5, width=4, cond=2.0, key=jax.random.key(0))
    >>> traj = rg.solve(problem, rg.GaussNewtonFlow(), t1=2.0, rtol=1e-10, atol=1e-12, error=True)
    >>> rg.certify("exact_residual_law", traj).status == "holds"
    True

    Reference: the claim's own; `print(rg.cite(cert))`.
    """
    return examine(find_claim(name), evidence, subject, rigorous, **options)


def cite(what: Certificate | str | Iterable[Certificate | str]) -> str:
    """BibTeX of the papers behind `what`, a certificate, the name of a claim, or several of either; each paper once.

    Raises: `ValueError` for an unknown claim.

    >>> import riemgn as rg
    >>> rg.cite("equivalence").splitlines()[0]
    '@article{cayci2024,'
    """
    pieces = [what] if isinstance(what, Certificate | str) else list(what)
    names = [piece if isinstance(piece, str) else piece.claim for piece in pieces]
    entries = bibliography()
    return "\n\n".join(entries[key] for key in dict.fromkeys(find_claim(name).paper for name in names))
