"""What the files of a folder of results hold, read leniently: a field may be missing, a wrong one is named."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _text(value: Any) -> Any:
    return "" if value is None else str(value) if isinstance(value, str | int | float) else value


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


Text = Annotated[str, BeforeValidator(_text)]
Number = float | None
Table = Annotated[dict[str, Any], BeforeValidator(_or_empty)]
LENIENT = ConfigDict(extra="ignore", allow_inf_nan=True)


class AbstractFile(BaseModel):
    """Where the numbers of a file come from."""

    model_config = LENIENT
    versions: Annotated[dict[str, Text], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    python: Text = ""
    commit: Text = ""
    uncommitted_changes: bool | None = None
    device: Text = ""
    dtype: Text = ""
    seconds: Number = None


class RunFile(AbstractFile):
    """`record.json` of `riemgn run`."""

    spec: dict[str, Any]
    hash: Text = ""
    result: Text = "other"
    message: Text = ""
    n: int | None = None
    p: int | None = None
    seed: int | None = None
    summary: Table = Field(default_factory=dict)
    stats: Table = Field(default_factory=dict)


class CheckEntry(BaseModel):
    """One check of an item: `measured` (`relation`) `predicted`, within `tolerance`."""

    model_config = LENIENT
    name: Text
    predicted: Number = None
    measured: Number = None
    tolerance: Number = None
    relation: Text = "equal"
    margin: Number = None
    holds: bool = False
    golden_rtol: float = 1e-2


class ItemFile(AbstractFile):
    """`<paper>/<item>.json` of `riemgn reproduce`."""

    paper: Text
    item: Text
    title: Text = ""
    claim: Text = ""
    arxiv: Text = ""
    kind: Text = ""
    theory: Text = ""
    quick: bool = False
    data: dict[str, Any]


class PartEntry(BaseModel):
    """A hypothesis (`value`, `threshold`) or a conclusion (`measured`, `predicted`, `resolution`) of a certificate."""

    model_config = LENIENT
    name: Text
    value: Number = None
    threshold: Number = None
    measured: Number = None
    predicted: Number = None
    resolution: Number = None
    relation: Text = ""
    constant: Text = ""
    error: Number = None
    margin: Number = None
    status: Text = ""


class CertificateEntry(BaseModel):
    """One certificate of `riemgn certify --json`."""

    model_config = LENIENT
    claim: Text
    subject: Text = ""
    problem: Text = ""
    seed: int | None = None
    status: Text = ""
    statement: Text = ""
    reference: Text = ""
    theory: Text = ""
    predicted: Number = None
    measured: Number = None
    margin: Number = None
    error: Number = None
    seconds: Number = None
    hypotheses: list[PartEntry] = Field(default_factory=list)
    conclusions: list[PartEntry] = Field(default_factory=list)


class LedgerFile(AbstractFile):
    """The file of `riemgn certify --json`."""

    quick: bool = False
    rigorous: bool = False
    rtol: Number = None
    certificates: list[CertificateEntry]


class TimingEntry(BaseModel):
    """One contender of a benchmark."""

    model_config = LENIENT
    name: Text = ""
    seconds: Number = None
    error: Number = None
    first_call: Number = None
    note: Text = ""
    over: bool = False


class RowEntry(BaseModel):
    """One row of a benchmark."""

    model_config = LENIENT
    benchmark: Text = ""
    work: Text
    ours: TimingEntry
    peer: TimingEntry | None = None
    at_least: Number = None
    ratio: Number = None
    met: bool | None = None


class BenchFile(AbstractFile):
    """The file of `riemgn bench --json`."""

    quick: bool = False
    machine: Table = Field(default_factory=dict)
    rows: list[RowEntry]


class SweepFile(AbstractFile):
    """`sweep.json`: what a sweep is made of."""

    name: Text = ""
    axes: Annotated[dict[str, list[Any]], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    flows: list[Text] = Field(default_factory=list)
    seeds: list[Any] = Field(default_factory=list)
    cells: int | None = None
    spec: Table = Field(default_factory=dict)
    maker: Table = Field(default_factory=dict)


class CellFile(AbstractFile):
    """`cells/<chunk>/<name>.json` of a sweep."""

    point: Table = Field(default_factory=dict)
    flow: Text = ""
    seed: int | None = None
    result: Text = "other"
    compile_seconds: Number = None
    lanes: int = 1
    message: Text = ""
    summary: Table = Field(default_factory=dict)


class OutcomeEntry(BaseModel):
    """One item in the file of `riemgn reproduce --json`."""

    model_config = LENIENT
    paper: Text
    id: Text
    title: Text = ""
    verdict: Text = ""
    notes: list[Text] = Field(default_factory=list)


class OutcomesFile(AbstractFile):
    """The file of `riemgn reproduce --json`."""

    quick: bool = False
    items: list[OutcomeEntry]


def complaint(trouble: ValidationError) -> str:
    """The first thing that is wrong, in a few words."""
    first = trouble.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}"


def numbers_of(table: dict[str, Any], name: str) -> list[float | None]:
    """The numbers under `name`, None for what is no number; empty where there are none."""
    values = table.get(name)
    if not isinstance(values, list):
        values = [] if values is None else [values]
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None
