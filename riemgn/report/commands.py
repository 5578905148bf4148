"""The command that computes a result again, as one would type it."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ..experiment import RunSpec
from .shapes import CertificateEntry, LedgerFile

AGAIN = "runs/again"


def run_command(spec: Mapping[str, Any]) -> str:
    """`riemgn run` with data and flow, and every other field of the spec that is not its default."""
    words = ["riemgn", "run"]
    for name, value in spec.items():
        known = RunSpec.model_fields.get(name)
        if known is None or value is None or (value == known.default and name not in ("data", "flow")):
            continue
        option = name.replace("_", "-")
        words += (
            [f"--{option}" if value else f"--no-{option}"] if isinstance(value, bool) else [f"--{option}", _word(value)]
        )
    return shlex.join(words)


def item_command(name: str, quick: bool, essay: bool) -> str:
    """`riemgn reproduce` into a new folder, as a folder that holds the item would only be read; the essays have a command of their own."""
    if essay:
        return shlex.join(["python", "-m", "figures", name.partition("/")[2]])
    return shlex.join(["riemgn", "reproduce", name, "--quick" if quick else "--full", "--out", AGAIN])


def certify_command(claim: str, ledger: LedgerFile, entries: Iterable[CertificateEntry]) -> str:
    """`riemgn certify` of one claim with the settings of its file; `--seeds` where more were asked for than is usual."""
    words = ["riemgn", "certify", claim, "--quick" if ledger.quick else "--full"]
    asked = _seeds(claim, ledger.quick, entries)
    words += [] if asked is None else ["--seeds", str(asked)]
    words += ["--rigorous"] if ledger.rigorous else []
    words += [] if ledger.rtol is None else ["--rtol", _word(ledger.rtol)]
    return shlex.join(words)


def _seeds(claim: str, quick: bool, entries: Iterable[CertificateEntry]) -> int | None:
    from ..experiment.certification import seeds_of, select_cases

    cases = [case for case in select_cases([claim], quick) if case.seeds > 1]
    done = {case.title: {entry.seed for entry in entries if entry.problem == case.title} for case in cases}
    usual = {case.title: set(seeds_of(case, quick)) for case in cases}
    counts = {len(seeds) for title, seeds in done.items() if seeds and seeds != usual[title]}
    return counts.pop() if len(counts) == 1 else None


def bench_command(name: str, quick: bool) -> str:
    """`riemgn bench` of one benchmark."""
    return shlex.join(["riemgn", "bench", *([name] if name else []), "--quick" if quick else "--full"])


def sweep_command(name: str) -> str:
    """`riemgn sweep` of the file that `toml_text` is saved as."""
    return shlex.join(["riemgn", "sweep", f"{name}.toml", "--out", AGAIN])


def toml_text(spec: Mapping[str, Any]) -> str:
    """The file that `riemgn sweep` read, from the spec that it stored.

    >>> print(toml_text({"name": "a", "base": {"t1": 5.0}, "flows": [{"flow": "gn"}]}))
    name = "a"
    <BLANKLINE>
    [base]
    t1 = 5.0
    <BLANKLINE>
    [[flows]]
    flow = "gn"
    """
    blocks = ["\n".join(_lines({key: value for key, value in spec.items() if not _is_table(value)}))]
    for key, value in spec.items():
        if _is_table(value):
            head, tables = (f"[[{_key(key)}]]", value) if isinstance(value, list) else (f"[{_key(key)}]", [value])
            blocks += ["\n".join([head, *_lines(table)]) for table in tables]
    return "\n\n".join(filter(None, blocks))


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {_toml(value)}" for name, value in table.items() if value is not None]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


def _toml(value: Any) -> str:
    """Numbers, text, booleans, lists and small tables; JSON writes the first three as TOML does."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_toml(entry)}" for name, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value)


def checkout_command(commit: str) -> str:
    """`git checkout` of a commit by its number; nothing for what is none."""
    return f"git checkout {commit}" if re.fullmatch(r"[0-9a-f]{7,64}", commit) else ""


def _word(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
