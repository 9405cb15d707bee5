"""Finding the one item that no batch gets through with, without ever taking a failing hub for a bad item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.uplink.portion import MAX_BATCH_ITEMS, TRIES, Portion
from agent.uplink.set_aside import KEPT, Refused, SetAside
from agent.uplink.sync import Sync
from models.contract.envelope import Batch, open_sealed, read_sealed
from models.contract.items import Aggregate, Eviction, Item
from models.errors import LinkError, LinkTimeout
from tests.agent.hub_in_memory import MemoryHub
from tests.agent.outboxes import open_outbox, shut
from tests.builders import TurnedClock, aggregate, alert, items_of, signing_key, stamp

REFUSED = LinkError("POST /v1/ingest: 400 cannot be", status=400)
Poison = Callable[[Item], bool]


class PickyHub(MemoryHub):
    """Refuses whole batches, with `status`, over any item that `poison` names."""

    poison: Poison = staticmethod(lambda _: False)  # type: ignore[assignment]
    status = 400

    def post(self, path: str, body: bytes) -> bytes:
        batch = open_sealed(read_sealed(body, "ingest"), self._verify, Batch)
        if any(self.poison(item) for item in batch.items):
            self.posts.append((path, body))
            raise LinkError(f"POST {path}: {self.status} cannot be", status=self.status)
        return super().post(path, body)


class Device:
    """An outbox on disk, drained again and again as `Uplink` would, without the waits."""

    def __init__(self, folder: Path, outbox_path: Path) -> None:
        self.hub = PickyHub()
        self.folder = folder
        self.outbox = open_outbox(outbox_path)
        self.sync = Sync(self.outbox, self.hub, TurnedClock(), "dev-1", signing_key().sign, SetAside(folder))

    def turns(self, n: int) -> int:
        """How many of `n` attempts failed; it stops once nothing is pending."""
        failures = 0
        while self.outbox.backlog_items and failures < n:
            try:
                self.sync.drain()
            except LinkError:
                failures += 1
        return failures


@pytest.fixture
def device(tmp_path: Path, outbox_path: Path) -> Iterator[Device]:
    made = Device(tmp_path, outbox_path)
    yield made
    shut(made.outbox)


def one(lane: str, *seqs: int) -> Poison:
    return lambda item: item.lane == lane and item.seq in seqs and item.kind != "eviction"


@pytest.mark.parametrize("status", [400, 413, 422, 500])
@pytest.mark.parametrize("seq", [1, 250, 600])
def test_one_poison_item_is_set_aside_with_its_reason_and_all_others_arrive(device: Device, status: int, seq: int) -> None:
    device.outbox.append([alert(), *(aggregate(n) for n in range(600))], stamp())
    device.hub.poison, device.hub.status = one("aggregates", seq), status
    if seq == 600:
        device.turns(40)  # the last: nothing else waits that could tell a bad item from a bad hub
        assert device.outbox.backlog_items == 1
        device.outbox.append([aggregate(600)], stamp())
    assert device.turns(40) < 30
    assert device.outbox.backlog_items == 0
    total = 601 if seq == 600 else 600
    assert device.hub.cursors == {"alerts": 1, "aggregates": total, "evidence": 0}
    bodies = device.hub.bodies["aggregates"]
    assert sorted(bodies) == list(range(1, total + 1))
    stand_in = bodies.pop(seq)
    assert isinstance(stand_in, Eviction)
    assert (stand_in.reason, stand_in.n_items) == (f"POST /v1/ingest: {status} cannot be", 1)
    assert all(isinstance(body, Aggregate) for body in bodies.values())
    (file,) = (device.folder / "set-aside").iterdir()
    kept = msgspec.msgpack.decode(file.read_bytes(), type=Refused)
    assert (kept.item.lane, kept.item.seq, kept.reason) == ("aggregates", seq, stand_in.reason)
    assert msgspec.msgpack.decode(kept.item.body, type=Aggregate) == aggregate(seq - 1)
    assert device.sync.aside.count() == 1


def test_poison_items_side_by_side_and_in_two_lanes_all_go(device: Device) -> None:
    device.outbox.append([*(alert(n) for n in range(10)), *(aggregate(n) for n in range(50))], stamp())
    device.hub.poison = lambda item: one("aggregates", 7, 8, 9)(item) or one("alerts", 4)(item)
    device.turns(200)
    assert device.outbox.backlog_items == 0
    assert device.sync.aside.count() == 4
    assert device.hub.cursors == {"alerts": 10, "aggregates": 50, "evidence": 0}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_a_hub_that_refuses_everything_costs_nothing_however_long(device: Device, status: int) -> None:
    device.outbox.append([alert(), *(aggregate(n) for n in range(40))], stamp())
    device.hub.poison, device.hub.status = (lambda _: True), status
    assert device.turns(300) == 300
    assert device.outbox.backlog_items == 41
    assert not (device.folder / "set-aside").exists()
    device.hub.poison = lambda _: False
    assert device.turns(1) == 0
    assert device.hub.cursors == {"alerts": 1, "aggregates": 40, "evidence": 0}


def test_a_poison_item_holds_no_alert_up(device: Device) -> None:
    device.outbox.append([aggregate(n) for n in range(100)], stamp())
    device.hub.poison = one("aggregates", 1)
    device.turns(9)
    device.outbox.append([alert()], stamp())
    device.turns(1)
    assert device.hub.cursors["alerts"] == 1


def test_a_link_too_slow_for_a_batch_gets_smaller_ones_until_they_pass() -> None:
    portion, pending = Portion(), items_of([aggregate(n) for n in range(MAX_BATCH_ITEMS)])
    sizes = []
    for _ in range(12):
        batch = portion.choose(pending)
        sizes.append(len(batch))
        if len(batch) > 30:
            assert portion.failed(batch, LinkTimeout("no whole answer within 20 s")) is None
        else:
            portion.accepted()
    assert sizes == [500, 250, 125, 62, 31, 15, 30, 60, 30, 60, 30, 60]


def test_an_item_that_alone_is_too_slow_is_kept() -> None:
    portion, pending = Portion(), items_of([aggregate(0), aggregate(1)])
    for _ in range(10 * TRIES):
        batch = portion.choose(pending)
        assert portion.failed(batch, LinkTimeout("no whole answer within 20 s")) is None
    assert portion.choose(pending) == pending[:1]


def test_a_suspect_that_passes_after_all_is_acquitted() -> None:
    portion, pending = Portion(), items_of([aggregate(0), aggregate(1)])
    for _ in range(2):
        portion.failed(portion.choose(pending), REFUSED)
    portion.accepted()
    for _ in range(TRIES):
        assert portion.choose(pending)[0] == pending[0]
        assert portion.failed(pending[:1], REFUSED) is None


def test_what_stands_for_a_loss_is_never_set_aside(device: Device) -> None:
    device.outbox.append([aggregate(n) for n in range(3)], stamp())
    device.sync.aside.keep(device.outbox.epoch, device.outbox.pending(1, 10**6)[0], "why")
    device.hub.poison = lambda item: item.kind == "eviction"
    device.turns(60)
    assert device.outbox.backlog_items == 3
    assert device.sync.aside.count() == 1


def test_what_was_set_aside_stays_so_over_a_restart(device: Device) -> None:
    device.outbox.append([aggregate(n) for n in range(3)], stamp())
    (first, *_) = device.outbox.pending(1, 10**6)
    SetAside(device.folder).keep(device.outbox.epoch, first, "no good")
    again = SetAside(device.folder)
    stand_in = again.in_place_of(device.outbox.epoch, first)
    assert (stand_in.kind, stand_in.seq, stand_in.first_seq) == ("eviction", 1, 1)
    assert msgspec.msgpack.decode(stand_in.body, type=Eviction).reason == "no good"
    assert again.in_place_of("another epoch", first) == first
    (file,) = (device.folder / "set-aside").iterdir()
    file.write_bytes(b"damaged")
    stand_in = again.in_place_of(device.outbox.epoch, first)
    assert msgspec.msgpack.decode(stand_in.body, type=Eviction).reason == "refused by the hub"


def test_only_the_newest_are_kept_to_look_at(tmp_path: Path) -> None:
    folder = SetAside(tmp_path)
    assert folder.count() == 0
    for n, item in enumerate(items_of([aggregate(n) for n in range(KEPT + 5)])):
        folder.keep("e", item, f"reason {n}")
    assert folder.count() == KEPT
    assert not (tmp_path / "set-aside" / "e-aggregates-5.msgpack").exists()
    assert (tmp_path / "set-aside" / f"e-aggregates-{KEPT + 5}.msgpack").exists()
