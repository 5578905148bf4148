"""The documentation builds with warnings as errors, shows every public name, essay and figure, and asks nothing of the web."""

import ast
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import riemgn
from figures.page import essays
from riemgn.experiment.reproduce import discover
from riemgn.theory import CLAIMS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(str(riemgn.__file__)).parent  # beside the tests or installed from a wheel
INNER = ("exponential_time", "integration", "planning", "stiff")  # behind `solve`
OFF_THE_FACE = {"riemgn.problem.Linearisation"}  # met by who writes a flow
pytest.importorskip("myst_nb", reason='the documentation needs `pip install "riemgn[docs]"`')


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """A fresh process, as `make docs` is; what the session compiled already is taken from its folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if programs := os.environ.get("RIEMGN_TEST_PROGRAMS"):
        environment["JAX_COMPILATION_CACHE_DIR"] = programs
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    built = run("import sys; from figures.site.__main__ import main; sys.exit(main(sys.argv[1:]))", out)
    assert built.returncode == 0, built.stderr
    return out


def pages(site: Path) -> dict[str, str]:
    return {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))
    }


def inventory(site: Path) -> list[tuple[str, str, str]]:
    """Name, kind and address of everything the site can be asked for, from `objects.inv`."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    rows = (line.split(" ", 4) for line in zlib.decompress(packed).decode().splitlines())
    return [(name, kind, address.replace("$", name)) for name, kind, _, address, _ in rows]


def shown_by(path: Path) -> set[str]:
    """The names of a face: what it imports `as` itself from its files, and the tables it makes of them."""
    body = ast.parse(path.read_text()).body
    inner = [node for branch in body if isinstance(branch, ast.If) for node in branch.body]
    aliases = [
        alias.asname
        for node in [*body, *inner]
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]
    tables = [node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {name for name in (*aliases, *tables) if name and not name.startswith("_")}


def defined(path: Path) -> set[str]:
    nodes = ast.parse(path.read_text()).body
    return {
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }


def expected_names() -> set[str]:
    """From the sources alone: the face, the faces of the rooms, and the ready-made problems and abstract classes that lie in files."""
    face = shown_by(PACKAGE / "__init__.py")
    named = {f"riemgn.{name}" for name in face} | OFF_THE_FACE
    for path in PACKAGE.glob("*/__init__.py"):
        if path.parent.name != "cli":
            named |= {f"riemgn.{path.parent.name}.{name}" for name in shown_by(path) - face}
    for path in PACKAGE.glob("*.py"):
        if path.stem == "task":
            named |= {f"riemgn.task.{name}" for name in defined(path) - face}
        elif not path.stem.startswith("_") and path.stem not in INNER:
            named |= {f"riemgn.{path.stem}.{name}" for name in defined(path) if name.startswith("Abstract")}
    return named | {f"riemgn.theory.rigorous.{name}" for name in defined(PACKAGE / "theory" / "rigorous.py")}


def test_the_api_shows_every_public_name_and_no_other(site):
    kinds = ("py:class", "py:function", "py:data", "py:exception")
    shown = {
        name
        for name, kind, address in inventory(site)
        if kind in kinds and address.startswith("api/") and address.endswith(f"#{name}")
    }
    assert shown == expected_names()


def test_every_page_has_a_title_and_is_reached_from_the_first(site):
    found = {
        name: text
        for name, text in pages(site).items()
        if not name.startswith(("_modules/", "genindex", "py-modindex", "search"))
    }
    assert len(found) >= 25 + len(essays())
    assert all(re.search(r"<h1>[^<]|<h1><code", text) for text in found.values())
    reached, waiting = set(), ["index.html"]
    while waiting:
        here = waiting.pop()
        if here in reached or here not in found:
            continue
        reached.add(here)
        links = re.findall(r'href="([^"#:?]+\.html)', found[here])
        waiting += [os.path.normpath(os.path.join(os.path.dirname(here), link)) for link in links]
    assert reached == set(found)


def test_what_a_cell_draws_is_a_picture_on_its_page(site):
    for name in ("getting_started.html", "howto/figure.html"):
        assert re.search(r'<img alt="[^"]*" src="[./]*_images/[0-9a-f]{64}\.png"', pages(site)[name]), name


def test_no_page_loads_anything_from_the_web(site):
    loading = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="(?:https?:)?//',
        re.I,
    )
    assert [name for name, text in pages(site).items() if loading.search(text)] == []
    assert not re.search(
        r"@import|url\(['\"]?(?:https?:)?//", "".join(path.read_text() for path in site.rglob("*.css"))
    )
    assert loading.search('<script async src="https://example.org/a.js"></script>')


def test_every_claim_has_its_row_with_code_command_and_verdict(site):
    page, addresses = pages(site)["theorems.html"], {name: address for name, _, address in inventory(site)}
    words = re.sub(r"<[^>]+>", "", page)
    for name, claim in CLAIMS.items():
        code = f"{claim.examine.__module__}.{claim.examine.__qualname__}"
        assert addresses[code].startswith("theorems.html") and f"riemgn certify {name}," in words
        assert f'id="claim-{name.replace("_", "-")}"' in page
    shown = [item for item in discover() if (ROOT / "figures" / item.paper / f"{item.id}.json").is_file()]
    assert len(shown) > 25
    for item in shown:
        paper = pages(site)[f"papers/{item.paper}.html"]
        assert f'id="{item.paper}-{item.id.replace("_", "-")}"' in paper and f"_images/{item.id}" in paper


def test_every_essay_has_its_page_with_picture_and_code(site):
    found = pages(site)
    for essay in essays():
        page = found[f"essays/{essay.item.id}.html"]
        assert f"_images/{essay.item.id}" in page and 'class="k">def</span>' in page


FAULTY = """---
file_format: mystnb
kernelspec:
  name: python3
---

# A page with three faults

See [](nowhere.md), and {py:func}`riemgn.no_such_function`.

```{code-cell}
assert 1 + 1 == 3, "a cell that fails"
```
"""


def test_a_broken_link_an_unknown_name_and_a_failing_cell_are_each_refused(tmp_path):
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text(FAULTY)
    code = "import sys; from pathlib import Path; from figures.site.__main__ import build; sys.exit(build(*map(Path, sys.argv[1:])))"
    built = run(code, source, tmp_path / "site")
    assert built.returncode != 0
    for fault in ("nowhere.md", "riemgn.no_such_function", "CellExecutionError"):
        assert re.search(rf"WARNING: .*{re.escape(fault)}", built.stderr), (fault, built.stderr)


def test_a_wrong_number_in_a_record_turns_the_verdict(tmp_path, monkeypatch):
    from figures.site import records

    (item,) = (item for item in discover() if item.name == "cayci2024/equivalence")
    text = (records.FIGURES / "cayci2024" / "equivalence.json").read_text()
    assert records.shown(item).verdict == "holds"
    (tmp_path / "cayci2024").mkdir()
    (tmp_path / "cayci2024" / "equivalence.json").write_text(re.sub(r'"measured": [^,]+,', '"measured": 1e9,', text))
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    assert records.shown(item).verdict == "fails"
