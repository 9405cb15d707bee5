"""The outbox: what it promises about sequences, evictions, epochs, and files that are not its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from agent.asset import SavedState
from agent.migrate import SCHEMA_VERSION
from agent.outbox import Outbox
from models.contract.items import LANES, Eviction, Item, decode_body
from models.errors import StorageError
from tests.builders import aggregate, alert, evidence, health, stamp

BIG = 10**9


@pytest.fixture
def path(outbox_path: Path) -> Path:
    return outbox_path


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    box = Outbox(path, BIG)
    yield box
    box.close()


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Where another's file stands in the outbox's place."""
    return tmp_path / "outbox.db"


def everything(box: Outbox) -> list[Item]:
    return box.pending(10**6, BIG)


def places(items: list[Item]) -> list[tuple[str, int, int]]:
    return [(item.lane, item.first_seq, item.seq) for item in items]


# --- order --------------------------------------------------------------------------------------------------------


def test_items_come_back_byte_for_byte_in_order_of_urgency(outbox: Outbox) -> None:
    bodies = [evidence(1), aggregate(1), alert(1), aggregate(2), alert(2)]
    outbox.append(bodies, stamp(5.0))
    items = everything(outbox)
    assert [item.kind for item in items] == ["alert", "alert", "aggregate", "aggregate", "evidence"]
    assert places(items) == [("alerts", 1, 1), ("alerts", 2, 2), ("aggregates", 1, 1), ("aggregates", 2, 2), ("evidence", 1, 1)]
    assert [decode_body(item.kind, item.body) for item in items] == [
        alert(1),
        alert(2),
        aggregate(1),
        aggregate(2),
        evidence(1),
    ]
    assert {item.at for item in items} == {stamp(5.0)}


def test_pending_keeps_to_its_limits_but_gives_at_least_one(outbox: Outbox) -> None:
    outbox.append([alert(n) for n in range(5)] + [aggregate(n) for n in range(5)], stamp())
    assert places(outbox.pending(7, BIG)) == places(everything(outbox))[:7]
    assert len(outbox.pending(100, 1)) == 1
    assert 1 < len(outbox.pending(100, 600)) < 10


def test_what_is_acknowledged_is_gone_and_the_rest_stays(outbox: Outbox) -> None:
    outbox.append([alert(n) for n in range(3)] + [aggregate(n) for n in range(3)], stamp())
    assert outbox.acknowledge(outbox.epoch, {"alerts": 2, "aggregates": 0, "evidence": 9}) == 2
    assert places(everything(outbox)) == [("alerts", 3, 3), ("aggregates", 1, 1), ("aggregates", 2, 2), ("aggregates", 3, 3)]
    assert outbox.acknowledge(outbox.epoch, {"alerts": 2}) == 0


def test_cursors_of_another_epoch_or_lane_delete_nothing(outbox: Outbox) -> None:
    outbox.append([alert(1)], stamp())
    assert outbox.acknowledge("another", {"alerts": 1}) == 0
    assert outbox.acknowledge(outbox.epoch, {"gossip": 1, "alerts": -5}) == 0
    assert len(everything(outbox)) == 1


def test_sequences_go_on_after_everything_was_acknowledged_and_reopened(path: Path) -> None:
    box = Outbox(path, BIG)
    box.append([alert(1), alert(2)], stamp())
    box.acknowledge(box.epoch, {"alerts": 2})
    box.close()
    again = Outbox(path, BIG)
    again.append([alert(3)], stamp())
    assert (places(everything(again)), again.epoch, again.starts) == ([("alerts", 3, 3)], box.epoch, 2)
    again.close()


def test_a_fresh_file_is_a_fresh_epoch(tmp_path: Path) -> None:
    boxes = [Outbox(tmp_path / f"{n}.db", BIG) for n in range(2)]
    assert boxes[0].epoch != boxes[1].epoch
    for box in boxes:
        box.close()


def test_nothing_to_store_touches_nothing(outbox: Outbox) -> None:
    outbox.append([], stamp())
    assert outbox.backlog_items == outbox.stored_bytes == 0


# --- state --------------------------------------------------------------------------------------------------------


def test_states_are_kept_beside_the_items_and_the_last_one_counts(path: Path) -> None:
    box = Outbox(path, BIG)
    first, second = (SavedState(spec_hash="0" * 16, vectors=bytes(4 * n), done=False) for n in (1, 2))
    box.append([alert(1)], stamp(), {"rig-1": first, "rig-2": first})
    box.append([], stamp(), {"rig-1": second})
    box.close()
    again = Outbox(path, BIG)
    assert again.saved_states() == {"rig-1": second, "rig-2": first}
    again.close()


def test_a_state_that_cannot_be_read_is_left_out(outbox: Outbox) -> None:
    good = SavedState(spec_hash="0" * 16, vectors=b"", done=False)
    outbox.append([], stamp(), {"good": good, "bad": good})
    outbox._db.execute("UPDATE asset_state SET state=? WHERE asset='bad'", (msgspec.msgpack.encode({"done": "maybe"}),))
    assert outbox.saved_states() == {"good": good}


# --- space --------------------------------------------------------------------------------------------------------


def test_beyond_the_budget_the_least_urgent_oldest_go_and_an_eviction_says_so(path: Path) -> None:
    box = Outbox(path, 20_000)
    box.append([alert(n) for n in range(5)], stamp(1))
    for n in range(200):
        box.append([aggregate(n), evidence(n)], stamp(n))
        assert box.backlog_bytes <= 20_000
    items = everything(box)
    assert [item.kind for item in items if item.lane == "alerts"] == ["alert"] * 5
    for lane in LANES:
        mine = [item for item in items if item.lane == lane]
        assert mine[0].first_seq == 1
        assert all(b.first_seq == a.seq + 1 for a, b in pairwise(mine))
    first = next(item for item in items if item.kind == "eviction" and item.lane == "evidence")
    told = decode_body("eviction", first.body)
    assert isinstance(told, Eviction)
    assert told.n_items == first.seq - first.first_seq + 1
    assert told.reason == "outbox full"
    assert (told.start_ns, told.end_ns) == (stamp(0).wall_ns, stamp(first.seq - 1).wall_ns)
    box.close()


def test_the_budget_holds_also_where_a_single_item_is_a_large_part_of_it(path: Path) -> None:
    box = Outbox(path, 20_000)
    for n in range(20):
        box.append([evidence(n, n_values=3500)], stamp(n))
        assert box.backlog_bytes <= 20_000
    assert places(everything(box))[0][1] == 1
    box.close()


def test_evicted_sequence_numbers_are_acknowledged_like_any(path: Path) -> None:
    box = Outbox(path, 5_000)
    for n in range(100):
        box.append([aggregate(n)], stamp(n))
    eviction = everything(box)[0]
    assert eviction.kind == "eviction"
    assert box.acknowledge(box.epoch, {"aggregates": eviction.seq - 1}) == 0
    assert box.acknowledge(box.epoch, {"aggregates": eviction.seq}) == 1
    assert everything(box)[0].seq == eviction.seq + 1
    box.close()


def test_a_full_disk_stores_nothing_by_halves_and_the_sequence_stays_whole(outbox: Outbox) -> None:
    outbox.append([health(1)], stamp())
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageError, match="full"):
        outbox.append([evidence(n, n_values=5000) for n in range(20)] + [health(2)], stamp())
    before = (outbox.backlog_items, outbox.backlog_bytes)
    outbox._db.execute("PRAGMA max_page_count=1000000")
    outbox.append([health(3)], stamp())
    assert before[0] == 1
    assert places(everything(outbox)) == [("aggregates", 1, 1), ("aggregates", 2, 2)]


def test_an_acknowledgement_that_fails_half_way_deletes_nothing_and_miscounts_nothing(outbox: Outbox) -> None:
    outbox.append([health(1), evidence(1, n_values=10)], stamp())
    before = (outbox.backlog_items, outbox.backlog_bytes, places(everything(outbox)))
    outbox._db.execute(
        "CREATE TEMP TRIGGER broken BEFORE DELETE ON items WHEN OLD.lane='evidence' "
        "BEGIN SELECT RAISE(ABORT, 'bad sector'); END"
    )
    with pytest.raises(StorageError, match="bad sector"):
        outbox.acknowledge(outbox.epoch, {"aggregates": 1, "evidence": 1})
    assert (outbox.backlog_items, outbox.backlog_bytes, places(everything(outbox))) == before


# --- other people's files -----------------------------------------------------------------------------------------


def test_a_file_of_a_newer_version_is_refused_and_left_untouched(strange: Path) -> None:
    connection = sqlite3.connect(strange)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = strange.read_bytes()
    with pytest.raises(StorageError, match=f"written by a newer Tocsin .schema {SCHEMA_VERSION + 1}"):
        Outbox(strange, BIG)
    assert strange.read_bytes() == before
    assert [p.name for p in strange.parent.iterdir()] == [strange.name]


@pytest.mark.parametrize("content", [b"hello", b"x" * 5000, b"SQLite format 3\0" + bytes(84) + b"y" * 4000])
def test_what_is_no_database_is_refused_and_left_untouched(content: bytes, strange: Path) -> None:
    strange.write_bytes(content)
    with pytest.raises(StorageError, match=r"outbox\.db: .*; move it away to start with an empty outbox"):
        Outbox(strange, BIG)
    assert strange.read_bytes() == content


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open database file"):
        Outbox(tmp_path / "nowhere" / "outbox.db", BIG)
