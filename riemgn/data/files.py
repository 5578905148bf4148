"""Readers of tables and IDX files: a malformed file ends in one sentence with its name, and the line if it has any."""

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
Column = Any  # a pandas.Series; pandas takes half a second to import and is imported where it is used
_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UNSIGNED_BYTE = 8
_LEAST_NUMERIC_SHARE = 0.5  # a column with more numbers than this is numeric, and its texts are slips of the pen


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The content of a file, unpacked if it is gzip, and the sha256 of the file as it lies on disk.

    Raises:
        ValueError: the file cannot be read or unpacked.
    """
    try:
        stored = path.read_bytes()
    except OSError as trouble:
        raise ValueError(f"Cannot read '{path}': {trouble.strerror or trouble}.") from None
    digest = hashlib.sha256(stored).hexdigest()
    if not stored.startswith(_GZIP_MAGIC):
        return stored, digest
    try:
        return gzip.decompress(stored), digest
    except (EOFError, OSError, zlib.error) as trouble:
        raise ValueError(f"'{path}' is a truncated or damaged gzip file ({trouble}).") from None


def read_idx(path: Path) -> tuple[np.ndarray, str]:
    """An IDX file of unsigned bytes (the format of MNIST) as an array, and the sha256 of the file.

    Raises:
        ValueError: the header is no IDX header, or the file is shorter or longer than its header says.
    """
    content, digest = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_UNSIGNED_BYTE:
        raise ValueError(f"'{path}' is no IDX file of unsigned bytes: it begins with {content[:4]!r}.")
    ndim = content[3]
    start = 4 + 4 * ndim
    shape = tuple(np.frombuffer(content[4 : min(start, len(content) // 4 * 4)], ">u4").tolist())
    if len(shape) < ndim or len(content) - start != math.prod(shape):
        expected = f"{start + math.prod(shape)} bytes" if len(shape) == ndim else f"a header of {start} bytes"
        raise ValueError(f"'{path}' is truncated or damaged: {expected} expected, {len(content)} bytes found.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape), digest


def read_table(
    path: Path, names: list[str] | None = None, text: tuple[str, ...] | None = None, ended: bool = False
) -> tuple[Frame, str]:
    """A delimited text file as a frame whose columns are float64 or text and whose index is the line number, and the sha256 of the file.

    Empty fields, `?` and the usual words for a missing value become NaN. A first line without any number is the header.

    Arguments:
        path: comma, semicolon or tab separated text, plain or gzip.
        names: the columns, for a format without header; each line must have as many fields.
        text: the columns that may hold text; None lets every column.
        ended: whether the last line must end; the files of the named sets do, so one that does not was cut off, perhaps within a number.

    Raises:
        ValueError: not UTF-8, no rows, a line with too few or too many fields, a text among numbers, an infinity, a last line that does not end.
    """
    import pandas as pd

    stored, digest = read_bytes(path)
    try:
        content = stored.decode("utf-8-sig")
    except UnicodeDecodeError as trouble:
        line = stored.count(b"\n", 0, trouble.start) + 1
        raise ValueError(
            f"'{path}', line {line}: this is not UTF-8 text, byte {trouble.start} of the file cannot be decoded."
        ) from None
    first = content.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines, header = _checked_lines(path, content, separator, names)
    if ended and not content.endswith(("\n", "\r")):
        raise ValueError(
            f"'{path}', line {lines[-1]}: the last line does not end, so the file is cut off (or lacks the line break at its end)."
        )
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
    """The line number of each row, and whether the first line is a header; all have the same number of fields."""
    reader = csv.reader(io.StringIO(content), delimiter=separator, skipinitialspace=True)
    lines, width, header = [], len(names) if names else 0, False
    try:
        for fields in reader:
            if not fields:
                continue
            if not lines and names is None:
                width, header = len(fields), not any(map(_is_number, fields))
            if len(fields) != width:
                raise ValueError(f"'{path}', line {reader.line_num}: {len(fields)} fields found, {width} expected.")
            lines.append(reader.line_num)
    except csv.Error as trouble:
        raise ValueError(f"'{path}', line {reader.line_num}: {trouble}.") from None
    if header:
        lines = lines[1:]
    if not lines:
        raise ValueError(f"'{path}' holds no rows.")
    if width < 2:
        raise ValueError(f"'{path}' has one column, at least a feature and a target are needed.")
    return lines, header


def _numeric_or_text(column: Column, path: Path, lines: list[int], may_be_text: bool) -> Column:
    import pandas as pd

    numbers = cast(pd.Series, pd.to_numeric(column, errors="coerce")).astype("float64")
    texts = (numbers.isna() & column.notna()).to_numpy()
    share = numbers.notna().sum() / max(column.notna().sum(), 1)
    if texts.any() and (not may_be_text or share > _LEAST_NUMERIC_SHARE):
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
