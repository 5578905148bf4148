"""Class labels: as text, sorted, and checked against those that a named set has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

_DIGITS = "0123456789"
_LABELS: dict[str, str] = {
    "mnist": _DIGITS,
    "fashion_mnist": _DIGITS,
    "pendigits": _DIGITS,
    "letter": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "avila": "ABCDEFGHIWXY",
}
MAX_CATEGORIES = 50  # more one-hot columns than this is an identifier or free text, not a category


def as_classes(labels: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as text (None where missing) and the sorted classes: numbers sort as numbers.

    Raises:
        ValueError: more than `MAX_CATEGORIES` classes.
    """
    text, classes = _as_text(labels)
    if len(classes) > MAX_CATEGORIES:
        raise ValueError(
            f"The target '{name}' has {len(classes)} different classes, at most {MAX_CATEGORIES} are allowed."
        )
    return text, classes


def check_labels(name: str, paths: list[Path], parts: list[np.ndarray], place: Callable[[int, int], str]) -> None:
    """Check that every label is one of the named set's, and that the files it comes as, training and test, have the same ones.

    Arguments:
        name: the set.
        paths: the one file or two with labels.
        parts: the labels in each, NaN where missing.
        place: the words for where in its file a row of a part stands.

    Raises:
        ValueError: one sentence naming the file and the place of the first label that is not right.
    """
    import pandas as pd

    known = _LABELS[name]
    texts = [_as_text(part)[0].astype(str) for part in parts]
    for i, labels in enumerate(texts):
        for row in np.flatnonzero(~np.isin(labels, list(known)))[:1]:
            found = (
                "the label is missing"
                if pd.isna(parts[i][row])
                else f"the label '{labels[row]}' is none of those of '{name}', {', '.join(known)}"
            )
            raise ValueError(f"'{paths[i]}', {place(i, row)}: {found}.")
    for i, other in ((1, 0), (0, 1)) if len(texts) == 2 else ():
        for row in np.flatnonzero(~np.isin(texts[i], texts[other]))[:1]:
            raise ValueError(
                f"'{paths[i]}', {place(i, row)}: the label '{texts[i][row]}' does not occur in '{paths[other]}'."
            )


def _as_text(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    import pandas as pd

    known = pd.notna(labels)
    distinct = sorted(set(labels[known].tolist()))
    words = {c: str(int(c)) if isinstance(c, float) and c.is_integer() else str(c) for c in distinct}
    text = np.array([words[c] if ok else None for c, ok in zip(labels.tolist(), known, strict=True)], dtype=object)
    return text, tuple(words.values())
