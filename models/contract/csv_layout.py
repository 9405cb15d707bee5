"""How a CSV file is cut into cells: its encoding, its separator, its header, and the rows below it."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from models.errors import ConfigError

MAX_TABLE_BYTES: Final = 256 * 1024 * 1024
MAX_TABLE_COLUMNS: Final = 512

_SAMPLE_BYTES: Final = 65536
_SAMPLE_LINES: Final = 20
_SEPARATORS: Final = (";", "\t", "|", ",")


@dataclass(frozen=True, slots=True)
class Layout:
    """`skip` leading cells of each data row are row labels without a header; `header` names the cells after them."""

    separator: str
    header: list[str]
    skip: int


def open_text(path: Path) -> TextIO:
    """The file as text: UTF-8, with or without a mark, else Latin-1, which old loggers and spreadsheets write."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise ConfigError(str(path), f"a CSV file of at most {MAX_TABLE_BYTES // 1024**2} MiB")
        with path.open("rb") as raw:
            sample = raw.read(_SAMPLE_BYTES)
        if b"\x00" in sample:
            raise ConfigError(str(path), "a CSV text file; this one is binary or UTF-16")
        try:
            codecs.getincrementaldecoder("utf-8")().decode(sample)
        except UnicodeDecodeError:
            return path.open(encoding="latin-1", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None


def sniff_layout(path: Path, file: TextIO) -> Layout:
    """The separator under which header and first rows agree best; a rarer separator wins over the comma."""
    sample = file.read(_SAMPLE_BYTES)
    lines = [line for line in sample.splitlines() if line.strip()]
    if len(sample) == _SAMPLE_BYTES and len(lines) > 1:
        lines.pop()  # cut off in the middle
    if not lines:
        raise ConfigError(str(path), "a header row and rows of values; the file is empty")
    _, best = max((_cut(lines[:_SAMPLE_LINES], separator) for separator in _SEPARATORS), key=lambda ranked: ranked[0])
    return _checked(path, best)


def read_rows(path: Path, file: TextIO, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row below the header; blank lines are passed over. Raises ConfigError on a ragged row."""
    reader = csv.reader(file, delimiter=layout.separator, strict=True)
    width, header_seen = len(layout.header) + layout.skip, False
    try:
        for cells in reader:
            if not any(cells) and len(cells) <= 1:
                continue
            if not header_seen:
                header_seen = True
                continue
            if len(cells) != width:
                where = f"{path}: line {reader.line_num}"
                raise ConfigError(where, f"{width} cells separated by {layout.separator!r}, not {len(cells)}")
            yield reader.line_num, cells[layout.skip :]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: after line {reader.line_num}", f"CSV text: {error}") from None


def _cut(lines: list[str], separator: str) -> tuple[tuple[int, int], Layout]:
    """(how well the lines agree when cut at `separator`, the layout that follows)."""
    header, *rows = csv.reader(lines, delimiter=separator)
    widths = [len(row) for row in rows]
    skip = 1 if len(header) > 1 and set(widths) == {len(header) + 1} else 0
    agreeing = 1 + sum(width == len(header) + skip for width in widths) if len(header) > 1 else 0
    return (agreeing, len(header)), Layout(separator, [cell.strip() for cell in header], skip)


def _checked(path: Path, layout: Layout) -> Layout:
    """`layout` with a name for every column. Raises ConfigError where the first row cannot be a header."""
    header, skip = layout.header, layout.skip
    if len(header) > 1 and not header[0]:
        header, skip = header[1:], skip + 1
    header = [name or f"column{i + 1 + skip}" for i, name in enumerate(header)]
    if len(header) > MAX_TABLE_COLUMNS:
        raise ConfigError(str(path), f"at most {MAX_TABLE_COLUMNS} columns, not {len(header)}")
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        raise ConfigError(f"{path}: line 1", f"distinct column names; {twice!r} is there twice")
    if any(re.fullmatch(r"[-+]?\d+([.,]\d*)?", name) for name in header):
        raise ConfigError(f"{path}: line 1", f"a header row of column names, not {layout.separator.join(header)[:60]!r}")
    return Layout(layout.separator, header, skip)
