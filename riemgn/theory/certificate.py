"""Certificate: what a claim presupposes, predicts and measures on given evidence, with error bars and a verdict."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

RELATIONS = {"equal": "=", "at_most": "<=", "at_least": ">="}


class Status(StrEnum):
    """The four verdicts. A string, so that `cert.status == "holds"` reads as it is written."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


def signed_margin(relation: str, measured: float, bound: float, resolution: float = 0.0) -> float:
    """How far on the right side of its relation a number lies; negative on the wrong side.

    `equal`: `resolution - |m - b|`;  `at_most`: `b + resolution - m`;  `at_least`: `m - b + resolution`.

    Raises: `ValueError` for an unknown relation.
    """
    if relation not in RELATIONS:
        raise ValueError(f"`relation` must be one of {', '.join(RELATIONS)}, got {relation!r}.")
    if relation == "equal":
        return resolution - abs(measured - bound)
    return bound + resolution - measured if relation == "at_most" else measured - bound + resolution


def decide(margin: float, error: float) -> Status:
    """Holds from one error bar inside, fails from one error bar outside, undecided between them or where a number is missing."""
    if math.isnan(margin) or math.isnan(error):
        return Status.UNDECIDED
    if margin >= error:
        return Status.HOLDS
    return Status.FAILS if margin <= -error else Status.UNDECIDED


def overall(presupposed: Collection[Status], concluded: Collection[Status]) -> Status:
    """The verdict on a claim, from those on its hypotheses and on its conclusions."""
    if Status.FAILS in presupposed:
        return Status.NOT_APPLICABLE
    if Status.UNDECIDED in presupposed or not concluded:
        return Status.UNDECIDED
    for status in (Status.FAILS, Status.UNDECIDED):
        if status in concluded:
            return status
    return Status.HOLDS


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of a claim, with the number that decides it.

    - `name`: what is presupposed, in words.
    - `value`, `relation`, `threshold`: the number, and what is asked of it.
    - `constant`: which constant the number or the threshold is: an analytic bound, measured on the path, exact.
    - `error`: numerical error of `value - threshold`.
    """

    name: str
    value: float
    relation: str
    threshold: float
    constant: str = ""
    error: float = 0.0

    @property
    def margin(self) -> float:
        """Signed distance from the threshold, positive where the hypothesis holds."""
        return signed_margin(self.relation, self.value, self.threshold)

    @property
    def status(self) -> Status:
        """Holds, fails or undecided."""
        return decide(self.margin, self.error)

    def __str__(self) -> str:
        source = f" [{self.constant}]" if self.constant else ""
        return f"{self.name}: {self.value:.6g} {RELATIONS[self.relation]} {self.threshold:.6g}, {self.status}{source}"


@dataclass(frozen=True)
class Conclusion:
    """One compared quantity of a claim.

    - `name`: what is compared, in words.
    - `predicted`, `measured`: the claim's number and the observed one, in the same unit.
    - `relation`: what the claim says of `measured`: "equal", "at_most" or "at_least" `predicted`.
    - `resolution`: how closely an equality is asked to hold, or the slack granted to a bound that may be attained; absolute.
    - `error`: error of `measured - predicted`. A claim that samples states its sampling error here; the change from a second computation is added
        to it. Infinite where nothing is known.
    - `constant`: which constant `predicted` was computed with.
    """

    name: str
    predicted: float
    measured: float
    relation: str
    resolution: float
    error: float = math.inf
    constant: str = ""

    @property
    def margin(self) -> float:
        """Signed distance from the edge of what the claim allows, positive inside."""
        return signed_margin(self.relation, self.measured, self.predicted, self.resolution)

    @property
    def status(self) -> Status:
        """Holds, fails, or undecided where the margin is below the error."""
        return decide(self.margin, self.error)

    def __str__(self) -> str:
        slack = f" (within {self.resolution:.2g})" if self.resolution else ""
        return (
            f"{self.name}: measured {self.measured:.9g}, predicted {RELATIONS[self.relation]} {self.predicted:.9g}{slack}, "
            f"margin {self.margin:.3g}, numerical error {self.error:.2g}: {self.status}"
        )


@dataclass(frozen=True)
class Findings:
    """What one computation of a claim found: its `hypotheses`, and `conclusions` whose error is not known yet."""

    hypotheses: tuple[Hypothesis, ...]
    conclusions: tuple[Conclusion, ...]


@dataclass(frozen=True)
class Certificate:
    """The verdict of one claim on one piece of evidence.

    `status`: "not applicable" where a hypothesis fails, whatever the conclusions show; "undecided" where a hypothesis or a conclusion is closer
    to its edge than the numerical error; "fails" where a conclusion lies outside by more than the error; else "holds".

    - `claim`: its name; `subject`: what it was examined on; `statement`, `reference`, `theory`: as in `rg.claims()`.
    - `hypotheses`, `conclusions`: each with its number, its error bar and its own verdict.
    """

    claim: str
    subject: str
    statement: str
    reference: str
    theory: str
    hypotheses: tuple[Hypothesis, ...]
    conclusions: tuple[Conclusion, ...]

    @property
    def status(self) -> Status:
        """The verdict."""
        return overall(
            [hypothesis.status for hypothesis in self.hypotheses],
            [conclusion.status for conclusion in self.conclusions],
        )

    @property
    def deciding(self) -> Conclusion:
        """The conclusion nearest to its edge: its numbers are the certificate's."""
        order = (Status.FAILS, Status.UNDECIDED, Status.HOLDS)

        def nearness(conclusion):
            scale = conclusion.resolution or abs(conclusion.predicted) or 1.0
            return order.index(conclusion.status), conclusion.margin / scale

        return min(self.conclusions, key=nearness)

    @property
    def predicted(self) -> float:
        """What the claim says the deciding quantity is, or is bounded by."""
        return self.deciding.predicted

    @property
    def measured(self) -> float:
        """The deciding quantity as observed."""
        return self.deciding.measured

    @property
    def margin(self) -> float:
        """Signed distance of the deciding quantity from the edge of what the claim allows."""
        return self.deciding.margin

    @property
    def error(self) -> float:
        """Numerical error of the deciding quantity."""
        return self.deciding.error

    def __str__(self) -> str:
        lines = [
            f"{self.claim} {self.status} on {self.subject} ({self.reference}; theory.md {self.theory})",
            f"  {self.statement}",
        ]
        lines += [f"  presupposed: {hypothesis}" for hypothesis in self.hypotheses]
        lines += [f"  concluded: {conclusion}" for conclusion in self.conclusions]
        if any(math.isinf(conclusion.error) for conclusion in self.conclusions):
            lines.append("  no error bar: solve with error=True")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything in the certificate, for JSON; numbers that are not finite become None."""
        head = {name: getattr(self, name) for name in ("claim", "subject", "statement", "reference", "theory")}
        numbers = (
            {name: _plain(getattr(self, name)) for name in ("predicted", "measured", "margin", "error")}
            if self.conclusions
            else {}
        )
        parts = {
            "hypotheses": [
                _fields(part, ("name", "value", "relation", "threshold", "constant", "error", "margin"))
                for part in self.hypotheses
            ],
            "conclusions": [
                _fields(
                    part, ("name", "predicted", "measured", "relation", "resolution", "error", "constant", "margin")
                )
                for part in self.conclusions
            ],
        }
        return {**head, "status": str(self.status), **numbers, **parts}


def with_errors(loose: Findings, tight: Findings | None) -> tuple[Conclusion, ...]:
    """The conclusions of the tighter computation; their error is the change from the looser one, and sampling error where a claim states one.

    Without a tighter computation no error bar is known.
    """
    if tight is None:
        return tuple(replace(conclusion, error=math.inf) for conclusion in loose.conclusions)
    before = {conclusion.name: conclusion for conclusion in loose.conclusions}
    found = []
    for conclusion in tight.conclusions:
        other = before[conclusion.name]
        change = abs(conclusion.measured - other.measured) + abs(conclusion.predicted - other.predicted)
        found.append(replace(conclusion, error=change + (conclusion.error if math.isfinite(conclusion.error) else 0.0)))
    return tuple(found)


def _plain(value: Any) -> Any:
    return (float(value) if math.isfinite(value) else None) if isinstance(value, int | float) else value


def _fields(part: Hypothesis | Conclusion, names: tuple[str, ...]) -> dict[str, Any]:
    return {**{name: _plain(getattr(part, name)) for name in names}, "status": str(part.status)}
