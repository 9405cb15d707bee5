"""Stored data that is not what was written: the start sets it aside, keeps what can be read, says what is lost, goes on.

Whatever happened to the files, three things hold afterwards: every item that comes out is one that went in, no number that
may have been seen is given to another item in the same epoch, and what had been stored before the damage is kept for a look.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.asset import SavedState
from agent.storage.database import DamagedError, Database
from agent.storage.migrate import SCHEMA_VERSION
from agent.storage.tail import BLOCK
from models.contract.clock import Stamp
from models.contract.items import LANES, Body, Eviction, Evidence, Item, decode_body, pack_floats
from models.errors import StorageError
from tests.agent.outboxes import copy_files, drop, open_outbox, shut
from tests.builders import aggregate, alert, evidence, health, sensor_fault, stamp

pytestmark = pytest.mark.usefixtures("quick_migration")
DATA = Path(__file__).parents[1] / "data"
STATE = SavedState(spec_hash="0" * 16, vectors=bytes(400), done=False)
NOW_NS = 1_795_725_900_000_000_000  # 2026-11-26T20:45:00Z
TIME = "20261126T204500Z"


@pytest.fixture
def path(outbox_path: Path) -> Path:
    return outbox_path


def database(path: Path) -> Database:
    return Database(path, 4, lambda: NOW_NS)


def filled(path: Path, n: int = 42) -> tuple[str, list[Item]]:
    """An outbox with chunks, a WAL and a tail, as a power cut leaves it; its epoch and what waits in it."""
    life = path.parent / "life" / path.name
    life.parent.mkdir()
    box = open_outbox(Path(shutil.copy(path, life)), tail_blocks=4)
    box.append([alert(1000)], stamp(), {"rig-1": STATE})
    for i in range(n):
        box.append([aggregate(i, 60), health(i), alert(i)] + [evidence(i, 200)] * (i % 4 == 0), stamp(float(i)))
    assert box.database.wal_bytes > 0
    assert box._books.tail
    epoch, items = box.epoch, box.pending(10**6, 10**9)
    copy_files(life, path.parent)
    drop(box)
    shutil.rmtree(life.parent)
    return epoch, items


def evidence_of(n_values: int) -> Evidence:
    """That does not compress."""
    values = np.random.default_rng(n_values).standard_normal(n_values)
    return msgspec.structs.replace(evidence(1), values=pack_floats(values))


def bodies(items: list[Item]) -> list[Body]:
    return [decode_body(item.kind, item.body) for item in items]


def taken_up(path: Path, epoch: str, before: list[Item]) -> tuple[list[Item], Eviction | None]:
    """Start on `path`. What waits, without the item that tells of the damage, and that; asserts what must hold in any case."""
    box = open_outbox(path)
    box.saved_states()
    items = box.pending(10**6, 10**9)
    told = None
    if box.epoch != epoch:
        [told] = [b for b in bodies(items) if isinstance(b, Eviction) and b.reason.startswith("outbox damaged: ")]
        items = [item for item in items if decode_body(item.kind, item.body) != told]
    for lane in LANES:
        numbers = [(item.first_seq, item.seq) for item in items if item.lane == lane]
        assert all(first == last + 1 for (_, last), (first, _) in pairwise(numbers))
    known = [bytes(item.body) for item in before]
    assert all(bytes(item.body) in known or item.kind == "eviction" for item in items)
    assert len({(item.lane, bytes(item.body), item.at) for item in items}) == len(items), "nothing is there twice"
    box.append([alert(99)], stamp(99.0))
    assert box.pending(10**6, 10**9)[len([i for i in items if i.lane == "alerts"]) + bool(told)].at == stamp(99.0)
    shut(box)
    again = open_outbox(path)  # it is sound now
    assert again.database.salvaged is None
    shut(again)
    return items, told


def damaged_files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir() if "damaged" in file.name)


def truncate(file: Path, to: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(to)


def overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


WHOLE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(5000)),
    "text": lambda path: path.write_bytes(b"not a database, but somebody's"),
    "a database's first page, then garbage": lambda path: overwrite(path, 4096, random.Random(2).randbytes(20_000)),
    "no length": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "cut off in the middle": lambda path: truncate(path, path.stat().st_size // 2),
}


@pytest.mark.parametrize("damage", WHOLE)
def test_a_database_that_is_no_more_is_set_aside_and_what_the_tail_has_is_kept(damage: str, path: Path) -> None:
    epoch, before = filled(path)
    Path(f"{path}-wal").unlink()  # what it had, nobody can read any more
    WHOLE[damage](path)
    content = path.read_bytes() if path.exists() else None
    items, told = taken_up(path, epoch, before)
    assert told is not None
    assert bodies(items)[-1] in bodies(before[-50:]), "of the tail"
    if content:  # an empty file was made a database before it was seen that it should not be empty
        [aside] = [file for file in path.parent.iterdir() if "damaged" in file.name and file.suffix == ".tail"]
        assert aside.with_suffix("").read_bytes() == content


def test_the_damage_is_told_with_what_is_lost_and_states_survive_a_lost_tail(path: Path) -> None:
    epoch, before = filled(path)
    path.with_suffix(".tail").unlink()
    box = open_outbox(path)
    assert box.epoch != epoch
    assert box.saved_states() == {"rig-1": STATE}
    assert box.starts == 2
    [told] = [body for body in bodies(box.pending(10**6, 10**9)) if isinstance(body, Eviction)]
    assert told.reason.startswith("outbox damaged: the tail is missing; 0 items lost; files kept as outbox.db.damaged-")
    assert (told.epoch, told.n_items) == (epoch, 0)
    assert 0 < len(before) + 1 - box.backlog_items <= 16, "only the last commits were in the tail, four at most"
    shut(box)


def test_a_wal_that_is_cut_off_is_noticed_by_what_the_tail_knows(path: Path) -> None:
    """SQLite opens such a file as if nothing were missing, and would give the same numbers again."""
    epoch, before = filled(path)
    wal = Path(f"{path}-wal")
    truncate(wal, wal.stat().st_size // 2)
    items, told = taken_up(path, epoch, before)
    assert told is not None
    assert "the database lacks a commit that the tail knows of" in told.reason
    assert 0 < len(items) < len(before)
    assert told.n_items == len(before) - len(items)
    assert [name.partition("Z")[2] for name in damaged_files(path)] == ["", "-wal", ".tail"]


def test_a_chunk_that_has_changed_becomes_an_eviction_and_everything_else_stays(path: Path) -> None:
    epoch, before = filled(path)
    box = open_outbox(path)
    box.close()  # all of it into the database
    connection = box.database.connection
    lane, first, last, data = connection.execute(
        "SELECT lane, first_seq, last_seq, data FROM chunks WHERE lane='aggregates' LIMIT 1 OFFSET 1"
    ).fetchone()
    data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    connection.execute("UPDATE chunks SET data=? WHERE lane=? AND first_seq=?", (data, lane, first))
    items = box.pending(10**6, 10**9)
    assert box.epoch == epoch
    [gone] = [item for item in items if item.kind == "eviction"]
    assert (gone.lane, gone.first_seq, gone.seq) == (lane, first, last)
    assert decode_body("eviction", gone.body).reason == "damaged on disk"  # type: ignore[attr-defined]
    assert [i for i in items if i != gone] == [i for i in before if not (i.lane == lane and first <= i.seq <= last)]
    shut(box)


STRANGE = {
    "a state that is none": "UPDATE asset_state SET state=NULL",
    "a state that is text": "UPDATE asset_state SET state='text'",
    "an asset without a name": "UPDATE asset_state SET asset=NULL",
    "an asset's name that is no text": "UPDATE asset_state SET asset=CAST(x'72ff' AS TEXT)",
    "a lane's name that is no text": "UPDATE chunks SET lane=CAST(x'61ff' AS TEXT) WHERE lane='aggregates'",
    "a chunk that is none": "UPDATE chunks SET data=NULL WHERE lane='aggregates'",
    "a chunk of text": "UPDATE chunks SET data='text' WHERE lane='aggregates'",
    "a chunk of nobody knows how many items": "UPDATE chunks SET n_items=NULL WHERE lane='aggregates'",
    "a chunk from nowhere": "UPDATE chunks SET first_seq='one' WHERE lane='aggregates' AND first_seq=1",
    "starts that are no number": "UPDATE meta SET value=char(8) WHERE key='starts'",
    "starts that are no text": "UPDATE meta SET value=CAST(x'31ff' AS TEXT) WHERE key='starts'",
    "heads that are none": "UPDATE meta SET value=NULL WHERE key='heads'",
    "an epoch that no hub would take": "UPDATE meta SET value=char(8) || value WHERE key='epoch'",
}


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("what", STRANGE)
def test_a_value_of_another_kind_than_was_written_keeps_nobody_from_starting(
    what: str, checked: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed byte in a row's head makes its values something else. `checked`: whether SQLite looks, as at small files."""
    epoch, before = filled(path)
    put_in(path, STRANGE[what])
    if not checked:
        monkeypatch.setattr("agent.storage.database._QUICK_CHECK_BYTES", 0)
    items, _ = taken_up(path, epoch, before)
    kept = [item for item in before if item.lane != "aggregates"] if "chunk" in what or "lane" in what else before
    assert {bytes(item.body) for item in kept} <= {bytes(item.body) for item in items}


def put_in(path: Path, statement: str) -> None:
    """Into a table what its own rules forbid."""
    rules = ("SELECT name, sql FROM sqlite_master WHERE type='table'", "UPDATE sqlite_master SET sql=? WHERE name=?")
    with sqlite3.connect(path) as connection:
        tables = connection.execute(rules[0]).fetchall()
    for number, turned in enumerate((lambda sql: sql.replace("STRICT", "").replace("NOT NULL", ""), str)):
        connection.close()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA writable_schema=ON")
        if number:
            connection.execute(statement)
        connection.executemany(rules[1], [(turned(sql), name) for name, sql in tables])
        connection.commit()
    connection.close()


@pytest.mark.parametrize("checked", [True, False])
def test_a_state_that_is_damaged_is_told(checked: bool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    put_in(path, "UPDATE asset_state SET state=NULL")
    if not checked:
        monkeypatch.setattr("agent.storage.database._QUICK_CHECK_BYTES", 0)
    box = open_outbox(path)
    assert (box.saved_states(), box.lost_states, box.database.salvaged is not None) == ({}, ["rig-1"], checked)
    shut(box)


@pytest.mark.parametrize("suffix", ["", "-wal", ".tail"])
def test_a_flipped_byte_anywhere_loses_little_and_starts_all_the_same(suffix: str, path: Path, tmp_path: Path) -> None:
    epoch, before = filled(path)
    rng = random.Random(f"flip{suffix}")
    for n in range(8):
        copy = copy_files(path, tmp_path / f"{n}")
        file = copy.with_suffix(".tail") if suffix == ".tail" else Path(f"{copy}{suffix}")
        at = rng.randrange(file.stat().st_size)
        overwrite(file, at, bytes([file.read_bytes()[at] ^ (1 << rng.randrange(8))]))
        items, told = taken_up(copy, epoch, before)
        if told is None:
            assert len(items) >= len(before) - 60, f"byte {at}"
        shutil.rmtree(copy.parent)


def test_a_torn_last_block_is_taken_for_damage_for_its_number_may_have_been_seen(path: Path) -> None:
    epoch, before = filled(path)
    tail = path.with_suffix(".tail")
    newest = max(range(tail.stat().st_size // BLOCK), key=lambda i: tail.read_bytes()[i * BLOCK + 10 : i * BLOCK + 18][::-1])
    overwrite(tail, newest * BLOCK + 2000, b"\xff" * 2096)
    items, told = taken_up(path, epoch, before)
    assert told is not None
    assert "a block that is not as it was written" in told.reason
    assert len(before) - 4 <= len(items) < len(before)


@pytest.mark.parametrize("arrived", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}])
def test_after_a_power_cut_in_a_write_of_several_blocks_what_is_stored_next_stays(
    arrived: set[int], path: Path, tmp_path: Path
) -> None:
    """The commit that was cut off was none. The next has its number, and must not be joined with what is left of it."""
    box = open_outbox(path, tail_blocks=16)
    box.append([alert(1)], stamp(1))
    cut_off = copy_files(path, tmp_path / "cut off")
    tail = cut_off.with_suffix(".tail")
    before = bytearray(tail.read_bytes())
    box.append([evidence_of(3 * 1000)], stamp(2))
    after = path.with_suffix(".tail").read_bytes()
    changed = [i for i in range(0, len(before), BLOCK) if before[i : i + BLOCK] != after[i : i + BLOCK]]
    assert len(changed) == 3
    for at in (changed[i] for i in arrived):
        before[at : at + BLOCK] = after[at : at + BLOCK]
    tail.write_bytes(before)
    drop(box)

    box = open_outbox(cut_off)
    assert [item.at for item in box.pending(10, 10**6)] == [stamp(1)]
    box.append([alert(2)], stamp(3))
    items = box.pending(10, 10**6)
    again = open_outbox(copy_files(cut_off, tmp_path / "again"))
    assert (again.database.salvaged, again.pending(10, 10**6)) == (None, items)
    shut(again)
    drop(box)


@pytest.mark.parametrize("arrived", [{0}, {1}])
def test_a_power_cut_in_a_write_takes_no_number_back_that_the_hub_has_seen(
    arrived: set[int], path: Path, tmp_path: Path
) -> None:
    """What the newest record holds is confirmed, and yet it alone knows which numbers have been given."""
    box = open_outbox(path, tail_blocks=4)
    for commit in ([alert(1)], [evidence_of(1500)]):
        box.append(commit, stamp(1))
        box.acknowledge(box.epoch, dict.fromkeys(LANES, 1))
    cut_off = copy_files(path, tmp_path / "cut off")
    tail = cut_off.with_suffix(".tail")
    before = bytearray(tail.read_bytes())
    box.append([evidence_of(1501)], stamp(2))  # two blocks: there is one left
    after = path.with_suffix(".tail").read_bytes()
    changed = [i for i in range(0, len(before), BLOCK) if before[i : i + BLOCK] != after[i : i + BLOCK]]
    if len(changed) == 2:
        for at in (changed[i] for i in arrived):
            before[at : at + BLOCK] = after[at : at + BLOCK]
        tail.write_bytes(before)
    drop(box)
    box = open_outbox(cut_off)
    assert box.database.salvaged is None
    box.append([evidence(3)], stamp(3))
    assert [item.seq for item in box.pending(10, 10**6) if item.at == stamp(3)] == [2]
    shut(box)


def test_damage_found_while_running_ends_in_an_error_and_the_next_start_deals_with_it(path: Path) -> None:
    epoch, before = filled(path)
    box = open_outbox(path)
    box.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    box.database.connection.execute("PRAGMA cache_size=1")
    root = box.database.connection.execute("SELECT rootpage FROM sqlite_master WHERE name='chunks'").fetchone()[0]
    overwrite(path, (root - 1) * 4096, b"\x7f" * 4096)
    other = sqlite3.connect(path)  # so that SQLite does not trust its cache
    other.execute("PRAGMA user_version=2")
    other.commit()
    other.close()
    with pytest.raises(DamagedError, match="the next start sets it aside"):
        box.pending(10, 10**6)
    assert box.database.damage is not None
    drop(box)
    _, told = taken_up(path, epoch, before)
    assert told is not None
    assert "damage was found while running" in told.reason
    assert not path.with_name("outbox.db.suspect").exists()


def test_a_torn_page_behind_the_first_is_damage_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.storage.database._QUICK_CHECK_BYTES", 0)  # as with a large file
    box = open_outbox(path)
    vectors = np.random.default_rng(1).bytes(3000)
    box.append([alert(1)], stamp(), {f"rig-{n:02}": msgspec.structs.replace(STATE, vectors=vectors) for n in range(20)})
    items, epoch = box.pending(10, 10**6), box.epoch
    shut(box)
    page = path.read_bytes().rindex(b"rig-10(\xb5/\xfd") // 4096
    overwrite(path, page * 4096, b"\x7f" * 8)
    box = open_outbox(path)
    with pytest.raises(DamagedError, match="the next start sets it aside"):
        box.saved_states()
    drop(box)
    _, told = taken_up(path, epoch, items)
    assert told is not None
    assert "damage was found while running" in told.reason


def test_a_start_that_is_cut_off_while_it_salvages_begins_again(path: Path) -> None:
    epoch, before = filled(path)
    path.with_suffix(".tail").unlink()
    cut_off = database(path)  # set aside, and not yet taken up
    assert cut_off.salvaged is not None
    cut_off.tail.close()
    cut_off.connection.close()
    items, told = taken_up(path, epoch, before)
    assert told is not None
    assert len(items) >= len(before) - 16
    assert damaged_files(path)


@pytest.mark.parametrize("moved", [[""], ["", "-wal"]])
def test_a_start_that_is_cut_off_while_it_sets_aside_begins_again(moved: list[str], path: Path) -> None:
    epoch, before = filled(path)
    overwrite(path.with_suffix(".tail"), 100, b"\xff" * 10)
    for suffix in moved:
        Path(f"{path}{suffix}").rename(f"{path}.salvage-{TIME}{suffix}")
    items, told = taken_up(path, epoch, before)
    assert told is not None
    assert len(items) >= len(before) - 16
    assert damaged_files(path) == [f"outbox.db.damaged-{TIME}{suffix}" for suffix in ("", "-wal", ".tail")]


def test_only_two_damaged_outboxes_are_kept(path: Path) -> None:
    for second in range(4):
        box = open_outbox(path, tail_blocks=4)
        box.append([alert(second)], stamp())
        drop(box)
        path.write_bytes(b"rubbish")
        again = Database(path, 4, lambda second=second: NOW_NS + second * 10**9)  # type: ignore[misc]
        shut(open_outbox_on(again))
    assert {name.split("damaged-")[1][:16] for name in damaged_files(path)} == {"20261126T204502Z", "20261126T204503Z"}


def open_outbox_on(database: Database):  # type: ignore[no-untyped-def]
    from agent.storage.outbox import Outbox

    return Outbox(database, 10**9)


# --- versions -------------------------------------------------------------------------------------------------------


def test_the_migration_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = Path(shutil.copy(DATA / "outbox-v1.db", tmp_path / "outbox.db"))
    box = open_outbox(path)
    assert box.backlog_items == 29
    shut(box)


def test_a_file_of_version_1_is_migrated_with_all_that_waits_in_it(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "outbox-v1.db", tmp_path / "outbox.db"))
    with sqlite3.connect(path) as old:
        rows = old.execute("SELECT lane, first_seq, seq, kind, at, body FROM items ORDER BY lane, seq").fetchall()
        epoch = old.execute("SELECT value FROM meta WHERE key='epoch'").fetchone()[0]
    old.close()
    box = open_outbox(path)
    items = box.pending(10**6, 10**9)
    assert (box.epoch, box.starts, box.database.salvaged) == (epoch, 2, None)
    found = sorted((i.lane, i.first_seq, i.seq, i.kind, msgspec.msgpack.encode(i.at), bytes(i.body)) for i in items)
    assert found == sorted(rows)
    assert box.saved_states()["rig-1"].vectors == bytes(16)
    box.append([sensor_fault(1), aggregate(1), evidence(1)], stamp())
    assert [item.seq for item in box.pending(10**6, 10**9) if item.at == stamp()] == [4, 22, 12]
    assert box.database.connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    shut(box)


def test_a_damaged_file_of_version_1_is_salvaged_too(tmp_path: Path) -> None:
    path = Path(shutil.copy(DATA / "outbox-v1.db", tmp_path / "outbox.db"))
    overwrite(path, path.stat().st_size - 4096, b"\xff" * 4096)
    box = open_outbox(path)
    assert box.backlog_items > 10
    assert box.database.salvaged is not None
    shut(box)


def test_a_file_of_a_newer_version_is_refused_and_left_untouched(tmp_path: Path) -> None:
    strange = tmp_path / "outbox.db"
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


def test_what_a_newer_version_left_in_wal_and_tail_is_untouched_too(tmp_path: Path) -> None:
    """It was cut off, and an older version started in its place."""
    life = sqlite3.connect(tmp_path / "life.db")
    life.execute("PRAGMA journal_mode=WAL")
    life.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    life.execute("CREATE TABLE precious (x)")
    life.commit()
    strange = tmp_path / "state" / "outbox.db"
    strange.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"life.db{suffix}", f"{strange}{suffix}")
    life.close()
    strange.with_suffix(".tail").write_bytes(b"of a newer version")
    before = {path.name: path.read_bytes() for path in strange.parent.iterdir()}
    assert before["outbox.db-wal"]
    with pytest.raises(StorageError, match="left untouched"):
        Database(strange)
    after = {path.name: path.read_bytes() for path in strange.parent.iterdir()}
    after.pop("outbox.db-shm", None)  # the WAL's index, which a reader makes
    assert after == before


def test_stamps_of_salvaged_items_are_their_own(path: Path) -> None:
    epoch, before = filled(path, 6)
    path.with_suffix(".tail").unlink()
    items, _ = taken_up(path, epoch, before)
    assert {item.at for item in items} <= {item.at for item in before} | {Stamp(0, 0, "", synced=False)}
