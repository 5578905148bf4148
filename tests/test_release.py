"""What is given away: one version everywhere, a wheel and a source archive with all they need, workflows that name what there is."""

import importlib
import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from riemgn import cli
from riemgn.experiment.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OFFICIAL = re.compile(r"(actions/[\w-]+@v\d+|pypa/gh-action-pypi-publish@release/v1)")
PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", line)]

# --- one version -----------------------------------------------------------------------------------------------------


def newest_of(changelog: str) -> str:
    """The version of the first section of a changelog that has one: `## [1.2.3] - 2026-01-31` or `## 1.2.3, unreleased`."""
    return re.findall(r"^## \[?v?(\d+\.\d+\.\d+\w*)", changelog, re.MULTILINE)[0]


def test_the_command_line_says_the_version(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"riemgn {PROJECT['version']}\n"


def test_every_reader_has_the_version_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = newest_of((ROOT / "figures" / "site" / "pages" / "changelog.md").read_text(encoding="utf-8"))
    readers = {
        "installed": version("riemgn"),
        "records": provenance()["versions"]["riemgn"],
        "citation": citation["version"],
        "changelog": changelog,
    }
    assert readers == dict.fromkeys(readers, PROJECT["version"])


def test_the_version_is_written_nowhere_else():
    package = Path(importlib.import_module("riemgn").__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert [name for name, text in texts.items() if f'"{PROJECT["version"]}"' in text] == []


@pytest.mark.parametrize(
    ("text", "newest"),
    [
        ("# Log\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n## [1.1.9]\n", "1.2.0"),
        ("## 0.2.0, unreleased\n## 0.1.0\n", "0.2.0"),
        ("## v1.0.0rc1 (May)\n", "1.0.0rc1"),
    ],
)
def test_the_newest_version_of_a_changelog_is_its_first(text, newest):
    assert newest_of(text) == newest


# --- wheel and source archive ----------------------------------------------------------------------------------------


def built(folder: Path, monkeypatch) -> tuple[list[str], Message, dict[str, bytes]]:
    """The wheel that hatchling makes of the source archive of this checkout: names in the archive, metadata, files of the wheel."""
    backend = importlib.import_module("hatchling.build")
    with monkeypatch.context() as moved:
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


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return built(tmp_path_factory.mktemp("release"), monkeypatch)


def of_packages(names) -> set[str]:
    return {name for name in names if name.startswith(("riemgn/", "paper_repro/"))}


@pytest.mark.checkout
def test_the_wheel_holds_both_packages_and_nothing_else(release):
    _, _, files = release
    wanted = {
        path.relative_to(ROOT).as_posix() for name in ("riemgn", "paper_repro") for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert of_packages(files) == wanted
    for kind in ("py.typed", "claims.toml", ".json", "references.bib", ".html.j2"):
        assert any(name.endswith(kind) for name in wanted), kind
    assert {name.split("/")[0].rpartition(".")[2] for name in files} == {"riemgn", "paper_repro", "dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in files)
    assert any(
        b"riemgn = riemgn.cli:main" in content for name, content in files.items() if name.endswith("entry_points.txt")
    )


@pytest.mark.checkout
def test_the_source_archive_holds_what_the_tests_need(release):
    names, _, files = release
    assert of_packages(files) <= set(names)
    wanted = {
        path.relative_to(ROOT).as_posix() for name in ("tests", "figures") for path in (ROOT / name).rglob("*.py")
    }
    missing = {
        *wanted,
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "Makefile",
        "setup.cfg",
        "pyproject.toml",
        "figures/site/pages/changelog.md",
    } - set(names)
    assert missing == set()
    assert [name for name in names if re.search(r"(^|/)(\.venv|\.git|__pycache__|dist|runs)(/|$)", name)] == []


@pytest.mark.checkout
def test_the_metadata_say_what_the_project_says(release):
    _, metadata, _ = release
    assert (
        metadata["Name"] == "riemgn"
        and metadata["Version"] == PROJECT["version"]
        and metadata["License-Expression"] == "Apache-2.0"
    )
    assert metadata["Requires-Python"] == PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(PROJECT["optional-dependencies"])
    assert len(metadata.get_all("Requires-Dist")) == len(PROJECT["dependencies"]) + sum(
        map(len, PROJECT["optional-dependencies"].values())
    )
    assert metadata["Description-Content-Type"] == "text/markdown"


@pytest.mark.checkout
def test_the_description_points_at_nothing_an_index_does_not_have(release):
    _, metadata, _ = release
    text, page = metadata.get_payload(), (ROOT / "README.md").read_text(encoding="utf-8")
    relative = re.compile(r"\]\((?!https?://|#)")
    assert relative.search(page) and relative.search(text) is None
    assert re.findall(r"^#.*", text, re.MULTILINE) == re.findall(r"^#.*", page, re.MULTILINE)
    assert "*Picture: On the diabetes data" in text and "](https://arxiv.org/abs/2412.14031v4)" in text


# --- workflows -------------------------------------------------------------------------------------------------------


def steps_of(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def problems_of(workflow: dict, targets: set[str]) -> list[str]:
    """What a workflow gets wrong: targets that are not there, Pythons that are not promised, actions of others, rights to write."""
    made = {name for step in steps_of(workflow) for name in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    said = [f"no target {name}" for name in sorted(made - targets)]
    said += [
        f"action {step['uses']}"
        for step in steps_of(workflow)
        if "uses" in step and not OFFICIAL.fullmatch(step["uses"])
    ]
    matrices = [job["strategy"]["matrix"]["python"] for job in workflow["jobs"].values() if "strategy" in job]
    named = [step["with"]["python-version"] for step in steps_of(workflow) if "python-version" in step.get("with", {})]
    said += [f"Pythons {versions}" for versions in matrices if versions != PYTHONS]
    said += [f"Python {name}" for name in named if name not in {*PYTHONS, "${{ matrix.python }}"}]
    said += [] if workflow.get("permissions") == {"contents": "read"} else ["may write"]
    return said + ([] if "concurrency" in workflow else ["runs twice"])


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.checkout
def test_there_are_workflows_for_lint_tests_documents_and_releases():
    assert {path.stem for path in WORKFLOWS} == {"lint", "tests", "docs", "release"}


@pytest.mark.checkout
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_what_there_is(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert problems_of(workflow, make_targets()) == []
    assert any(
        step.get("uses", "").startswith("actions/setup-python") and step["with"]["cache"] == "pip"
        for step in steps_of(workflow)
    )


def test_a_workflow_that_is_wrong_is_seen():
    steps = [{"uses": "someone/else@main"}, {"run": "make coffee"}, {"with": {"python-version": "2.7"}}]
    job = {"strategy": {"matrix": {"python": ["3.9"]}}, "steps": steps}
    wrong = problems_of({"jobs": {"a": job}, "permissions": "write-all"}, {"test"})
    assert wrong == [
        "no target coffee",
        "action someone/else@main",
        "Pythons ['3.9']",
        "Python 2.7",
        "may write",
        "runs twice",
    ]


@pytest.mark.checkout
def test_hooks_call_the_tools_of_the_project():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [source["repo"] for source in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook["entry"] for source in config["repos"] for hook in source["hooks"]}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    tools = {re.split(r" --| \.", line.strip().removeprefix("$(BIN)/"))[0] for line in lint.splitlines()}
    assert tools == {re.split(r" --| \.", entry)[0] for entry in hooks.values()}
