"""Reading a CSV of measurements as people have it: separator, decimal mark and way of writing time are found out.

`tocsin sim replay` and `tocsin backtest` read through here, so that a file means the same to both.

What is understood:
1. Separators `;`, tab, `|`, `,`; decimal point or, where the separator is not itself a comma, decimal comma. One file
   has one decimal mark: a file that uses both is refused, never guessed at.
2. Time as ISO 8601 (no offset = UTC), as a few unambiguous date formats, or as Unix time in s, ms, µs or ns; or no
   time at all: with `rate_hz`, rows are evenly spaced. Day/month order is not guessed.
3. Empty cells, `nan`, `null`, `NA`, `-`, `?` and infinities are absent values: NaN.
4. A first column without a name (a data frame's index) or beyond the header (R's row names) is a row label, no channel.

Rows keep the file's order, also where times repeat or run backwards: what to make of that is the reader's business.
Values are converted as they are read, so memory is that of the numbers and the time labels, not of the text.
"""

from __future__ import annotations

import difflib
import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.csv_layout import Layout, open_text, read_rows, sniff_layout
from models.contract.time_text import TimeReader, time_reader
from models.errors import ConfigError

ROW_EPOCH_NS: Final = 946_684_800 * NS_PER_S  # 2000-01-01: where row 0 is placed in a file without times

_TIME_NAMES: Final = (
    "datetime",
    "timestamp",
    "date_time",
    "time",
    "date",
    "ts",
    "t",
    "_time",
    "time_s",
    "time_ms",
    "captured_at",
)
_ABSENT: Final = frozenset(("", "nan", "null", "none", "na", "n/a", "-", "?"))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`time_ns`: (n,) int64 Unix ns. `values`: (n, c) float64, NaN where absent. `time_labels`: the time cells as written
    (row numbers where there is no time column, and `time_column` is "")."""

    time_ns: NDArray[np.int64]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    time_labels: list[str]
    time_column: str


def read_table(
    path: Path,
    time_column: str | None = None,
    ignore: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    rate_hz: float | None = None,
) -> Table:
    """The measurements in the CSV file at `path`.

    `time_column`: its name; None = the first that looks like one. `ignore`: columns to leave out. `only`: columns to
    keep, none = all. `rate_hz`: rows are evenly spaced, the first at 2000-01-01; `time_column` then only keeps that
    column from being a channel.
    Raises ConfigError naming file, line, column and what was expected.
    """
    with open_text(path) as file:
        layout = sniff_layout(path, file)
        file.seek(0)
        rows = read_rows(path, file, layout)
        first = next(rows, None)
        if first is None:
            raise ConfigError(str(path), "at least one row of values below the header")
        at = _time_index(path, layout.header, first[1], time_column, rate_hz)
        left_out = {at} | {_index(path, layout.header, name) for name in ignore}
        wanted = {_index(path, layout.header, name) for name in only} or set(range(len(layout.header)))
        kept = [i for i in range(len(layout.header)) if i in wanted - left_out]
        if not kept:
            raise ConfigError(str(path), "at least one column of values beside the time")
        number, labels, values = _Numbers(path, layout), list[str](), array("d")
        times = array("q")
        to_ns = _Times(path, layout.header[at], first[1][at]) if at is not None and rate_hz is None else None
        for line, cells in chain([first], rows):
            label = cells[at].strip() if at is not None else str(len(labels))
            times.append(to_ns(line, label) if to_ns else ROW_EPOCH_NS + round(len(labels) * NS_PER_S / (rate_hz or 1.0)))
            labels.append(label)
            values.extend([number(line, i, cells[i]) for i in kept])
    return Table(
        time_ns=np.array(times, dtype=np.int64),
        columns=tuple(layout.header[i] for i in kept),
        values=np.array(values, dtype=np.float64).reshape(-1, len(kept)),
        time_labels=labels,
        time_column=layout.header[at] if at is not None else "",
    )


def channel_names(columns: Sequence[str]) -> list[str]:
    """Channel names for `columns`, valid and distinct: `Water flow [l/s]` becomes `Water_flow_l_s`."""
    names: list[str] = []
    for column in columns:
        stem = re.sub(r"[^A-Za-z0-9_.\-]+", "_", column).strip("_.-")[:56] or "column"
        name, n = stem, 1
        while name in names:
            name, n = f"{stem}_{n + 1}", n + 1
        names.append(name)
    return names


def _time_index(path: Path, header: list[str], cells: list[str], time_column: str | None, rate_hz: float | None) -> int | None:
    """Which column is the time: the named one, else one with a usual name, else the first that holds dates."""
    if time_column is not None:
        return _index(path, header, time_column)
    if rate_hz is not None:
        return None
    lower = [name.lower().replace(" ", "_") for name in header]
    usual = [lower.index(name) for name in _TIME_NAMES if name in lower]
    dates = [i for i, cell in enumerate(cells) if not re.fullmatch(r"\s*[-+]?[\d.,]+([eE][-+]?\d+)?\s*", cell)]
    for i in usual + dates:
        try:
            time_reader(cells[i].strip())
        except ValueError:
            continue
        return i
    raise ConfigError(str(path), f"a time column; none of {', '.join(header[:12])} is one (name it, or give the rows' rate)")


def _index(path: Path, header: list[str], name: str) -> int:
    """The column called `name`, exactly or but for case. Raises ConfigError with the nearest name."""
    if name in header:
        return header.index(name)
    lower = [column.lower() for column in header]
    if lower.count(name.lower()) == 1:
        return lower.index(name.lower())
    near = difflib.get_close_matches(name, header, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{path}: column {name!r}", f"one of {', '.join(header[:20])}{hint}")


class _Times:
    """Time cells to Unix ns, all written like the first."""

    def __init__(self, path: Path, column: str, first: str) -> None:
        self._path = path
        self._column = column
        try:
            self._reader: TimeReader = time_reader(first.strip())
        except ValueError:
            raise ConfigError(f"{path}: column {column!r}", f"ISO 8601 or Unix times, not {first!r}") from None

    def __call__(self, line: int, text: str) -> int:
        try:
            return self._reader.ns(text)
        except ValueError:
            where = f"{self._path}: line {line}, column {self._column!r}"
            raise ConfigError(where, f"{self._reader.expects}, not {text[:40]!r}") from None


class _Numbers:
    """Cells to numbers, holding the file to one decimal mark: the first one seen."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._header = layout.header
        self._comma_allowed = layout.separator != ","
        self._mark = ""

    def __call__(self, line: int, column: int, cell: str) -> float:
        """NaN where absent. Raises ConfigError where `cell` is neither a number nor absent."""
        text = cell.strip()
        mark = "." if "." in text else ("," if "," in text and self._comma_allowed else "")
        try:
            value = float(text.replace(",", ".") if mark == "," else text)
        except ValueError:
            if text.lower() in _ABSENT:
                return math.nan
            raise self._error(
                line, column, f"a number or nothing, not {cell[:40]!r} (leave the column out if it is none)"
            ) from None
        if mark and mark != self._mark:
            if self._mark:
                raise self._error(line, column, f"one decimal mark in the file: {self._mark!r} so far, here {cell[:40]!r}")
            self._mark = mark
        return value if math.isfinite(value) else math.nan

    def _error(self, line: int, column: int, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: line {line}, column {self._header[column]!r}", expected)
