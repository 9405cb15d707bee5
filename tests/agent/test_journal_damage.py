"""Damage while the journal holds readings that were acknowledged: each of them counts once, or is told as lost."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.sources.source import Burst
from agent.storage.database import DamagedError
from models.contract.clock import NS_PER_S
from models.contract.items import Eviction, decode_body
from models.contract.reading import Reading
from tests.agent.test_committer import Device
from tests.builders import T0_NS, sensor_fault

pytestmark = pytest.mark.usefixtures("quick_migration")
PAGE = 4096


@pytest.fixture
def device(outbox_path: Path) -> Iterator[Device]:
    device = Device(outbox_path)
    yield device
    device.database.close()


def rows_on_disk(path: Path) -> list[tuple[int, bytes]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = connection.execute("SELECT id, data FROM journal ORDER BY id").fetchall()
    connection.close()
    return found


def checkpoint(path: Path) -> None:
    """All of the WAL into the database."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def flip_in_row(n: int) -> Callable[[Path], None]:
    """Change a byte in the readings of the journal's `n`-th row."""

    def damage(path: Path) -> None:
        checkpoint(path)
        data = rows_on_disk(path)[n][1]
        at = path.read_bytes().index(data) + len(data) // 2
        overwrite(path, at, bytes([path.read_bytes()[at] ^ 1]))

    return damage


def tear_page_of_row(n: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        checkpoint(path)
        at = path.read_bytes().index(rows_on_disk(path)[n][1])
        overwrite(path, at // PAGE * PAGE, b"\xff" * PAGE)

    return damage


def tear_chunks(path: Path) -> None:
    checkpoint(path)
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name='chunks'").fetchone()[0]
    connection.close()
    overwrite(path, (root - 1) * PAGE, b"\x7f" * PAGE)


def windows(device: Device) -> dict[int, int]:
    """Readings by start of the window, s; no window is there twice."""
    found = [((body.start_ns - T0_NS) // NS_PER_S, body.n_readings) for body in device.aggregates()]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_a_flipped_byte_in_a_row_costs_that_row_and_is_told(
    device: Device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for start in (1, 4, 7):
        device.burst(*range(start, start + 3), can_wait=False)
    assert len(device.acknowledged) == 3
    with caplog.at_level(logging.ERROR, "tocsin.storage"):
        device.crash(tmp_path / "after.db", flip_in_row(1))
    assert device.database.salvaged is None, "the database itself is sound"
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'after.db'}: row 2 of the journal is damaged; its readings are lost"
    ]
    device.burst(*range(10, 13))
    device.tick()
    assert windows(device) == {0: 7}
    device.burst(*range(13, 24))
    device.tick()
    assert windows(device) == {0: 7, 10: 10}
    assert [row_id for row_id, _ in rows_on_disk(device.path)] == [2], "kept for a look; the others are used up"


@pytest.mark.parametrize(
    ("damage", "first_window"),
    [
        (lambda path: path.with_suffix(".tail").unlink(), {0: 10}),
        (lambda path: path.with_name("after.db.suspect").write_text("a bad page"), {0: 10}),
        (tear_chunks, {}),
    ],
    ids=["the tail is gone", "damage was found while running", "a torn page of what waits"],
)
def test_a_salvaged_journal_counts_once(
    damage: Callable[[Path], object], first_window: dict[int, int], device: Device, tmp_path: Path
) -> None:
    """A row whose readings are in part in a window that was stored before, and in part in one that was open."""
    device.committer.take(Burst("plant"), [sensor_fault()])  # into the tail
    device.burst(*range(1, 13), can_wait=False)
    device.burst(13, 14, can_wait=False)
    assert device.acknowledged == [0, 1]
    device.outbox.close()  # all of it into the database
    epoch = device.outbox.epoch
    device.crash(tmp_path / "after.db", damage)
    assert device.database.salvaged is not None
    assert device.outbox.epoch != epoch
    assert len(rows_on_disk(device.path)) == 2, "carried over, and on disk"
    device.crash(tmp_path / "again.db")  # before any of it was used
    assert device.database.salvaged is None
    device.burst(*range(15, 22))
    device.tick()
    assert windows(device) == {**first_window, 10: 10}
    evictions = [decode_body(i.kind, i.body) for i in device.outbox.pending(100, 10**6) if i.kind == "eviction"]
    assert [body.n_items for body in evictions if isinstance(body, Eviction)] == [0 if first_window else 2]
    device.burst(*range(22, 34))
    device.tick()
    assert windows(device) == {**first_window, 10: 10, 20: 10}
    assert rows_on_disk(device.path) == []


def fill(device: Device, n: int) -> list[list[Reading]]:
    """`n` rows of two thousand bytes each, none of whose readings are in a closed window."""
    rows = []
    for row in range(n):
        values = np.random.default_rng(row).standard_normal(200)
        readings = [Reading("rig-1", "x", T0_NS + row * 1000 + i, float(v)) for i, v in enumerate(values, 1)]
        device.committer.take(Burst("plant", readings, acknowledge=lambda: None, can_wait=False), ())
        rows.append(readings)
    return rows


def test_a_torn_page_of_the_journal_costs_its_rows_and_no_others(device: Device, tmp_path: Path) -> None:
    rows = fill(device, 20)
    device.crash(tmp_path / "after.db", tear_page_of_row(10))
    assert device.database.salvaged is not None
    kept = [readings for _, _, readings in device.committer._journal.rows()]
    assert 16 <= len(kept) < 20
    assert all(readings in rows for readings in kept)
    assert rows[0] in kept
    assert rows[-1] in kept
    device.burst(*range(1, 13))
    device.tick()
    assert windows(device) == {0: 200 * len(kept) + 10}


def test_a_torn_page_that_no_check_at_the_start_has_found_is_dealt_with_at_the_next(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger files are not checked whole at each start."""
    fill(device, 20)
    monkeypatch.setattr("agent.storage.database._QUICK_CHECK_BYTES", 0)
    with pytest.raises(DamagedError, match="the next start sets it aside"):
        device.crash(tmp_path / "after.db", tear_page_of_row(10))
    assert device.path.with_name("after.db.suspect").exists()
    device.database.close()
    device.open()
    assert device.database.salvaged is not None
    assert 16 <= len(device.committer._journal.rows()) < 20
