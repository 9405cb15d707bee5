"""The outbox's account of itself in memory: where the sequences stand, what the tail holds, how much lies in the database.

Derived from the files at the start, copied before each commit and put back where that fails: so memory and disk agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.storage.chunk import decode_chunk
from agent.storage.tail import Heads, Record, Scan, counting, encode_record, n_parts
from models.contract.items import LANES, Item


@dataclass(frozen=True, slots=True)
class Kept:
    """A commit in the tail."""

    number: int
    block: int
    items: list[Item]
    n_bytes: int

    @property
    def parts(self) -> int:
        """Blocks of the tail."""
        return n_parts(self.n_bytes)


@dataclass(slots=True)
class Books:
    """All that changes with a commit; copied before it, put back where it fails. `cold`: in the database, by lane."""

    number: int
    stored: int
    next_seq: dict[str, int]
    acked: dict[str, int]
    tail: list[Kept]
    after: int
    cold_items: dict[str, int]
    cold_bytes: dict[str, int]
    progress: Mapping[str, int]  # by asset: up to where its windows are closed and stored
    stored_bytes: int = 0
    newest: tuple[int, int] = (0, 0)  # (first block, parts) of the tail's last record
    unsealed: bool = False  # whether the database has a commit that the tail does not know of

    def copy(self) -> Books:
        return replace(
            self,
            next_seq=dict(self.next_seq),
            acked=dict(self.acked),
            tail=list(self.tail),
            cold_items=dict(self.cold_items),
            cold_bytes=dict(self.cold_bytes),
        )

    def waiting(self, kept: Kept) -> list[Item]:
        """What the hub has not confirmed of a commit in the tail."""
        return [item for item in kept.items if item.seq > self.acked[item.lane]]

    def prune_tail(self) -> None:
        """Forget the oldest commits in the tail, up to the first of which something still waits."""
        while self.tail and not self.waiting(self.tail[0]):
            self.tail.pop(0)

    def heads(self, number: int) -> Heads:
        next_seq = [self.next_seq[lane] for lane in LANES]
        acked = [self.acked[lane] for lane in LANES]
        floor = self.tail[0].number if self.tail else number
        return Heads(number, next_seq, acked, floor, self.stored, dict(self.progress))

    @property
    def moved(self) -> int:
        """The last commit of the tail of which nothing is needed any more: in the database, or confirmed."""
        return self.tail[0].number - 1 if self.tail else self.number


def kept_of(record: Record, starts: Mapping[int, int]) -> Kept:
    items = decode_chunk(record.chunk) if record.chunk else []
    number = record.heads.number
    return Kept(number, starts[number], items, len(encode_record(record)))


def opened_books(heads: Heads, scan: Scan) -> Books:
    """The account at the start, what lies in the database not yet counted. `heads`: the database's, `scan`: of the tail."""
    records = [record for record in counting(scan.records)[0] if record.heads.number > heads.number]
    newest, after, place = heads, 0, (0, 0)
    if scan.records:
        last = scan.records[-1]
        place = scan.starts[last.heads.number], n_parts(len(encode_record(last)))
        after = sum(place)
        newest = last.heads if last.heads.number > heads.number else heads
    return Books(
        number=newest.number,
        stored=heads.stored,
        next_seq={lane: max(pair) for lane, *pair in zip(LANES, newest.next_seq, heads.next_seq, strict=True)},
        acked={lane: max(pair) for lane, *pair in zip(LANES, newest.acked, heads.acked, strict=True)},
        tail=[kept_of(record, scan.starts) for record in records],
        after=after,
        cold_items=dict.fromkeys(LANES, 0),
        cold_bytes=dict.fromkeys(LANES, 0),
        progress=newest.progress,
        newest=place,
    )
