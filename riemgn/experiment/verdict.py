"""Compare a measured number with a predicted one, and with one measured before (golden)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

RELATIONS = {"equal": "=", "at_most": "<=", "at_least": ">="}
GOLDEN_RTOL = 1e-2


def check(
    name: str, measured: float, relation: str, predicted: float, tolerance: float, golden_rtol: float = GOLDEN_RTOL
) -> dict[str, Any]:
    """Return the check that `measured` is "equal", "at_most" or "at_least" `predicted`.

    `tolerance` is absolute, and `golden_rtol` is relative to the golden number.
    """
    stated = {"name": name, "predicted": predicted, "measured": measured, "tolerance": tolerance, "relation": relation}
    return {**stated, "golden_rtol": golden_rtol}


def judge(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return the check with its `"margin"` in the units of the measurement, and `"holds"`."""
    missing = {"name", "predicted", "measured", "tolerance", "relation"} - set(check)
    if missing:
        raise ValueError(f"A check needs {', '.join(sorted(missing))}, got {dict(check)!r}.")
    if check["relation"] not in RELATIONS:
        raise ValueError(f"The relation of a check must be one of {', '.join(RELATIONS)}, got {check['relation']!r}.")
    predicted, measured, tolerance = (_number(check[key]) for key in ("predicted", "measured", "tolerance"))
    margins = {
        "equal": tolerance - abs(measured - predicted),
        "at_most": predicted + tolerance - measured,
        "at_least": measured - predicted + tolerance,
    }
    margin = margins[check["relation"]]
    plain = {"predicted": predicted, "measured": measured, "tolerance": tolerance}
    return {**check, **plain, "margin": margin, "holds": bool(margin >= 0)}  # NaN never holds


def golden_entry(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the measured numbers by name, each with its relative tolerance (default 1e-2)."""
    return {
        check["name"]: {"measured": check["measured"], "rtol": check.get("golden_rtol", GOLDEN_RTOL)}
        for check in checks
    }


def departures(checks: Sequence[Mapping[str, Any]], golden: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each difference from the golden numbers.

    A number may change by `rtol` times the largest of its golden value, its prediction and its
    tolerance, because an error far below its tolerance is rounding, which machines do differently.
    """
    notes = [f"'{name}' is golden and no longer measured" for name in golden if name not in {c["name"] for c in checks}]
    for check in checks:
        name, measured = check["name"], _number(check["measured"])
        if name not in golden:
            notes.append(f"'{name}' has no golden number")
            continue
        before, rtol = _number(golden[name]["measured"]), golden[name]["rtol"]
        sizes = [abs(v) for v in (before, _number(check["predicted"]), _number(check["tolerance"])) if math.isfinite(v)]
        same = (math.isnan(before) and not math.isfinite(measured)) or abs(measured - before) <= rtol * max(sizes)
        if not same:
            notes.append(f"'{name}' measured {measured:.6g}, golden {before:.6g} (relative tolerance {rtol:g})")
    return notes


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
