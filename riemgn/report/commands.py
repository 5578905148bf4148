"""Build the command that computes a result again."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ..experiment import RunSpec

AGAIN = ("--out", "runs/again")
SIZES = {True: "--quick", False: "--full"}


def command(*words: str) -> str:
    """The line that you type for `riemgn` and its arguments, without the empty ones."""
    return shlex.join(["riemgn", *filter(None, words)])


def run_command(spec: Mapping[str, Any]) -> str:
    """`riemgn run` with data, flow and every other field of the spec that is not at its default."""
    words = []
    for name, value in spec.items():
        known = RunSpec.model_fields.get(name)
        if known is None or value is None or (value == known.default and name not in ("data", "flow")):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return command("run", *words)


def certify_command(claim: str, stored: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> str:
    """`riemgn certify` of one claim with the settings of its file.

    The command has `--seeds` if the number of seeds is not the default of `riemgn certify`.
    """
    from ..experiment.certification import seeds_of, select_cases

    quick, rtol, other = bool(stored.get("quick")), stored.get("rtol"), set()
    for case in select_cases([claim], quick):
        seeds = {entry.get("seed") for entry in entries if entry.get("problem") == case.title}
        if case.seeds > 1 and seeds and seeds != set(seeds_of(case, quick)):
            other.add(len(seeds))
    words = ["--seeds", str(other.pop())] if len(other) == 1 else []
    words += ["--rigorous"] if stored.get("rigorous") else []
    words += [] if rtol is None else ["--rtol", str(rtol)]
    return command("certify", claim, SIZES[quick], *words)


def toml_text(spec: Mapping[str, Any]) -> str:
    """The TOML file of a sweep, one line for each key."""
    return "\n".join(f"{_key(name)} = {_toml(value)}" for name, value in spec.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_key(name)} = {_toml(entry)}" for name, entry in value.items() if entry is not None)
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)
