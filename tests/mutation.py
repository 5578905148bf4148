"""Change one operator or number at a time and see whether a test fails: `make mutants`.

A place is drawn at random from the given files or folders of riemgn, changed in a copy of the
package, and the tests of the same folder (`riemgn/flow/x.py` -> `tests/flow`) run against the copy.
The command prints each change that no test noticed, and the share of changes that a test noticed.

    python -m tests.mutation riemgn/flow riemgn/linalg --count 40 --seed 1
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600  # tests that take longer count as failed: a change can make a loop endless
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
    ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def places(tree: ast.AST) -> list[ast.AST]:
    """The nodes that can be changed: operators and numbers outside annotations and messages."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        for name in ("annotation", "returns", "exc", "decorator_list")
        for part in [getattr(node, name, None)]
        for each in (part if isinstance(part, list) else [part])
        if isinstance(each, ast.AST)
        for inner in ast.walk(each)
    }
    found = []
    for node in ast.walk(tree):
        operator = getattr(node, "op", None) or next(iter(getattr(node, "ops", [])), None)
        number = isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float)
        if id(node) not in skipped and (type(operator) in SWAPS or number):
            found.append(node)
    return found


def change(node: ast.AST) -> None:
    """Swap the operator of a node, negate its truth value or add 1 to its number, in place."""
    if isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif hasattr(node, "ops"):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    else:
        node.op = SWAPS[type(node.op)]()


def tests_of(file: Path) -> str:
    """The folder or file of tests that mirrors a file of the package."""
    inner = file.relative_to(ROOT / "riemgn")
    return f"tests/{inner.parent}" if inner.parent != Path(".") else f"tests/test_{inner.name}"


def noticed(file: Path, place: int, folder: Path) -> tuple[bool, str]:
    """Whether the tests fail with one place of the file changed, and the change as text."""
    tree = ast.parse(file.read_text("utf-8"))
    node = places(tree)[place]
    before = ast.unparse(node)
    change(node)
    target = folder / file.relative_to(ROOT)
    target.write_text(ast.unparse(tree), "utf-8")
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests_of(file)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=SECONDS)
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    shutil.copyfile(file, target)
    return failed, f"{file.relative_to(ROOT)}:{node.lineno}: {before}  ->  {ast.unparse(node)}"


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("where", nargs="*", default=["riemgn/linalg", "riemgn/flow"], help="files or folders")
    parser.add_argument("--count", type=int, default=20, help="number of changes to try")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    given = parser.parse_args(words)
    files = [
        path
        for where in given.where
        for path in ([ROOT / where] if where.endswith(".py") else (ROOT / where).rglob("*.py"))
    ]
    every = [
        (file, place) for file in sorted(files) for place in range(len(places(ast.parse(file.read_text("utf-8")))))
    ]
    drawn = random.Random(given.seed).sample(every, min(given.count, len(every)))
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="riemgn-mutants-") as scratch:
        folder = Path(scratch) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "build", "dist", "*.png"))
        for file, place in drawn:
            failed, text = noticed(file, place, folder)
            survivors += not failed
            print(("noticed   " if failed else "SURVIVES  ") + text, flush=True)
    print(f"{len(drawn) - survivors} of {len(drawn)} changes noticed by the tests ({len(every)} places in all)")


if __name__ == "__main__":
    main(sys.argv[1:])
