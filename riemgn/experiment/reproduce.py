"""Finds the papers' items, runs them, keeps their numbers and pictures, and says what holds."""

import importlib
import importlib.util
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ..plot.caption import caption, checked_setup, tidy_ticks
from .cells import as_arrays, cells_kept_in
from .verdict import departures, golden_entry, judge

ROOT = Path(__file__).resolve().parents[2] / "paper_repro"
ESSAY = "essay"  # a kind of item whose picture has no one setting to state below it


@dataclass(frozen=True)
class Item:
    """One `[[item]]` of a paper's claims.toml.

    `kind` says what it is to the paper; `theory` names the statements checked and `claims` those of them that `riemgn certify` knows; `needs` are the
    data sets that are not bundled; the seconds are what to expect at each size on one core, compilation included.
    """

    root: Path
    paper: str
    id: str
    title: str
    claim: str
    arxiv: str
    kind: str = "our experiment for this claim"
    theory: str = ""
    claims: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    quick_seconds: float = 0.0
    full_seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.paper}/{self.id}"

    @property
    def folder(self) -> Path:
        return self.root / self.paper

    @property
    def golden(self) -> Path:
        return self.folder / "golden" / f"{self.id}.json"


@dataclass(frozen=True)
class Outcome:
    """What came of one item. `verdict` is "holds", "fails", "departs from golden", "no data" or "not run"; `notes` say more."""

    item: Item
    verdict: str
    checks: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    resumed: bool = False
    golden: str = "none"
    notes: list[str] = field(default_factory=list)
    numbers: Path | None = None
    pictures: dict[str, Path] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.verdict == "holds"

    def to_dict(self) -> dict[str, Any]:
        described = asdict(self.item)
        del described["root"]
        pictures = {kind: str(path) for kind, path in self.pictures.items()}
        rest = {"verdict": self.verdict, "checks": self.checks, "seconds": self.seconds, "resumed": self.resumed}
        numbers = None if self.numbers is None else str(self.numbers)
        return {
            **described,
            **rest,
            "golden": self.golden,
            "notes": self.notes,
            "numbers": numbers,
            "pictures": pictures,
        }


@dataclass(frozen=True)
class Settings:
    """How to run: size, where to, whether to start anew or to rewrite the golden numbers."""

    out: Path
    quick: bool = False
    data_dir: str | None = None
    force: bool = False
    update_golden: bool = False


def discover(root: Path | None = None) -> list[Item]:
    """All items of all papers, in the order of their files."""
    root = ROOT if root is None else Path(root)
    items = []
    for path in sorted(root.glob("*/claims.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8")).get("item", [])
            items += [Item(root=root, paper=path.parent.name, **_frozen(entry)) for entry in entries]
        except (tomllib.TOMLDecodeError, TypeError) as trouble:
            raise ValueError(f"The file '{path}' is no list of items: {trouble}.") from None
    return items


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def select(items: Sequence[Item], wanted: Sequence[str]) -> list[Item]:
    """The items named PAPER or PAPER/ITEM, all when none is named.

    Raises: `ValueError` that lists the known ones.
    """
    for name in wanted:
        if not any(name.rstrip("/") in (item.paper, item.name) for item in items):
            known = ", ".join(item.name for item in items) or "none"
            raise ValueError(f"Unknown paper or item {name!r}; known are {known}.")
    names = {name.rstrip("/") for name in wanted}
    return [item for item in items if not names or {item.paper, item.name} & names]


def default_out() -> Path:
    """`figures` in a checkout of the project, else `riemgn-figures`, in the current directory."""
    from .provenance import is_checkout

    return Path("figures" if is_checkout(Path.cwd()) else "riemgn-figures")


def reproduce(
    items: Sequence[Item],
    settings: Settings,
    *,
    jobs: int = 1,
    on_start: Callable[[Item], None] = lambda item: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the items, `jobs` at a time; each is saved when it is done, so that an interruption costs only what is under way.

    `on_start` is called before an item when they run one by one, `on_done` after each.
    """
    from . import prepare_folder

    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1, got {jobs}.")
    prepare_folder(settings.out)
    outcomes = []
    if jobs == 1 or len(items) < 2:
        for item in items:
            on_start(item)
            outcomes.append(run_item(item, settings))
            on_done(outcomes[-1])
        return outcomes
    from .parallel import side_by_side

    for outcome in side_by_side(run_item, ((item, settings) for item in items), jobs):
        outcomes.append(outcome)
        on_done(outcome)
    order = {item.name: place for place, item in enumerate(items)}
    return sorted(outcomes, key=lambda outcome: order[outcome.item.name])


def run_item(item: Item, settings: Settings) -> Outcome:
    """Run, store, draw and judge one item, or take up what is stored from the same sources at the same size."""
    import jax

    import riemgn

    from ..data import DataUnavailableError
    from . import prepare_folder, read_json, write_json

    riemgn.enable_x64()
    target = prepare_folder(settings.out / item.paper) / item.id
    numbers = target.with_name(f"{item.id}.json")
    stamp = _stamp(item, settings.quick)
    stored = None if settings.force else _stored(numbers, stamp)
    module = None
    if stored is None:
        start = time.perf_counter()
        module = load_module(item)
        try:
            with cells_kept_in(target.with_name(f".{item.id}.cells"), stamp):
                data = module.data(settings.quick, data_dir=settings.data_dir)
            data = {**data, "checks": [judge(check) for check in data["checks"]]}
            if item.kind != ESSAY:
                data["setup"] = checked_setup(data)
        except ValueError as trouble:
            verdict = "no data" if isinstance(trouble, DataUnavailableError) and item.needs else "not run"
            return Outcome(item, verdict, notes=[str(trouble)], seconds=time.perf_counter() - start)
        seconds = time.perf_counter() - start
        jax.clear_caches()  # compiled programs hold memory that the next item has no use for
        write_json(numbers, {**_metadata(item, settings.quick, stamp, seconds), "data": data})
    record = read_json(numbers)  # what is drawn and judged is what is stored
    pictures = {kind: target.with_name(f"{item.id}.{kind}") for kind in ("pdf", "png")}
    newer = [path.is_file() and path.stat().st_mtime_ns >= numbers.stat().st_mtime_ns for path in pictures.values()]
    if stored is None or not all(newer):
        pictures = _draw(item, module or load_module(item), record["data"], target)
    outcome = Outcome(
        item, "", record["data"]["checks"], record["seconds"], stored is not None, numbers=numbers, pictures=pictures
    )
    return _judged(outcome, settings)


def load_module(item: Item) -> ModuleType:
    """The item's module, `paper_repro.<paper>.<item>`."""
    path = item.folder / f"{item.id}.py"
    if not path.is_file():
        raise ValueError(f"The item '{item.name}' has no file '{path}'.")
    if item.root == ROOT:
        return importlib.import_module(f"{ROOT.name}.{item.paper}.{item.id}")
    spec = importlib.util.spec_from_file_location(f"papers_{item.paper}_{item.id}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _draw(item: Item, module: ModuleType, data: dict[str, Any], target: Path) -> dict[str, Path]:
    from ..plot import style
    from . import write_figure

    with style():
        return write_figure(drawn(item, module, data), target)


def drawn(item: Item, module: ModuleType, data: dict[str, Any]) -> Any:
    """The item's figure from its stored data; make and save it inside `riemgn.plot.style()`."""
    from ..plot import figure

    fig = figure()
    module.draw({**as_arrays(data), "checks": data["checks"]}, fig)
    tidy_ticks(fig)
    if item.kind != ESSAY:
        caption(fig, data["setup"], f"{item.kind}, {item.theory}; following arXiv:{item.arxiv}")
    return fig


def _judged(outcome: Outcome, settings: Settings) -> Outcome:
    """The verdict: first whether every check holds, then whether the numbers are those of before."""
    from . import read_json, write_json

    item, size, checks = outcome.item, _size(settings.quick), outcome.checks
    if settings.update_golden:
        known = read_json(item.golden) if item.golden.is_file() else {}
        others = {key: known[key] for key in ("quick", "full") if key in known and key != size}
        write_json(item.golden, {**others, size: golden_entry(checks)})
    verdict, golden, notes = judgement(item, checks, settings.quick)
    golden = "updated" if settings.update_golden else golden
    return Outcome(
        item, verdict, checks, outcome.seconds, outcome.resumed, golden, notes, outcome.numbers, outcome.pictures
    )


def judgement(item: Item, checks: Sequence[dict[str, Any]], quick: bool) -> tuple[str, str, list[str]]:
    """The verdict on judged checks, whether the golden numbers are matched ("matches", "departs", "none"), and notes."""
    from . import read_json

    known, size = read_json(item.golden) if item.golden.is_file() else {}, _size(quick)
    if size in known:
        notes = departures(checks, known[size])
        golden = "departs" if notes else "matches"
    else:
        golden, notes = "none", [f"no golden numbers at {size} size; --update-golden writes them"]
    failed = [check["name"] for check in checks if not check["holds"]]
    return "fails" if failed else "departs from golden" if golden == "departs" else "holds", golden, notes


def _size(quick: bool) -> str:
    return "quick" if quick else "full"


def _stamp(item: Item, quick: bool) -> str:
    from .provenance import package_sources, source_hash

    own = item.folder.rglob("*.py")
    return source_hash([*package_sources(), *own], item.name, "quick" if quick else "full")


def _stored(numbers: Path, stamp: str) -> dict[str, Any] | None:
    from . import read_json

    try:
        record = read_json(numbers)
    except ValueError:
        return None
    return record if record.get("source_hash") == stamp else None


def _metadata(item: Item, quick: bool, stamp: str, seconds: float) -> dict[str, Any]:
    from . import provenance

    described = {"paper": item.paper, "item": item.id, "title": item.title, "claim": item.claim, "arxiv": item.arxiv}
    size = {"kind": item.kind, "theory": item.theory, "quick": quick, "seconds": seconds}
    return {**described, **size, "source_hash": stamp, **provenance()}
