"""Count the words that make prose hard or easy to read: `python -m tests.words [path ...]`.

The prose is the README, the pages of the site and every docstring; code, tables of doctests and
formulas between backticks do not count. Three rates per 10 000 words have a target: words of an
old or literary register and private metaphors, semicolons, and words that help a reader. With
paths, the counts of each file are printed and no target is enforced.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROSE = ("README.md", "figures/site/pages", "riemgn", "paper_repro", "figures")
MARKERS = re.compile(
    r"\b(beside|besides|anew|whatever|whence|whereof|thereof|nor|lies|stands|is none|are none|dealt|upon|shall"
    r"|owes?|heeds?|heeded|bears? out|borne out|goes by|told|at rest|patience|citizens?|waist"
    r"|faces?|rooms?|floors?|doors?"
    r"|(?<!at )least(?![ -]squares)(?= [a-z]))\b",
    re.IGNORECASE,
)
HELPERS = re.compile(
    r"\b(you|your|yours|such as|because|for example|for instance|note that|by default|defaults? to)\b", re.IGNORECASE
)
TARGETS = {"markers": (8, False), "semicolons": (50, False), "helping words": (60, True)}


def docstrings(path: Path) -> str:
    """All docstrings of a Python file without the lines of their examples."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, kinds)
    ]
    return "\n\n".join(
        re.sub(r"^[ \t]*>>>.*?(?=^[ \t]*$|\Z)", "", text, flags=re.MULTILINE | re.DOTALL) for text in found
    )


def prose(path: Path) -> str:
    """The words of a file without code, links and formulas."""
    text = path.read_text("utf-8") if path.suffix == ".md" else docstrings(path)
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\$\$.*?\$\$|`[^`]*`|\$[^$\n]*\$|\]\([^)]*\)|https?://\S+", " ", text, flags=re.DOTALL)


def counts(text: str) -> dict[str, int]:
    """Words, markers, semicolons and helping words of a text."""
    return {
        "words": len(re.findall(r"[A-Za-z][A-Za-z'-]*", text)),
        "markers": len(MARKERS.findall(text)),
        "semicolons": text.count(";"),
        "helping words": len(HELPERS.findall(text)),
    }


def files(places: list[str]) -> list[Path]:
    """The Markdown and Python files of the places, each once; generated pages are left out."""
    found: set[Path] = set()
    for place in (ROOT / place for place in places):
        found |= {place} if place.is_file() else {*place.rglob("*.py"), *place.rglob("*.md")}
    return sorted(found)


def main(places: list[str]) -> int:
    """Print the rates of all prose, or of each given file; return 1 if a target is missed."""
    found = {path: counts(prose(path)) for path in files(places or list(PROSE))}
    if places:
        for path, each in sorted(found.items(), key=lambda pair: -pair[1]["markers"]):
            print(f"{path.relative_to(ROOT)}: " + ", ".join(f"{number} {name}" for name, number in each.items()))
            print("".join(f"    {word}" for word in MARKERS.findall(prose(path))))
    words = sum(each["words"] for each in found.values())
    missed = 0
    for name, (target, at_least) in TARGETS.items():
        rate = 1e4 * sum(each[name] for each in found.values()) / max(words, 1)
        holds = rate >= target if at_least else rate <= target
        missed += not holds
        relation = "at least" if at_least else "at most"
        print(f"{name}: {rate:.0f} per 10 000 words, target {relation} {target}: {'holds' if holds else 'missed'}")
    return 0 if places or not missed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
