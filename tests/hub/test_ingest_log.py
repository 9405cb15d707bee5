"""What every ingest log promises; each implementation is crossed with each promise."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from hub.ingest.log import MAX_READ_BYTES, IngestLog, LogRecord, SqliteIngestLog
from models.errors import StorageError
from tests.hub.simulated_device import stamp

OpenLog = Callable[[], IngestLog]


@pytest.fixture(params=["sqlite"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    """Opens the same log again and again, as a restarted hub does."""
    opened: list[IngestLog] = []

    def open_one() -> IngestLog:
        log = SqliteIngestLog(tmp_path / "ingest.db")
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


def record(seq: int, *, device_id: str = "gw-01", lane: str = "aggregates", body: bytes = b"\x80") -> LogRecord:
    return LogRecord(0, device_id, "e1", lane, seq, seq, "aggregate", stamp(), body, 7)


def seqs(records: list[LogRecord]) -> list[int]:
    return [record.seq for record in records]


def test_records_come_back_as_they_were_in_order(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(n, body=bytes([n])) for n in (1, 2, 3)])
    for reader in (log, open_log()):  # the second has nothing in memory
        found = reader.read(0, 10)
        assert [replace(one, position=0) for one in found] == [record(n, body=bytes([n])) for n in (1, 2, 3)]
        assert [one.position for one in found] == sorted({one.position for one in found})
        assert log.end() == found[-1].position


def test_what_is_appended_is_there_for_whoever_opens_the_log_next(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(1), record(2)])
    again = open_log()  # the first was never closed: as after kill -9
    assert seqs(again.read(0, 10)) == [1, 2]
    assert again.log_id == log.log_id


def test_devices_and_lanes_have_sequences_of_their_own(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(1), record(1, device_id="gw-02"), record(1, lane="alerts")])
    assert len(log.read(0, 10)) == 3


def test_reading_goes_on_after_a_position_and_stops_at_the_limit(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(n) for n in range(1, 8)])
    first = log.read(0, 3)
    assert seqs(first) == [1, 2, 3]
    assert seqs(log.read(first[-1].position, 100)) == [4, 5, 6, 7]
    assert log.read(log.end(), 100) == []


def test_one_reading_holds_a_bounded_number_of_bytes_and_at_least_one_record(open_log: OpenLog) -> None:
    log = open_log()
    half = bytes(MAX_READ_BYTES // 2)
    log.append([record(1, body=half), record(2, body=half), record(3), record(4, body=half * 3), record(5)])
    assert seqs(first := log.read(0, 100)) == [1, 2]
    assert seqs(second := log.read(first[-1].position, 100)) == [3]
    assert seqs(third := log.read(second[-1].position, 100)) == [4]
    assert seqs(log.read(third[-1].position, 100)) == [5]


def test_positions_are_never_given_twice(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(1), record(2)])
    end = log.end()
    assert log.prune(end) == 2
    assert (log.read(0, 10), log.end()) == ([], end)
    log = open_log()
    log.append([record(3)])
    assert log.read(end, 10)[0].position > end


def test_pruning_keeps_what_lies_beyond(open_log: OpenLog) -> None:
    log = open_log()
    for first in (1, 3):
        log.append([record(first), record(first + 1)])
    cut = log.read(0, 2)[-1].position
    assert log.prune(cut) == 2
    assert seqs(log.read(0, 10)) == [3, 4]
    half = log.read(0, 1)[-1].position
    log.prune(half)  # may stay until the rest of what came with it goes
    assert seqs(log.read(half, 10)) == [4]
    log.prune(log.end())
    assert log.read(0, 10) == []


def test_what_is_erased_of_one_device_moves_no_position_and_leaves_no_byte(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    secret = b"known only to gw-02"
    log.append([record(1), record(1, device_id="gw-02", body=secret), record(2)])
    log.append([record(2, device_id="gw-02", body=secret)])
    before = {one.seq: one.position for one in log.read(0, 10) if one.device_id == "gw-01"}
    assert log.erase("gw-02") == 2
    assert log.erase("gw-02") == 0
    assert {one.seq: one.position for one in log.read(0, 10)} == before
    assert log.end() == 4
    log.append([record(3)])
    assert log.read(0, 10)[-1].position == 5
    assert not [path for path in tmp_path.iterdir() if secret in path.read_bytes()]


def test_a_failed_append_leaves_nothing(open_log: OpenLog) -> None:
    log = open_log()
    with pytest.raises((sqlite3.Error, OverflowError)):
        log.append([record(1), record(2**64)])
    assert log.read(0, 10) == []
    log.append([record(1)])
    assert seqs(log.read(0, 10)) == [1]


def test_pruning_goes_by_slices_and_leaves_nothing_behind(open_log: OpenLog) -> None:
    log = open_log()
    log.append([record(n) for n in range(1, 25_001)])
    assert log.prune(24_000) == 24_000
    assert seqs(log.read(0, 100)) == list(range(24_001, 24_101))
    assert log.prune(24_000) == 0


def test_a_disk_that_is_full_when_it_comes_to_the_commit_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    with FullDisk(tmp_path / "ingest.db") as log:
        log.append([record(1)])
        log.full = True
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="full"):
                log.append([record(2), record(3)])
        assert (seqs(log.read(0, 10)), log.end()) == ([1], 1)
        log.full = False
        log.append([record(2)])
        assert (seqs(log.read(0, 10)), log.end()) == ([1, 2], 2)


class FullDisk(SqliteIngestLog):
    """A log whose commits fail, with the transaction still open, while `full`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.full = False
        self._writer = Refusing(self._writer, self)  # type: ignore[assignment]

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Refusing:
    """A connection that refuses to commit while its log says so."""

    def __init__(self, connection: sqlite3.Connection, log: FullDisk) -> None:
        self._connection = connection
        self._log = log

    def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        if statement == "COMMIT" and self._log.full:
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *arguments)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


class LogAgainstAList(RuleBasedStateMachine):
    """Any mix of appends, prunes and restarts, beside the plainest model there is."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "ingest.db"
        self.log = SqliteIngestLog(self.path)
        self.held: list[tuple[int, int]] = []  # (position, seq)
        self.given: set[int] = set()
        self.cut = 0

    @rule(batch=st.lists(st.integers(1, 30), max_size=8))
    def append(self, batch: list[int]) -> None:
        end = self.log.end()
        self.log.append([record(seq) for seq in batch])
        new = [(one.position, one.seq) for one in self.log.read(end, 1000)]
        assert [seq for _, seq in new] == batch
        assert not self.given & {position for position, _ in new}
        self.given |= {position for position, _ in new}
        self.held += new

    @rule(share=st.floats(0, 1))
    def prune(self, share: float) -> None:
        if self.held:
            self.cut = self.held[int(share * (len(self.held) - 1))][0]
            self.log.prune(self.cut)
            self.held = [entry for entry in self.held if entry[0] > self.cut]

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = SqliteIngestLog(self.path)

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        assert [(one.position, one.seq) for one in self.log.read(self.cut, 1000)] == self.held
        assert self.log.end() >= max(self.given, default=0)

    def teardown(self) -> None:
        self.log.close()
        self.directory.cleanup()


TestLogAgainstAList = LogAgainstAList.TestCase
TestLogAgainstAList.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)


def test_a_log_from_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ingest.db"
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version=9")
    raw.close()
    with pytest.raises(StorageError, match="newer Tocsin"):
        SqliteIngestLog(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ingest.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"ingest\.db"):
        SqliteIngestLog(path)


VERSION_1 = """
CREATE TABLE meta (log_id TEXT NOT NULL);
CREATE TABLE records (
    position INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, epoch TEXT NOT NULL, lane TEXT NOT NULL,
    seq INTEGER NOT NULL, first_seq INTEGER NOT NULL, kind TEXT NOT NULL, wall_ns INTEGER NOT NULL, mono_ns INTEGER NOT NULL,
    boot_id TEXT NOT NULL, synced INTEGER NOT NULL, body BLOB NOT NULL, received_ns INTEGER NOT NULL,
    UNIQUE (device_id, epoch, lane, seq)
);
INSERT INTO meta VALUES ('feedc0ffee00');
PRAGMA user_version=1;
"""


@pytest.mark.parametrize("pruned", [0, 2, 5])
def test_a_log_of_version_1_is_taken_over_with_its_positions(tmp_path: Path, pruned: int) -> None:
    path = tmp_path / "ingest.db"
    with sqlite3.connect(path) as raw:
        raw.executescript(VERSION_1)
        at = stamp()
        for n in range(1, 6):
            row = ("gw-01", "e1", "aggregates", n, n, "aggregate", at.wall_ns, at.mono_ns, at.boot_id, at.synced, b"\x80", 7)
            raw.execute(f"INSERT INTO records VALUES (NULL, {', '.join('?' * len(row))})", row)
        raw.execute("DELETE FROM records WHERE position <= ?", (pruned,))
    raw.close()
    for _ in range(2):  # and it is opened again as what it has become
        log = SqliteIngestLog(path)
        assert (log.log_id, log.end()) == ("feedc0ffee00", 5)
        found = log.read(0, 10)
        assert [(one.position, replace(one, position=0)) for one in found] == [(n, record(n)) for n in range(pruned + 1, 6)]
        log.close()
    log = SqliteIngestLog(path)
    log.append([record(6)])
    assert log.read(5, 10)[0].position == 6
    log.close()
