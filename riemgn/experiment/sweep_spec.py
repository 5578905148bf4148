"""SweepSpec: a sweep described by a TOML file, with errors such as "`axes.alpha[2]`: ..."."""

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, model_validator, Tag, ValidationError
from pydantic_core import PydanticCustomError

from .run import build_flow, build_problem, solve_options
from .spec import FrozenSpec, key_path, run_spec, RunSpec, sentence
from .sweep import BATCH, Built, Cell, Grid, MAX_CELLS, SweepPlan

Key = tuple[str | int, ...]


def _scalar(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "Input should be a number, a text, true or false")
    return value


Value = Annotated[Any, BeforeValidator(_scalar)]


class Range(FrozenSpec):
    """`num` values from `start` to `stop` inclusive, with linear or logarithmic spacing."""

    start: float = Field(allow_inf_nan=False)
    stop: float = Field(allow_inf_nan=False)
    num: int = Field(ge=1, le=MAX_CELLS)
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _check_signs(self) -> Self:
        if self.scale == "log" and not self.start * self.stop > 0:
            raise ValueError(f"A log axis needs ends of the same sign, got {self.start:g} and {self.stop:g}.")
        return self

    def values(self) -> list[float]:
        """Return the values, rounded to 12 digits."""
        spaced = np.geomspace if self.scale == "log" else np.linspace
        return [float(f"{value:.12g}") for value in spaced(self.start, self.stop, self.num)]


def _kind(value: Any) -> str | None:
    if isinstance(value, Range | Mapping):
        return "range"
    if isinstance(value, list | tuple):
        return "list"
    return "count" if isinstance(value, int) and not isinstance(value, bool) else None


TAGS = ("range", "list", "count")  # pydantic inserts them in the location of an error
AXIS = "Input should be a list, or a table {start, stop, num, scale}"
SEEDS = "Input should be a number of seeds, or a list of them"
Values = Annotated[list[Value], Field(min_length=1), Tag("list")]
Axis = Annotated[Values | Annotated[Range, Tag("range")], Discriminator(_kind, "axis", AXIS)]
Count = Annotated[int, Field(ge=1, le=MAX_CELLS), Tag("count")]
Seeds = Annotated[Count | Annotated[list[int], Field(min_length=1), Tag("list")], Discriminator(_kind, "seeds", SEEDS)]


class SweepSpec(FrozenSpec):
    """The input of `riemgn sweep`, with `batch` and `keep` as in `sweep`.

    - `name`: name of the sweep and of its folder.
    - `base`: fields of `RunSpec` for all runs.
    - `axes`: field of `RunSpec` -> a list of values, or a table such as
      `{start = 1, stop = 1e6, num = 7, scale = "log"}`.
    - `flows`: tables of `RunSpec` fields, with a `label` if two have the same flow.
    - `seeds`: number of seeds, counted from 0, or a list of seeds.
    """

    name: str = Field(default="sweep", pattern=r"^[\w.-]+$")
    base: dict[str, Value] = Field(default_factory=dict)
    axes: dict[str, Axis] = Field(default_factory=dict)
    flows: list[dict[str, Value]] = Field(default=[{"flow": "gn"}], min_length=1)
    seeds: Seeds = 1
    batch: int = Field(default=BATCH, ge=1)
    keep: Literal["curves", "all"] = "curves"

    def plan(self) -> SweepPlan:
        """Return the cells and how to build them, after checking that each run is possible.

        Raises: `ValueError`, one sentence with the key that is wrong.
        """
        axes = {name: axis.values() if isinstance(axis, Range) else axis for name, axis in self.axes.items()}
        seeds = list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
        flows: dict[str, dict[str, Any]] = {}
        for i, fields in enumerate(self.flows):
            label = str(fields.get("label", fields.get("flow", self.base.get("flow", "gn"))))
            if label in flows:
                raise _error(("flows", i), f"Two flows are called '{label}': give each a `label`.")
            flows[label] = {name: value for name, value in fields.items() if name != "label"}
        try:
            grid = Grid(axes, list(flows), seeds)
        except ValueError as error:
            raise _error(("axes",), error) from None
        self._check_runs(axes, list(flows.values()), seeds)
        identity = {"spec": self.model_dump(mode="json"), "spec_hash": self.hash}
        return SweepPlan(grid, partial(_build, dict(self.base), flows), identity, self.batch, self.keep)

    def _check_runs(self, axes: Mapping[str, list[Any]], flows: list[dict[str, Any]], seeds: list[int]) -> None:
        """Check every value of every axis with every flow, the other axes at their first value."""
        keys = [("base", name) for name in self.base] + [("axes", name) for name in axes]
        keys += [("flows", i, name) for i, fields in enumerate(flows) for name in fields]
        known = [name for name in RunSpec.model_fields if name != "seed"]
        for key in keys:
            if key[-1] not in known:
                raise _error(key, f"Unknown field `{key[-1]}`; known are {', '.join(known)}.")
        first = {name: values[0] for name, values in axes.items()}
        for i, fields in enumerate(flows):
            sources: dict[Any, Key] = {name: ("base", name) for name in self.base}
            sources |= {name: ("axes", name, 0) for name in axes} | {name: ("flows", i, name) for name in fields}
            for name, values in (("seed", seeds), *axes.items()):
                for j, value in enumerate(values):
                    try:
                        RunSpec(**{**self.base, **first, **fields, "seed": seeds[0], name: value})
                    except ValidationError as error:
                        detail = error.errors()[0]
                        sources[name] = ("seeds", j) if name == "seed" else ("axes", name, j)
                        key = sources.get(next(iter(detail["loc"]), None), ("flows", i))
                        raise _error(key, sentence(detail, RunSpec)) from None


def read_sweep_spec(path: str | Path) -> SweepSpec:
    """Read a spec from the TOML file `path`.

    Raises: `ValueError`, one sentence with the key, if the file is missing or is not a valid spec.
    """
    path = Path(path).expanduser()
    try:
        return SweepSpec(**tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ValueError(f"The spec '{path}' cannot be read: {reason}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"The spec '{path}' is not text in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The spec '{path}' is not TOML: {error}.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        detail["loc"] = tuple(part for part in detail["loc"] if part not in TAGS)
        raise ValueError(f"{path}: {sentence(detail, SweepSpec)}") from None


def read_sweep_plan(path: str | Path) -> tuple[SweepSpec, SweepPlan]:
    """Read a spec from the TOML file `path` and return it with its plan.

    Raises: `ValueError` as `read_sweep_spec` does, and if a run is not possible.
    """
    spec = read_sweep_spec(path)
    try:
        return spec, spec.plan()
    except ValueError as error:
        raise ValueError(f"{Path(path).expanduser()}: {error}") from None


def _error(key: Key, message: object) -> ValueError:
    return ValueError(f"`{key_path(key)}`: {message}")


def _build(base: Mapping[str, Any], flows: Mapping[str, Mapping[str, Any]], cell: Cell) -> Built:
    spec = run_spec(**{**base, **cell.point, **flows[cell.flow], "seed": cell.seed})
    problem, _ = build_problem(spec)
    return problem, build_flow(spec), solve_options(spec)
