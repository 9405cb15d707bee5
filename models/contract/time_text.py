"""Times as people write them into tables: the first cell decides how the rest of the column is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from models.contract.clock import NS_PER_S

# Only formats in which day and month cannot be mistaken for each other; 03/04/2024 is refused rather than guessed at.
_FORMATS: Final = (
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d.%H.%M.%S",
    "%d.%m.%Y %H:%M:%S.%f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NS: Final = 2**63 - 1  # the year 2262
# |number| below the limit: what it counts, as ns
_UNIX: Final = ((1e11, "Unix seconds", NS_PER_S), (1e14, "Unix ms", 10**6), (1e17, "Unix µs", 10**3), (9.2e18, "Unix ns", 1))


@dataclass(frozen=True, slots=True)
class TimeReader:
    """`ns(text)`: Unix ns; raises ValueError where `text` is not written like the first cell. `expects`: for messages."""

    ns: Callable[[str], int]
    expects: str


def time_reader(first: str) -> TimeReader:
    """How a column that begins with `first` is read. Raises ValueError where it is no time."""
    try:
        number = float(first)
    except ValueError:
        return _calendar_reader(first)
    for limit, name, unit_ns in _UNIX:
        if abs(number) < limit:
            return TimeReader(partial(_unix_ns, unit_ns=unit_ns), name)
    raise ValueError(f"{first!r} is no Unix time")


def _calendar_reader(first: str) -> TimeReader:
    readers = [TimeReader(_iso_ns, "an ISO 8601 date and time")]
    readers += [TimeReader(partial(_format_ns, form=form), f"a date and time like {first!r}") for form in _FORMATS]
    for reader in readers:
        try:
            reader.ns(first)
        except ValueError:
            continue
        return reader
    raise ValueError(f"{first!r} is no date and time")


def _unix_ns(text: str, unit_ns: int) -> int:
    """Fractions count to the µs: a float64 of today's Unix seconds carries no more."""
    try:
        return _in_range(int(text) * unit_ns)
    except ValueError:
        number = float(text) * unit_ns
    if not abs(number) < _MAX_NS:
        raise ValueError(f"{text!r} is no Unix time")
    return round(number / 1000) * 1000


def _iso_ns(text: str) -> int:
    return _since_epoch_ns(datetime.fromisoformat(text))


def _format_ns(text: str, form: str) -> int:
    return _since_epoch_ns(datetime.strptime(text, form).replace(tzinfo=UTC))


def _since_epoch_ns(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def _in_range(time_ns: int) -> int:
    if abs(time_ns) > _MAX_NS:
        raise ValueError("beyond the years that ns can count (1678-2262)")
    return time_ns
