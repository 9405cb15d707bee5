"""What opens and closes, with its times: as the device said them, by the stamps of the items that said so, and corrected."""

from __future__ import annotations

from typing import Any, Protocol

from hub.clocks.placing import Spans, place
from hub.ingest.log import LogRecord
from hub.projector.rows import RowDict

_OPENED = ("opened_boot_id", "opened_mono_ns", "opened_synced")


class _Opened(Protocol):
    @property
    def opened_ns(self) -> int: ...

    @property
    def closed_ns(self) -> int | None: ...


def said(record: LogRecord, body: _Opened) -> RowDict:
    """The columns of an opening or a closing telling, not yet placed."""
    at, closed = record.at, body.closed_ns is not None
    stamp: tuple[Any, ...] = (at.boot_id, at.mono_ns, at.synced)
    return {
        "opened_ns": body.opened_ns,
        "closed_ns": body.closed_ns,
        "said_opened_ns": body.opened_ns,
        "said_closed_ns": body.closed_ns,
        **dict(zip(_OPENED, stamp, strict=True)),
        **dict(
            zip(("closed_boot_id", "closed_mono_ns", "closed_synced"), stamp if closed else (None, None, None), strict=True)
        ),
        "time_quality": "unknown",
        "time_error_ns": None,
    }


def standing(known: RowDict, told: RowDict) -> RowDict:
    """The later of two tellings: the closing one, else the one that arrived last; opened as the opening one said."""
    later = known if known["said_closed_ns"] is not None else told
    opening = known if known["said_closed_ns"] is None else told
    return later | {name: opening[name] for name in ("said_opened_ns", *_OPENED)}


def placed(row: RowDict, spans: Spans) -> RowDict:
    """The row with its times corrected by what is known of the device's clock; an older row stays as it is."""
    if row["said_opened_ns"] is None:
        return row
    opened = place(row["said_opened_ns"], row["opened_boot_id"], row["opened_mono_ns"], row["opened_synced"], spans)
    closed_ns = row["said_closed_ns"]
    if closed_ns is not None:
        closed_ns = place(closed_ns, row["closed_boot_id"], row["closed_mono_ns"], row["closed_synced"], spans).time_ns
    return row | {
        "opened_ns": opened.time_ns,
        "closed_ns": closed_ns,
        "time_quality": opened.quality,
        "time_error_ns": opened.error_ns,
    }
