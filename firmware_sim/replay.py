"""Playing a recorded table over a link, as if its machine were running now.

Nothing is lost on the way: where the other side is slower than the recording, the recording waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from firmware_sim.firmware.encoder import Encoder, Samples
from firmware_sim.links.link import Link
from models.contract.clock import NS_PER_S
from models.contract.table import Table, channel_names

_TICK_S: Final = 0.05
_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it. `n_dropped`: messages that nobody took, because nobody was there."""

    n_rows: int
    n_messages: int
    n_dropped: int
    took_s: float


def samples_of(table: Table, asset: str, starts_ns: int | None = None) -> Samples:
    """The table as samples of `asset`. `starts_ns`: move all times so that the first row is then; None = as recorded."""
    shift_ns = 0 if starts_ns is None else starts_ns - int(table.time_ns[0])
    return Samples(asset, tuple(channel_names(table.columns)), table.time_ns + shift_ns, table.values)


def replay(
    samples: Samples, encoder: Encoder, link: Link, speed: float | None, stopping: threading.Event | None = None
) -> Replayed:
    """Play all rows, each when its time has come. `speed`: event seconds per second; None = as fast as the other side
    takes them. Rows whose time runs backwards are played with the one before them. Ends early when `stopping` is set."""
    stopping = stopping or threading.Event()
    started = time.monotonic()
    due_count = _pace(samples, speed, started)
    sent, n_messages = 0, 0
    while sent < len(samples.time_ns) and not stopping.is_set():
        until = min(due_count(), sent + _ROWS_AT_ONCE)
        if until > sent:
            part = replace(samples, time_ns=samples.time_ns[sent:until], values=samples.values[sent:until])
            messages = encoder.encode(part)
            link.write(messages)
            sent, n_messages = until, n_messages + len(messages)
            while not link.flush(1.0) and not stopping.is_set():
                pass
        else:
            stopping.wait(_TICK_S)
    return Replayed(sent, n_messages, link.n_dropped, time.monotonic() - started)


def _pace(samples: Samples, speed: float | None, started: float) -> Callable[[], int]:
    """How many rows are due, as a function to call now and again."""
    if speed is None:
        return lambda: len(samples.time_ns)
    offsets_s = np.maximum.accumulate(samples.time_ns - samples.time_ns[0]) / NS_PER_S
    return lambda: int(np.searchsorted(offsets_s, (time.monotonic() - started) * speed, side="right"))
