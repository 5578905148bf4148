"""Pictures of the page: drawn from stored numbers, several at a time, with the stored file in their place where they cannot be."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from .vector import Sheet

FEW = 6  # pictures that are drawn before other processes would have started
MOST_JOBS = 4


@dataclass
class Picture:
    """A figure of the page.

    - `alt`: what it shows, in words.
    - `draw`: function without arguments, known to other processes too, that gives the figure; or the reason why there is none.
    - `png`: the stored picture.
    - `svg`: the element, once `draw_all` has been there; `note`: what a reader must know.
    """

    alt: str
    draw: Callable[[], Any] | str
    png: Path | None = None
    svg: Markup | None = None
    note: str = ""


def draw_all(pictures: Sequence[Picture], sheet: Sheet, jobs: int | None = None) -> None:
    """Give each picture its element; `jobs` processes, by default as many as there are processors, at most four."""
    for chosen, (text, reason) in zip(pictures, _texts([chosen.draw for chosen in pictures], jobs), strict=True):
        try:
            chosen.svg = sheet.add(text) if text else sheet.add_png(chosen.png) if chosen.png else None
        except (OSError, ValueError):
            chosen.svg = None
        if not text:
            kept = "The stored picture" if chosen.svg else "No picture"
            chosen.note = " ".join(
                filter(None, [f"{kept}: it cannot be drawn from the stored numbers ({reason}).", chosen.note])
            )


def _texts(draws: list[Callable[[], Any] | str], jobs: int | None) -> list[tuple[str, str]]:
    from joblib import cpu_count, delayed, Parallel

    jobs = min(MOST_JOBS, cpu_count()) if jobs is None else jobs
    if jobs == 1 or len(draws) <= FEW:
        return [_text(draw) for draw in draws]
    return cast(Any, Parallel)(n_jobs=jobs, backend="loky")(
        delayed(_text)(draw) for draw in draws
    )  # joblib states no types


def _text(draw: Callable[[], Any] | str) -> tuple[str, str]:
    """The SVG document of what `draw` draws, or none and the reason.

    A figure is drawn from whatever a file holds, so that any exception only says that it cannot be.
    """
    from ..experiment import svg_text
    from ..plot import settle, style

    if isinstance(draw, str):
        return "", draw
    collecting = gc.isenabled()
    gc.disable()  # a figure is a hundred thousand objects and no garbage: to look for it takes a sixth of the time
    try:
        with style():
            fig = draw()
            settle(fig)
            return svg_text(fig), ""
    except Exception as trouble:
        return "", " ".join(f"{type(trouble).__name__}: {trouble}".split())[:200]
    finally:
        if collecting:
            gc.enable()
