"""SweepSpec: a sweep of `riemgn run`s as a TOML file, checked, frozen and hashed; what is wrong is said with its line."""

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, model_validator, Tag, ValidationError
from pydantic_core import PydanticCustomError

from .chunk import Built
from .grid import Cell, Grid, MOST_CELLS
from .run import build_flow, build_problem, solve_options
from .spec import run_spec, RunSpec, sentence, spec_hash
from .sweep import BATCH, Plan


def _scalar(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "Input should be a number, a text, true or false")
    return value


Value = Annotated[Any, BeforeValidator(_scalar)]


class Range(BaseModel):
    """`num` values from `start` to `stop`, both included, equally spaced or, with `scale = "log"`, in equal ratios."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(allow_inf_nan=False)
    stop: float = Field(allow_inf_nan=False)
    num: int = Field(ge=1, le=MOST_CELLS)
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ratios_need_one_sign(self) -> Self:
        if self.scale == "log" and not self.start * self.stop > 0:
            raise ValueError(f"An axis in equal ratios needs ends of one sign, got {self.start:g} and {self.stop:g}.")
        return self

    def values(self) -> list[float]:
        """The numbers, to 12 digits."""
        spaced = np.geomspace if self.scale == "log" else np.linspace
        return [float(f"{value:.12g}") for value in spaced(self.start, self.stop, self.num)]


def _kind(value: Any) -> str | None:
    """Which of the forms of an axis or of the seeds a value has."""
    if isinstance(value, Range | Mapping):
        return "range"
    if isinstance(value, list | tuple):
        return "list"
    return "count" if isinstance(value, int) and not isinstance(value, bool) else None


FORMS = ("range", "list", "count")  # they stand in pydantic's account of where an error is
_axis_form = Discriminator(
    _kind, custom_error_type="axis", custom_error_message="Input should be a list, or a table {start, stop, num, scale}"
)
_seeds_form = Discriminator(
    _kind, custom_error_type="seeds", custom_error_message="Input should be how many seeds, or a list of them"
)
Values = Annotated[list[Value], Field(min_length=1), Tag("list")]
Axis = Annotated[Values | Annotated[Range, Tag("range")], _axis_form]
Count = Annotated[int, Field(ge=1, le=MOST_CELLS), Tag("count")]
Seeds = Annotated[Count | Annotated[list[int], Field(min_length=1), Tag("list")], _seeds_form]


class SweepSpec(BaseModel):
    """What `riemgn sweep` reads.

    - `name`: of the sweep, and of its folder.
    - `base`: fields of `RunSpec` for all runs.
    - `axes`: field of `RunSpec` -> a list of values, or a `Range` such as `{start = 1, stop = 1e6, num = 7, scale = "log"}`.
    - `flows`: tables of `RunSpec` fields, `flow` among them, and a `label` where two have one flow.
    - `seeds`: how many, from 0, or a list.
    - `batch`: runs per compiled program at most; `keep`: `"curves"` or `"all"`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="sweep", pattern=r"^[\w.-]+$")
    base: dict[str, Value] = Field(default_factory=dict)
    axes: dict[str, Axis] = Field(default_factory=dict)
    flows: list[dict[str, Value]] = Field(default=[{"flow": "gn"}], min_length=1)
    seeds: Seeds = 1
    batch: int = Field(default=BATCH, ge=1)
    keep: Literal["curves", "all"] = "curves"

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of all fields: the same for the same spec on every machine."""
        return spec_hash(self)

    def plan(self) -> Plan:
        """The plan of the sweep; the specs of its runs are checked before any of them runs.

        Raises: `SpecError` for runs that are not possible, or too many.
        """
        axes = {name: axis.values() if isinstance(axis, Range) else axis for name, axis in self.axes.items()}
        flows = self._labelled()
        seeds = list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
        try:
            grid = Grid(axes, list(flows), seeds)
        except ValueError as trouble:
            raise SpecError(str(trouble), ("axes",)) from None
        self._check_runs(axes, list(flows.values()), seeds)
        return Plan(
            grid,
            partial(_build, dict(self.base), flows),
            {"spec": self.model_dump(mode="json"), "spec_hash": self.hash},
            self.batch,
            self.keep,
        )

    def _labelled(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for place, fields in enumerate(self.flows):
            label = str(fields.get("label", fields.get("flow", self.base.get("flow", "gn"))))
            if label in found:
                raise SpecError(f"Two flows are called '{label}': give each a `label`.", ("flows", place))
            found[label] = {name: value for name, value in fields.items() if name != "label"}
        return found

    def _check_runs(self, axes: Mapping[str, list[Any]], flows: list[dict[str, Any]], seeds: list[int]) -> None:
        """Every value of every axis with every flow, the other axes at their first value."""
        places = [(("base", name), name) for name in self.base] + [(("axes", name), name) for name in axes]
        places += [(("flows", i, name), name) for i, fields in enumerate(flows) for name in fields]
        for place, name in places:
            if name not in RunSpec.model_fields or name == "seed":
                known = ", ".join(field for field in RunSpec.model_fields if field != "seed")
                raise SpecError(f"Unknown field `{name}`; known are {known}.", place)
        first = {name: values[0] for name, values in axes.items()}
        for i, fields in enumerate(flows):
            for name, values in (("seed", seeds), *axes.items()):
                for value in values:
                    given = {**self.base, **first, **fields, "seed": seeds[0], name: value}
                    try:
                        run_spec(**given)
                    except ValueError as trouble:
                        raise SpecError(str(trouble), _place(str(trouble), name, axes, i, fields, self.base)) from None


class SpecError(ValueError):
    """What is wrong with a spec, one sentence, and the keys that lead to it."""

    def __init__(self, message: str, place: tuple[str | int, ...] = ()):
        self.message, self.place = message, place

    def __str__(self) -> str:
        return self.message


def read_sweep_spec(path: str | Path) -> SweepSpec:
    """The spec in the TOML file `path`.

    Raises: `ValueError`, one sentence with the line, for a file that is missing, no TOML, or no spec.
    """
    return _checked(path, lambda fields: SweepSpec(**fields))


def read_sweep_plan(path: str | Path) -> tuple[SweepSpec, Plan]:
    """The spec in the TOML file `path` and its plan.

    Raises: as `read_sweep_spec`, also for runs that are not possible.
    """
    spec = read_sweep_spec(path)
    return spec, _checked(path, lambda _: spec.plan())


def _checked(path: str | Path, make: Any) -> Any:
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
        return make(tomllib.loads(text))
    except OSError as trouble:
        raise ValueError(
            f"The spec '{path}' cannot be read: {(trouble.strerror or type(trouble).__name__).lower()}."
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"The spec '{path}' is not text in UTF-8.") from None
    except tomllib.TOMLDecodeError as trouble:
        raise ValueError(f"The spec '{path}' is not TOML: {trouble}.") from None
    except ValidationError as trouble:
        error = trouble.errors()[0]
        error["loc"] = tuple(part for part in error["loc"] if part not in FORMS)
        raise ValueError(f"{path}, line {line_of(text, error['loc'])}: {sentence(error, SweepSpec)}") from None
    except SpecError as trouble:
        raise ValueError(f"{path}, line {line_of(text, trouble.place)}: {trouble}") from None


def line_of(text: str, place: tuple[str | int, ...]) -> int:
    r"""The line of a TOML text on which the value stands that the keys `place` lead to, or of the nearest table above it.

    >>> line_of('seeds = 2\n[axes]\nalpha = [1, 2]\n', ("axes", "alpha", 1))
    3
    """
    best, found = 0, 1
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line), re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if header:
            table = tuple(part.strip("\"' ") for part in header[2].split("."))
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
                table = (*table, counts[header[2]])
        elif not key:
            continue
        whole = table if header or not key else (*table, *(part.strip("\"' ") for part in key[1].split(".")))
        if len(whole) > best and whole == place[: len(whole)]:
            best, found = len(whole), number
    return found


def _place(
    message: str, name: str, axes: Mapping[str, Any], i: int, fields: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[str | int, ...]:
    """Where the field stands that a message quotes: in the flow's table, on an axis, or in the base."""
    quoted = re.search(r"`(\w+)`|Unknown (\w+) ", message)
    field = str(quoted[1] or quoted[2]) if quoted else ""
    if field == "seed":
        return ("seeds",)
    if field in fields:
        return ("flows", i, field)
    if field in axes:
        return ("axes", field)
    if field in base:
        return ("base", field)
    return ("axes", name) if name in axes and not field and name not in fields and name != "flow" else ("flows", i)


def _build(base: Mapping[str, Any], flows: Mapping[str, Mapping[str, Any]], cell: Cell) -> Built:
    spec = run_spec(**{**base, **cell.point, **flows[cell.flow], "seed": cell.seed})
    problem, _ = build_problem(spec)
    return Built(problem, build_flow(spec), solve_options(spec))
