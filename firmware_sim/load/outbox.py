"""A light device's outbox: what it would have stored, told by rules instead of rows.

The lane of aggregates is a list of *stretches*: within one, everything about a window follows from its number, so a backlog of
a month takes no more memory than one of a minute. Alerts and evidence are few and are kept as items.

Invariants, as with a real outbox:
1. Within an epoch each lane's sequence begins at 1 and has no gap; what comes again is the same item.
2. What the bound does not hold, or a full disk did not take, is told by an eviction in its place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from firmware_sim.load.content import Look, Shape, aggregate
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import KIND_OF, LANE_OF, Body, Eviction, Health, Item, Lane, encode_body

MAX_BATCH_ITEMS: Final = 500
_BYTES_OF_ITEM: Final = 300  # about, for what is reported
_SETTLES_NS: Final = 1_100_000_000  # from a window's end until it is stored: lateness, and a little


@dataclass(frozen=True, slots=True)
class Boot:
    """Of the machine, and the agent's start in it. `at_ns`: of the boot, by the device's clock."""

    boot_id: str
    at_ns: int
    starts: int

    def stamp(self, wall_ns: int) -> Stamp:
        return Stamp(wall_ns, max(0, wall_ns - self.at_ns), self.boot_id, synced=True)


@dataclass(slots=True)
class Stretch:
    """Windows `first_window`..`end_window` (exclusive; None = goes on) that look alike, from `first_seq` on."""

    first_seq: int
    first_window: int
    boot: Boot
    look: Look
    end_window: int | None = None


@dataclass(slots=True)
class Single:
    """One item among the stretches."""

    first_seq: int
    item: Item


class LightOutbox:
    """`seed`: of the windows' content. `max_items`: of the lane of aggregates."""

    def __init__(
        self, shape: Shape, device_id: str, seed: int, n_assets: int, health_windows: int, max_items: int, epoch: str
    ) -> None:
        self._shape = shape
        self._device_id = device_id
        self._seed = seed
        self._n_assets = n_assets
        self._health_windows = health_windows
        self._max_items = max_items
        self.epoch = epoch
        self.cursors: dict[Lane, int] = {"alerts": 0, "aggregates": 0, "evidence": 0}
        self._last: dict[Lane, int] = {"alerts": 0, "evidence": 0}
        self._few: dict[Lane, list[Item]] = {"alerts": [], "evidence": []}
        self._pieces: list[Stretch | Single] = []
        self._evicted_to = 0

    def copy(self) -> LightOutbox:
        """As on a copied card."""
        other = LightOutbox(
            self._shape, self._device_id, self._seed, self._n_assets, self._health_windows, self._max_items, self.epoch
        )
        other.cursors, other._last = dict(self.cursors), dict(self._last)
        other._few = {lane: list(items) for lane, items in self._few.items()}
        other._pieces = [
            Stretch(p.first_seq, p.first_window, p.boot, p.look, p.end_window) if isinstance(p, Stretch) else p
            for p in self._pieces
        ]
        other._evicted_to = self._evicted_to
        return other

    # --- what comes in -------------------------------------------------------------------------------------------

    def append(self, body: Body, at: Stamp) -> None:
        """An item of a lane of few."""
        lane = LANE_OF[KIND_OF[type(body)]]
        self._last[lane] += 1
        self._few[lane].append(_item(lane, self._last[lane], body, at))

    def begin(self, window: int, boot: Boot, look: Look) -> None:
        """From `window` on all is so; what went on before ends there."""
        self.pause(window)
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, Stretch):
            assert last.end_window is not None
            window = max(window, last.end_window)
            if last.end_window == last.first_window:  # it never was
                self._pieces[-1] = Stretch(last.first_seq, window, boot, look)
                return
        self._pieces.append(Stretch(self._next_seq(), window, boot, look))

    def pause(self, window: int) -> None:
        """No windows from `window` on."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, Stretch) and last.end_window is None:
            last.end_window = max(last.first_window, window)

    def lose(self, n_items: int, start_ns: int, end_ns: int, at: Stamp) -> None:
        """What memory had no room for while the disk was full: one eviction."""
        told = Eviction(reason="disk full", n_items=n_items, n_bytes=n_items * _BYTES_OF_ITEM, start_ns=start_ns, end_ns=end_ns)
        seq = self._next_seq()
        self._pieces.append(Single(seq, _item("aggregates", seq, told, at)))

    def _next_seq(self) -> int:
        """Of the piece that comes next."""
        if not self._pieces:
            return self.cursors["aggregates"] + 1
        last = self._pieces[-1]
        if isinstance(last, Single):
            return last.first_seq + 1
        assert last.end_window is not None
        return last.first_seq + self._count(last, last.end_window)

    # --- what waits ----------------------------------------------------------------------------------------------

    def last_seq(self, lane: Lane, now_ns: int) -> int:
        """The highest that is stored by then, 0 = nothing yet."""
        if lane != "aggregates":
            return self._last[lane]
        if not self._pieces:
            return self.cursors[lane]
        last = self._pieces[-1]
        if isinstance(last, Single):
            return last.first_seq
        closed = (now_ns - _SETTLES_NS) // self._shape.hop_ns
        window = closed if last.end_window is None else min(closed, last.end_window)
        return last.first_seq - 1 + self._count(last, max(last.first_window, window))

    def waiting(self, now_ns: int) -> dict[Lane, int]:
        """How many items wait, by lane."""
        return {lane: max(0, self.last_seq(lane, now_ns) - cursor) for lane, cursor in self.cursors.items()}

    def pending(self, now_ns: int, limit: int = MAX_BATCH_ITEMS) -> list[Item]:
        """The most urgent, in their order."""
        items = list(self._few["alerts"][:limit])
        first, last = self.cursors["aggregates"] + 1, self.last_seq("aggregates", now_ns)
        if last - first >= self._max_items:
            self._evicted_to = max(self._evicted_to, last - self._max_items * 9 // 10)
        if first <= self._evicted_to and len(items) < limit:
            items.append(self._evicted(first, now_ns))
            first = self._evicted_to + 1
        items += self._aggregates(first, min(last, first + limit - len(items) - 1))
        return items + self._few["evidence"][: limit - len(items)]

    def acknowledge(self, cursors: Mapping[str, int]) -> bool:
        """Take the hub's word for what it has, never beyond what was sent; whether anything is new."""
        new = False
        for lane, cursor in self.cursors.items():
            told = cursors.get(lane, 0)
            if told > cursor:
                new = True
                self.cursors[lane] = told
                if lane in self._few:
                    self._few[lane] = [item for item in self._few[lane] if item.seq > told]
        while len(self._pieces) > 1 and self._pieces[1].first_seq <= self.cursors["aggregates"] + 1:
            del self._pieces[0]
        return new

    def _count(self, stretch: Stretch, window: int) -> int:
        """Items of the stretch before `window`: each window's aggregates, and after every so many windows one of health."""
        n = window - stretch.first_window
        per = self._health_windows
        return n * self._n_assets + window // per - stretch.first_window // per

    def _evicted(self, first: int, now_ns: int) -> Item:
        n_items = self._evicted_to - first + 1
        first_piece, last_piece = self._piece_of(first), self._piece_of(self._evicted_to)
        told = Eviction(
            reason="outbox full",
            n_items=n_items,
            n_bytes=n_items * _BYTES_OF_ITEM,
            start_ns=self._time_of(first_piece, first),
            end_ns=self._time_of(last_piece, self._evicted_to),
        )
        boot = last_piece.boot if isinstance(last_piece, Stretch) else None
        at = boot.stamp(now_ns) if boot is not None else last_piece.item.at  # type: ignore[union-attr]
        return _item("aggregates", self._evicted_to, told, at, first_seq=first)

    def _time_of(self, piece: Stretch | Single, seq: int) -> int:
        return self._window_of(piece, seq) * self._shape.hop_ns if isinstance(piece, Stretch) else max(0, piece.item.at.wall_ns)

    def _piece_of(self, seq: int) -> Stretch | Single:
        return self._pieces[max(0, bisect_right(self._pieces, seq, key=lambda piece: piece.first_seq) - 1)]

    def _window_of(self, stretch: Stretch, seq: int) -> int:
        """In which window the item of that number came to be."""
        k = seq - stretch.first_seq
        windows = range(stretch.first_window, stretch.first_window + k // self._n_assets + 2)
        return windows[bisect_right(windows, k, key=lambda window: self._count(stretch, window)) - 1]

    def _aggregates(self, first: int, last: int) -> Iterator[Item]:
        seq = first
        while seq <= last:
            piece = self._piece_of(seq)
            if isinstance(piece, Single):
                yield piece.item
                seq += 1
                continue
            window = self._window_of(piece, seq)
            end = last if piece.end_window is None else min(last, piece.first_seq - 1 + self._count(piece, piece.end_window))
            for item in self._of_windows(piece, window):
                if item[0] > end:
                    break
                if item[0] >= seq:
                    yield _item("aggregates", item[0], self._body(piece, *item[1:]), self._at(piece, item[1]))
            seq = end + 1

    def _of_windows(self, stretch: Stretch, window: int) -> Iterator[tuple[int, int, int | None]]:
        """(seq, window, asset) of what came to be from `window` on; asset None = health."""
        seq = stretch.first_seq + self._count(stretch, window)
        while True:
            for asset in range(self._n_assets):
                yield seq, window, asset
                seq += 1
            if (window + 1) % self._health_windows == 0:
                yield seq, window, None
                seq += 1
            window += 1

    def _at(self, stretch: Stretch, window: int) -> Stamp:
        return stretch.boot.stamp((window + 1) * self._shape.hop_ns + _SETTLES_NS)

    def _body(self, stretch: Stretch, window: int, asset: int | None) -> Body:
        if asset is None:
            return self._health(stretch, window)
        return aggregate(self._shape, self._device_id, self._seed, asset, window, stretch.look, stretch.boot.at_ns)

    def _health(self, stretch: Stretch, window: int) -> Health:
        uptime_ns = (window + 1) * self._shape.hop_ns - stretch.boot.at_ns
        windows = uptime_ns // self._shape.hop_ns * self._n_assets
        readings = windows * self._shape.n_samples * len(self._shape.channels)
        return Health(
            uptime_s=uptime_ns / NS_PER_S,
            rss_bytes=45_000_000,
            peak_rss_bytes=50_000_000,
            backlog_items=0,
            backlog_bytes=0,
            readings=readings,
            windows=windows,
            raw_bytes=readings * 12,
            sent_bytes=windows * _BYTES_OF_ITEM,
            frame_errors=0,
            sources={"line": "up"},
        )


def _item(lane: Lane, seq: int, body: Body, at: Stamp, first_seq: int | None = None) -> Item:
    encoded = msgspec.Raw(encode_body(body))
    return Item(lane=lane, seq=seq, first_seq=first_seq or seq, kind=KIND_OF[type(body)], at=at, body=encoded)
