"""Placing a device's times on the true time line, by what it told of its clock (`ClockMark`) and by what came before and after.

Within one boot the monotonic clock runs on whatever is done to the wall clock. So a boot is a row of *spans*, each with the
offset by which the device dated things then; and once the true offset is known anywhere in the boot, it is known in all of it:

    said - offset of its span = monotonic time;    monotonic time + true offset of the boot = true time

Invariants:
1. Pure; a span's placing depends on the device's boots in their order, and on nothing else.
2. `synced`: a time server steered the clock then. `hub`: the hub's time was taken, within `error_ns`. `corrected`: nobody
   vouched for the clock then, but someone did in the same boot. `bounded`: nobody ever did; what was before and after bounds
   it. `unknown`: not even that. `sensor`: no time of the device's clock, for the sensor has a clock of its own: left as it is.
3. Where a time is bounded, the device's own word is kept as far as it lies within the bounds.
4. Whatever a device says, what comes out fits 64 bits.
5. A monotonic clock that no time server steers is off by up to `DRIFT`; so is what is corrected over a distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from models.contract.clock import NS_PER_S
from models.contract.items import ClockSource

Quality = Literal["synced", "hub", "corrected", "bounded", "unknown", "sensor"]
DRIFT: Final = 1e-4  # a crystal without compensation, over the temperatures of a shed
SLACK_NS: Final = 5 * NS_PER_S  # between a reading's dating and its handling
OUTSIDE_NS: Final = NS_PER_S // 20  # of two spans with the same offset, the one in whose time it was
FOREVER_NS: Final = 2**62
MAX_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A `ClockMark` as far as it matters here. `offset_ns`: Unix time minus the monotonic clock, from `mono_ns` on."""

    mono_ns: int
    offset_ns: int
    source: ClockSource
    error_ns: int = 0


@dataclass(frozen=True, slots=True)
class Boot:
    """`marks` ascending. `last_mono_ns`: the latest that was heard of it. `high_offset_ns`: the true offset is not above it,
    for an item was here by then."""

    boot_id: str
    marks: tuple[Mark, ...]
    last_mono_ns: int
    high_offset_ns: int


@dataclass(frozen=True, slots=True)
class Span:
    """From `from_mono_ns` to before `to_mono_ns` the device dated by `offset_ns`; true is `true_offset_ns`, give or take
    `error_ns` and `DRIFT` of the distance to `anchor_mono_ns`. Of a bounded span: between `low_ns` and `high_ns`."""

    boot_id: str
    from_mono_ns: int
    to_mono_ns: int
    offset_ns: int
    true_offset_ns: int
    quality: Quality
    error_ns: int = 0
    anchor_mono_ns: int | None = None
    low_offset_ns: int | None = None
    high_offset_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A time, how it was found, and how far it may be off (None = nobody knows)."""

    time_ns: int
    quality: Quality
    error_ns: int | None = None


Spans = Mapping[str, Sequence[Span]]  # of one device, by boot id


def spans_of(boots: Sequence[Boot]) -> dict[str, list[Span]]:
    """The spans of one device; `boots` in their order."""
    bounds = _bounds(boots)
    return {boot.boot_id: _spans(boot, bounds.get(boot.boot_id, (None, None))) for boot in boots}


def place(said_ns: int, boot_id: str, mono_ns: int, synced: bool, spans: Spans) -> Placed:
    """When that was which a device said was at `said_ns`, in an item that it stored at `mono_ns` of the boot."""
    known = spans.get(boot_id, ())
    if not known:
        return Placed(said_ns, "synced" if synced else "unknown")
    fitting = [span for span in known if _fits(span, said_ns - span.offset_ns, mono_ns)]
    if not fitting:
        return Placed(said_ns, "sensor")
    span = max(fitting, key=lambda s: (s.from_mono_ns <= said_ns - s.offset_ns < s.to_mono_ns, said_ns - s.offset_ns))
    return _placed(said_ns, span)


def place_window(end_ns: int, end_mono_ns: int, boot_id: str, synced: bool, spans: Spans) -> Placed:
    """When a window ended of which the device said that its end was at `end_ns`, and by the monotonic clock `end_mono_ns`.

    `hub.lake.query` does the same in SQL.
    """
    known = spans.get(boot_id, ())
    if not known or not end_mono_ns:
        return Placed(end_ns, "synced" if synced else "unknown")
    offset_ns = end_ns - end_mono_ns
    cost = {span: abs(span.offset_ns - offset_ns) + _outside_ns(span, end_mono_ns) for span in known}
    span = min(known, key=lambda s: cost[s])
    return _placed(end_ns, span) if abs(span.offset_ns - offset_ns) <= SLACK_NS else Placed(end_ns, "sensor")


def _fits(span: Span, mono_ns: int, stored_mono_ns: int) -> bool:
    return span.from_mono_ns - SLACK_NS <= mono_ns <= min(span.to_mono_ns, stored_mono_ns) + SLACK_NS


def _outside_ns(span: Span, mono_ns: int) -> int:
    return 0 if span.from_mono_ns <= mono_ns < span.to_mono_ns else OUTSIDE_NS


def _placed(said_ns: int, span: Span) -> Placed:
    time_ns = min(max(0, said_ns + span.true_offset_ns - span.offset_ns), MAX_NS)
    error_ns = _error_ns(said_ns - span.offset_ns, span)
    return Placed(time_ns, span.quality, None if error_ns is None else min(error_ns, MAX_NS))


def _error_ns(mono_ns: int, span: Span) -> int | None:
    if span.quality == "bounded":
        low, high = span.low_offset_ns or 0, span.high_offset_ns or 0
        return max(span.true_offset_ns - low, high - span.true_offset_ns)
    if span.quality == "unknown":
        return None
    drifted_ns = 0 if span.anchor_mono_ns is None else round(DRIFT * abs(mono_ns - span.anchor_mono_ns))
    return span.error_ns + drifted_ns


def _spans(boot: Boot, bounds: tuple[int | None, int | None]) -> list[Span]:
    ends = [*(mark.mono_ns for mark in boot.marks[1:]), FOREVER_NS]
    pairs = list(zip(boot.marks, ends, strict=False))
    anchors = [(mark, end) for mark, end in pairs if mark.source == "ntp"] or [(m, e) for m, e in pairs if m.source == "hub"]
    return [_span(boot.boot_id, mark, end, anchors, bounds) for mark, end in pairs]


def _span(
    boot_id: str, mark: Mark, end_ns: int, anchors: list[tuple[Mark, int]], bounds: tuple[int | None, int | None]
) -> Span:
    where = (boot_id, mark.mono_ns, end_ns, mark.offset_ns)
    if mark.source == "ntp":
        return Span(*where, mark.offset_ns, "synced")
    if mark.source == "hub":
        return Span(*where, mark.offset_ns, "hub", mark.error_ns, mark.mono_ns)
    if anchors:
        anchor, anchor_end = min(
            anchors, key=lambda a: a[0].mono_ns - end_ns if a[0].mono_ns >= end_ns else mark.mono_ns - a[1]
        )
        nearest_ns = anchor.mono_ns if anchor.mono_ns >= end_ns else anchor_end
        return Span(*where, anchor.offset_ns, "corrected", anchor.error_ns, nearest_ns)
    low, high = bounds
    true = mark.offset_ns if high is None else min(mark.offset_ns, high)
    if low is None or high is None:
        return Span(*where, true, "unknown", low_offset_ns=low, high_offset_ns=high)
    low = min(low, high)
    return Span(*where, max(true, low), "bounded", low_offset_ns=low, high_offset_ns=high)


def _bounds(boots: Sequence[Boot]) -> dict[str, tuple[int | None, int | None]]:
    """Between what the true offset of each boot lies that has no anchor: a boot begins (at 0 by its monotonic clock) after
    the one before has ended, and ends before the next one begins."""
    lows: dict[str, int | None] = {}
    highs: dict[str, int] = {}
    ended_ns: int | None = None
    for boot in boots:
        offset = _anchor_offset(reversed(boot.marks))
        lows[boot.boot_id] = ended_ns if offset is None else offset
        low = lows[boot.boot_id]
        ended_ns = None if low is None else _fitting(low + boot.last_mono_ns)
    begins_ns: int | None = None
    for boot in reversed(boots):
        offset = _anchor_offset(boot.marks)
        before_next = boot.high_offset_ns if begins_ns is None else min(boot.high_offset_ns, begins_ns - boot.last_mono_ns)
        highs[boot.boot_id] = begins_ns = _fitting(before_next) if offset is None else offset
    return {boot.boot_id: (lows[boot.boot_id], highs[boot.boot_id]) for boot in boots}


def _fitting(ns: int) -> int:
    return min(max(-MAX_NS, ns), MAX_NS)


def _anchor_offset(marks: Iterable[Mark]) -> int | None:
    found = list(marks)
    for source in ("ntp", "hub"):
        for mark in found:
            if mark.source == source:
                return mark.offset_ns
    return None
