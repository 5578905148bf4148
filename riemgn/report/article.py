"""Describe each result as an article: verdicts, figure, tables and the command that makes it."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..experiment import read_record
from ..experiment.provenance import is_checkout, PACKAGE
from ..experiment.reproduce import discover, draw_item, ESSAY, Item, judgement, load_module
from ..experiment.verdict import judge
from ..plot import series_figure
from ..theory.certificate import Certificate, Conclusion, Hypothesis, RELATIONS
from .commands import AGAIN, certify_command, command, run_command, SIZES
from .folder import File, Folder

UNKNOWN_ITEM = "this installation does not know the item"


class Verdict(str):
    """A word that the page shows as a badge."""


@dataclass
class Table:
    """A table whose cells become text. If `folded`, the page hides it until you open it."""

    title: str
    head: Sequence[str]
    rows: Iterable[Iterable[Any]]
    folded: bool = False

    def __post_init__(self):
        self.rows = [[as_text(cell) for cell in row] for row in self.rows]


@dataclass
class Article:
    """What the page shows for one result.

    `draw` makes the figure or says why it is missing. `png` is a stored picture to show instead.
    """

    title: str
    file: File
    verdicts: Counter[str]
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    code: str = ""
    alt: str = ""
    draw: Callable[[], Any] | str = ""
    png: Path | None = None
    picture: tuple[str, str] = ("", "")  # data URL, and a note for the reader


def as_text(value: Any) -> str:
    """Return a number with four digits, a missing one as a dash, and a list with arrows between."""
    if isinstance(value, list):
        return " → ".join(as_text(each) for each in value)
    if isinstance(value, float) and value == value:
        return f"{value:.4g}"
    return value if isinstance(value, str) else "–" if value is None or value != value else str(value)


@cache
def known_items() -> dict[str, Item]:
    """The items of the papers and, in a checkout, of the essays, by name."""
    essays = PACKAGE.parent / "figures"
    found = discover() + (discover(essays) if is_checkout(PACKAGE.parent) and essays.is_dir() else [])
    return {item.name: item for item in found}


def item_articles(file: File, folder: Folder) -> Iterator[Article]:
    """One item of `riemgn reproduce`, judged again from its numbers."""
    stored, data, name, quick = file.value, file.value["data"], item_name(file), bool(file.value.get("quick"))
    item, checks = known_items().get(name), [judge(check) for check in data.get("checks", [])]
    words = {True: "holds", False: "fails"}
    verdict = words[all(check["holds"] for check in checks)] if checks else "nothing checked"
    golden, notes = "none", [UNKNOWN_ITEM] if item is None else []
    if checks and item is not None:
        verdict, golden, notes = judgement(item, checks, quick)
    rows = []
    for before, check in zip(data.get("checks", []), checks, strict=True):
        numbers = (check[key] for key in ("predicted", "tolerance", "measured", "margin"))
        rows.append((check["name"], Verdict(words[check["holds"]]), RELATIONS[check["relation"]], *numbers))
        notes.append(_difference(check["name"], words.get(before.get("holds")), words[check["holds"]]))
    source = [name, stored.get("kind"), stored.get("theory"), stored.get("arxiv") and f"arXiv:{stored['arxiv']}"]
    source += ["quick size" if quick else "full size", f"golden numbers: {golden}"]
    source += [f"needs {', '.join(item.needs)} (--data-dir)"] if item and item.needs else []
    title, again = str(stored.get("title") or name), command("reproduce", name, SIZES[quick], *AGAIN)
    if stored.get("kind") == ESSAY:
        again = shlex.join(["python", "-m", "figures", str(stored["item"])])
    checked = Table("Checks", ("Check", "Verdict", "", "Predicted", "Within", "Measured", "Margin"), rows)
    yield Article(
        title,
        file,
        Counter([verdict]),
        [stored.get("claim", ""), "; ".join(filter(None, source)), *notes],
        [checked, Table("Setting", ("Quantity", "Value"), (data.get("setup") or {}).items(), True)],
        [again],
        alt=f"{title}: {stored.get('claim', '')}",
        draw=(lambda: draw_item(item, load_module(item), data)) if item else UNKNOWN_ITEM,
        png=file.path.with_suffix(".png"),
    )


def item_name(file: File) -> str:
    """PAPER/ITEM of a file of `riemgn reproduce`."""
    return f"{file.value['paper']}/{file.value['item']}"


def _difference(name: str, stored: Any, computed: str) -> str:
    """A sentence if the stored verdict is not the recomputed one."""
    return "" if stored == computed else f"'{name}': the file says '{stored}', its numbers say '{computed}'."


def outcome_articles(file: File, folder: Folder) -> Iterator[Article]:
    """The items in the file of `riemgn reproduce --json` that left no numbers."""
    known = {item_name(each) for each in folder.files["items"]}
    for entry in file.value["items"]:
        name = f"{entry['paper']}/{entry['id']}"
        if name not in known:
            yield Article(name, file, Counter([str(entry.get("verdict"))]), list(entry.get("notes", ())))


def certificate_articles(file: File, folder: Folder) -> Iterator[Article]:
    """The certificates of one file, an article for each claim."""
    groups: dict[str, list[tuple[dict[str, Any], Certificate]]] = {}
    for place, entry in enumerate(file.value["certificates"]):
        try:
            certificate = Certificate.from_dict(entry)
            groups.setdefault(certificate.claim, []).append((entry, certificate))
        except ValueError as error:
            folder.reject(f"{file.name}, certificate {place}", error)
    head = ("Verdict", "", "Predicted", "Measured", "Margin", "Error", "Constant")
    for claim, group in groups.items():
        first, rows, parts = group[0][1], [], []
        for _, cert in group:
            deciding = _numbers(cert.deciding) if cert.conclusions else ()
            rows.append((cert.subject, Verdict(cert.status), *deciding))
            for part in (*cert.hypotheses, *cert.conclusions):
                role = f"{type(part).__name__.lower()}: {part.name}"
                parts.append((cert.subject, role, Verdict(part.status), *_numbers(part)))
        differences = [_difference(cert.subject, entry.get("status"), str(cert.status)) for entry, cert in group]
        yield Article(
            claim,
            file,
            Counter(str(cert.status) for _, cert in group),
            [first.statement, f"{first.reference}; {first.theory}", *differences],
            [Table("Certificates", ("Subject", *head), rows), Table("Parts", ("Subject", "Part", *head), parts, True)],
            [certify_command(claim, file.value, [entry for entry, _ in group])],
        )


def _numbers(part: Hypothesis | Conclusion) -> tuple[Any, ...]:
    known = (part.threshold, part.value) if isinstance(part, Hypothesis) else (part.predicted, part.measured)
    return RELATIONS[part.relation], *known, part.margin, part.error, part.constant


def run_articles(file: File, folder: Folder) -> Iterator[Article]:
    """One run of `riemgn run`."""
    stored, spec, place = file.value, file.value["spec"], file.name.rpartition("/")[0]
    flow, data, result = str(spec.get("flow")), Path(str(spec.get("data"))).stem, str(stored["result"])
    sizes = {"n": stored.get("n"), "p": stored.get("p"), "seed": stored.get("seed")}
    try:
        arrays, _ = read_record(file.path.parent, file.path.stem)
        draw = partial(series_figure, arrays, flow=flow, status=result, title=data.replace("$", r"\$"))
    except ValueError as error:
        folder.reject(file.name.removesuffix(".json") + ".npz", error)
        draw = "the arrays cannot be read"
    yield Article(
        f"{flow} on {data}{f', {place}' if place else ''}",
        file,
        Counter([result]),
        [stored.get("message", "")],
        [
            Table("Numbers", ("Quantity", "Start → end"), {**sizes, **(stored.get("summary") or {})}.items()),
            Table("Solver", ("Quantity", "Value"), (stored.get("stats") or {}).items(), True),
            Table("Spec", ("Field", "Value"), spec.items(), True),
        ],
        [run_command(spec)],
        alt=f"Loss, gradient norm and smallest singular value over time of {flow} on {data}",
        draw=draw,
        png=file.path.with_name("trajectory.png"),
    )


def bench_articles(file: File, folder: Folder) -> Iterator[Article]:
    """One file of `riemgn bench --json`."""
    rows, names, machine = [], {}, file.value.get("machine") or {}
    for entry in file.value["rows"]:
        ours, peer, names[str(entry.get("benchmark", ""))] = entry["ours"], entry.get("peer") or {}, None
        over = "the peer passed its time limit" if peer.get("over") else ""
        numbers = [ours.get("seconds"), ours.get("error"), peer.get("name"), peer.get("seconds"), peer.get("error")]
        notes = ", ".join(filter(None, (ours.get("note"), peer.get("note"), over)))
        rows.append((entry["work"], _target(entry), *numbers, entry.get("ratio"), entry.get("at_least"), notes))
    head = ("Work", "Verdict", "Ours [s]", "Error", "Peer", "Peer [s]", "Error", "Ratio", "Target", "Note")
    yield Article(
        file.name,
        file,
        Counter(str(row[1]) for row in rows),
        [machine.get("processor", ""), "Seconds are medians, without compilation. Ratio: the peer's over ours."],
        [Table("Rows", head, rows)],
        [command("bench", name, SIZES[bool(file.value.get("quick"))]) for name in names],
    )


def _target(entry: dict[str, Any]) -> Verdict:
    ratio, target, over = entry.get("ratio"), entry.get("at_least"), (entry.get("peer") or {}).get("over")
    if entry["ours"].get("seconds") is None:
        return Verdict("no time")
    if ratio is None or target is None or (ratio < target and over):
        return Verdict("no target")
    return Verdict("target met" if ratio >= target else "target missed")
