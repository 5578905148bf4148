"""Snippets of the README, the gallery and the docstrings run and print what is shown."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest

import riemgn

ROOT = Path(__file__).resolve().parents[1]
README, GALLERY = ROOT / "README.md", ROOT / "figures" / "README.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(
    r"^```python[ \t]*\n(.*?)^```[ \t]*$(?:\s*^```text[ \t]*\n(.*?)^```[ \t]*$)?", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def run_blocks(text: str) -> list[tuple[str, str]]:
    """Run the python blocks of a page; return printed and shown output of those that show some."""
    namespace: dict[str, object] = {"__name__": "page"}
    outputs = []
    for match in BLOCK.finditer(text):
        code = "\n" * text.count("\n", 0, match.start(1)) + match.group(1)  # a traceback names the line of the page
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "page", "exec"), namespace)
        if match.group(2) is not None:
            outputs.append((printed.getvalue(), match.group(2)))
    return outputs


def same_output(printed: str, shown: str) -> bool:
    """Whether two texts agree in words, and in numbers to 5 % (below 1e-6 counts as zero)."""
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", text)).strip() for text in (printed, shown)]
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, shown)]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=1e-6)


@pytest.mark.parametrize("page", [README, pytest.param(GALLERY, marks=pytest.mark.slow)], ids=["readme", "gallery"])
def test_snippets_run_and_print_what_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text("utf-8")
    assert BLOCK.search(text)
    for printed, shown in run_blocks(text):
        assert same_output(printed, shown), f"printed:\n{printed}\nshown:\n{shown}"


@pytest.mark.parametrize("page", [README, GALLERY], ids=["readme", "gallery"])
def test_links_exist(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert links
    assert [link for link in links if not link.startswith("http") and not (page.parent / link).exists()] == []


def test_wrong_output_and_a_failing_block_are_noticed():
    page = "one\n```python\nprint('a', 1.0)\n```\n```text\na 1.01\n```\n"
    assert same_output(*run_blocks(page)[0]) and not same_output("a 1.0", "a 1.2") and not same_output("a 1", "b 1")
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(f"{page}\n```python\n1 / 0\n```\n")
    assert caught.traceback[-1].lineno + 1 == 10


MODULES = [info.name for info in pkgutil.walk_packages(riemgn.__path__, "riemgn.") if info.name != "riemgn.__main__"]


@pytest.mark.parametrize("name", ["riemgn", *MODULES])
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0
