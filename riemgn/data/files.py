"""Readers of tables and IDX files, with errors that name the file and the line."""

import csv
import gzip
import hashlib
import io
import math
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np

Frame = Any  # a pandas.DataFrame
Column = Any  # a pandas.Series. pandas is imported late, because the import takes 0.5 s.
_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UNSIGNED_BYTE = 8
_MIN_NUMERIC_SHARE = 0.5  # above this share of numbers, a text in a column is an error


def read_bytes(path: Path) -> tuple[bytes, str]:
    """Return the content of a file, unpacked if it is gzip, and the sha256 of the stored file.

    Raises: `ValueError` if the file cannot be read or unpacked.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise ValueError(f"Cannot read '{path}': {error.strerror or error}.") from None
    digest = hashlib.sha256(stored).hexdigest()
    if not stored.startswith(_GZIP_MAGIC):
        return stored, digest
    try:
        return gzip.decompress(stored), digest
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"'{path}' is a truncated or damaged gzip file ({error}).") from None


def read_idx(path: Path) -> tuple[np.ndarray, str]:
    """Return an IDX file of unsigned bytes (the format of MNIST) as an array, and its sha256.

    Raises: `ValueError` for another format, or if the size does not match the header.
    """
    content, digest = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_UNSIGNED_BYTE:
        raise ValueError(f"'{path}' is not an IDX file of unsigned bytes: it begins with {content[:4]!r}.")
    ndim = content[3]
    start = 4 + 4 * ndim
    shape = tuple(np.frombuffer(content[4 : min(start, len(content) // 4 * 4)], ">u4").tolist())
    if len(shape) < ndim or len(content) - start != math.prod(shape):
        expected = f"{start + math.prod(shape)} bytes" if len(shape) == ndim else f"a header of {start} bytes"
        raise ValueError(f"'{path}' is truncated or damaged: expected {expected}, got {len(content)} bytes.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape), digest


def read_table(
    path: Path, names: list[str] | None = None, text: tuple[str, ...] | None = None, complete: bool = False
) -> tuple[Frame, str]:
    """Return a delimited text file as a frame, and its sha256.

    The columns are float64 or text, and the index is the line number. Empty fields, `?` and the
    usual words for a missing value become NaN. A first line without any number is the header.

    Arguments:

    - `path`: comma, semicolon or tab separated text, plain or gzip.
    - `names`: the columns of a format without header. Each line must have as many fields.
    - `text`: the columns that may hold text, or None (default) for all.
    - `complete`: whether the last line must end with a line break, because a truncated file may end
      within a number (default False).

    Raises: `ValueError` for a file that is not UTF-8 or has no rows, a wrong number of fields, text
    among numbers, an infinity, or a truncated last line.
    """
    import pandas as pd

    stored, digest = read_bytes(path)
    try:
        content = stored.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = stored.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"'{path}', line {line}: this is not UTF-8 text, byte {error.start} of the file cannot be decoded."
        ) from None
    first = content.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines, header = _checked_lines(path, content, separator, names)
    if complete and not content.endswith(("\n", "\r")):
        raise ValueError(f"'{path}', line {lines[-1]}: the last line has no line break, so the file may be truncated.")
    frame = pd.read_csv(
        io.StringIO(content), sep=separator, header=0 if header else None, names=names, index_col=False,
        na_values=["?"], skipinitialspace=True, low_memory=False,
    )  # fmt: skip
    frame.columns = [str(c).strip() if header or names else f"column_{c}" for c in frame.columns]
    for column in frame.columns:
        frame[column] = _numeric_or_text(frame[column], path, lines, text is None or column in text)
    frame.index = pd.Index(lines)
    return frame, digest


def _checked_lines(path: Path, content: str, separator: str, names: list[str] | None) -> tuple[list[int], bool]:
    """Return the line number of each row, and whether the first line is a header."""
    reader = csv.reader(io.StringIO(content), delimiter=separator, skipinitialspace=True)
    lines, width, header = [], len(names) if names else 0, False
    try:
        for fields in reader:
            if not fields:
                continue
            if not lines and names is None:
                width, header = len(fields), not any(map(_is_number, fields))
            if len(fields) != width:
                raise ValueError(f"'{path}', line {reader.line_num}: expected {width} fields, got {len(fields)}.")
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"'{path}', line {reader.line_num}: {error}.") from None
    if header:
        lines = lines[1:]
    if not lines:
        raise ValueError(f"'{path}' has no rows.")
    if width < 2:
        raise ValueError(f"'{path}' has one column, but needs a feature and a target.")
    return lines, header


def _numeric_or_text(column: Column, path: Path, lines: list[int], may_be_text: bool) -> Column:
    import pandas as pd

    numbers = cast(pd.Series, pd.to_numeric(column, errors="coerce")).astype("float64")
    texts = (numbers.isna() & column.notna()).to_numpy()
    share = numbers.notna().sum() / max(column.notna().sum(), 1)
    if texts.any() and (not may_be_text or share > _MIN_NUMERIC_SHARE):
        row = int(texts.argmax())
        raise ValueError(f"'{path}', line {lines[row]}, column '{column.name}': '{column.iloc[row]}' is not a number.")
    infinite = np.isinf(numbers.to_numpy())
    if infinite.any():
        row = int(infinite.argmax())
        raise ValueError(f"'{path}', line {lines[row]}, column '{column.name}': {column.iloc[row]} is not finite.")
    return column.astype(object) if texts.any() else numbers


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
