"""What gives way when the outbox is full: decided here, done by the outbox. Pure.

In this order, always the oldest first: evidence goes; aggregates are merged to rollups; aggregates and rollups go; alerts go.
Chunks are the unit: an eviction takes the place of whole chunks, a merge makes one chunk of several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from models.contract.items import Lane

EVICTION_BYTES: Final = 4096  # what an eviction's own row takes on disk, at most: one page
MERGED_SHARE: Final = 0.4  # of a chunk's bytes that are left once its windows are merged; at most, by experience
_MERGE_ITEMS: Final = 500  # at a time: what fits one chunk of the result many times over


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk without its data. `n_bytes`: on disk. `merged`: its aggregates are rollups already."""

    lane: Lane
    first_seq: int
    last_seq: int
    n_items: int
    n_bytes: int
    merged: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with neighbouring chunks of one lane."""

    what: Literal["merge", "evict"]
    rows: tuple[Row, ...]


def steps_to_free(rows: Sequence[Row], n_bytes: int) -> list[Step]:
    """The steps that free about `n_bytes`, or all that can be freed. `rows`: each lane from the oldest to the newest."""
    lanes = {lane: [row for row in rows if row.lane == lane] for lane in ("evidence", "aggregates", "alerts")}
    steps: list[Step] = []
    missing = float(n_bytes)
    for step, gain in _in_order(lanes):
        if missing <= 0:
            break
        steps.append(step)
        missing -= gain
    return _joined(steps)


def _in_order(lanes: dict[str, list[Row]]) -> Iterator[tuple[Step, float]]:
    """Every step there is with what it frees; a chunk that is merged in one step may be evicted in a later one."""
    yield from _evictions(lanes["evidence"])
    merges = list(_merges(lanes["aggregates"]))
    yield from merges
    if not merges:  # what was just merged is not thrown away at once: should it not suffice, the next round evicts
        yield from _evictions(lanes["aggregates"])
        yield from _evictions(lanes["alerts"])


def _evictions(rows: Sequence[Row]) -> Iterator[tuple[Step, float]]:
    for i, row in enumerate(rows):
        own = EVICTION_BYTES if i == 0 else 0  # the lane's first eviction has a row of its own, the others melt into it
        if row.n_bytes - own > 0 or len(rows) > 1:
            yield Step("evict", (row,)), row.n_bytes - own


def _merges(rows: Sequence[Row]) -> Iterator[tuple[Step, float]]:
    run: list[Row] = []
    for row in rows:
        if not row.merged:
            run.append(row)
        if row.merged or sum(each.n_items for each in run) >= _MERGE_ITEMS:
            yield from _merge(run)
            run = []  # only neighbours: what lies between them keeps its place
    yield from _merge(run)


def _merge(run: list[Row]) -> Iterator[tuple[Step, float]]:
    if sum(row.n_items for row in run) > 1:
        yield Step("merge", tuple(run)), (1 - MERGED_SHARE) * sum(row.n_bytes for row in run)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Evictions of neighbouring chunks as one."""
    joined: list[Step] = []
    for step in steps:
        if joined and step.what == joined[-1].what == "evict" and step.rows[0].lane == joined[-1].rows[0].lane:
            joined[-1] = Step("evict", (*joined[-1].rows, *step.rows))
        else:
            joined.append(step)
    return joined
