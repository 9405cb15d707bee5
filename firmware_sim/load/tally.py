"""What a fleet has done so far, in counts that add up over processes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

_GROWTH: Final = math.log(1.05)  # a bucket is five per cent wide: as exact as a quantile of a latency needs to be
_LEAST_S: Final = 1e-5
_MAX_REASONS: Final = 50


class Histogram(msgspec.Struct):
    """Of times, s, in buckets that grow. `counts`: by bucket."""

    counts: dict[int, int] = {}

    def add(self, value_s: float) -> None:
        bucket = math.floor(math.log(max(value_s, _LEAST_S)) / _GROWTH)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: Histogram) -> None:
        for bucket, n in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + n

    def since(self, before: Histogram) -> Histogram:
        """What has come since it was as `before`."""
        return Histogram({bucket: n - before.counts.get(bucket, 0) for bucket, n in self.counts.items()})

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """The time that `share` of them do not exceed, within five per cent; None where there are none."""
        wanted, seen = share * self.n, 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return math.exp((bucket + 1) * _GROWTH)
        return None


class Exchanges(msgspec.Struct):
    """Of one kind. `refused`: by what the hub said, `failed`: by what became of the connection, `troubled`: by how it was sent
    on purpose. `answered_s`: from when it was begun to when the answer was there, connection included."""

    asked: int = 0
    accepted: int = 0
    refused: dict[str, int] = {}
    failed: dict[str, int] = {}
    troubled: dict[str, int] = {}
    sent_bytes: int = 0
    answered_s: Histogram = msgspec.field(default_factory=Histogram)

    def merge(self, other: Exchanges) -> None:
        self.asked += other.asked
        self.accepted += other.accepted
        self.sent_bytes += other.sent_bytes
        self.answered_s.merge(other.answered_s)
        for mine, theirs in (
            (self.refused, other.refused),
            (self.failed, other.failed),
            (self.troubled, other.troubled),
        ):
            for reason, n in theirs.items():
                count(mine, reason, n)


class Tally(msgspec.Struct):
    """`late_s`: how much later than due turns began: a simulator that cannot keep up shows here, and not as a slow hub."""

    exchanges: dict[str, Exchanges] = {}
    items_sent: int = 0
    items_confirmed: int = 0
    items_rejected: int = 0
    late_s: Histogram = msgspec.field(default_factory=Histogram)

    def of(self, kind: str) -> Exchanges:
        return self.exchanges.setdefault(kind, Exchanges())

    def merge(self, other: Tally) -> None:
        for kind, exchanges in other.exchanges.items():
            self.of(kind).merge(exchanges)
        self.items_sent += other.items_sent
        self.items_confirmed += other.items_confirmed
        self.items_rejected += other.items_rejected
        self.late_s.merge(other.late_s)


def merged(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole


def count(counts: dict[str, int], reason: str, n: int = 1) -> None:
    """One more for that reason; beyond so many reasons, for `others`."""
    if reason not in counts and len(counts) >= _MAX_REASONS:
        reason = "others"
    counts[reason] = counts.get(reason, 0) + n
