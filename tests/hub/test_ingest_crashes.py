"""kill -9 at the worst moments, as fresh components on the same files; and commits that fail half-way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, select

from hub.app import build_app
from hub.ingest import committer
from hub.ingest.admission import Admitted
from hub.ingest.committer import LEDGER, Committer
from hub.ingest.consumer import Follower
from hub.ingest.log import LogRecord, SqliteIngestLog
from hub.ingest.pending import Backlog
from hub.ingest.positions import get_position, read_by_all
from hub.ingest.service import MAX_WAITING_BYTES, Busy, IngestService
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.query import LakeCounter
from hub.lake.rows import rows_of
from hub.lake.writer import LakeWriter
from hub.ledger.ledger import load_device
from hub.projector.alerts import Alerts
from hub.projector.projector import Projector
from hub.settings import Hub
from hub.state.database import open_state
from hub.state.schema import alerts, consumers, quarantine
from models.contract.envelope import Ack
from models.contract.items import Item
from models.errors import EnvelopeError, StorageError
from tests.hub.simulated_device import NOW_NS, aggregates, alert, item, poison
from tests.killing import die, killed
from tests.waiting import PATIENCE_S, wait_until


@dataclass
class Components:
    """What a process holds open; `restart` is what a new process after kill -9 does."""

    hub: Hub
    engine: Engine
    log: SqliteIngestLog
    lake: DeltaLake

    @classmethod
    def open(cls, hub: Hub) -> Components:
        return cls(hub, open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest), open_lake(hub.lake_url))

    def restart(self) -> Components:
        self.close()
        return Components.open(self.hub)

    def close(self) -> None:
        self.log.close()
        self.engine.dispose()

    def commit(self, items: list[Item]) -> Ack:
        [outcome] = Committer(self.engine, self.log).commit([admitted(items)], NOW_NS)
        assert isinstance(outcome, Ack)
        return outcome

    def write_lake(self) -> int:
        return Follower(self.log, LakeWriter(self.lake, self.engine, self.log.log_id), batch=4).drain()

    def aggregates_account(self) -> tuple[int, int, int]:
        """received, redelivered, cursor"""
        with self.engine.connect() as connection:
            account = load_device(connection, "gw-01")["gw-01", "e1", "aggregates"]
        return account.n_received, account.n_redelivered, account.seen.cursor


@pytest.fixture
def parts(hub: Hub) -> Iterator[Components]:
    opened = Components.open(hub)
    yield opened
    opened.close()


def admitted(items: list[Item], device_id: str = "gw-01") -> Admitted:
    return Admitted(device_id, "e1", [(one, None) for one in items], sum(len(one.body) for one in items))


def log_records(items: list[Item]) -> list[LogRecord]:
    return [
        LogRecord(0, "gw-01", "e1", one.lane, one.seq, one.first_seq, one.kind, one.at, bytes(one.body), NOW_NS)
        for one in items
    ]


def test_killed_between_log_and_ledger_nothing_is_lost_or_counted_twice(parts: Components) -> None:
    parts.log.append(log_records(aggregates(1, 5)))  # and then the power went
    parts = parts.restart()
    committer = Committer(parts.engine, parts.log)
    assert committer.recover(NOW_NS) == 5
    assert committer.recover(NOW_NS) == 0
    assert parts.aggregates_account() == (5, 0, 5)
    parts.commit(aggregates(1, 7))  # the device never heard of it and sends again
    assert parts.aggregates_account() == (7, 5, 7)
    assert len(parts.log.read(0, 100)) == 7
    parts.close()


def die_before(target: Any, name: str) -> None:
    setattr(target, name, lambda *_, **__: die())


def die_after(target: Any, name: str) -> None:
    right = getattr(target, name)

    def then_die(*args: Any, **how: Any) -> None:
        right(*args, **how)
        die()

    setattr(target, name, then_die)


KILLS: dict[str, Callable[[Engine, SqliteIngestLog], None]] = {
    "before the log": lambda _, log: die_before(log, "append"),
    "after the log": lambda _, log: die_after(log, "append"),
    "before the ledger": lambda *_: die_before(committer, "store"),
    "before the quarantine": lambda *_: die_before(committer, "upsert"),
    "before the position": lambda *_: die_before(committer, "set_position"),
    "before the commit": lambda engine, _: event.listen(engine, "commit", lambda _: die()),
    "before the acknowledgement": lambda *_: die_after(committer.Committer, "commit"),
}


@pytest.mark.parametrize("step", KILLS)
def test_killed_at_any_step_of_a_commit_what_is_sent_again_is_there_once(parts: Components, step: str) -> None:
    parts.commit(aggregates(1, 3))
    batch = admitted([*aggregates(2, 6), item(alert(), 1)])
    batch = replace(batch, items=[*batch.items, (poison(7), "no body"), *admitted(aggregates(8, 8)).items])
    hub = parts.hub
    parts.close()

    def work() -> None:
        engine, log = open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest)
        ready = Committer(engine, log)
        ready.commit([], NOW_NS)
        KILLS[step](engine, log)
        ready.commit([batch], NOW_NS)

    assert killed(work)
    parts = parts.restart()
    [ack] = Committer(parts.engine, parts.log).commit([batch], NOW_NS)  # the device never heard of it and sends again
    assert isinstance(ack, Ack)
    assert ack.cursors == {"aggregates": 8, "alerts": 1}
    assert sorted((one.lane, one.seq) for one in parts.log.read(0, 100)) == sorted(
        [("aggregates", n) for n in (1, 2, 3, 4, 5, 6, 8)] + [("alerts", 1)]
    )
    with parts.engine.connect() as connection:
        assert [row.seq for row in connection.execute(select(quarantine))] == [7]
    assert parts.aggregates_account()[::2] == (8, 8)
    parts.close()


def test_a_commit_accounts_first_for_what_a_failed_one_left_in_the_log(parts: Components) -> None:
    parts.commit([])
    parts.log.append(log_records(aggregates(1, 5)))
    parts.commit([item(alert(), 1)])
    assert parts.aggregates_account() == (5, 0, 5)


def test_a_ledger_that_cannot_be_written_acknowledges_nothing(parts: Components) -> None:
    committer = Committer(parts.engine, parts.log)
    committer.commit([admitted(aggregates(1, 2))], NOW_NS)
    with parts.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER broken BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no"):
        committer.commit([admitted(aggregates(3, 4))], NOW_NS)
    assert parts.aggregates_account() == (2, 0, 2)
    with parts.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER broken")
    committer.commit([admitted([item(alert(), 1)], "gw-02")], NOW_NS)  # somebody else's batch
    assert parts.aggregates_account() == (4, 0, 4)
    with parts.engine.connect() as connection:
        assert get_position(connection, LEDGER, parts.log.log_id) == parts.log.end()


def test_an_erasure_while_a_commit_is_under_way_is_not_forgotten(parts: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    committer, append = Committer(parts.engine, parts.log), parts.log.append
    committer.commit([admitted(aggregates(1, 2))], NOW_NS)

    def erased_meanwhile(records: list[LogRecord]) -> None:
        append(records)
        committer.look_again()

    monkeypatch.setattr(parts.log, "append", erased_meanwhile)
    committer.commit([admitted(aggregates(1, 1), "gw-02")], NOW_NS)
    monkeypatch.undo()
    with parts.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ledger WHERE device_id = 'gw-01'")
    committer.commit([admitted(aggregates(3, 3))], NOW_NS)
    assert parts.aggregates_account() == (1, 0, 0)  # not what was erased


def test_one_refused_batch_does_not_fail_its_group(parts: Components) -> None:
    scattered = [item(alert(), 2 * n) for n in range(1, 600)]
    outcomes = Committer(parts.engine, parts.log).commit(
        [admitted(aggregates(1, 3)), admitted(scattered), admitted(aggregates(3, 5))], NOW_NS
    )
    assert [type(outcome) for outcome in outcomes] == [Ack, EnvelopeError, Ack]
    assert parts.aggregates_account() == (5, 1, 5)
    assert {record.kind for record in parts.log.read(0, 1000)} == {"aggregate"}


def test_killed_between_delta_commit_and_position_nothing_is_written_twice(parts: Components) -> None:
    parts.commit(aggregates(1, 6))
    records = parts.log.read(0, 4)
    parts.lake.append("aggregates", rows_of("aggregates", records), parts.log.log_id, records[-1].position)
    parts = parts.restart()
    parts.commit(aggregates(7, 9))
    assert parts.write_lake() == 9
    count = LakeCounter(parts.lake).count()
    assert (count.n_rows, count.n_duplicates) == (9, 0)
    assert parts.write_lake() == 0
    parts.close()


def test_a_log_that_was_replaced_is_read_from_its_beginning(parts: Components) -> None:
    parts.commit(aggregates(1, 6))
    parts.write_lake()
    for path in parts.hub.paths.root.glob("ingest.db*"):
        path.unlink()
    parts = parts.restart()
    parts.commit(aggregates(7, 8))
    assert parts.write_lake() == 2
    assert LakeCounter(parts.lake).count().n_rows == 8
    parts.close()


def test_only_what_every_consumer_has_read_is_pruned_and_it_is_not_taken_again(parts: Components) -> None:
    readers = [LEDGER, "lake", "projector"]

    def pruned_up_to() -> int:
        with parts.engine.connect() as connection:
            return read_by_all(connection, readers, parts.log.log_id)

    parts.commit(aggregates(1, 6))
    parts.write_lake()
    assert pruned_up_to() == 0
    Follower(parts.log, Projector(parts.engine, parts.log.log_id, [])).drain()
    parts.commit(aggregates(7, 8))
    assert parts.log.prune(pruned_up_to()) == 6
    parts.commit(aggregates(1, 9))
    assert [record.seq for record in parts.log.read(0, 100)] == [7, 8, 9]
    parts.write_lake()
    count = LakeCounter(parts.lake).count()
    assert (count.n_rows, count.n_duplicates) == (9, 0)


def test_a_log_restored_from_an_older_copy_is_refused(parts: Components) -> None:
    parts.commit(aggregates(1, 2))
    parts.commit(aggregates(3, 6))
    parts.write_lake()
    parts = with_older_log(parts)
    follower = Follower(parts.log, LakeWriter(parts.lake, parts.engine, parts.log.log_id))
    with pytest.raises(StorageError, match="restored from an older copy"):
        follower.check()
    parts.close()


def test_a_lake_that_is_ahead_of_a_restored_hub_is_seen_before_it_takes_new_records_for_known(parts: Components) -> None:
    parts.commit(aggregates(1, 2))
    parts.commit(aggregates(3, 6))
    parts.write_lake()
    with parts.engine.begin() as connection:
        connection.execute(delete(consumers))  # state and log from before, the lake as it is
    parts = with_older_log(parts)
    writer = LakeWriter(parts.lake, parts.engine, parts.log.log_id)
    assert writer.position() == 0
    with pytest.raises(StorageError, match="lake has read up to 6"):
        Follower(parts.log, writer).check()
    parts.close()


def test_a_ledger_that_is_ahead_of_the_log_is_refused_when_the_hub_starts(parts: Components) -> None:
    parts.commit(aggregates(1, 2))
    parts.commit(aggregates(3, 6))
    parts = with_older_log(parts)
    parts.close()
    with pytest.raises(StorageError, match="ledger has read up to 6"):
        build_app(parts.hub)


def with_older_log(parts: Components) -> Components:
    """As if the ingest log had been restored from when it held two records."""
    parts.close()
    with sqlite3.connect(parts.hub.paths.ingest) as raw:
        raw.execute("DELETE FROM chunks WHERE first > 2")
        raw.execute("UPDATE sqlite_sequence SET seq = 2")
    raw.close()
    return Components.open(parts.hub)


def test_a_projection_that_fails_moves_neither_rows_nor_position(parts: Components) -> None:
    class Broken:
        def apply(self, connection: object, records: Sequence[LogRecord]) -> None:
            raise RuntimeError("a bug")

    parts.commit([item(alert(), 1)])
    follower = Follower(parts.log, Projector(parts.engine, parts.log.log_id, [Alerts(), Broken()]))
    with pytest.raises(RuntimeError, match="a bug"):
        follower.drain()
    with parts.engine.connect() as connection:
        assert connection.execute(select(alerts)).all() == []
    assert follower.position() == 0
    assert Follower(parts.log, Projector(parts.engine, parts.log.log_id, [Alerts()])).drain() == 1


def test_a_failing_follower_says_why_and_goes_on_when_it_can(parts: Components, caplog: pytest.LogCaptureFixture) -> None:
    class Flaky:
        name = "flaky"
        healed = False
        seen = 0

        def position(self) -> int:
            return self.seen

        written = position

        def consume(self, records: Sequence[LogRecord]) -> None:
            if not self.healed:
                raise OSError("disk full")
            self.seen = records[-1].position

    parts.commit(aggregates(1, 3))
    flaky = Flaky()
    follower = Follower(parts.log, flaky)
    follower.start()
    try:
        wait_until(lambda: follower.failure)
        assert follower.failure == "OSError: disk full"
        flaky.healed = True
        wait_until(lambda: follower.failure is None)
        assert flaky.seen == parts.log.end()
    finally:
        follower.stop()
    assert "will be tried again" in caplog.text


class SlowLog(SqliteIngestLog):
    """A log whose disk takes its time: `proceed` lets one append through."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub.paths.ingest)
        self.appending = threading.Event()
        self.proceed = threading.Event()
        self.n_appends = 0

    def append(self, records: Sequence[LogRecord]) -> None:
        self.appending.set()
        assert self.proceed.wait(PATIENCE_S)
        self.n_appends += 1
        super().append(records)


def test_acknowledgements_come_only_after_the_log_and_requests_share_commits(hub: Hub) -> None:
    engine, log = open_state(hub.state_url), SlowLog(hub)

    async def scenario() -> None:
        service = IngestService(Committer(engine, log), on_commit=lambda: None)
        service.start()
        first = asyncio.create_task(service.submit(admitted(aggregates(1, 2), "gw-00")))
        await asyncio.to_thread(log.appending.wait, PATIENCE_S)
        others = [asyncio.create_task(service.submit(admitted(aggregates(1, 3), f"gw-{n:02}"))) for n in range(1, 40)]
        await asyncio.sleep(0)
        assert not first.done()
        log.proceed.set()
        acks = await asyncio.gather(first, *others)
        assert {ack.cursors["aggregates"] for ack in acks[1:]} == {3}
        assert log.n_appends == 2  # the first alone, the thirty-nine that waited together
        await service.stop()

    asyncio.run(scenario())
    assert len(log.read(0, 1000)) == 2 + 39 * 3
    log.close()
    engine.dispose()


def test_when_too_much_waits_the_next_is_asked_to_come_back(hub: Hub) -> None:
    engine, log = open_state(hub.state_url), SlowLog(hub)

    async def scenario() -> None:
        service = IngestService(Committer(engine, log), on_commit=lambda: None, max_waiting=2)
        service.start()
        tasks = [asyncio.create_task(service.submit(admitted(aggregates(1, 1), "gw-00")))]
        await asyncio.to_thread(log.appending.wait, PATIENCE_S)
        tasks += [asyncio.create_task(service.submit(admitted(aggregates(n, n)))) for n in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await service.submit(admitted(aggregates(3, 3)))
        assert refused.value.retry_after_s
        log.proceed.set()
        await asyncio.gather(*tasks)
        assert (await service.submit(admitted(aggregates(3, 3)))).cursors == {"aggregates": 3}
        await service.stop()
        with pytest.raises(Busy):
            await service.submit(admitted(aggregates(4, 4)))

    asyncio.run(scenario())
    log.close()
    engine.dispose()


def test_what_waits_is_bounded_in_bytes_too_and_what_was_committed_waits_no_more(hub: Hub) -> None:
    engine, log = open_state(hub.state_url), SlowLog(hub)

    def batch(n: int, n_bytes: int) -> Admitted:
        return replace(admitted(aggregates(n, n), f"gw-{n:02}"), n_bytes=n_bytes)

    async def scenario() -> None:
        service = IngestService(Committer(engine, log), on_commit=lambda: None)
        service.start()
        tasks = [asyncio.create_task(service.submit(batch(1, 1)))]
        await asyncio.to_thread(log.appending.wait, PATIENCE_S)
        tasks.append(asyncio.create_task(service.submit(batch(2, MAX_WAITING_BYTES))))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await service.submit(batch(3, 1))
        log.proceed.set()
        await asyncio.gather(*tasks)
        await asyncio.gather(service.submit(batch(4, 1)), service.submit(batch(5, 1)))
        await service.stop()

    asyncio.run(scenario())
    log.close()
    engine.dispose()


def test_a_storage_failure_reaches_those_who_wait_and_the_next_group_is_tried(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    engine, log = open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest)
    committer = Committer(engine, log)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER broken BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'full'); END")

    async def scenario() -> None:
        service = IngestService(committer, on_commit=lambda: None)
        service.start()
        for _ in range(2):
            with pytest.raises(Exception, match="full"):
                await service.submit(admitted(aggregates(1, 1)))
        assert Backlog(log, service, []).failures() == {"ingest": "IntegrityError: full"}
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER broken")
        assert (await service.submit(admitted(aggregates(1, 2)))).cursors == {"aggregates": 2}
        assert Backlog(log, service, []).failures() == {}
        await service.stop()

    asyncio.run(scenario())
    assert [record.seq for record in log.read(0, 10)] == [1, 2]
    assert caplog.messages == ["nothing can be taken in: IntegrityError: full", "ingest works again"]  # each said once
    log.close()
    engine.dispose()


def test_stopping_commits_what_waits(hub: Hub) -> None:
    engine, log = open_state(hub.state_url), SqliteIngestLog(hub.paths.ingest)

    async def scenario() -> None:
        service = IngestService(Committer(engine, log), on_commit=lambda: None, now_ns=time.time_ns)
        tasks = [asyncio.create_task(service.submit(admitted(aggregates(n, n)))) for n in range(1, 6)]
        await asyncio.sleep(0)
        service.start()
        await service.stop()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert len(log.read(0, 10)) == 5
    log.close()
    engine.dispose()
