"""A mutation run by samples: `make mutants`, or `python -m tests.mutation --minutes 60`.

A mutant is the package with one operator or number changed, by the operators of cosmic-ray. Every turn draws places from each room and one of the
changes possible there, and runs the tests named in `TESTS` in a fork of this process, which has imported everything but riemgn; the fork takes the
changed source from memory. Killed is a mutant whose tests fail, do not start, crash, or take four times as long as with the package as it is.
`--seed` fixes the sample; `--folder` keeps what is done, so that the same command goes on. Of the tests named that reach the line as many
different ones run as fit into `BUDGET`; `--whole` tries the survivors again with all of them. The whole suite can only kill more.

Left out are annotations, docstrings, messages (f-strings and whatever is raised), decorators, and replacements that no operand knows (`x | y` of
numbers).
"""

import argparse
import ast
import difflib
import importlib.machinery
import importlib.util
import json
import math
import os
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "linalg": 1,
    "flow": 1,
    "geometry": 3,
    "theory/rate.py": 1,
}  # places drawn in a turn: geometry has three quarters of them all
TESTS = {
    "linalg": "thresholds linalg direction",
    "linalg/extreme.py": "thresholds solve_batch",
    "linalg/krylov.py": "thresholds krylov",
    "linalg/lanes.py": "thresholds linalg direction",
    "linalg/operator.py": "thresholds gram_gauss_newton krylov",
    "linalg/recycled.py": "recycled",
    "linalg/weighted.py": "thresholds ggn_score step_rules recycled",
    "flow": "flow",
    "flow/base.py": "flow stiff",
    "flow/ggn_score.py": "ggn_score_flow",
    "geometry": "manifold_laws submanifold geometry",
    "geometry/bridge.py": "bridge geomstats_laws geomstats_space",
    "geometry/checks.py": "check_laws checks",
    "geometry/citizen.py": "pymanopt geomstats_space ggn_score_flow",
    "geometry/curvature.py": "geometry geomstats_laws",
    "geometry/curvelaw.py": "check_laws checks",
    "geometry/descent.py": "path integrator",
    "geometry/direction.py": "slope checks",
    "geometry/door.py": "door",
    "geometry/embedded.py": "manifold_laws embedded",
    "geometry/geodesic.py": "manifold_laws geometry",
    "geometry/geomstats_base.py": "geomstats_laws geomstats_space",
    "geometry/geomstats_chart.py": "geomstats_laws geomstats_space",
    "geometry/geomstats_score.py": "ggn_score_flow",
    "geometry/geomstats_space.py": "geomstats_laws geomstats_space",
    "geometry/integrator.py": "path integrator",
    "geometry/path.py": "path integrator",
    "geometry/pymanopt_manifold.py": "pymanopt",
    "geometry/retraction.py": "manifold_laws retraction geometry",
    "geometry/slope.py": "slope checks",
    "geometry/submanifold.py": "manifold_laws submanifold geometry retraction",
    "geometry/view.py": "slope checks",
    "theory/rate.py": "rate",
}
MEASURED, BUDGET = (
    30.0,
    10.0,
)  # processor seconds of a test file that are tried once as they are, and those given to a mutant
ARITHMETIC, BITS, ORDER = "Add|Sub|Mul|Div|FloorDiv|Mod|Pow", "BitOr|BitAnd|BitXor", "Eq|NotEq|Lt|LtE|Gt|GtE"
OPERATORS = re.compile(
    "core/(" + "|".join([
        *(rf"ReplaceBinaryOperator_({group})_({group})" for group in (ARITHMETIC, BITS)),
        *(rf"ReplaceComparisonOperator_({group})_({group})" for group in (ORDER, "Is|IsNot")),
        r"ReplaceUnaryOperator_(USub_UAdd|Delete_Invert|Delete_Not)", "AddNot", "NumberReplacer", "ExceptionReplacer", "ZeroIterationForLoop",
        "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
        "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
    ]) + ")"
)  # fmt: skip
Span = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Mutant:
    """The change that `operator` makes at its place number `occurrence` of a file (relative to riemgn/); `line` is the first one changed."""

    room: str
    file: str
    line: int
    operator: str
    occurrence: int


def left_out(source: str) -> list[Span]:
    """Where nothing is changed: annotations, f-strings, what is raised, decorators; as (line, column) of beginning and end."""
    lines, nodes = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        nodes += [getattr(node, name, None) for name in ("annotation", "returns", "exc")]
        nodes += [*getattr(node, "decorator_list", []), *([node] if isinstance(node, ast.JoinedStr) else [])]

    def column(line: int, offset: int) -> int:
        return len(lines[line - 1].encode()[:offset].decode())  # ast counts bytes

    spans = [(n.lineno, n.col_offset, n.end_lineno, n.end_col_offset) for n in nodes if n is not None]
    return [((a, column(a, b)), (c, column(c, d))) for a, b, c, d in spans]


def places(room: str, file: str) -> dict[Span, list[Mutant]]:
    """The changes possible at each place of a file."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / "riemgn" / file).read_text(encoding="utf-8")
    spans, found = left_out(source), {}
    nodes = list(ast_nodes(get_ast(source)))
    for name in sorted(filter(OPERATORS.fullmatch, operator_names())):
        operator = get_operator(name)()
        positions = [span for node in nodes for span in operator.mutation_positions(node)]
        for occurrence, span in enumerate(positions):
            if not any(first <= span[0] and span[1] <= last for first, last in spans):
                found.setdefault(span, []).append(Mutant(room, file, span[0][0], name, occurrence))
    return found


def drawn(seed: int) -> tuple[dict[str, int], Iterator[Mutant]]:
    """How many places each room has, and one mutant of each, in drawn order, a turn of `ROOMS` after the other."""
    sizes, rooms = {}, {}
    for room in ROOMS:
        path = ROOT / "riemgn" / room
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        of_room = [
            changes for file in files for changes in places(room, file.relative_to(ROOT / "riemgn").as_posix()).values()
        ]
        chance = random.Random(f"{seed} {room}")
        chance.shuffle(of_room)
        sizes[room], rooms[room] = len(of_room), iter([chance.choice(changes) for changes in of_room])

    def turns() -> Iterator[Mutant]:
        while turn := [
            mutant for room, share in ROOMS.items() for _ in range(share) if (mutant := next(rooms[room], None))
        ]:
            yield from turn

    return sizes, turns()


def mutated(mutant: Mutant) -> tuple[str, str]:
    """The source of the file as it is and as the mutant has it."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / "riemgn" / mutant.file).read_text(encoding="utf-8")
    return source, mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)


# --- a process for each ----------------------------------------------------------------------------------------------


class Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from a text instead of its file; first on the path of finders, it is asked for every module."""

    def __init__(self, mutant: Mutant, source: str):
        parts = ["riemgn", *Path(mutant.file).with_suffix("").parts]
        self.is_face = parts[-1] == "__init__"
        super().__init__(".".join(parts[: -1 if self.is_face else None]), str(ROOT / "riemgn" / mutant.file))
        self.text = source

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec")

    def find_spec(self, fullname, path=None, target=None):
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )


class Observer:
    """A plugin of pytest: runs the tests of `chosen` (None: all), none after `last` processor seconds; keeps theirs and the first failure."""

    def __init__(self, chosen: list[str] | None, last: float = math.inf, coverage: Any = None):
        self.chosen, self.last, self.seconds, self.failure, self.began, self.coverage = (
            chosen,
            last,
            {},
            None,
            0.0,
            coverage,
        )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if self.chosen is None:
            cases = Counter()
            ranks = {item: (cases.update([item.originalname]), cases[item.originalname])[1] for item in items}
            items.sort(key=ranks.__getitem__)  # a case of every function first
        else:
            items[:] = sorted(
                (item for item in items if item.nodeid in self.chosen), key=lambda item: self.chosen.index(item.nodeid)
            )

    def pytest_runtest_protocol(self, item):
        self.began = time.process_time()
        if self.coverage is not None:
            self.coverage.switch_context(item.nodeid)
        return True if sum(self.seconds.values()) > self.last else None

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = time.process_time() - self.began
        if report.failed and self.failure is None:
            self.failure = report.nodeid


def selected(files: list[dict[str, float]], reaching: set[str]) -> list[str]:
    """Tests of those `reaching` the line (none: of all) within the budget, the cheapest case of every function first; by cost for each file."""
    cases: dict[str, list[str]] = {}
    seconds = {test: spent for file in files for test, spent in file.items() if not reaching or test in reaching}
    for test in sorted(seconds, key=seconds.__getitem__):
        cases.setdefault(test.partition("[")[0], []).append(test)
    ranks = [(rank, seconds[test], test) for tests in cases.values() for rank, test in enumerate(tests)]
    chosen, spent = set(), 0.0
    for _, more, test in sorted(ranks):
        if spent + more <= BUDGET or not chosen:
            chosen, spent = chosen | {test}, spent + more
    return [test for file in files for test in sorted(file, key=file.__getitem__) if test in chosen]


def in_a_fork(work: Callable[[], int], cpu: float, log: Path) -> tuple[int, float]:
    """The wait status and the CPU seconds of a child that does `work`; it is ended after `cpu` seconds, its output goes to `log`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            with log.open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
            status = work()
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tested(files: list[str], observer: Observer) -> int:
    """Pytest's exit status."""
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--no-header",
        f"--rootdir={ROOT}",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    return int(pytest.main([*options, *(str(ROOT / "tests" / name) for name in files)], plugins=[observer]))


def measured(file: str, outcome: Path) -> int:
    """Run a test file on the package as it is; to `outcome` go the seconds of its tests and, by file and line of the package, who comes there."""
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, source=[str(ROOT / "riemgn")])
    observer = Observer(None, MEASURED, coverage)
    coverage.start()
    status = tested([file], observer)
    coverage.stop()
    data, lines = coverage.get_data(), {}
    for path in data.measured_files():
        reached = {line: [test for test in tests if test] for line, tests in data.contexts_by_lineno(path).items()}
        lines[Path(path).relative_to(ROOT / "riemgn").as_posix()] = {
            line: tests for line, tests in reached.items() if tests
        }
    outcome.write_text(json.dumps({"seconds": observer.seconds, "lines": lines}))
    return status


def tried(files: list[str], chosen: list[str] | None, changed: Changed, outcome: Path) -> int:
    """Run tests on a mutant; the first failure goes to `outcome`."""
    sys.meta_path.insert(0, changed)
    observer = Observer(chosen)
    status = tested(files, observer)
    outcome.write_text(json.dumps({"failure": observer.failure}))
    return status


def end(code: int, failure: str | None, late: bool) -> str:
    """What killed a mutant, from the exit status of its process; empty where it survives."""
    if code < 0:
        return "time" if late else "crash"
    return {0: "", 1: failure or "fails"}.get(code, "does not start")


# --- the run ---------------------------------------------------------------------------------------------------------


class Run:
    """What lies in a folder: seconds of the tests as they are, and the mutants that are done."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.baseline, self.results = folder, folder / "baseline.json", folder / "mutants.jsonl"
        self.known = json.loads(self.baseline.read_text()) if self.baseline.exists() else {}

    def files(self, mutant: Mutant) -> list[str]:
        return [f"test_{name}.py" for name in TESTS.get(mutant.file, TESTS[mutant.room]).split()]

    def measure(self, file: str) -> None:
        """Run a test file on the package as it is."""
        if file in self.known:
            return
        outcome = self.folder / "outcome.json"
        status, cpu = in_a_fork(lambda: measured(file, outcome), 3600, self.folder / "log.txt")
        if status:
            raise SystemExit(f"{file} fails on the package as it is: see {self.folder / 'log.txt'}")
        self.known[file] = json.loads(outcome.read_text())
        print(f"{cpu:6.1f} s  {file} as it is, {len(self.known[file]['seconds'])} tests", flush=True)
        self.baseline.write_text(json.dumps(self.known))

    def chosen(self, mutant: Mutant, files: list[str]) -> list[str]:
        known = [self.known[file] for file in files]
        reaching = {test for each in known for test in each["lines"].get(mutant.file, {}).get(str(mutant.line), [])}
        return selected([each["seconds"] for each in known], reaching)

    def judge(self, mutant: Mutant, whole: bool = False) -> dict:
        """What became of a mutant, with the lines it changes; `whole` gives it every test of its files."""
        files, outcome = self.files(mutant), self.folder / "outcome.json"
        for file in [] if whole else files:
            self.measure(file)
        before, after = mutated(mutant)
        chosen, limit = (None, 3600.0) if whole else (self.chosen(mutant, files), 60 + 4 * BUDGET)
        outcome.unlink(missing_ok=True)
        status, cpu = in_a_fork(
            lambda: tried(files, chosen, Changed(mutant, after), outcome), limit, self.folder / "log.txt"
        )
        seen = json.loads(outcome.read_text()) if outcome.exists() else {}
        if os.waitstatus_to_exitcode(status) == 5:
            raise SystemExit(f"no test was run for {mutant}")
        killed = end(os.waitstatus_to_exitcode(status), seen.get("failure"), cpu > limit - 1)
        change = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        return {**asdict(mutant), "killed": killed, "cpu": round(cpu, 1), "change": list(change)[3:]}

    def keep(self, result: dict) -> None:
        with self.results.open("a") as stream:
            stream.write(json.dumps(result) + "\n")

    def done(self) -> list[dict]:
        """The mutants that were tried; the last word on each holds."""
        return [json.loads(line) for line in self.results.read_text().splitlines()] if self.results.exists() else []


def summary(results: list[dict], sizes: dict[str, int]) -> str:
    """Scores by room with Jeffreys' 95 % intervals; the whole weighs each room by its number of places."""
    import numpy as np

    chance, whole, score, lines = np.random.default_rng(0), 0.0, 0.0, []
    for room, size in sizes.items():
        killed = [bool(result["killed"]) for result in results if result["room"] == room]
        share, draws = (
            size / sum(sizes.values()),
            chance.beta(sum(killed) + 0.5, len(killed) - sum(killed) + 0.5, 100_000),
        )
        whole, score = whole + share * draws, score + share * (sum(killed) / len(killed) if killed else 0.5)
        low, high = np.quantile(draws, [0.025, 0.975])
        lines.append(f"{room:16} {size:5} places {len(killed):4} drawn {sum(killed):4} killed  [{low:.0%}, {high:.0%}]")
    low, high = np.quantile(whole, [0.025, 0.975])
    survivors = [
        f"riemgn/{r['file']}:{r['line']} {r['operator']}\n  " + "\n  ".join(r["change"])
        for r in results
        if not r["killed"]
    ]
    return "\n".join([*lines, f"whole            {score:.1%} killed [{low:.1%}, {high:.1%}]", "", *survivors])


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no mutant after that time")
    parser.add_argument("--seed", type=int, default=0, help="which places are drawn")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mutants", help="what is done is kept here")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="try the survivors again, with every test of their files, and no other mutant",
    )
    given = parser.parse_args(words)
    started, run = time.monotonic(), Run(given.folder.resolve() / f"seed-{given.seed}")
    from tests.conftest import PROGRAMS

    os.environ[PROGRAMS] = str(run.folder / "programs")  # every mutant is a process of one session
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(run.folder / "hypothesis")
    for name in ("diffrax", "hypothesis", "optimistix", "pandas", "scipy.optimize", "scipy.stats", "sklearn.datasets"):
        importlib.import_module(name)
    if "riemgn" in sys.modules:
        raise SystemExit("riemgn is imported already: its mutants would not be seen")
    sizes, mutants = drawn(given.seed)
    known = {tuple(result[name] for name in Mutant.__dataclass_fields__): result for result in run.done()}
    results = []
    for mutant in mutants:
        result = known.get(tuple(asdict(mutant).values()))
        late = time.monotonic() - started > 60 * given.minutes
        if result is None and (late or given.whole):
            break
        if result is None or (given.whole and not late and not result["killed"]):
            result = run.judge(mutant, given.whole)
            run.keep(result)
            print(
                f"{result['cpu']:6.1f} s  {result['killed'] or 'SURVIVES':60} {result['file']}:{result['line']}",
                flush=True,
            )
        results.append(result)
    print(summary(results, sizes))


if __name__ == "__main__":
    main()
