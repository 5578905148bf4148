"""Write the page: every result of a folder in one HTML file that loads nothing."""

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader
from joblib import cpu_count, delayed, Parallel
from markupsafe import Markup

from ..experiment import prepare_folder, provenance, svg_text, write_page
from ..plot import fix_layout, style
from ..result import EXPECTED
from . import article
from .article import Article, Verdict
from .folder import File, Folder, read_folder
from .sweeps import sweep_articles

SECTIONS: dict[str, tuple[str, Callable[[File, Folder], Iterable[Article]]]] = {
    "items": ("Figures", article.item_articles),
    "outcomes": ("Figures without numbers", article.outcome_articles),
    "certificates": ("Certificates", article.certificate_articles),
    "runs": ("Runs", article.run_articles),
    "sweeps": ("Sweeps", sweep_articles),
    "benchmarks": ("Benchmarks", article.bench_articles),
}
TONES = {  # the worst first; every word that is not listed is bad
    "bad": (),
    "doubtful": ("undecided", "departs from golden", "rank_lost", "target missed"),
    "plain": ("not applicable", "no data", "no target", "nothing checked", "missing"),
    "good": ("holds", "target met", *EXPECTED),
}
SIGNS = {"bad": "✗", "doubtful": "≈", "plain": "–", "good": "✓"}


@dataclass(frozen=True)
class Report:
    """A written page: its `path`, its `size` in bytes, and the `counts` of results of each kind."""

    path: Path
    size: int
    counts: dict[str, int]


def write_report(folder: Path, out: Path | None = None, jobs: int | None = None) -> Report:
    """Write the page of all results below `folder`.

    Arguments:

    - `folder`: the folder that you gave to `--out`, for example. Subfolders are searched.
    - `out`: the file to write. Defaults to `report.html` in the folder.
    - `jobs`: processes that draw the figures. Defaults to one for each core, at most four.

    Raises: `ValueError` if the folder has no results or the page cannot be written.
    """
    folder = Path(folder).expanduser()
    found = read_folder(folder)
    target = Path(out or folder / "report.html").expanduser()
    if target.is_dir():
        raise ValueError(f"The page is a file, and '{target}' is a folder; pass a file name.")
    prepare_folder(target.parent)
    sections = _sections(found)
    articles = [each for section in sections.values() for each in section]
    jobs = (
        min(4, cpu_count(), 1 + sum(each.draw != "" for each in articles) // 12) if jobs is None else jobs
    )  # a process takes time to start
    pictures = cast(Any, Parallel)(n_jobs=jobs)(delayed(_picture)(each.draw, each.png) for each in articles)
    for each, picture in zip(articles, pictures, strict=True):
        each.picture = picture
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(tone=tone, sign=lambda word: SIGNS[tone(word)], tally=tally)
    environment.tests["verdict"] = lambda value: isinstance(value, Verdict)
    html = environment.get_template("page.html.j2").render(
        title=folder.resolve().name,
        sections={kind: (SECTIONS[kind][0], section) for kind, section in sections.items()},
        not_read=sorted(found.not_read.items()),
        writer=provenance(),
        style=Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8")),
    )
    path = write_page(target, html.encode("utf-8", "replace").decode())
    counts = {SECTIONS[kind][0].lower(): len(section) for kind, section in sections.items()}
    return Report(path, path.stat().st_size, counts | {"files not read": len(found.not_read)})


def tone(word: str) -> str:
    """good, bad, doubtful or plain."""
    return next((name for name, words in TONES.items() if word in words), "bad")


def tally(articles: Sequence[Article]) -> list[tuple[str, int]]:
    """How often each verdict occurs in articles, the worst first."""
    counts = sum((each.verdicts for each in articles), Counter())
    return sorted(counts.items(), key=lambda entry: (list(TONES).index(tone(entry[0])), entry[0]))


def _sections(folder: Folder) -> dict[str, list[Article]]:
    """Describe the files of each kind. A damaged file is reported and left out."""
    sections: dict[str, list[Article]] = {}
    for kind, (_, describe) in SECTIONS.items():
        for file in folder.files[kind]:
            try:
                sections[kind] = sections.get(kind, []) + list(describe(file, folder))
            except Exception as error:  # a damaged file may hold anything
                folder.reject(file.name, error)
    return sections


def _picture(draw: Callable[[], Any] | str, png: Path | None) -> tuple[str, str]:
    """The data URL of a figure, or of the stored PNG and the reason why there is no figure."""
    try:
        if isinstance(draw, str):
            raise ValueError(draw)
        with style(svg_fonttype="none"):
            figure = draw()
            fix_layout(figure)
            return f"data:image/svg+xml;base64,{base64.b64encode(svg_text(figure).encode()).decode()}", ""
    except Exception as error:  # the numbers of a damaged file may be anything
        reason = " ".join(f"It cannot be redrawn ({type(error).__name__}: {error}).".split())[:200] if draw else ""
    if png is None or not png.is_file():
        return "", reason
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}", f"The stored picture. {reason}"
