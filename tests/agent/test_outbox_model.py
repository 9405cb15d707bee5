"""The outbox against a plain list: whatever is appended, sent, confirmed, merged, evicted or cut off, no number is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agent.storage.tail import BLOCK, counting, encode_record, n_parts, scan
from models.contract.items import (
    KIND_OF,
    LANE_OF,
    LANES,
    Aggregate,
    Body,
    Eviction,
    Item,
    Rollup,
    decode_body,
    encode_body,
    pack_floats,
)
from tests.agent.outboxes import copy_files, drop, open_outbox, shut
from tests.builders import aggregate, alert, evidence, health, sensor_fault, stamp

BUDGET = 200_000
TAIL_BLOCKS = 6
BODIES = st.one_of(
    st.builds(alert, st.integers(0, 99)),
    st.builds(sensor_fault, st.integers(0, 99)),
    st.builds(health, st.integers(0, 99)),
    st.builds(aggregate, st.integers(0, 99), st.integers(1, 60)),
    st.builds(evidence, st.integers(0, 99), st.integers(1, 400)),
)


def noisy(seed: int, n_features: int = 200) -> Aggregate:
    """A window that does not compress, so that the budget is reached within an example."""
    features = np.random.default_rng(seed).standard_normal(n_features)
    return msgspec.structs.replace(aggregate(seed % 100), asset=f"rig-{seed % 3}", features=pack_floats(features))


class OutboxModel(RuleBasedStateMachine):
    """`made[lane][seq - 1]` is what was appended; `acked[lane]` is the cursor that was confirmed."""

    template: Path

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-model-"))
        self.lives = (self.folder / f"{n}" for n in count())
        self.path = next(self.lives) / "outbox.db"
        self.path.parent.mkdir()
        shutil.copy(self.template, self.path)
        self.box = open_outbox(self.path, BUDGET, TAIL_BLOCKS)
        self.epoch = self.box.epoch
        self.made: dict[str, list[Body]] = {lane: [] for lane in LANES}
        self.acked = dict.fromkeys(LANES, 0)
        self.at_s = 1000.0  # of the next write that is cut off, so that it can be told from all others

    def teardown(self) -> None:
        if hasattr(self, "box"):
            shut(self.box)
            shutil.rmtree(self.folder)

    @rule(bodies=st.lists(BODIES, max_size=8))
    def append(self, bodies: list[Body]) -> None:
        self.box.append(bodies, stamp())
        for body in bodies:
            self.made[LANE_OF[KIND_OF[type(body)]]].append(body)
        assert self.box.database.file_bytes <= BUDGET

    @rule(seed=st.integers(0, 10**6), n=st.integers(1, 40))
    def append_much(self, seed: int, n: int) -> None:
        for i in range(n):
            self.append([noisy(seed + i)])

    @rule(bodies=st.lists(BODIES, min_size=1, max_size=4), more=st.lists(BODIES, max_size=4), fails=st.booleans())
    def append_in_a_larger_transaction(self, bodies: list[Body], more: list[Body], fails: bool) -> None:
        before = (self.items(), self.box.backlog_items, self.box.backlog_bytes)
        try:
            with self.box.database.transaction():
                self.box.append(bodies, stamp())
                self.box.append(more, stamp())
                if fails:
                    raise KeyError  # noqa: TRY301  # as an outer step that fails
        except KeyError:
            assert (self.items(), self.box.backlog_items, self.box.backlog_bytes) == before
            return
        for body in [*bodies, *more]:
            self.made[LANE_OF[KIND_OF[type(body)]]].append(body)

    @rule(max_items=st.integers(1, 30), max_bytes=st.integers(1, 3000))
    def send(self, max_items: int, max_bytes: int) -> None:
        batch = self.box.pending(max_items, max_bytes)
        everything = self.items()
        assert batch == everything[: len(batch)]
        assert len(batch) <= max_items
        assert bool(batch) == bool(everything)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        cursors = {lane: data.draw(st.integers(0, len(self.made[lane])), label=lane) for lane in LANES}
        held = {lane: [item.seq for item in self.items() if item.lane == lane] for lane in LANES}
        gone = self.box.acknowledge(self.epoch, cursors)
        assert gone == sum(seq <= cursors[lane] for lane in LANES for seq in held[lane])
        self.acked = {lane: max(self.acked[lane], cursor) for lane, cursor in cursors.items()}

    @rule(lane=st.sampled_from(LANES))
    def acknowledge_in_another_life(self, lane: str) -> None:
        assert self.box.acknowledge("an-older-epoch", {lane: 10**6}) == 0

    @rule()
    def restart(self) -> None:
        shut(self.box)
        self.box = open_outbox(self.path, BUDGET, TAIL_BLOCKS)

    @rule()
    def crash(self) -> None:
        """The files as they are at this moment, without anybody closing them."""
        self.reopen(copy_files(self.path, next(self.lives)), self.items())

    @rule(kept=st.integers(0, BLOCK - 1))
    def crash_in_a_write(self, kept: int) -> None:
        """Nobody had been told of the commit that was under way; of its block, the first `kept` bytes reached the disk."""
        copy = copy_files(self.path, next(self.lives))
        tail = copy.with_suffix(".tail")
        before, items = tail.read_bytes(), self.items()
        self.at_s += 1
        self.box.append([alert(77)], stamp(self.at_s))
        after = self.path.with_suffix(".tail").read_bytes()
        changed = [i for i in range(0, len(before), BLOCK) if before[i : i + BLOCK] != after[i : i + BLOCK]]
        if len(changed) == 1 and copy_is_current(copy, self.path):
            at = changed[0]
            tail.write_bytes(before[:at] + after[at : at + kept] + before[at + kept :])
        self.reopen(copy, items)

    @rule(seed=st.integers(0, 10**6), arrived=st.sets(st.integers(0, 2)))
    def crash_in_a_write_of_several_blocks(self, seed: int, arrived: set[int]) -> None:
        """Whole blocks reached the disk, in any order: where some are missing, nothing of the commit was ever there. Where they
        lie on a record that had been confirmed, which no record that is there tells yet, one is lacking: a new epoch begins.
        The newest record is never lain on."""
        copy = copy_files(self.path, next(self.lives))
        tail, window = copy.with_suffix(".tail"), noisy(seed, 2500)
        before, items = tail.read_bytes(), self.items()
        self.at_s += 1
        self.box.append([window], stamp(self.at_s))
        after = self.path.with_suffix(".tail").read_bytes()
        changed = [i for i in range(0, len(before), BLOCK) if before[i : i + BLOCK] != after[i : i + BLOCK]]
        overwrites = False
        if copy_is_current(copy, self.path):
            assert len(changed) == 3
            overwrites = any(changed[i] // BLOCK in blocks_that_count(before) for i in arrived)
            torn = bytearray(before)
            for at in (changed[i] for i in arrived):
                torn[at : at + BLOCK] = after[at : at + BLOCK]
            tail.write_bytes(torn)
        self.reopen(copy, items, window)
        assert overwrites or not self.box.database.salvaged

    def reopen(self, copy: Path, items: list[Item], written: Body | None = None) -> None:
        drop(self.box)
        self.path = copy
        self.box = open_outbox(self.path, BUDGET, TAIL_BLOCKS)
        for item in reversed(self.items()):  # the last cursors may not have been on disk yet: then it is sent again
            if self.box.epoch == self.epoch and item.seq <= self.acked[item.lane]:
                self.acked[item.lane] = item.first_seq - 1
        if self.box.epoch != self.epoch:
            self.taken_up(items)
        elif any(map(self.cut_off, self.items())):  # all of the block was there
            body = written or alert(77)
            self.made[LANE_OF[KIND_OF[type(body)]]].append(body)

        self.at_s += 1

    def bodies_made(self) -> set[bytes]:
        return {encode_body(body) for bodies in self.made.values() for body in bodies}

    def cut_off(self, item: Item) -> bool:
        return item.at == stamp(self.at_s)

    def taken_up(self, before: list[Item]) -> None:
        """A torn block: all that had been stored is there, with numbers of a new epoch, and an item tells of it."""
        self.epoch = self.box.epoch
        items = self.items()
        told = [item for item in items if item.kind == "eviction" and b"outbox damaged" in bytes(item.body)]
        kept = [item for item in items if item not in told and not self.cut_off(item)]
        assert len(told) == 1
        again = Counter((item.lane, item.kind, bytes(item.body)) for item in kept)
        had = Counter((item.lane, item.kind, bytes(item.body)) for item in before)
        if had - again:  # merged or evicted, for the budget holds here, too
            assert {lane for lane, _, _ in had - again} <= {i.lane for i in kept if i.kind in ("eviction", "rollup")}
        for lane in LANES:
            numbers = [sum(i.seq - i.first_seq + 1 for i in some if i.lane == lane) for some in (before, kept)]
            again_at_most = self.acked[lane]  # the last cursor may not have been on disk yet
            assert numbers[0] <= numbers[1] <= numbers[0] + again_at_most or (lane == "alerts" and had == again)
        confirmed = {encode_body(body) for lane in LANES for body in self.made[lane][: self.acked[lane]]}
        assert all(body in confirmed for _, kind, body in again - had if kind not in ("eviction", "rollup"))
        assert all(bytes(item.body) in self.bodies_made() for item in kept if item.kind not in ("eviction", "rollup"))
        self.box.acknowledge(self.epoch, dict.fromkeys(LANES, 10**9))
        self.made = {lane: [] for lane in LANES}
        self.first = {lane: self.box._books.next_seq[lane] for lane in LANES}
        for lane in LANES:  # go on as if all before had been made and confirmed
            self.made[lane] = [alert(0)] * (self.first[lane] - 1)
        self.acked = {lane: self.first[lane] - 1 for lane in LANES}

    def items(self) -> list[Item]:
        return self.box.pending(10**6, 10**9)

    @invariant()
    def the_epoch_is_the_same(self) -> None:
        if hasattr(self, "box"):
            assert self.box.epoch == self.epoch

    @invariant()
    def counters_tell_what_is_there(self) -> None:
        if hasattr(self, "box"):
            assert self.box.backlog_items == len(self.items())
            assert bool(self.box.backlog_bytes) == bool(self.items())

    @invariant()
    def each_lane_is_gapless_and_holds_what_was_made_or_says_that_it_was_evicted(self) -> None:
        if not hasattr(self, "box"):
            return
        items = self.items()
        assert [item.lane for item in items] == sorted((item.lane for item in items), key=LANES.index)
        for lane in LANES:
            self.check_lane(lane, [item for item in items if item.lane == lane])

    def check_lane(self, lane: str, items: list[Item]) -> None:
        covered = self.acked[lane]
        for item in items:
            assert item.first_seq <= covered + 1 <= item.seq  # an eviction may reach back below the cursor
            covered = item.seq
            body = decode_body(item.kind, item.body)
            span = item.seq - item.first_seq + 1
            if isinstance(body, Eviction):
                assert body.n_items == span
            elif isinstance(body, Rollup):
                assert body.n_windows == sum(group.n_windows for group in body.groups) == span > 1
                merged = self.made[lane][item.first_seq - 1 : item.seq]
                assert all(isinstance(window, Aggregate) for window in merged)
                assert {w.asset for w in merged} == {g.asset for g in body.groups}  # type: ignore[attr-defined]
            else:
                assert span == 1
                assert body == self.made[lane][item.seq - 1]
        assert covered == len(self.made[lane])


def blocks_that_count(tail: bytes) -> set[int]:
    """Of every record but the newest that the newest one says is still needed."""
    found = scan(tail)
    older = counting(found.records)[0][:-1]
    return {found.starts[r.heads.number] + part for r in older for part in range(n_parts(len(encode_record(r))))}


def copy_is_current(copy: Path, path: Path) -> bool:
    """Whether only the tail has changed since: the append did not go into the database."""
    pairs = [(Path(f"{copy}{suffix}"), Path(f"{path}{suffix}")) for suffix in ("", "-wal")]
    return all(a.exists() == b.exists() and (not a.exists() or a.read_bytes() == b.read_bytes()) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_migration")
def test_the_outbox_does_what_a_plain_list_would(empty_outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutboxModel, "template", empty_outbox, raising=False)
    run_state_machine_as_test(OutboxModel, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
