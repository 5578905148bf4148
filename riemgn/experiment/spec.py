"""RunSpec: everything that decides one run, checked, frozen and hashed."""

import hashlib
import json
import re
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
    "interpolated": "w' = -((1 - rho) J^T J + rho I)^-1 J^T grad g, rho in [0, 1], gain phi(s) = s / ((1 - rho) s + rho)",
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


class RunSpec(BaseModel):
    """One flow on one network and one data set. `run_spec(**fields)` builds it and says what is wrong in one sentence.

    Arguments:

    - `data`: name of a data set or path of a table; `data_dir`, `subset`, `target`: as in `load_data`.
    - `width`, `depth`, `activation`, `scaling`, `bias`: the network; `depth` counts hidden layers.
    - `alpha`: output scale; `centre`: whether the outputs start at zero, `f = alpha (phi(w) - phi(w0))` (theory.md section 5).
    - `cond`: condition number of the coordinates `w = w0 + A v`; None keeps the network's own.
    - `loss`, `flow`: short names. `damping`: value of `rho` (units of the eigenvalues of `K`; for "interpolated" in [0, 1]; for
        "spectral", "residual", "gradient" the factor `c`). `damping_kind`: the schedule; `damping_rate`, `damping_power`: its shape.
    - `t1`: end time, in the flow's own time; `rtol`, `atol`, `max_steps`, `solver`: of the integrator.
    - `seed`: of the subset, the network and `A`; `loss_tol`, `ball_radius`: stop there; `error`: solve twice to measure the error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(default="diabetes", min_length=1)
    data_dir: str | None = None
    subset: int | None = Field(default=None, ge=1)
    target: str | None = None
    width: int = Field(default=32, ge=1)
    depth: int = Field(default=1, ge=1)
    activation: Literal[tuple(ACTIVATIONS)] = "tanh"  # pyright: ignore[reportInvalidTypeForm]
    scaling: Literal[SCALINGS] = "ntk"  # pyright: ignore[reportInvalidTypeForm]
    bias: bool = True
    alpha: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
    centre: bool = True
    cond: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    loss: Literal[tuple(LOSSES)] = "squared"  # pyright: ignore[reportInvalidTypeForm]
    flow: Literal[tuple(FLOW_FORMULAS)] = "gn"  # pyright: ignore[reportInvalidTypeForm]
    damping: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    damping_kind: Literal[DAMPINGS] = "constant"  # pyright: ignore[reportInvalidTypeForm]
    damping_rate: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    damping_power: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    t1: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    rtol: float = Field(default=1e-8, gt=0, allow_inf_nan=False)
    atol: float = Field(default=1e-10, gt=0, allow_inf_nan=False)
    max_steps: int = Field(default=4096, ge=1)
    solver: Literal[tuple(SOLVERS)] = "auto"  # pyright: ignore[reportInvalidTypeForm]
    seed: int = Field(default=0, ge=0, lt=2**32)
    loss_tol: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    ball_radius: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    error: bool = False

    @model_validator(mode="after")
    def _damping_fits_the_flow(self) -> Self:
        if self.flow in ("gf", "gn") and self.damping is not None:
            raise ValueError(f"The flow '{self.flow}' takes no damping, got {self.damping:g}.")
        if self.flow in ("lm", "interpolated") and self.damping is None:
            raise ValueError(f"The flow '{self.flow}' needs a damping such as 0.1, got none.")
        if (
            self.flow == "interpolated"
            and self.damping is not None
            and (self.damping_kind != "constant" or not self.damping <= 1)
        ):
            raise ValueError(
                f"The flow 'interpolated' takes a constant damping in [0, 1], got {self.damping_kind} {self.damping:g}."
            )
        if self.damping is None and self.damping_kind != "constant":
            raise ValueError(f"The {self.damping_kind} damping of the flow '{self.flow}' needs a value, got none.")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON of all fields, 64 hexadecimal digits: the same for the same spec on every machine."""
        return spec_hash(self)


def run_spec(**fields: Any) -> RunSpec:
    """The `RunSpec` of these fields.

    Raises: `ValueError`, one sentence that quotes the first wrong value.

    >>> from riemgn.experiment import run_spec
    >>> run_spec(width=0)
    Traceback (most recent call last):
    ValueError: `width` must be greater than or equal to 1, got 0.
    """
    try:
        return RunSpec(**fields)
    except ValidationError as trouble:
        raise ValueError(sentence(trouble.errors()[0], RunSpec)) from None


def spec_hash(spec: BaseModel) -> str:
    """SHA-256 over the canonical JSON of all fields of a spec, 64 hexadecimal digits."""
    canonical = json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def sentence(error: Any, model: type[BaseModel]) -> str:
    """What pydantic found wrong with the fields of `model`, in one sentence that quotes the value."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    name, value = ".".join(str(part) for part in error["loc"]), error["input"]
    if error["type"] == "extra_forbidden":
        return f"Unknown field `{name}` with the value {value!r}; known are {', '.join(model.model_fields)}."
    if error["type"] == "literal_error":
        return f"Unknown {name} {value!r}; known are {error['ctx']['expected'].replace(' or ', ', ')}."
    said = re.sub("^(Input|String|List|Tuple) should", "must", error["msg"])
    return f"`{name}` {said}, got {value!r}."
