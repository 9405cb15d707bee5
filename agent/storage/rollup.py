"""Coarser items in place of finer ones: ten windows of each asset become one rollup, many items become one eviction. Pure.

Invariants:
1. What comes back stands for exactly the sequence numbers that went in: `first_seq` of the first to `seq` of the last.
2. Windows are merged only with their like: same asset, profile and spec, same state of alert and commissioning, whole or
   partial, same faulty channels, same deciding detector. A rollup never shows an alert's windows as normal ones, nor the
   other way round.
3. One rollup stands for a whole stretch of the sequence, all assets of it: a hub that had received a part of the stretch
   before accepts the rest as merged, and no number is given to another window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from models.contract.clock import Stamp
from models.contract.items import (
    Aggregate,
    Eviction,
    Item,
    RolledWindows,
    Rollup,
    SlotScore,
    decode_body,
    encode_body,
    pack_floats,
    unpack_floats,
)
from models.errors import ItemError

WINDOWS: Final = 10  # of one asset in one rollup


def merge_windows(items: Sequence[Item], reason: str) -> list[Item]:
    """`items` of the lane of aggregates in order, with each stretch of aggregates merged; others stay as they are."""
    merged: list[Item] = []
    for stretch in _stretches(items):
        merged += stretch if len(stretch) < 2 else [_rollup(stretch, reason)]
    return merged


def evict(items: Sequence[Item], reason: str, at: Stamp, n_bytes: int) -> Item:
    """One eviction in place of `items`, neighbours in a lane; counts what those stand for that span numbers already."""
    n_items = 0
    spans: list[tuple[int, int]] = []
    for item in items:
        n_items += item.seq - item.first_seq + 1
        spans.append((item.at.wall_ns, item.at.wall_ns))
        if item.kind == "eviction":
            earlier = msgspec.msgpack.decode(item.body, type=Eviction)
            spans[-1] = (earlier.start_ns, earlier.end_ns)
            n_bytes += earlier.n_bytes
    body = Eviction(
        reason=reason, n_items=n_items, n_bytes=n_bytes, start_ns=min(s for s, _ in spans), end_ns=max(e for _, e in spans)
    )
    first, last = items[0], items[-1]
    return Item(lane=first.lane, seq=last.seq, first_seq=first.first_seq, kind="eviction", at=at, body=_raw(body))


def _stretches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Neighbouring aggregates with at most `WINDOWS` of any asset; anything else alone."""
    stretch: list[Item] = []
    counts: Counter[str] = Counter()
    for item in items:
        window = _window(item)
        if stretch and (window is None or counts[window.asset] == WINDOWS):
            yield stretch
            stretch, counts = [], Counter()
        if window is None:
            yield [item]
            continue
        stretch.append(item)
        counts[window.asset] += 1
    if stretch:
        yield stretch


def _window(item: Item) -> Aggregate | None:
    if item.kind != "aggregate":
        return None
    try:
        body = decode_body(item.kind, item.body)
    except ItemError:
        return None
    return body if isinstance(body, Aggregate) and body.features and len(body.features) % 4 == 0 else None


def _rollup(stretch: Sequence[Item], reason: str) -> Item:
    groups: dict[tuple[object, ...], list[Aggregate]] = {}
    for item in stretch:
        window = _window(item)
        assert window is not None  # `_stretches` takes no other
        groups.setdefault(_like(window), []).append(window)
    body = Rollup(
        reason=reason,
        n_windows=len(stretch),
        n_bytes=sum(len(item.body) for item in stretch),
        groups=[_rolled(windows) for windows in groups.values()],
    )
    first, last = stretch[0], stretch[-1]
    return Item(lane=first.lane, seq=last.seq, first_seq=first.first_seq, kind="rollup", at=last.at, body=_raw(body))


def _like(window: Aggregate) -> tuple[object, ...]:
    detector = window.scores[0].detector if window.scores else ""
    width = len(window.features)
    state = (window.commissioning, window.alarm, window.partial, tuple(window.faulty), detector)
    return window.asset, window.profile, window.spec_hash, width, *state


def _rolled(windows: Sequence[Aggregate]) -> RolledWindows:
    first = windows[0]
    features = np.array([unpack_floats(window.features) for window in windows])
    low, high = np.fmin.reduce(features), np.fmax.reduce(features)  # NaN only where no window has a value
    weights = np.array([[max(1, window.n_readings)] for window in windows]) * np.isfinite(features)
    total = weights.sum(axis=0)
    sums = (np.where(np.isfinite(features), features, 0).astype(np.float64) * weights).sum(axis=0)
    mean = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    worst = _worst([window.scores[0] for window in windows if window.scores])
    return RolledWindows(
        asset=first.asset,
        profile=first.profile,
        spec_hash=first.spec_hash,
        start_ns=min(window.start_ns for window in windows),
        end_ns=max(window.end_ns for window in windows),
        n_windows=len(windows),
        n_readings=sum(window.n_readings for window in windows),
        n_late=sum(window.n_late for window in windows),
        mean=pack_floats(mean),
        low=pack_floats(low),
        high=pack_floats(high),
        worst=worst,
        faulty=first.faulty,
        commissioning=first.commissioning,
        alarm=first.alarm,
    )


def _worst(scores: Sequence[SlotScore]) -> SlotScore | None:
    """The score with the smallest p-value; of equal ones, or where there is none, the highest."""
    return min(scores, key=lambda s: (1.0 if s.p_value is None else s.p_value, -s.score), default=None)


def _raw(body: Eviction | Rollup) -> msgspec.Raw:
    return msgspec.Raw(encode_body(body))
