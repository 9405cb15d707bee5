"""The outbox: what it promises about sequences, evictions, epochs, and files that are not its own."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pytest

from agent.asset import SavedState
from agent.storage.chunk import pack
from agent.storage.database import Database
from agent.storage.migrate import SCHEMA_VERSION
from agent.storage.outbox import Outbox
from models.contract.items import LANES, Aggregate, Eviction, Evidence, Item, Rollup, decode_body, pack_floats
from models.errors import StorageError
from tests.agent.outboxes import drop, open_outbox, shut
from tests.builders import aggregate, alert, evidence, health, stamp

BIG = 10**9
MB = 1_000_000


@pytest.fixture
def path(outbox_path: Path) -> Path:
    return outbox_path


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    box = open_outbox(path)
    yield box
    shut(box)


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
    box = open_outbox(path)
    box.append([alert(1), alert(2)], stamp())
    box.acknowledge(box.epoch, {"alerts": 2})
    shut(box)
    again = open_outbox(path)
    again.append([alert(3)], stamp())
    assert (places(everything(again)), again.epoch, again.starts) == ([("alerts", 3, 3)], box.epoch, 2)
    shut(again)


def test_a_fresh_file_is_a_fresh_epoch(tmp_path: Path) -> None:
    boxes = [open_outbox(tmp_path / f"{n}.db") for n in range(2)]
    assert boxes[0].epoch != boxes[1].epoch
    for box in boxes:
        shut(box)


def test_nothing_to_store_touches_nothing(outbox: Outbox) -> None:
    outbox.append([], stamp())
    assert outbox.backlog_items == outbox.stored_bytes == 0


# --- state --------------------------------------------------------------------------------------------------------


def test_states_are_kept_beside_the_items_and_the_last_one_counts(path: Path) -> None:
    box = open_outbox(path)
    first, second = (SavedState(spec_hash="0" * 16, vectors=bytes(4 * n), done=False) for n in (1, 2))
    box.append([alert(1)], stamp(), {"rig-1": first, "rig-2": first})
    box.append([], stamp(), {"rig-1": second})
    shut(box)
    again = open_outbox(path)
    assert again.saved_states() == {"rig-1": second, "rig-2": first}
    shut(again)


def test_a_state_that_cannot_be_read_is_left_out_and_told(outbox: Outbox) -> None:
    good = SavedState(spec_hash="0" * 16, vectors=b"", done=False)
    outbox.append([], stamp(), {"good": good, "bad": good})
    bad = pack(msgspec.msgpack.encode({"done": "maybe"}))
    outbox.database.connection.execute("UPDATE asset_state SET state=? WHERE asset='bad'", (bad,))
    assert outbox.saved_states() == {"good": good}
    assert outbox.lost_states == ["bad"]


# --- space --------------------------------------------------------------------------------------------------------


def noisy(n: int, asset: str = "rig-1") -> Aggregate:
    """A window of 68 features that do not compress."""
    rng = np.random.default_rng((n, crc32(asset.encode())))
    return msgspec.structs.replace(aggregate(n), asset=asset, features=pack_floats(rng.standard_normal(68)))


def noisy_evidence(n: int, n_values: int) -> Evidence:
    values = pack_floats(np.random.default_rng(n).standard_normal(n_values))
    return msgspec.structs.replace(evidence(n), values=values)


def kinds(items: list[Item], lane: str) -> Counter[str]:
    return Counter(item.kind for item in items if item.lane == lane)


def gapless(items: list[Item]) -> bool:
    for lane in LANES:
        mine = [item for item in items if item.lane == lane]
        if mine and (mine[0].first_seq != 1 or any(b.first_seq != a.seq + 1 for a, b in pairwise(mine))):
            return False
    return True


def test_the_files_never_take_more_than_the_budget_whatever_comes(path: Path) -> None:
    box = open_outbox(path, MB)
    box.append([alert(n) for n in range(5)], stamp(1))
    for n in range(1500):
        box.append([noisy(n, f"rig-{i}") for i in range(6)] + [noisy_evidence(n, 500)] * (n % 20 == 0), stamp(n))
        assert box.database.file_bytes <= MB
    items = everything(box)
    assert kinds(items, "alerts") == {"alert": 5}
    assert next(item.kind for item in items if item.lane == "evidence") == "eviction"
    assert set(kinds(items, "aggregates")) == {"eviction", "rollup", "aggregate"}
    assert [item.kind for item in items if item.lane == "aggregates"][:2] == ["eviction", "rollup"]
    assert gapless(items)
    assert len(items) == box.backlog_items
    shut(box)
    again = open_outbox(path, MB)
    assert places(everything(again)) == places(items)
    shut(again)


def test_evidence_goes_first_then_windows_are_merged_and_all_of_it_is_told(path: Path) -> None:
    box = open_outbox(path, MB)
    for n in range(60):
        box.append([noisy(n), noisy_evidence(n, 3000)], stamp(n))
    items = everything(box)
    first = next(item for item in items if item.lane == "evidence")
    told = decode_body(first.kind, first.body)
    assert isinstance(told, Eviction)
    assert (told.reason, told.n_items, first.first_seq) == ("outbox full", first.seq, 1)
    assert (told.start_ns, told.end_ns) == (stamp(0).wall_ns, stamp(first.seq - 1).wall_ns)
    assert kinds(items, "aggregates") == {"aggregate": 60}
    for n in range(60, 2500):
        box.append([noisy(n)], stamp(n))
    rollups = [item for item in everything(box) if item.kind == "rollup"]
    assert rollups
    for item in rollups:
        body = decode_body(item.kind, item.body)
        assert isinstance(body, Rollup)
        assert body.n_windows == item.seq - item.first_seq + 1 <= 10
    shut(box)


def test_a_single_item_that_is_a_large_part_of_the_budget_is_told_as_evicted(path: Path) -> None:
    box = open_outbox(path, MB)
    large = noisy_evidence(1, 60_000)
    for n in range(10):
        box.append([large, alert(n)], stamp(n))
        assert box.database.file_bytes <= MB
    items = everything(box)
    assert set(kinds(items, "evidence")) == {"eviction"}
    assert kinds(items, "alerts") == {"alert": 10}
    assert gapless(items)
    shut(box)


def test_evicted_and_merged_sequence_numbers_are_acknowledged_like_any(path: Path) -> None:
    box = open_outbox(path, MB)
    for n in range(700):
        box.append([noisy(n, f"rig-{i}") for i in range(20)], stamp(n))
    first, second = (item for item in everything(box)[:2])
    assert (first.kind, second.kind) == ("eviction", "rollup")
    assert box.acknowledge(box.epoch, {"aggregates": first.seq - 1}) == 0
    assert box.acknowledge(box.epoch, {"aggregates": first.seq}) == 1
    assert box.acknowledge(box.epoch, {"aggregates": second.seq}) == 1
    assert everything(box)[0].first_seq == second.seq + 1
    shut(box)


def test_what_the_hub_has_of_a_chunk_is_neither_merged_nor_evicted_nor_counted(path: Path) -> None:
    box = open_outbox(path, MB)
    box.append([health(0), *(noisy(n) for n in range(30)), noisy_evidence(0, 4000), noisy_evidence(1, 4000)], stamp())
    shut(box)  # into the database, a chunk of each lane
    box = open_outbox(path, MB)
    box.acknowledge(box.epoch, {"aggregates": 4, "evidence": 1})
    for n in range(200):
        box.append([noisy(n, f"rig-{i}") for i in range(20)], stamp(n))
    items = everything(box)
    assert (kinds(items, "evidence"), kinds(items, "aggregates")["eviction"]) == ({"eviction": 1}, 0)
    gone = next(item for item in items if item.lane == "evidence")
    assert (gone.first_seq, gone.seq, msgspec.msgpack.decode(gone.body, type=Eviction).n_items) == (2, 2, 1)
    merged = next(item for item in items if item.lane == "aggregates")
    assert (merged.kind, merged.first_seq) == ("rollup", 5)
    assert box.backlog_items == len(items)
    shut(box)


@pytest.mark.parametrize("lane", ["aggregates", "evidence"])
def test_a_damaged_chunk_that_gives_way_is_counted_no_more(lane: str, path: Path) -> None:
    box = open_outbox(path, MB)
    box.append([*(noisy(n) for n in range(30)), *(noisy_evidence(n, 100) for n in range(30))], stamp())
    box.close()  # into the database, a chunk of each lane
    box.database.connection.execute("UPDATE chunks SET data=zeroblob(length(data)) WHERE lane=?", (lane,))
    for n in range(400):
        box.append([noisy(n, f"rig-{i}") for i in range(20)], stamp(n))
    while batch := box.pending(500, 512 * 1024):
        box.acknowledge(box.epoch, {item.lane: item.seq for item in batch})
    assert (box.backlog_items, box.backlog_bytes) == (0, 0)
    shut(box)


def test_space_is_given_back_to_the_file_system_when_the_backlog_drains(path: Path) -> None:
    box = open_outbox(path, 10 * MB)
    empty = box.database.file_bytes
    for n in range(1500):
        box.append([noisy(n, f"rig-{i}") for i in range(6)], stamp(n))
    full = box.database.file_bytes
    assert full > 2 * MB
    while batch := box.pending(500, 512 * 1024):
        box.acknowledge(box.epoch, {item.lane: item.seq for item in batch})
    assert box.backlog_items == box.backlog_bytes == 0
    assert box.database.file_bytes < empty + full // 10
    shut(box)
    assert path.stat().st_size < 200_000


def test_what_the_hub_confirms_at_once_never_reaches_the_database(path: Path) -> None:
    box = open_outbox(path)
    for n in range(300):
        box.append([noisy(n, f"rig-{i}") for i in range(10)], stamp(n))
        before = [file.stat().st_mtime_ns for file in (path, path.with_name("outbox.db-wal"))]
        box.acknowledge(box.epoch, {"aggregates": 10 * n})  # the last commit is still on its way
        assert [file.stat().st_mtime_ns for file in (path, path.with_name("outbox.db-wal"))] == before
        assert box.backlog_items == 10
    drop(box)
    again = open_outbox(path)
    assert places(everything(again))[0] == ("aggregates", 2981, 2981)
    shut(again)


def test_a_full_disk_stores_nothing_by_halves_and_the_sequence_stays_whole(outbox: Outbox) -> None:
    outbox.append([health(1)], stamp())
    connection = outbox.database.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    large = noisy_evidence(1, 70_000)
    with pytest.raises(StorageError, match="full"):
        outbox.append([large, health(2)], stamp())
    before = (outbox.backlog_items, outbox.backlog_bytes)
    connection.execute("PRAGMA max_page_count=1000000")
    outbox.append([health(3)], stamp())
    assert before[0] == 1
    assert places(everything(outbox)) == [("aggregates", 1, 1), ("aggregates", 2, 2)]


def test_an_acknowledgement_that_fails_half_way_deletes_nothing_and_miscounts_nothing(outbox: Outbox) -> None:
    outbox.append([health(1), evidence(1, n_values=10)], stamp())
    outbox.close()  # into the database
    before = (outbox.backlog_items, outbox.backlog_bytes, places(everything(outbox)))
    outbox.database.connection.execute(
        "CREATE TEMP TRIGGER broken BEFORE DELETE ON chunks WHEN OLD.lane='evidence' "
        "BEGIN SELECT RAISE(ABORT, 'bad sector'); END"
    )
    with pytest.raises(StorageError, match="bad sector"):
        outbox.acknowledge(outbox.epoch, {"aggregates": 1, "evidence": 1})
    assert (outbox.backlog_items, outbox.backlog_bytes, places(everything(outbox))) == before


# --- larger transactions --------------------------------------------------------------------------------------------


def test_inside_a_transaction_it_joins_and_stands_or_falls_with_it(outbox: Outbox) -> None:
    connection = outbox.database.connection
    connection.execute("CREATE TABLE other (x)")
    outbox.append([alert(1)], stamp())
    with outbox.database.transaction():
        connection.execute("INSERT INTO other VALUES (1)")
        outbox.append([alert(2), aggregate(1)], stamp())
        with outbox.database.transaction():
            outbox.append([alert(3)], stamp())
    kept = places(everything(outbox))
    counts = (outbox.backlog_items, outbox.backlog_bytes, outbox.stored_bytes)

    def fail() -> None:
        with outbox.database.transaction():
            connection.execute("INSERT INTO other VALUES (2)")
            outbox.append([alert(4)], stamp())
            outbox.acknowledge(outbox.epoch, {"alerts": 2})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kept == [("alerts", 1, 1), ("alerts", 2, 2), ("alerts", 3, 3), ("aggregates", 1, 1)]
    assert (places(everything(outbox)), (outbox.backlog_items, outbox.backlog_bytes, outbox.stored_bytes)) == (kept, counts)
    assert connection.execute("SELECT x FROM other").fetchall() == [(1,)]


def test_what_failed_inside_cannot_be_committed_by_who_catches_it(outbox: Outbox) -> None:
    def catch() -> None:
        with outbox.database.transaction(), suppress(KeyError), outbox.database.transaction():
            outbox.append([alert(1)], stamp())
            raise KeyError

    with pytest.raises(StorageError, match="a part of the transaction failed"):
        catch()
    assert everything(outbox) == []


class DyingDisk:
    """Takes the commit, and answers no question after it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        self._connection.set_authorizer(None)

    def rolled_back(self) -> None:
        raise AssertionError

    def committed(self) -> None:
        self._connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)


def test_tidying_up_that_fails_leaves_the_commit_standing(outbox: Outbox) -> None:
    state = SavedState(spec_hash="0" * 16, vectors=bytes(8), done=False)
    outbox.database._participants.insert(0, DyingDisk(outbox.database.connection))
    outbox.append([alert()], stamp(), {"rig-1": state})
    outbox.database.connection.set_authorizer(None)
    assert [item.kind for item in everything(outbox)] == ["alert"]
    assert outbox.saved_states() == {"rig-1": state}


# --- other people's files -----------------------------------------------------------------------------------------


def test_a_file_of_a_newer_version_is_refused_and_left_untouched(strange: Path) -> None:
    connection = sqlite3.connect(strange)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = strange.read_bytes()
    with pytest.raises(StorageError, match=f"written by a newer Tocsin .schema {SCHEMA_VERSION + 1}"):
        Database(strange)
    assert strange.read_bytes() == before
    assert [p.name for p in strange.parent.iterdir()] == [strange.name]


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open database file"):
        Database(tmp_path / "nowhere" / "outbox.db")
