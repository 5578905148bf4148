"""Certificates: hypotheses, predictions and measurements of a claim, with errors and a status."""

import html
import math
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, MISSING, replace
from enum import StrEnum
from typing import Any, TypeVar

RELATIONS = {"equal": "=", "at_most": "<=", "at_least": ">="}


class Status(StrEnum):
    """The four results of a certificate; you can compare them with strings such as `"holds"`."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


def signed_margin(relation: str, measured: float, bound: float, resolution: float = 0.0) -> float:
    """Compute the distance of a number from the edge of its relation, negative if it is violated.

    `equal`: `resolution - |m - b|`. `at_most`: `b + resolution - m`. `at_least`: `m - b +
    resolution`.

    Raises: `ValueError` for an unknown relation.
    """
    if relation not in RELATIONS:
        raise ValueError(f"`relation` must be one of {', '.join(RELATIONS)}, got {relation!r}.")
    if relation == "equal":
        return resolution - abs(measured - bound)
    return bound + resolution - measured if relation == "at_most" else measured - bound + resolution


def decide(margin: float, error: float) -> Status:
    """Compare a margin with its error: undecided if the margin is smaller or a number is NaN."""
    if math.isnan(margin) or math.isnan(error):
        return Status.UNDECIDED
    if margin >= error:
        return Status.HOLDS
    return Status.FAILS if margin <= -error else Status.UNDECIDED


def overall(hypotheses: Collection[Status], conclusions: Collection[Status]) -> Status:
    """Combine the statuses of the hypotheses and of the conclusions to that of the claim."""
    if Status.FAILS in hypotheses:
        return Status.NOT_APPLICABLE
    if Status.UNDECIDED in hypotheses or not conclusions:
        return Status.UNDECIDED
    for status in (Status.FAILS, Status.UNDECIDED):
        if status in conclusions:
            return status
    return Status.HOLDS


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of a claim, with the number that decides it.

    - `name`: the hypothesis in words.
    - `value`, `relation`, `threshold`: the number, and the relation that it must satisfy.
    - `constant`: how the number was obtained, such as an analytic bound or a measurement on the
      path.
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
        """Signed distance from the threshold, positive if the hypothesis holds."""
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
    """One quantity that a claim predicts, compared with its measurement.

    - `name`: the quantity in words.
    - `predicted`, `measured`: the number of the claim and the observed one, in the same unit.
    - `relation`: `measured` is "equal", "at_most" or "at_least" `predicted`.
    - `resolution`: absolute tolerance of an equality, or slack of a bound that may be attained.
    - `error`: error of `measured - predicted`. A claim that samples gives its sampling error here.
        `certify` adds the change from the second computation. Infinite if it is unknown.
    - `constant`: the constant that `predicted` was computed with.
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
        """Holds, fails, or undecided if the margin is below the error."""
        return decide(self.margin, self.error)

    def __str__(self) -> str:
        slack = f" (within {self.resolution:.2g})" if self.resolution else ""
        claim = f"measured {self.measured:.9g}, predicted {RELATIONS[self.relation]} {self.predicted:.9g}{slack}"
        return f"{self.name}: {claim}, margin {self.margin:.3g}, numerical error {self.error:.2g}: {self.status}"


@dataclass(frozen=True)
class Findings:
    """One computation of a claim: `hypotheses`, and `conclusions` whose error is unknown."""

    hypotheses: tuple[Hypothesis, ...]
    conclusions: tuple[Conclusion, ...]


@dataclass(frozen=True, repr=False)
class Certificate:
    """The result of one claim on given evidence.

    `status` is "not applicable" if a hypothesis fails, for every value of the conclusions. It is
    "undecided" if a hypothesis or a conclusion is closer to its edge than the numerical error. It
    is "fails" if a conclusion is outside by more than the error, and else "holds". Use `print` for
    the table.

    - `claim`: name of the claim. `subject`: description of the evidence.
    - `statement`, `reference`, `theory`: as in `rg.claims()`.
    - `hypotheses`, `conclusions`: each with its number, error and status.
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
        """The result of the claim."""
        return overall([part.status for part in self.hypotheses], [part.status for part in self.conclusions])

    @property
    def deciding(self) -> Conclusion:
        """The conclusion that is nearest to its edge. Its numbers are those of the certificate."""
        order = (Status.FAILS, Status.UNDECIDED, Status.HOLDS)

        def nearness(conclusion):
            scale = conclusion.resolution or abs(conclusion.predicted) or 1.0
            return order.index(conclusion.status), conclusion.margin / scale

        unknown = Conclusion("no conclusion", math.nan, math.nan, "equal", 0.0)
        return min(self.conclusions, key=nearness, default=unknown)

    @property
    def predicted(self) -> float:
        """The value or bound that the claim predicts for the deciding quantity."""
        return self.deciding.predicted

    @property
    def measured(self) -> float:
        """The measured value of the deciding quantity."""
        return self.deciding.measured

    @property
    def margin(self) -> float:
        """Signed distance of the deciding quantity from the edge of what the claim allows."""
        return self.deciding.margin

    @property
    def error(self) -> float:
        """Numerical error of the deciding quantity."""
        return self.deciding.error

    def __repr__(self) -> str:
        subject = textwrap.shorten(self.subject, 60, placeholder=" ...")
        return (
            f"Certificate({self.claim}: {self.status}, margin {self.margin:.3g}, error {self.error:.2g},\n  {subject})"
        )

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int = 80) -> str:
        """Return the table of hypotheses and conclusions for a terminal of at least 80 columns."""
        source = f"Source: Statement {self.theory}, {self.reference}"
        lines = [f"{self.claim}: {self.status}"]
        for text in (self.statement, f"Evidence: {self.subject}", source):
            lines += textwrap.wrap(text, width - 1, subsequent_indent="  ")
        lines += ["", _columns(width, "hypothesis", "value", "", "bound", "status")]
        for part in self.hypotheses:
            lines += _row(width, part.name, part.value, part.relation, part.threshold, part.status)
        lines += ["", _columns(width, "conclusion", "measured", "", "predicted", "status")]
        for part in self.conclusions:
            lines += _row(width, part.name, part.measured, part.relation, part.predicted, part.status)
            slack = f" (tolerance {part.resolution:.2g})" if part.resolution else ""
            lines.append(f"  margin {part.margin:.3g}{slack}, numerical error {part.error:.2g}")
        if any(math.isinf(part.error) for part in self.conclusions):
            lines.append("  The error is unknown. Solve with error=True.")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(part.name, part.value, part.relation, part.threshold, part.status) for part in self.hypotheses]
        rows += [(part.name, part.measured, part.relation, part.predicted, part.status) for part in self.conclusions]
        cells = [(name, f"{v:.6g}", f"{RELATIONS[r]} {b:.6g}", str(status)) for name, v, r, b, status in rows]
        table = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
        head = "<tr><th>quantity</th><th>value</th><th>claim</th><th>status</th></tr>"
        title = html.escape(f"{self.claim}: {self.status} ({self.subject})")
        return f"<table><caption>{title}</caption>{head}{table}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return all parts of the certificate for JSON. Numbers that are not finite become None."""
        texts = {name: getattr(self, name) for name in ("claim", "subject", "statement", "reference", "theory")}
        numbers = {name: getattr(self, name) for name in ("predicted", "measured", "margin", "error")}
        parts = {
            name: [
                {key: _plain(value) for key, value in {**asdict(part), "margin": part.margin}.items()}
                | {"status": str(part.status)}
                for part in getattr(self, name)
            ]
            for name in ("hypotheses", "conclusions")
        }
        numbers = {name: _plain(value) for name, value in numbers.items()} if self.conclusions else {}
        return {**texts, "status": str(self.status), **numbers, **parts}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Certificate":
        """Rebuild a certificate from `to_dict`, and compute each status again from the numbers.

        If a decisive number is `None`, because it was not finite, the infinity that gives the
        stored status takes its place. Other keys are ignored.

        Arguments:

        - `entry`: a mapping as `to_dict` returns it. Missing texts become empty.

        Returns: a `Certificate`. If its status differs from the stored one, the file was edited.

        Raises: `ValueError` for missing parts, wrong types or an unknown relation.

        >>> from riemgn.theory import Certificate
        >>> entry = {"claim": "c", "hypotheses": [], "conclusions": []}
        >>> Certificate.from_dict(entry).status == "undecided"
        True
        """
        if not isinstance(entry, Mapping) or not isinstance(entry.get("claim"), str):
            raise ValueError(f"A certificate must be a mapping with the name of its `claim`, got {str(entry)[:60]!r}.")
        texts = [str(entry.get(name) or "") for name in ("claim", "subject", "statement", "reference", "theory")]
        hypotheses = tuple(_restored(Hypothesis, "value", part) for part in _parts(entry, "hypotheses"))
        conclusions = tuple(_restored(Conclusion, "measured", part) for part in _parts(entry, "conclusions"))
        return cls(*texts, hypotheses, conclusions)


def with_errors(loose: Findings, tight: Findings | None) -> tuple[Conclusion, ...]:
    """Return the conclusions of the tighter computation; their error is the change from the looser.

    The sampling error of a claim is added. Without a tighter computation the error is infinite.
    """
    if tight is None:
        return tuple(replace(conclusion, error=math.inf) for conclusion in loose.conclusions)
    before = {conclusion.name: conclusion for conclusion in loose.conclusions}
    conclusions = []
    for conclusion in tight.conclusions:
        other = before[conclusion.name]
        change = abs(conclusion.measured - other.measured) + abs(conclusion.predicted - other.predicted)
        conclusions.append(
            replace(conclusion, error=change + (conclusion.error if math.isfinite(conclusion.error) else 0.0))
        )
    return tuple(conclusions)


def _row(width: int, name: str, value: float, relation: str, bound: float, status: Status) -> list[str]:
    first, *others = textwrap.wrap(name, width - 45, subsequent_indent="  ") or [""]
    return [_columns(width, first, f"{value:.5g}", RELATIONS[relation], f"{bound:.5g}", status), *others]


def _columns(width: int, name: str, value: str, relation: str, bound: str, status: str) -> str:
    return f"{name:<{width - 45}} {value:>11} {relation:>2} {bound:>11}  {status}"


def _plain(value: Any) -> Any:
    return (float(value) if math.isfinite(value) else None) if isinstance(value, int | float) else value


Part = TypeVar("Part", Hypothesis, Conclusion)


def _parts(entry: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    parts = entry.get(key)
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(f"`{key}` of the certificate of {entry['claim']!r} must be a list of mappings, got {parts!r}.")
    return parts


def _restored(kind: type[Part], decisive: str, entry: Mapping[str, Any]) -> Part:
    values: dict[str, Any] = {"name": str(entry.get("name") or ""), "constant": str(entry.get("constant") or "")}
    values["relation"] = entry.get("relation")
    for field in fields(kind):
        if field.name in values or (field.name not in entry and field.default is not MISSING):
            continue
        number = entry.get(field.name, "nothing")
        if number is None:
            number = math.inf if field.name == "error" else math.nan
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"`{field.name}` of {values['name']!r} must be a number or None, got {number!r}.")
        values[field.name] = float(number)
    if values["relation"] not in RELATIONS:
        raise ValueError(f"`relation` must be one of {', '.join(RELATIONS)}, got {values['relation']!r}.")
    stored = entry.get("status")
    if entry.get(decisive, 0.0) is None and stored in (Status.HOLDS, Status.FAILS):
        upward = (values["relation"] == "at_least") == (stored == Status.HOLDS)
        values[decisive] = math.inf if upward else -math.inf
    return kind(**values)
