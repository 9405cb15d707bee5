"""Sync: what is pending travels, what is confirmed goes, and a bad hub loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.storage.outbox import Outbox
from agent.uplink.portion import MAX_BATCH_ITEMS
from agent.uplink.set_aside import SetAside
from agent.uplink.sync import MAX_BATCH_BYTES, Sync
from models.contract.envelope import Ack
from models.contract.items import Body, Eviction, Item
from models.contract.names import MAX_ENVELOPE_BYTES
from models.errors import LinkError
from tests.agent.hub_in_memory import MemoryHub
from tests.agent.outboxes import open_outbox, shut, spoil
from tests.builders import T0_NS, TurnedClock, aggregate, alert, evidence, signing_key, stamp

NESTED = b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0"


@pytest.fixture
def outbox(outbox_path: Path) -> Iterator[Outbox]:
    box = open_outbox(outbox_path)
    yield box
    shut(box)


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def sync(outbox: Outbox, hub: MemoryHub, tmp_path: Path) -> Sync:
    return Sync(outbox, hub, TurnedClock(7.0), "dev-1", signing_key().sign, SetAside(tmp_path))


def fill(outbox: Outbox, n: int = 3) -> list[Body]:
    bodies: list[Body] = [*(alert(i) for i in range(n)), *(aggregate(i) for i in range(n)), evidence()]
    outbox.append(bodies, stamp())
    return bodies


def pending(outbox: Outbox) -> list[Item]:
    return outbox.pending(10**6, 10**9)


def ack(outbox: Outbox, cursors: dict[str, int], **changes: Any) -> bytes:
    return msgspec.msgpack.encode(Ack(**{"epoch": outbox.epoch, "cursors": cursors, "hub_time_ns": T0_NS} | changes))


# --- a good hub ---------------------------------------------------------------------------------------------------


def test_everything_pending_reaches_the_hub_once_and_is_gone_here(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox, 400)
    sync.drain()
    assert pending(outbox) == []
    assert hub.cursors == {"alerts": 400, "aggregates": 400, "evidence": 1}
    assert list(hub.bodies["aggregates"].values()) == [aggregate(i) for i in range(400)]
    assert hub.redelivered == 0
    assert len(hub.posts) == 2
    assert sync.counters.sent_items == 801
    assert sync.counters.sent_bytes == sum(len(body) for _, body in hub.posts)
    assert sync.counters.last_ok_ns == TurnedClock(7.0).now().wall_ns


def test_with_nothing_pending_nothing_is_sent(sync: Sync, hub: MemoryHub) -> None:
    sync.drain()
    assert hub.posts == []


def test_batches_keep_to_their_limits(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    outbox.append([evidence(i, n_values=40_000) for i in range(12)], stamp())
    outbox.append([alert(i) for i in range(MAX_BATCH_ITEMS + 1)], stamp())
    sizes: list[int] = []
    hub.accept = lambda items: sizes.append(len(items)) or items  # type: ignore[func-returns-value]
    sync.drain()
    assert max(sizes) <= MAX_BATCH_ITEMS
    assert all(len(body) <= MAX_BATCH_BYTES * 1.1 < MAX_ENVELOPE_BYTES for _, body in hub.posts)
    assert pending(outbox) == []


def test_a_poison_item_is_reported_and_does_not_block_the_rest(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox)
    spoil(outbox, "aggregates", 2, b"\xc0")
    sync.drain()
    assert pending(outbox) == []
    assert sync.counters.rejected == 1
    assert sync.counters.reasons == ["aggregates 2: aggregate: Expected `object`, got `None`"]
    assert sorted(hub.bodies["aggregates"]) == [1, 3]


def test_it_stops_between_batches_when_told_to(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox, 400)
    sync.drain(lambda: len(hub.posts) == 1)
    assert len(pending(outbox)) == 801 - MAX_BATCH_ITEMS


# --- bad hubs -----------------------------------------------------------------------------------------------------


def refuse(_: bytes) -> bytes:
    raise LinkError("POST /v1/ingest: 503 busy", retry_after_s=30.0)


@pytest.mark.parametrize(
    "answer", [b"", b"\xc1", b"<html>captive portal</html>", b"\x93\x01\x02\x03", b"\x81\xa5epoch\xa2\xff\xfe", NESTED]
)
def test_an_answer_that_is_no_acknowledgement_deletes_nothing(
    sync: Sync, outbox: Outbox, hub: MemoryHub, answer: bytes
) -> None:
    fill(outbox)
    before = pending(outbox)
    hub.answer = lambda _: answer
    with pytest.raises(LinkError, match="the hub's answer is no acknowledgement"):
        sync.drain()
    assert pending(outbox) == before


def test_a_hub_that_refuses_keeps_everything_here_and_its_wish_to_wait_is_passed_on(
    sync: Sync, outbox: Outbox, hub: MemoryHub
) -> None:
    fill(outbox)
    before = pending(outbox)
    hub.answer = refuse
    with pytest.raises(LinkError, match="503 busy") as caught:
        sync.drain()
    assert caught.value.retry_after_s == 30.0
    assert pending(outbox) == before


def test_a_lost_answer_leads_to_a_second_delivery_that_changes_nothing(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    bodies = fill(outbox)
    hub.answer = refuse
    with pytest.raises(LinkError):
        sync.drain()
    hub.answer = lambda reply: reply
    sync.drain()
    assert hub.redelivered == len(bodies)
    assert pending(outbox) == []


def test_a_hub_that_takes_half_gets_the_other_half_next(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox, 50)
    hub.accept = lambda items: items[: max(1, len(items) // 2)]
    sync.drain()
    assert pending(outbox) == []
    assert hub.cursors == {"alerts": 50, "aggregates": 50, "evidence": 1}
    assert len(hub.posts) < 12


def test_a_hub_that_confirms_nothing_new_is_as_stuck_as_one_that_does_not_answer(
    sync: Sync, outbox: Outbox, hub: MemoryHub
) -> None:
    fill(outbox)
    hub.accept = lambda _: []
    with pytest.raises(LinkError, match="confirmed nothing new"):
        sync.drain()
    assert len(hub.posts) == 1
    assert hub.n_resets == 1
    assert sync.counters.last_ok_ns == 0
    assert len(pending(outbox)) == 7


def test_an_acknowledgement_for_another_epoch_deletes_nothing(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox)
    hub.answer = lambda _: ack(outbox, {"alerts": 3, "aggregates": 3}, epoch="another")
    with pytest.raises(LinkError, match="confirmed nothing new"):
        sync.drain()
    assert len(pending(outbox)) == 7


def test_a_cursor_beyond_what_was_ever_sent_deletes_only_what_was_sent(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox, MAX_BATCH_ITEMS + 100)
    hub.answer = lambda _: ack(outbox, {"alerts": 10**9, "aggregates": 10**9, "evidence": 10**9})
    sync.drain(lambda: len(hub.posts) == 1)
    assert [item.seq for item in pending(outbox) if item.lane == "alerts"] == list(
        range(MAX_BATCH_ITEMS + 1, MAX_BATCH_ITEMS + 101)
    )
    assert sum(item.lane == "aggregates" for item in pending(outbox)) == MAX_BATCH_ITEMS + 100


@pytest.mark.parametrize("cursors", [{"alerts": -1}, {"gossip": 5}, {}])
def test_absurd_cursors_delete_nothing(sync: Sync, outbox: Outbox, hub: MemoryHub, cursors: dict[str, int]) -> None:
    fill(outbox)
    hub.answer = lambda _: ack(outbox, cursors)
    with pytest.raises(LinkError, match="confirmed nothing new"):
        sync.drain()
    assert len(pending(outbox)) == 7


# --- a hub that has forgotten ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 3])
def test_a_hub_that_was_restored_is_told_what_is_gone_and_goes_on(
    sync: Sync, outbox: Outbox, hub: MemoryHub, kept: int
) -> None:
    """It is back where it was after `kept` alerts; what it had confirmed since is nowhere any more."""
    fill(outbox, 5)
    sync.drain()
    hub.cursors["alerts"] = kept
    hub.seen["alerts"] = set(range(1, kept + 1))
    hub.bodies["alerts"] = {seq: body for seq, body in hub.bodies["alerts"].items() if seq <= kept}
    fill(outbox, 2)
    sync.drain()
    assert pending(outbox) == []
    assert hub.cursors["alerts"] == 7
    told = hub.bodies["alerts"].pop(5)
    assert isinstance(told, Eviction)
    assert (told.reason, told.n_items) == ("delivered once, and forgotten by the hub", 5 - kept)
    assert sorted(hub.bodies["alerts"]) == [*range(1, kept + 1), 6, 7]
    n_posts = len(hub.posts)
    fill(outbox, 1)
    sync.drain()
    assert len(hub.posts) == n_posts + 1, "it is told once"
    assert [seq for seq, body in hub.bodies["alerts"].items() if isinstance(body, Eviction)] == []


def test_a_hub_that_asks_for_what_is_gone_for_ever_is_stuck_like_any_other(sync: Sync, outbox: Outbox, hub: MemoryHub) -> None:
    fill(outbox)
    sync.drain()
    hub.answer = lambda _: ack(outbox, {"alerts": 0, "aggregates": 0, "evidence": 0})
    fill(outbox)
    before = pending(outbox)
    with pytest.raises(LinkError, match="confirmed nothing new"):
        sync.drain()
    assert pending(outbox) == before
    assert len(hub.posts) == 3
