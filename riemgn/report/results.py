"""Results as the page shows them: items and certificates with verdicts that follow from their numbers, runs and benchmarks with their own."""

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..theory.certificate import decide, overall, signed_margin, Status
from .commands import bench_command, certify_command, item_command, run_command
from .drawing import Picture
from .folder import Folder, Found
from .shapes import (
    BenchFile,
    CertificateEntry,
    CheckEntry,
    ItemFile,
    LedgerFile,
    numbers_of,
    PartEntry,
    RowEntry,
    RunFile,
)


@dataclass
class Item:
    """A reproduced item."""

    found: Found
    verdict: str
    golden: str
    checks: list[dict[str, Any]]
    command: str
    picture: Picture
    notes: list[str] = field(default_factory=list)
    needs: tuple[str, ...] = ()
    setup: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.found.content.paper}/{self.found.content.item}"


@dataclass
class Certificate:
    """A certificate; `verdict` follows from its numbers, `note` says where the file has another, `deciding` is the part nearest to its edge."""

    entry: CertificateEntry
    verdict: str
    note: str
    deciding: dict[str, Any]
    parts: list[dict[str, Any]]


@dataclass
class Claim:
    """The certificates of one claim in one file."""

    name: str
    found: Found
    command: str
    certificates: list[Certificate]


@dataclass
class Run:
    """A run of one flow."""

    found: Found
    verdict: str
    title: str
    command: str
    numbers: dict[str, list[float | None]]
    picture: Picture


@dataclass
class Bench:
    """The rows of one file of benchmarks, each with its verdict, and a command for each benchmark."""

    found: Found
    rows: list[tuple[RowEntry, str]]
    commands: list[str]


# --- items -----------------------------------------------------------------------------------------------------------


def items_of(folder: Folder) -> list[Item]:
    """The items, in the order of their papers."""
    known = _known_items()
    places = {name: place for place, name in enumerate(known)}
    read = [_item(found, known, folder) for found in folder.items]
    return sorted(
        (item for item in read if item is not None),
        key=lambda item: (places.get(item.name, len(places)), item.name, item.found.name),
    )


def _known_items() -> dict[str, Any]:
    """The items of the papers and of the essays that this installation can draw, by name."""
    from ..experiment.provenance import is_checkout, PACKAGE
    from ..experiment.reproduce import discover

    essays = PACKAGE.parent / "figures"
    found = discover() + (discover(essays) if is_checkout(PACKAGE.parent) and essays.is_dir() else [])
    return {item.name: item for item in found}


def _item(found: Found, known: dict[str, Any], folder: Folder) -> Item | None:
    from ..experiment.reproduce import ESSAY, judgement

    stored: ItemFile = found.content
    name = f"{stored.paper}/{stored.item}"
    try:
        checks = [_checked(CheckEntry.model_validate(check)) for check in stored.data.get("checks", [])]
    except (TypeError, ValueError) as trouble:
        folder.not_read.append((found.name, f"its checks: {' '.join(str(trouble).split())[:120]}"))
        return None
    item = known.get(name)
    if not checks:
        verdict, golden, notes = "nothing checked", "none", []
    elif item is None:
        verdict = "holds" if all(check["holds"] for check in checks) else "fails"
        golden, notes = "none", ["this installation does not know the item"]
    else:
        verdict, golden, notes = judgement(item, checks, stored.quick)
    notes += [f"'{check['name']}': {check['note']}" for check in checks if check["note"]]
    setup = stored.data.get("setup")
    setup = {str(key): str(value) for key, value in setup.items()} if isinstance(setup, dict) else {}
    command = item_command(name, stored.quick, stored.kind == ESSAY)
    alt = f"{stored.title or name}: {stored.claim}" if stored.claim else stored.title or name
    draw = "this installation does not know the item" if item is None else partial(_drawn, item, stored.data)
    drawn = Picture(alt, draw, found.path.with_suffix(".png"))
    return Item(found, verdict, golden, checks, command, drawn, notes, () if item is None else item.needs, setup)


def _drawn(item: Any, data: dict[str, Any]) -> Any:
    from ..experiment.reproduce import draw_item, load_module

    return draw_item(item, load_module(item), data)


def _checked(check: CheckEntry) -> dict[str, Any]:
    """The check judged again where its numbers are there; what the file says counts where they are not."""
    from ..experiment.verdict import judge

    plain = check.model_dump()
    if not _finite(check.predicted, check.measured, check.tolerance):
        return {**plain, "note": ""}
    judged = judge(plain)
    return {
        **judged,
        "note": "" if judged["holds"] == check.holds else f"the file says '{_word(check.holds)}', its numbers do not",
    }


def _word(holds: bool) -> str:
    return "holds" if holds else "fails"


# --- certificates ----------------------------------------------------------------------------------------------------


def claims_of(folder: Folder) -> list[Claim]:
    """The certificates by file and claim, claims in the order of the theory."""
    from ..theory import CLAIMS

    order, found_claims = {name: place for place, name in enumerate(CLAIMS)}, []
    for found in folder.ledgers:
        ledger: LedgerFile = found.content
        names = sorted(
            {entry.claim for entry in ledger.certificates}, key=lambda name: (order.get(name, len(order)), name)
        )
        for name in names:
            entries = [entry for entry in ledger.certificates if entry.claim == name]
            found_claims.append(
                Claim(name, found, certify_command(name, ledger, entries), [certificate(entry) for entry in entries])
            )
    return found_claims


def certificate(entry: CertificateEntry) -> Certificate:
    """The certificate with the verdict that its numbers give; where one is missing (it was not finite), the stored verdict on that part counts."""
    presupposed = [_part(part, part.value, part.threshold, 0.0) for part in entry.hypotheses]
    concluded = [_part(part, part.measured, part.predicted, part.resolution) for part in entry.conclusions]
    try:
        verdict = str(
            overall([Status(part["status"]) for part in presupposed], [Status(part["status"]) for part in concluded])
        )
    except ValueError:  # a part without numbers and without a verdict
        verdict = "undecided"
    note = "" if entry.status == verdict else f"the file says '{entry.status}', its numbers do not"
    deciding = min(concluded, key=_nearness, default=_part(PartEntry(name=""), entry.measured, entry.predicted, None))
    parts = [{"role": "presupposes", **part} for part in presupposed] + [
        {"role": "concludes", **part} for part in concluded
    ]
    return Certificate(entry, verdict, note, deciding, parts)


def _part(part: PartEntry, value: float | None, bound: float | None, resolution: float | None) -> dict[str, Any]:
    numbers = {
        "name": part.name,
        "value": value,
        "bound": bound,
        "resolution": resolution,
        "relation": part.relation,
        "constant": part.constant,
    }
    margin, status = part.margin, part.status
    if _finite(value, bound, resolution, part.error):
        try:
            margin = signed_margin(part.relation, value or 0.0, bound or 0.0, resolution or 0.0)
            status = str(decide(margin, part.error or 0.0))
        except ValueError:
            status = "undecided"
    return {**numbers, "error": part.error, "margin": margin, "status": status}


def _nearness(part: dict[str, Any]) -> tuple[int, float]:
    """The order of `Certificate.deciding`: the worst verdict, then the least margin in its own scale."""
    order = [str(status) for status in (Status.FAILS, Status.UNDECIDED, Status.HOLDS)]
    margin = part["margin"] if part["margin"] is not None else math.inf
    return order.index(part["status"]) if part["status"] in order else 1, margin / (
        part["resolution"] or abs(part["bound"] or 0.0) or 1.0
    )


def _finite(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


# --- runs and benchmarks ---------------------------------------------------------------------------------------------


def runs_of(folder: Folder) -> list[Run]:
    """The runs, in the order of their paths."""
    return [_run(found, folder) for found in folder.runs]


def _run(found: Found, folder: Folder) -> Run:
    stored: RunFile = found.content
    spec = stored.spec
    flow, data = str(spec.get("flow", "?")), str(spec.get("data", "?"))
    place = found.name.rpartition("/")[0]
    title = f"{flow} on {Path(data).stem}{f', {place}' if place else ''}"
    numbers = {
        name: numbers_of(stored.summary, name) for name in ("losses", "grad_norms", "sigma_min", "t_end", "max_error")
    }
    numbers["t1"] = numbers_of(spec, "t1")
    alt = f"Loss, gradient norm and smallest singular value over time: {title}, {stored.result.replace('_', ' ')}"
    drawn = Picture(alt, _series(found, folder), found.path.with_name("trajectory.png"))
    return Run(found, stored.result, title, run_command(spec), numbers, drawn)


def _series(found: Found, folder: Folder) -> partial | str:
    from ..experiment import read_record
    from ..plot import series_figure

    stored: RunFile = found.content
    try:
        arrays, _ = read_record(found.path.parent, found.path.stem)
    except ValueError:
        folder.not_read.append((found.name.removesuffix(".json") + ".npz", "missing, or not whole"))
        return "the arrays cannot be read"
    kept = {name: arrays[name] for name in ("ts", "losses", "grad_norms", "sigma_min") if name in arrays}
    sizes = None if stored.n is None or stored.p is None else (stored.n, stored.p)
    title = Path(str(stored.spec.get("data", "?"))).stem.replace("$", r"\$")
    return partial(
        series_figure, kept, flow=str(stored.spec.get("flow", "?")), result=stored.result, sizes=sizes, title=title
    )


def benches_of(folder: Folder) -> list[Bench]:
    """The files of benchmarks."""
    benches = []
    for found in folder.benches:
        bench: BenchFile = found.content
        names = list(dict.fromkeys(row.benchmark for row in bench.rows))
        rows = [(row, _met(row)) for row in bench.rows]
        benches.append(Bench(found, rows, [bench_command(name, bench.quick) for name in names]))
    return benches


def _met(row: RowEntry) -> str:
    if row.ours.seconds is None:
        return "no time"
    return {True: "target met", False: "target missed", None: "no target"}[row.met]
