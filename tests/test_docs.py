"""What the README and the docstrings show is run as it stands."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import riemgn

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "figures" / "README.md")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def module_names() -> list[str]:
    found = pkgutil.walk_packages(riemgn.__path__, prefix="riemgn.")
    return ["riemgn", *(info.name for info in found if not info.name.endswith("__main__"))]


def python_blocks(text: str) -> list[str]:
    """The python blocks of a page, moved down by empty lines so that a traceback names the page's line."""
    return ["\n" * text.count("\n", 0, match.start(1)) + match.group(1) for match in BLOCK.finditer(text)]


def run_blocks(text: str) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in python_blocks(text):
        exec(compile(block, str(README), "exec"), namespace)
    return namespace


def table_headers(text: str) -> list[list[str]]:
    """The header cells, in lower case, of every table of a page."""
    rows = re.findall(r"^\|(.+)\|[ \t]*\n\|[ \t:|-]+\|[ \t]*$", text, re.MULTILINE)
    return [[cell.strip().lower() for cell in row.split("|")] for row in rows]


def test_the_readme_shows_at_least_five_snippets():
    assert len(python_blocks(README.read_text())) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets_run(page, tmp_path, monkeypatch):
    text = page.read_text()
    assert python_blocks(text)
    monkeypatch.chdir(tmp_path)
    run_blocks(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert links
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []


def test_readme_has_the_status_table():
    headers = table_headers(README.read_text())
    assert any({"claim", "command", "status"} <= set(header) for header in headers), headers


def test_pages_are_read_in_order_in_one_namespace():
    page = "text\n```python\na = 1\n```\nmore\n```bash\nexit 1\n```\n```python\nb = a + 1\n```\n"
    assert run_blocks(page)["b"] == 2
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks("one\n```python\n1 / 0\n```\n")
    assert caught.traceback[-1].lineno + 1 == 3


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert outcome.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        example
        for name in module_names()
        for found in finder.find(importlib.import_module(name))
        for example in found.examples
    ]
    assert len(examples) >= 20


def test_readme_names_tests_that_exist():
    """Every `pytest FILE -k WORD` of the page selects at least one test."""
    named = re.findall(r"`pytest (\S+) -k (\w+)`", README.read_text())
    assert named
    for path, word in named:
        assert re.search(rf"^def test_\w*{word}", (ROOT / path).read_text(), re.MULTILINE), (path, word)
