"""The page: everything that was read, in one HTML file that loads nothing."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..experiment import prepare_folder, provenance, write_page
from ..experiment.storage import SCHEMA
from ..theory.certificate import RELATIONS
from .commands import checkout_command
from .drawing import draw_all
from .folder import Folder, Found, read_folder
from .results import benches_of, claims_of, items_of, runs_of
from .shapes import AbstractFile, BenchFile
from .sweeps import sweeps_of
from .vector import Sheet
from .verdicts import SIGNS, tally, tone

HERE = Path(__file__).parent
NAME = "report.html"
ARXIV = re.compile(r"(?:arXiv:)?(\d{4}\.\d{4,5}(?:v\d+)?)")
LISTED = 200  # lines of a list of troubles


@dataclass(frozen=True)
class Report:
    """A written page: its `path`, its `size` in bytes, and in `counts` how many results of each kind it shows."""

    path: Path
    size: int
    counts: dict[str, int]


def write_report(folder: Path, out: Path | None = None, jobs: int | None = None) -> Report:
    """The page of `folder`, as `report.html` inside it or as the file `out`; figures are drawn in `jobs` processes (as many as there are processors).

    Raises: `ValueError`, one sentence, where the folder is missing or holds nothing to report, or where the page cannot be written.
    """
    folder = Path(folder).expanduser()
    found = read_folder(folder)
    target = folder / NAME if out is None else Path(out).expanduser()
    if target.is_dir():
        raise ValueError(f"The page is a file, and '{target}' is a folder.")
    prepare_folder(target.parent)
    content = _content(found, jobs)
    html = _environment().get_template("page.html.j2").render(content)
    html = html.encode("utf-8", "replace").decode()  # half a surrogate pair in a file's text
    counts = {section["title"].lower(): section["count"] for section in content["sections"]}
    counts["files not read"] = len(content["not_read"])
    path = write_page(target, html)
    return Report(path, path.stat().st_size, {name: count for name, count in counts.items() if count})


def _content(folder: Folder, jobs: int | None) -> dict[str, Any]:
    """What the template shows."""
    parts: dict[str, Any] = {
        "items": items_of(folder),
        "claims": claims_of(folder),
        "runs": runs_of(folder),
        "sweeps": sweeps_of(folder),
        "benches": benches_of(folder),
    }
    sheet = Sheet()
    draw_all([part.picture for kind in ("items", "runs", "sweeps") for part in parts[kind]], sheet, jobs)
    named = {(f"{item.found.content.paper}", item.found.content.item) for item in parts["items"]}
    absent = [
        entry for found in folder.outcomes for entry in found.content.items if (entry.paper, entry.id) not in named
    ]
    sections = [section for section in _sections(parts, absent) if section["count"]]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return {
        "title": folder.root.resolve().name,
        **parts,
        "absent": absent,
        "sections": sections,
        "troubles": list(_troubles(parts))[:LISTED],
        "ran": list(_ran(parts)),
        "environments": _environments(folder),
        "writer": provenance(),
        "not_read": sorted(set(folder.not_read)),
        "listed": LISTED,
        "shapes": sheet.definitions(),
        "style": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "schema": SCHEMA,
    }


def _sections(parts: dict[str, Any], absent: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Title, anchor and tally of each kind of result."""
    words = {
        ("Reproduced items", "items"): [item.verdict for item in parts["items"]]
        + [entry.verdict or "missing" for entry in absent],
        ("Certificates", "claims"): [
            certificate.verdict for claim in parts["claims"] for certificate in claim.certificates
        ],
        ("Runs", "runs"): [run.verdict for run in parts["runs"]],
        ("Sweep cells", "sweeps"): [word for sweep in parts["sweeps"] for word in _cell_words(sweep)],
        ("Benchmark rows", "benches"): [verdict for bench in parts["benches"] for _, verdict in bench.rows],
    }
    for (title, anchor), found in words.items():
        yield {"title": title, "anchor": anchor, "count": len(found) or len(parts[anchor]), "tally": tally(found)}


def _cell_words(sweep: Any) -> list[str]:
    return [code for code, count in sweep.codes for _ in range(count)] + ["missing"] * (sweep.total - sweep.cells)


def _troubles(parts: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Verdict, name and anchor of what did not hold or was not decided."""
    named = [(item.verdict, item.name, f"item-{place}") for place, item in enumerate(parts["items"])]
    for place, claim in enumerate(parts["claims"]):
        named += [
            (cert.verdict, f"{claim.name} on {cert.entry.subject}", f"claim-{place}") for cert in claim.certificates
        ]
    named += [(run.verdict, run.title, f"run-{place}") for place, run in enumerate(parts["runs"])]
    for place, sweep in enumerate(parts["sweeps"]):
        named += [(code, f"{count} cells of the sweep {sweep.name}", f"sweep-{place}") for code, count in sweep.codes]
    order = {"bad": 0, "doubtful": 1}
    yield from sorted((entry for entry in named if tone(entry[0]) in order), key=lambda entry: order[tone(entry[0])])


def _ran(parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One line for each thing that ran: kind, name, anchor, size, seconds, file."""
    for place, item in enumerate(parts["items"]):
        stored = item.found.content
        size = "quick" if stored.quick else "full"
        yield _line("item", stored.title or item.name, f"item-{place}", size, stored.seconds, item.found.name)
    for place, claim in enumerate(parts["claims"]):
        seconds = [cert.entry.seconds for cert in claim.certificates if cert.entry.seconds is not None]
        size = f"{len(claim.certificates)} certificate{'s'[: len(claim.certificates) != 1]}"
        yield _line("claim", claim.name, f"claim-{place}", size, sum(seconds) if seconds else None, claim.found.name)
    for place, run in enumerate(parts["runs"]):
        stored = run.found.content
        yield _line("run", run.title, f"run-{place}", f"n = {stored.n}, p = {stored.p}", stored.seconds, run.found.name)
    for place, sweep in enumerate(parts["sweeps"]):
        yield _line(
            "sweep",
            sweep.name,
            f"sweep-{place}",
            f"{sweep.cells} of {sweep.total} cells",
            sweep.seconds,
            sweep.found.name,
        )
    for place, bench in enumerate(parts["benches"]):
        size = f"{len(bench.rows)} rows, {'quick' if bench.found.content.quick else 'full'}"
        yield _line("benchmarks", "riemgn bench", f"bench-{place}", size, None, bench.found.name)


def _line(kind: str, name: str, anchor: str, size: str, seconds: float | None, file: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "anchor": anchor, "size": size, "seconds": seconds, "file": file}


def _environments(folder: Folder) -> list[dict[str, Any]]:
    """Versions and commits that results come from, each with its devices, kinds of numbers and files."""
    files = [
        *folder.items,
        *folder.ledgers,
        *folder.runs,
        *folder.benches,
        *(sweep.manifest for sweep in folder.sweeps),
    ]
    files += [cell for sweep in folder.sweeps for cell in sweep.cells]
    groups: dict[tuple, list[Found]] = {}
    for file in files:
        content: AbstractFile = file.content
        key = (tuple(sorted(content.versions.items())), content.python, content.commit, content.uncommitted_changes)
        if any(key):
            groups.setdefault(key, []).append(file)
    names = ("versions", "python", "commit", "uncommitted_changes")
    return [
        {**dict(zip(names, key, strict=True)), **_machines(used), "files": [file.name for file in used]}
        for key, used in groups.items()
    ]


def _machines(files: Sequence[Found]) -> dict[str, str]:
    """The devices and the kinds of numbers that files name."""
    devices = {file.content.device for file in files}
    devices |= {str(file.content.machine.get("processor", "")) for file in files if isinstance(file.content, BenchFile)}
    dtypes = {file.content.dtype for file in files}
    return {"device": ", ".join(sorted(devices - {""})), "dtype": ", ".join(sorted(dtypes - {""}))}


# --- words of the template -------------------------------------------------------------------------------------------


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=_number, seconds=_seconds, arxiv=_arxiv, ends=_ends)
    environment.globals.update(
        checkout=checkout_command,
        tone=tone,
        sign=lambda word: SIGNS[tone(word)],
        relation=lambda name: RELATIONS.get(name, name),
    )
    return environment


def _number(value: float | None) -> str:
    """Four figures; a dash where no finite number is stored."""
    return "–" if value is None or value != value else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def _ends(values: Sequence[float | None]) -> str:
    """First and last of a series, or the one number there is."""
    return " → ".join(_number(value) for value in values) or "–"


def _arxiv(text: str) -> Markup:
    """The text, with each arXiv number in it a link."""
    pieces, end = Markup(""), 0
    for match in ARXIV.finditer(text):
        pieces += text[end : match.start()] + Markup(
            '<a href="https://arxiv.org/abs/{}" rel="noreferrer">{}</a>'
        ).format(match[1], match[0])
        end = match.end()
    return pieces + text[end:]
