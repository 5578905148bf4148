"""Verdicts: a measured number against a predicted one, and against the number measured before (golden)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

RELATIONS = {"equal": "=", "at_most": "<=", "at_least": ">="}
GOLDEN_RTOL = 1e-2


def check(
    name: str, measured: float, relation: str, predicted: float, tolerance: float, golden_rtol: float = GOLDEN_RTOL
) -> dict[str, Any]:
    """One check of an item: `measured` (`equal` to, `at_most`, `at_least`) `predicted`, within the absolute `tolerance`."""
    stated = {"name": name, "predicted": predicted, "measured": measured, "tolerance": tolerance, "relation": relation}
    return {**stated, "golden_rtol": golden_rtol}


def judge(check: Mapping[str, Any]) -> dict[str, Any]:
    """The check with `"margin"` and `"holds"`: how far inside its tolerance (absolute, in the units of what is measured) the number lies.

    `equal`: `tol - |m - p|`; `at_most`: `p + tol - m`; `at_least`: `m - p + tol`. NaN never holds.
    """
    missing = {"name", "predicted", "measured", "tolerance", "relation"} - set(check)
    if missing:
        raise ValueError(f"A check needs {', '.join(sorted(missing))}, got {dict(check)!r}.")
    if check["relation"] not in RELATIONS:
        raise ValueError(f"The relation of a check must be one of {', '.join(RELATIONS)}, got {check['relation']!r}.")
    predicted, measured, tolerance = (_number(check[key]) for key in ("predicted", "measured", "tolerance"))
    if check["relation"] == "equal":
        margin = tolerance - abs(measured - predicted)
    elif check["relation"] == "at_most":
        margin = predicted + tolerance - measured
    else:
        margin = measured - predicted + tolerance
    plain = {"predicted": predicted, "measured": measured, "tolerance": tolerance}
    return {**check, **plain, "margin": margin, "holds": bool(margin >= 0)}


def golden_entry(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The measured numbers by name, each with its relative tolerance (`golden_rtol` of the check, else 1e-2)."""
    return {
        check["name"]: {"measured": check["measured"], "rtol": check.get("golden_rtol", GOLDEN_RTOL)}
        for check in checks
    }


def departures(checks: Sequence[Mapping[str, Any]], golden: Mapping[str, Any]) -> list[str]:
    """What differs from the golden numbers, one sentence each.

    A number may move by `rtol` times the largest of its golden value, its prediction and its tolerance: an error far below the tolerance it is
    held to is rounding, and free to differ between machines.
    """
    found = [f"'{name}' is golden and no longer measured" for name in golden if name not in {c["name"] for c in checks}]
    for check in checks:
        name, measured = check["name"], _number(check["measured"])
        if name not in golden:
            found.append(f"'{name}' has no golden number")
            continue
        before, rtol = _number(golden[name]["measured"]), golden[name]["rtol"]
        sizes = [abs(v) for v in (before, _number(check["predicted"]), _number(check["tolerance"])) if math.isfinite(v)]
        same = (math.isnan(before) and not math.isfinite(measured)) or abs(measured - before) <= rtol * max(sizes)
        if not same:
            found.append(f"'{name}' measured {measured:.6g}, golden {before:.6g} (relative tolerance {rtol:g})")
    return found


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
