"""Build the documentation: `python -m figures.site [FOLDER]`, by default into build/site."""

import os
import shutil
import sys
import typing
from pathlib import Path

typing.GENERATING_DOCUMENTATION = True  # set first, so that jaxtyping keeps `Float[Array, " n"]` in signatures  # pyright: ignore

from sphinx.cmd.build import main as sphinx  # noqa: E402

from .api import api_pages  # noqa: E402
from .essays import essay_pages  # noqa: E402
from .papers import paper_pages  # noqa: E402

HERE = Path(__file__).resolve().parent
FIGURES, ROOT = HERE.parent, HERE.parents[1]


def stage(folder: Path) -> Path:
    """Copy the pages of this folder, and write those made from the package, into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "pages", folder)
    shutil.copy(FIGURES / "conditioning.toml", folder)
    for picture in FIGURES.glob("*/*.png"):
        (folder / "pictures" / picture.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / "pictures" / picture.parent.name)
    for path, text in {**api_pages(), **essay_pages(), **paper_pages()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def build(source: Path, out: Path) -> int:
    """Run Sphinx and return its exit status; warnings are errors.

    The kernels that run the cells use this checkout and share their compiled programs.
    """
    work = out.with_name(f"{out.name}-work")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "programs"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # nearly all the time is compilation
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}".strip()
    strict = ["-W", "--keep-going", "-n", "-E", "-q"]  # -E reruns unchanged pages, because the package may have changed
    return sphinx([*strict, "-b", "html", "-c", str(HERE), "-d", str(work / "doctrees"), str(source), str(out)])


def main(arguments: list[str]) -> int:
    out = Path(arguments[0] if arguments else "build/site").resolve()
    return build(stage(out.with_name(f"{out.name}-work") / "pages"), out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
