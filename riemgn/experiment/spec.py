"""RunSpec: all settings of one run, checked, frozen and hashed."""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Self

import diffrax
from pydantic import BaseModel, ConfigDict, Field, model_validator, ValidationError

from ..loss import LOSSES
from ..model import ACTIVATIONS, SCALINGS

# name -> its law; `s` is an eigenvalue of K = J J^T, and df/dt = -U phi(S^2) U^T grad g(f)
FLOW_FORMULAS: dict[str, str] = {
    "gf": "gradient flow: w' = -J^T grad g, gain phi(s) = s",
    "gn": "Gauss-Newton: w' = -J^+ grad g, gain phi(s) = 1",
    "lm": "Levenberg-Marquardt: w' = -(J^T J + rho I)^-1 J^T grad g, gain phi(s) = s / (s + rho)",
    "interpolated": "w' = -((1 - rho) J^T J + rho I)^-1 J^T grad g, rho in [0, 1], "
    "gain phi(s) = s / ((1 - rho) s + rho)",
    "ggn": "generalised Gauss-Newton: w' = -(J^T B J + rho I)^+ J^T grad g with B = Hess g(f)",
}
DAMPINGS = ("constant", "exponential", "spectral", "residual", "gradient")
SOLVERS: dict[str, type[diffrax.AbstractSolver] | None] = {
    "auto": None,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "tsit5": diffrax.Tsit5,
    "kvaerno5": diffrax.Kvaerno5,
}


def _field(default: Any, description: str, **constraints: Any) -> Any:
    return Field(default=default, description=description, **constraints)


_number = partial(_field, allow_inf_nan=False)


def _choice(default: str, description: str, names: Any) -> Any:
    return _field(default, f"{description}: {', '.join(names)}.")


class FrozenSpec(BaseModel):
    """Fields that cannot change, with a hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def hash(self) -> str:
        """SHA-256 of all fields as canonical JSON, 64 hexadecimal digits."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class RunSpec(FrozenSpec):
    """Settings of one flow on one network and one data set, as `riemgn run --help` describes them.

    Use `run_spec(**fields)` to create a spec with a readable error for a wrong value.

    - `data`, `data_dir`, `subset`, `target`: the data set, see `load_data`.
    - `width`, `depth`, `activation`, `scaling`, `bias`, `alpha`, `centre`, `cond`: the network.
    - `loss`, `flow`, `damping`, `damping_kind`, `damping_rate`, `damping_power`: the flow.
    - `t1`, `rtol`, `atol`, `max_steps`, `solver`, `loss_tol`, `ball_radius`, `error`: the solve.
    - `seed`: seed of everything that is random.
    """

    data: str = _field("diabetes", "Data set (see `riemgn list`) or path of a .csv file.", min_length=1)
    data_dir: str | None = _field(None, "Folder that contains the data files.")
    subset: int | None = _field(None, "Number of rows to use.", ge=1)
    target: str | None = _field(None, "Target: value, onehot, binary:LABEL, or a column of a .csv file.")
    width: int = _field(32, "Units in each hidden layer.", ge=1)
    depth: int = _field(1, "Number of hidden layers.", ge=1)
    activation: Literal[tuple(ACTIVATIONS)] = _choice("tanh", "Activation", ACTIVATIONS)  # pyright: ignore[reportInvalidTypeForm]
    scaling: Literal[SCALINGS] = _choice("ntk", "Scaling with the width", SCALINGS)  # pyright: ignore[reportInvalidTypeForm]
    bias: bool = _field(True, "Use biases.")
    alpha: float = _number(1000.0, "Output scale.", gt=0)
    centre: bool = _field(True, "Subtract the outputs at the start: f = alpha (phi(w) - phi(w0)).")
    cond: float | None = _number(None, "Condition number of the coordinates v in w = w0 + A v.", ge=1)
    loss: Literal[tuple(LOSSES)] = _choice("squared", "Loss", LOSSES)  # pyright: ignore[reportInvalidTypeForm]
    flow: Literal[tuple(FLOW_FORMULAS)] = _choice("gn", "Flow", FLOW_FORMULAS)  # pyright: ignore[reportInvalidTypeForm]
    damping: float | None = _number(None, "Damping rho of the flows lm, interpolated and ggn.", ge=0)
    damping_kind: Literal[DAMPINGS] = _choice("constant", "Damping schedule", DAMPINGS)  # pyright: ignore[reportInvalidTypeForm]
    damping_rate: float = _number(1.0, "Rate of the exponential damping.", ge=0)
    damping_power: float = _number(1.0, "Power of the residual and the gradient damping.", ge=0)
    t1: float = _number(20.0, "End time, in the time of the flow.", gt=0)
    rtol: float = _number(1e-8, "Relative tolerance of a step.", gt=0)
    atol: float = _number(1e-10, "Absolute tolerance of a step.", gt=0)
    max_steps: int = _field(4096, "Maximum number of steps.", ge=1)
    solver: Literal[tuple(SOLVERS)] = _choice("auto", "Solver", SOLVERS)  # pyright: ignore[reportInvalidTypeForm]
    seed: int = _field(0, "Seed of the subset, the network and the coordinates.", ge=0, lt=2**32)
    loss_tol: float | None = _number(None, "Stop if the loss is this close to its infimum.", gt=0)
    ball_radius: float | None = _number(None, "Stop at this distance from the start.", gt=0)
    error: bool = _field(False, "Solve twice to estimate the error of the outputs.")

    @model_validator(mode="after")
    def _check_damping(self) -> Self:
        if self.damping is None:
            if self.flow in ("lm", "interpolated"):
                raise ValueError(f"The flow '{self.flow}' needs a damping, for example 0.1, got none.")
            if self.damping_kind != "constant":
                raise ValueError(f"The {self.damping_kind} damping of the flow '{self.flow}' needs a value, got none.")
        elif self.flow in ("gf", "gn"):
            raise ValueError(f"The flow '{self.flow}' takes no damping, got {self.damping:g}.")
        elif self.flow == "interpolated" and (self.damping_kind != "constant" or self.damping > 1):
            given = f"{self.damping_kind} {self.damping:g}"
            raise ValueError(f"The flow 'interpolated' takes a constant damping in [0, 1], got {given}.")
        return self


def run_spec(**fields: Any) -> RunSpec:
    """Create a `RunSpec`.

    Raises: `ValueError`, one sentence that quotes the first wrong value.

    >>> from riemgn.experiment import run_spec
    >>> run_spec(width=0)
    Traceback (most recent call last):
    ValueError: `width` must be greater than or equal to 1, got 0.
    """
    try:
        return RunSpec(**fields)
    except ValidationError as error:
        raise ValueError(sentence(error.errors()[0], RunSpec)) from None


def sentence(error: Any, model: type[BaseModel]) -> str:
    """Describe pydantic's `error` in one sentence that quotes the value."""
    name, value = key_path(error["loc"]), error["input"]
    if error["type"] == "value_error":
        return f"`{name}`: {error['ctx']['error']}" if name else str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return f"Unknown field `{name}` with the value {value!r}; known are {', '.join(model.model_fields)}."
    if error["type"] == "literal_error":
        return f"Unknown {name} {value!r}; known are {error['ctx']['expected'].replace(' or ', ', ')}."
    message = re.sub("^(Input|String|List|Tuple) should", "must", error["msg"])
    return f"`{name}` {message}, got {value!r}."


def key_path(keys: Sequence[str | int]) -> str:
    """Format the keys that lead to a value, for example "axes.alpha[2]"."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
