"""Run the tests on an installed package: `make test-wheel` or `python -m tests.wheel [options]`.

The wheel in dist/ is installed into its own environment. The source archive is unpacked into an
empty folder without its two packages. There pytest runs, so that their imports use the wheel.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

DIST = Path(__file__).resolve().parents[1] / "dist"
PACKAGES = ("riemgn", "paper_repro")
PRINT_PLACES = f"""
import importlib, pathlib, sysconfig
for name in {PACKAGES}:
    file = pathlib.Path(importlib.import_module(name).__file__)
    assert file.is_relative_to(sysconfig.get_path("purelib")), file
    print(file)
"""


def only(pattern: str) -> Path:
    """The one file of dist/ that matches."""
    (found,) = DIST.glob(pattern)
    return found


def run(python: Path, *words: str, folder: Path) -> int:
    """The exit status of a command of that Python in that folder, with no path but its own."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run([str(python), *words], cwd=folder, env=environment).returncode


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="riemgn-wheel-") as scratch:
        environment, place = Path(scratch) / "venv", Path(scratch) / "place"
        venv.create(environment, with_pip=True)
        python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        if run(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            f"{only('*.whl')}[dev]",
            folder=Path(scratch),
        ):
            return 1
        with tarfile.open(only("*.tar.gz")) as archive:
            archive.extractall(place, filter="data")
        (root,) = place.iterdir()
        for name in PACKAGES:
            shutil.rmtree(root / name)
        spread = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder")
        return run(python, "-c", PRINT_PLACES, folder=root) or run(
            python,
            "-m",
            "pytest",
            *spread,
            "-m",
            "not slow and not papers and not full and not checkout",
            *options,
            folder=root,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
