"""Text from a serial line: JSON objects or comma-separated values, one a line, `\\n` or `\\r\\n`.

Text lines carry no checksum. A torn JSON line is almost always no JSON; a torn CSV line is noticed by its number of
columns, but one that lost digits and no separator is not: prefer COBS frames on a line that loses bytes.
"""

from __future__ import annotations

import math
from typing import Final

from agent.sources.config import IGNORED, TIME_KEYS
from agent.sources.decode import Channels, Decoded, decode_object, object_time, read_json, time_ns
from models.contract.clock import NS_PER_S
from models.contract.reading import Reading, Readings
from models.errors import FrameError

# What firmware prints where it has no number; "ovf" is Arduino's for one too large to print.
_ABSENT: Final = frozenset(("", "nan", "null", "none", "na", "n/a", "-", "ovf", "inf", "+inf", "-inf"))
_NS_PER_UNIT: Final = {"t": NS_PER_S, "t_ms": 1_000_000, "t_ns": 1}


class JsonLines:
    """Decodes one line holding one object; see `decode` for its keys."""

    def __init__(self, channels: Channels, asset: str | None, device_time: bool) -> None:
        self._channels = channels
        self._asset = asset
        self._device_time = device_time

    def __call__(self, line: bytes, now_ns: int) -> Decoded:
        """Raises FrameError."""
        if not line.strip():
            return Decoded()
        fields = read_json(line)
        if type(fields) is not dict:
            raise FrameError(f"expected a JSON object, got {line[:40]!r}")
        at_ns = object_time(fields) if self._device_time else None
        return decode_object(fields, self._asset, self._channels, at_ns, now_ns)


class CsvLines:
    """Decodes one line of values in the order of `columns`; a line that repeats the columns' names is a header."""

    def __init__(self, channels: Channels, asset: str, columns: tuple[str, ...], separator: str, device_time: bool) -> None:
        names = channels.get(asset, frozenset())
        self._asset = asset
        self._columns = columns
        self._separator = separator
        self._time = next(((i, c) for i, c in enumerate(columns) if c in TIME_KEYS), None) if device_time else None
        self._wanted = [(i, c) for i, c in enumerate(columns) if c in names]
        self._n_unknown = sum(c not in names and c not in (IGNORED, *TIME_KEYS) for c in columns)

    def __call__(self, line: bytes, now_ns: int) -> Decoded:
        """Raises FrameError: not ASCII, another number of columns, or a field that is neither number nor absent."""
        try:
            fields = line.decode("ascii").strip("\r ").split(self._separator)
        except UnicodeDecodeError:
            raise FrameError(f"expected ASCII text, got {line[:40]!r}") from None
        if fields == [""]:
            return Decoded()
        if len(fields) != len(self._columns):
            raise FrameError(f"expected {len(self._columns)} columns, got {len(fields)} in {line[:40]!r}")
        if tuple(field.strip() for field in fields) == self._columns:
            return Decoded()
        at_ns = self._time_of(fields)
        taken_ns = now_ns if at_ns is None else at_ns
        readings: list[Readings] = [Reading(self._asset, c, taken_ns, _number(fields[i], c)) for i, c in self._wanted]
        return Decoded(readings, self._n_unknown, at_ns is not None)

    def _time_of(self, fields: list[str]) -> int | None:
        if self._time is None:
            return None
        index, unit = self._time
        text = fields[index].strip()
        if not text:
            return None
        # Whole numbers stay whole: a float would round ns by a few hundred.
        value = int(text) if text.isdigit() and len(text) <= 20 else _number(text, unit)
        return time_ns(value, _NS_PER_UNIT[unit], unit)


def _number(field: str, what: str) -> float:
    """NaN for what firmware prints in place of a number. Raises FrameError for any other text."""
    try:
        value = float(field)
    except ValueError:
        if field.strip().lower() in _ABSENT:
            return math.nan
        raise FrameError(f"{what}: expected a number, got {field[:40]!r}") from None
    if "_" in field:  # Python's own spelling of digits, not a sensor's
        raise FrameError(f"{what}: expected a number, got {field[:40]!r}")
    return value if math.isfinite(value) else math.nan
