"""The site builds without warnings, shows all public names, and loads nothing from the web."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import riemgn
from figures.page import essays
from figures.site import records
from riemgn.experiment.reproduce import discover
from riemgn.theory import CLAIMS

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("myst_nb", reason='the documentation needs `pip install "riemgn[docs]"`')


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that shares the compiled programs of the session."""
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
    return {path.relative_to(site).as_posix(): path.read_text("utf-8") for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_api_shows_every_public_name(site):
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    addresses = {line.split(" ")[0]: line.split(" ")[3] for line in zlib.decompress(packed).decode().splitlines()}
    missing = {f"riemgn.{name}" for name in dir(riemgn)} - addresses.keys()
    assert missing == set()
    for claim in CLAIMS.values():
        assert addresses[f"{claim.compute.__module__}.{claim.compute.__qualname__}"].startswith("theorems.html")


@pytest.mark.slow
def test_every_page_is_reached_from_the_first(site):
    found = {name: text for name, text in pages(site).items() if not re.match("_modules/|genindex|search", name)}
    reached, waiting = set(), ["index.html"]
    while waiting:
        here = waiting.pop()
        if here in found and here not in reached:
            reached.add(here)
            links = re.findall(r'href="([^"#:?]+\.html)', found[here])
            waiting += [os.path.normpath(os.path.join(os.path.dirname(here), link)) for link in links]
    assert reached == set(found) and {"statements.html", "limits.html"} <= reached


@pytest.mark.slow
def test_figures_and_essays_have_their_pictures(site):
    found = pages(site)
    for essay in essays():
        assert f"_images/{essay.item.id}" in found[f"essays/{essay.item.id}.html"]
    for record in records.paper_records():
        assert f"_images/{record.item.id}" in found[f"papers/{record.item.paper}.html"]


@pytest.mark.slow
def test_no_page_loads_anything_from_the_web(site):
    loading = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*\shref="https?://[^"]*\.css'
    )
    assert loading.search('<script async src="https://example.org/a.js"></script>')
    assert [name for name, text in pages(site).items() if loading.search(text)] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", styles)


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


@pytest.mark.slow
def test_broken_link_unknown_name_and_failing_cell_are_refused(tmp_path):
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text(FAULTY)
    imports = "import sys; from pathlib import Path; from figures.site.__main__ import build; "
    built = run(f"{imports}sys.exit(build(*map(Path, sys.argv[1:])))", source, tmp_path / "site")
    assert built.returncode != 0
    for fault in ("nowhere.md", "riemgn.no_such_function", "CellExecutionError"):
        assert re.search(rf"WARNING: .*{re.escape(fault)}", built.stderr), (fault, built.stderr)


def test_wrong_number_in_a_record_turns_the_verdict(tmp_path, monkeypatch):
    (item,) = (item for item in discover() if item.name == "cayci2024/equivalence")
    text = (records.FIGURES / "cayci2024" / "equivalence.json").read_text()
    assert records.record_of(item).verdict == "holds"
    (tmp_path / "cayci2024").mkdir()
    (tmp_path / "cayci2024" / "equivalence.json").write_text(re.sub(r'"measured": [^,]+,', '"measured": 1e9,', text))
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    assert records.record_of(item).verdict == "fails"
