"""The outbox against a plain list: whatever is appended, sent, confirmed, evicted or cut off, the sequence stays whole."""

from __future__ import annotations

import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agent.outbox import Outbox
from models.contract.items import KIND_OF, LANE_OF, LANES, Body, Eviction, Item, decode_body
from tests.builders import aggregate, alert, evidence, health, sensor_fault, stamp

BUDGET = 6000
BODIES = st.one_of(
    st.builds(alert, st.integers(0, 99)),
    st.builds(sensor_fault, st.integers(0, 99)),
    st.builds(health, st.integers(0, 99)),
    st.builds(aggregate, st.integers(0, 99), st.integers(1, 60)),
    st.builds(evidence, st.integers(0, 99), st.integers(1, 400)),
)


class OutboxModel(RuleBasedStateMachine):
    """`made[lane][seq - 1]` is what was appended; `acked[lane]` is the cursor that was confirmed."""

    template: Path

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-model-"))
        self.files = (self.folder / f"{n}.db" for n in count())
        self.path = next(self.files)
        shutil.copy(self.template, self.path)
        self.box = Outbox(self.path, BUDGET)
        self.epoch = self.box.epoch
        self.made: dict[str, list[Body]] = {lane: [] for lane in LANES}
        self.acked = dict.fromkeys(LANES, 0)

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.close()
            shutil.rmtree(self.folder)

    @rule(bodies=st.lists(BODIES, max_size=8))
    def append(self, bodies: list[Body]) -> None:
        self.box.append(bodies, stamp())
        for body in bodies:
            self.made[LANE_OF[KIND_OF[type(body)]]].append(body)
        assert self.box.backlog_bytes <= BUDGET

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
        self.box.close()
        self.box = Outbox(self.path, BUDGET)

    @rule()
    def crash(self) -> None:
        """The files as they are at this moment, without anybody closing them."""
        before, self.path = self.path, next(self.files)
        for suffix in ("", "-wal"):
            if Path(f"{before}{suffix}").exists():
                shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        self.box.close()
        self.box = Outbox(self.path, BUDGET)

    def items(self) -> list[Item]:
        return self.box.pending(10**6, 10**9)

    @invariant()
    def the_epoch_is_the_same(self) -> None:
        if hasattr(self, "box"):
            assert self.box.epoch == self.epoch

    @invariant()
    def counters_tell_what_is_there(self) -> None:
        if hasattr(self, "box"):
            rows, size = self.box._db.execute("SELECT count(*), ifnull(sum(n_bytes), 0) FROM items").fetchone()
            assert (self.box.backlog_items, self.box.backlog_bytes) == (rows, size)

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
            if isinstance(body, Eviction):
                assert body.n_items == item.seq - item.first_seq + 1
            else:
                assert item.first_seq == item.seq
                assert body == self.made[lane][item.seq - 1]
        assert covered == len(self.made[lane])


def test_the_outbox_does_what_a_plain_list_would(empty_outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutboxModel, "template", empty_outbox, raising=False)
    run_state_machine_as_test(OutboxModel, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
