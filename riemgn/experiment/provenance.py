"""Where numbers come from: versions, git commit, and a hash of the sources."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


def provenance() -> dict[str, Any]:
    """Return versions, and the git commit of the checkout (None outside one)."""
    names = ("riemgn", "jax", "diffrax", "numpy")
    return {"versions": {name: _version(name) for name in names}, "python": platform.python_version(), **_commit()}


def source_hash(files: Iterable[Path], *words: str) -> str:
    """Return the SHA-256 of the contents of `files`, sorted by name, and of `words`."""
    digest = hashlib.sha256("\0".join(words).encode())
    for path in sorted(files, key=lambda path: path.as_posix()):
        digest.update(f"\0{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def package_sources() -> list[Path]:
    """Return every Python file of the package."""
    return list(PACKAGE.rglob("*.py"))


def is_checkout(folder: Path) -> bool:
    """Whether `folder` is the root of a checkout of this project."""
    project = folder / "pyproject.toml"
    return project.is_file() and 'name = "riemgn"' in project.read_text(encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    nowhere = {"commit": None, "uncommitted_changes": None}
    if not is_checkout(PACKAGE.parent):
        return nowhere
    git, options = ("git", "-C", str(PACKAGE.parent)), {"text": True, "timeout": 10}
    try:
        head, status = (
            subprocess.check_output([*git, *words], stderr=subprocess.DEVNULL, **options).strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return nowhere
    return {"commit": head, "uncommitted_changes": bool(status)}
