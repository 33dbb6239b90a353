"""Tables of text as people bring them: CSV of any delimiter, of spreadsheets too."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from basket.errors import LabelError, NotThereError

#: A row: the number of its (last) line, and its cells.
Row = tuple[int, list[str]]

_USUAL = ",;\t|"
#: What stands inside of paths and names, and so parts nothing.
_NO_DELIMITER = frozenset("\"'._-/\\()[]{}#\r\n")
_TRIED_ROWS = 1000
_EXCEL_LINE = re.compile(r'\s*"?sep=(\\t|[^"\r\n])"?(?=\r|\n|$)')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_rows(path: Path) -> tuple[bytes, list[Row]]:
    """Bytes of a table, and those of its rows that are not blank, with cells stripped.

    Raises
    ------
    NotThereError
        No such file, or a folder.
    LabelError
        It is empty, not text, not a table, or drives a terminal.
    """
    raw = _read_bytes(path)
    text = _decoded(path, raw)
    excel = _EXCEL_LINE.match(text)
    delimiter = excel[1].replace("\\t", "\t") if excel else _delimiter(text)
    try:
        reader = _parsed(text, delimiter, strict=True)
        rows = [(number, [cell.strip() for cell in row]) for number, row in reader]
    except csv.Error as error:
        raise LabelError(f"{path} is not a CSV file: {error}") from None
    rows = [(number, row) for number, row in rows if any(row)][1 if excel else 0 :]
    for number, row in rows:
        if strange := next((cell for cell in row if _CONTROL.search(cell)), None):
            # A terminal would do what it says: clear the screen, or rename the window.
            raise LabelError(
                f"{path} line {number}: {strange!r} contains a control character; remove it"
            )
    if not rows:
        raise LabelError(f"{path} is empty; expected a header and one row per video")
    return raw, rows


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotThereError(f"There is no label file {path}; check the path") from None
    except IsADirectoryError:
        raise NotThereError(f"{path} is a folder; name its label files: {path}/*.csv") from None
    except OSError as error:
        raise LabelError(f"The label file {path} cannot be read: {error.strerror}") from error


def _decoded(path: Path, raw: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 as spreadsheets save "Unicode text"."""
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in raw[:2]:
        encoding = "utf-16-be" if raw[0] == 0 else "utf-16-le"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8"
        ) from None


def _delimiter(text: str) -> str:
    """What parts most rows into as many cells as the header; commas where that is one cell."""
    first = text.lstrip().split("\n", 1)[0]
    others = [char for char in first if not char.isalnum() and char not in _NO_DELIMITER]

    def rows_alike(delimiter: str) -> float:
        try:
            rows = [row for _, row in islice(_parsed(text, delimiter), _TRIED_ROWS)]
        except csv.Error:
            return 0.0
        widths = [len(row) for row in rows if any(map(str.strip, row))]
        return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0.0

    usual = max(_USUAL, key=rows_alike)
    return usual if rows_alike(usual) or not others else max(others, key=rows_alike)


def _parsed(text: str, delimiter: str, *, strict: bool = False) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    return ((reader.line_num, row) for row in reader)
