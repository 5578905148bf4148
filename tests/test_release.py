"""The release: one version everywhere, a wheel and a source archive with all they need."""

import importlib
import re
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from riemgn import cli
from riemgn.experiment.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_command_line_prints_the_version(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"riemgn {PROJECT['version']}\n"


def test_version_is_the_same_everywhere():
    changelog = (ROOT / "figures" / "site" / "pages" / "changelog.md").read_text("utf-8")
    versions = {
        "installed": version("riemgn"),
        "records": provenance()["versions"]["riemgn"],
        "citation": yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"],
        "changelog": re.findall(r"^## \[?v?(\d+\.\d+\.\d+\w*)", changelog, re.MULTILINE)[0],
    }
    assert versions == dict.fromkeys(versions, PROJECT["version"])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Names in the source archive, and metadata and files of the wheel that is made of it."""
    folder, backend = tmp_path_factory.mktemp("release"), importlib.import_module("hatchling.build")
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(ROOT)
        archive = folder / backend.build_sdist(str(folder))
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
            names = [Path(*Path(name).parts[1:]).as_posix() for name in opened.getnames()]
        moved.chdir(folder / archive.name.removesuffix(".tar.gz"))
        wheel = folder / backend.build_wheel(str(folder))
    with zipfile.ZipFile(wheel) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    (metadata,) = (content for name, content in files.items() if name.endswith(".dist-info/METADATA"))
    return names, Parser().parsestr(metadata.decode()), files


@pytest.mark.checkout
def test_wheel_holds_both_packages_and_nothing_else(release):
    names, _, files = release
    packages = [path for name in ("riemgn", "paper_repro") for path in (ROOT / name).rglob("*")]
    expected = {path.relative_to(ROOT).as_posix() for path in packages if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in files if ".dist-info/" not in name} == expected
    assert {Path(name).suffix for name in expected} >= {".typed", ".toml", ".json", ".bib", ".j2"}
    assert expected <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in files)
    assert any(b"riemgn = riemgn.cli:main" in text for name, text in files.items() if name.endswith("entry_points.txt"))


@pytest.mark.checkout
def test_source_archive_holds_what_the_tests_need(release):
    names, _, _ = release
    scripts = [path for name in ("tests", "figures") for path in (ROOT / name).rglob("*.py")]
    needed = {path.relative_to(ROOT).as_posix() for path in scripts}
    needed |= {"README.md", "LICENSE", "CITATION.cff", "Makefile", "setup.cfg", "pyproject.toml"}
    assert needed <= set(names)
    assert [name for name in names if re.search(r"(^|/)(\.venv|\.git|__pycache__|dist|runs)(/|$)", name)] == []


@pytest.mark.checkout
def test_metadata_matches_the_project_and_the_readme(release):
    _, metadata, _ = release
    assert (metadata["Name"], metadata["Version"]) == ("riemgn", PROJECT["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(PROJECT["optional-dependencies"])
    text, readme = metadata.get_payload(), (ROOT / "README.md").read_text("utf-8")
    links = re.compile(r"\]\((?!https?://|#)")  # an index has no files of the repository to link to
    assert links.search(readme) and links.search(text) is None
    assert re.findall(r"^#.*", text, re.MULTILINE) == re.findall(r"^#.*", readme, re.MULTILINE)
