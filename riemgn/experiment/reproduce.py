"""Find the items of the papers, run them, store numbers and figures, and judge their checks."""

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

import jax

from .._types import enable_x64
from ..data import DataUnavailableError
from ..plot import figure, style
from ..plot.caption import caption, checked_setup, tidy_ticks
from .checkpoint import checkpoints_in
from .parallel import map_unordered
from .provenance import is_checkout, package_sources, provenance, source_hash
from .storage import as_arrays, prepare_folder, read_json, write_figure, write_json
from .verdict import departures, golden_entry, judge

# the folder beside the package, in a checkout and in an installation alike
ROOT = Path(__file__).resolve().parents[2] / "paper_repro"
ESSAY = "essay"  # kind of an item whose figure has no single setting to state in a caption


@dataclass(frozen=True)
class Item:
    """One `[[item]]` of a paper's claims.toml.

    - `kind`: how the item relates to the paper.
    - `theory`, `claims`: statements that it checks, such as "C6", and names for `riemgn certify`.
    - `needs`: data sets that are not bundled.
    - `quick_seconds`, `full_seconds`: expected time on one core, with compilation.
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

    def golden(self) -> tuple[Path, dict[str, Any]]:
        """Return the file of the golden numbers, and its content by size, "quick" or "full"."""
        path = self.folder / "golden" / f"{self.id}.json"
        return path, read_json(path) if path.is_file() else {}


@dataclass(frozen=True)
class Outcome:
    """The result of one item, with the paths of the written files.

    - `verdict`: "holds", "fails", "departs from golden", "no data" or "not run".
    - `resumed`: whether the stored numbers of an earlier run were used.
    - `golden`: "matches", "departs", "none" or "updated".
    - `notes`: sentences that explain the verdict.
    """

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
        values = {**asdict(self.item), **vars(self)}
        return {name: value for name, value in values.items() if name not in ("root", "item")}


@dataclass(frozen=True)
class Settings:
    """How to run items: the options of `riemgn reproduce`."""

    out: Path
    quick: bool = False
    data_dir: str | None = None
    force: bool = False
    update_golden: bool = False


def discover(root: Path | None = None) -> list[Item]:
    """Return all items of all papers, in the order of their files."""
    root = ROOT if root is None else Path(root)
    items = []
    for path in sorted(root.glob("*/claims.toml")):
        try:
            for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("item", []):
                values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
                items.append(Item(root=root, paper=path.parent.name, **values))
        except (tomllib.TOMLDecodeError, TypeError) as error:
            raise ValueError(f"The file '{path}' is not a list of items: {error}.") from None
    return items


def select(items: Sequence[Item], names: Sequence[str]) -> list[Item]:
    """Return the items named PAPER or PAPER/ITEM (default: all)."""
    for name in names:
        if not any(name.rstrip("/") in (item.paper, item.name) for item in items):
            known = ", ".join(item.name for item in items) or "none"
            raise ValueError(f"Unknown paper or item {name!r}; known are {known}.")
    chosen = {name.rstrip("/") for name in names}
    return [item for item in items if not chosen or {item.paper, item.name} & chosen]


def default_out() -> Path:
    """Return `figures` if the current directory is a checkout, else `riemgn-figures`."""
    return Path("figures" if is_checkout(Path.cwd()) else "riemgn-figures")


def reproduce(
    items: Sequence[Item],
    settings: Settings,
    *,
    jobs: int = 1,
    on_start: Callable[[Item], None] = lambda item: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the items in `jobs` processes and store each when it is finished, to continue later.

    `on_start` is called before each item if `jobs` is 1, and `on_done` with each outcome.
    """
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
    for outcome in map_unordered(run_item, ((item, settings) for item in items), jobs):
        outcomes.append(outcome)
        on_done(outcome)
    order = {item.name: place for place, item in enumerate(items)}
    return sorted(outcomes, key=lambda outcome: order[outcome.item.name])


def run_item(item: Item, settings: Settings) -> Outcome:
    """Run, store, draw and judge one item, or reuse stored numbers of the same sources."""
    enable_x64()
    target = prepare_folder(settings.out / item.paper) / item.id
    numbers = target.with_name(f"{item.id}.json")
    sources = [*package_sources(), *item.root.glob("*.py"), *item.folder.rglob("*.py")]
    digest = source_hash(sources, item.name, _size(settings.quick))
    resumed = not settings.force and _is_current(numbers, digest)
    if not resumed:
        module, start = load_module(item), time.perf_counter()
        try:
            data = _compute(item, module, settings, target.with_name(f".{item.id}.cells"), digest)
        except ValueError as error:
            verdict = "no data" if isinstance(error, DataUnavailableError) and item.needs else "not run"
            return Outcome(item, verdict, notes=[str(error)], seconds=time.perf_counter() - start)
        described = {name: getattr(item, name) for name in ("title", "claim", "arxiv", "kind", "theory")}
        described |= {"quick": settings.quick, "seconds": time.perf_counter() - start, "source_hash": digest}
        jax.clear_caches()  # frees the memory of programs that the next item does not use
        write_json(numbers, {"paper": item.paper, "item": item.id, **described, **provenance(), "data": data})
    record = read_json(numbers)  # drawn and judged is what was stored
    pictures = {kind: target.with_name(f"{item.id}.{kind}") for kind in ("pdf", "png")}
    modified = numbers.stat().st_mtime_ns
    if not resumed or not all(path.is_file() and path.stat().st_mtime_ns >= modified for path in pictures.values()):
        with style():
            pictures = write_figure(draw_item(item, load_module(item), record["data"]), target)
    checks = record["data"]["checks"]
    if settings.update_golden:
        golden_file, stored = item.golden()
        write_json(golden_file, {**stored, _size(settings.quick): golden_entry(checks)})
    verdict, golden, notes = judgement(item, checks, settings.quick)
    golden = "updated" if settings.update_golden else golden
    return Outcome(item, verdict, checks, record["seconds"], resumed, golden, notes, numbers, pictures)


def _compute(item: Item, module: ModuleType, settings: Settings, checkpoints: Path, digest: str) -> dict[str, Any]:
    """Return the data of an item with judged checks."""
    with checkpoints_in(checkpoints, digest):
        data = module.data(settings.quick, data_dir=settings.data_dir)
    data = {**data, "checks": [judge(check) for check in data["checks"]]}
    return data if item.kind == ESSAY else {**data, "setup": checked_setup(data)}


def load_module(item: Item) -> ModuleType:
    """Import the module of an item, `paper_repro.<paper>.<item>`."""
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


def draw_item(item: Item, module: ModuleType, data: dict[str, Any]) -> Any:
    """Return the figure of stored data, which you must save inside `riemgn.plot.style()`."""
    fig = figure()
    module.draw({**as_arrays(data), "checks": data["checks"]}, fig)
    tidy_ticks(fig)
    if item.kind != ESSAY:
        caption(fig, data["setup"], f"{item.kind}, {item.theory}; following arXiv:{item.arxiv}")
    return fig


def judgement(item: Item, checks: Sequence[dict[str, Any]], quick: bool) -> tuple[str, str, list[str]]:
    """Return the verdict, "matches", "departs" or "none" for the golden numbers, and notes."""
    stored, size = item.golden()[1], _size(quick)
    if size in stored:
        notes = departures(checks, stored[size])
        golden = "departs" if notes else "matches"
    else:
        golden, notes = "none", [f"no golden numbers at {size} size; --update-golden writes them"]
    failed = any(not check["holds"] for check in checks)
    return "fails" if failed else "departs from golden" if golden == "departs" else "holds", golden, notes


def _size(quick: bool) -> str:
    return "quick" if quick else "full"


def _is_current(numbers: Path, digest: str) -> bool:
    """Whether the stored numbers come from sources with this hash."""
    try:
        return read_json(numbers).get("source_hash") == digest
    except ValueError:
        return False
