"""What keeps a busy hub from doing the same work many times over: rounds of consumers, keys that are looked up together,
accounts that are remembered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio.to_thread
import msgspec
import pytest
from sqlalchemy import Engine, event
from starlette.concurrency import run_in_threadpool

from hub.devices.asking import KeyAsking
from hub.devices.enrol import read_enrol, store_enrol
from hub.devices.keys import DeviceKeys, DeviceSuspended, UnknownDevice
from hub.devices.standing import take_step
from hub.ingest.boots import LaneBoots
from hub.ingest.consumer import Follower
from hub.ingest.log import LogRecord, SqliteIngestLog
from hub.ledger.known import KnownAccounts
from hub.ledger.ledger import LaneAccount, load_epochs, store
from hub.settings import Hub
from hub.state.database import open_state, reading
from models.errors import EnvelopeError
from tests.hub.simulated_device import NOW_NS, SimulatedDevice, stamp
from tests.waiting import PATIENCE_S, wait_until


def record(seq: int) -> LogRecord:
    return LogRecord(0, "gw-01", "e1", "aggregates", seq, seq, "aggregate", stamp(), b"\x80", 7)


class Noting:
    """A consumer that notes what it took."""

    name = "noting"

    def __init__(self) -> None:
        self.taken: list[list[int]] = []

    def position(self) -> int:
        return sum(map(len, self.taken))

    def written(self) -> int:
        return self.position()

    def consume(self, records: Sequence[LogRecord]) -> None:
        self.taken.append([one.seq for one in records])


class Slow(Noting):
    """Beside which more comes in while it consumes."""

    def __init__(self, log: SqliteIngestLog) -> None:
        super().__init__()
        self._log = log

    def consume(self, records: Sequence[LogRecord]) -> None:
        super().consume(records)
        self._log.append([record(records[-1].seq + 100)])


def test_a_round_ends_where_the_log_ended_when_it_began(tmp_path: Path) -> None:
    log = SqliteIngestLog(tmp_path / "ingest.db")
    log.append([record(seq) for seq in range(1, 6)])
    consumer = Slow(log)
    follower = Follower(log, consumer, batch=3)
    assert follower.drain() == 6  # the five, and the one that came while the first three were consumed
    assert consumer.taken == [[1, 2, 3], [4, 5, 103]]
    assert follower.drain() == 1
    log.close()


def test_who_gathers_begins_at_once_where_a_batch_is_there_and_ends_at_once(tmp_path: Path) -> None:
    log, consumer = SqliteIngestLog(tmp_path / "ingest.db"), Noting()
    log.append([record(seq) for seq in range(1, 3)])
    follower = Follower(log, consumer, gather_s=1e6, batch=3)
    follower.start()
    follower.wake()
    assert consumer.taken == [], "two are too few to begin with"
    log.append([record(seq) for seq in range(3, 6)])
    follower.wake()
    wait_until(lambda: consumer.taken == [[1, 2, 3], [4, 5]], what="all that was there")
    for seq in (6, 7):
        log.append([record(seq)])
        follower.wake()
    follower.stop()
    assert consumer.taken[2:] == [[6, 7]], "it gathered until it was to end"
    log.close()


@pytest.fixture
def engine(hub: Hub) -> Iterator[Engine]:
    engine = open_state(hub.state_url)
    yield engine
    engine.dispose()


def enrolled(engine: Engine, hub: Hub, device_id: str) -> SimulatedDevice:
    device = SimulatedDevice(device_id)
    _, said = read_enrol(device.enrol(hub.join_token), hub.join_token)
    with engine.begin() as connection:
        store_enrol(connection, device_id, said, NOW_NS)
    return device


def selects(engine: Engine) -> list[str]:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
    return seen


def test_keys_that_are_asked_for_together_are_one_query(hub: Hub, engine: Engine) -> None:
    devices = [enrolled(engine, hub, f"gw-{n:02}") for n in range(20)]
    keys, seen = DeviceKeys(engine), selects(engine)

    async def ask() -> list[bytes | BaseException]:
        asking = KeyAsking(keys)
        wanted = [device.device_id for device in devices] * 3 + ["gw-99", "gw-99"]
        return await asyncio.gather(*(asking.key_of(device_id) for device_id in wanted), return_exceptions=True)

    found = asyncio.run(ask())
    assert found[:60] == [device.key.public_bytes for device in devices] * 3
    assert all(isinstance(one, UnknownDevice) for one in found[60:])
    assert len([one for one in seen if one.startswith("SELECT")]) == 1
    assert keys.remembered("gw-07") == devices[7].key.public_bytes


def test_operators_slow_questions_keep_no_device_waiting(hub: Hub, engine: Engine) -> None:
    """They share so many threads, each perhaps with a connection to the state."""
    device, may_end = enrolled(engine, hub, "gw-01"), threading.Event()

    def question() -> None:
        with reading(engine).begin() as connection:
            connection.exec_driver_sql("SELECT 1")
            may_end.wait(2 * PATIENCE_S)

    async def ask() -> bytes:
        limiter = anyio.to_thread.current_default_thread_limiter()
        questions = [asyncio.create_task(run_in_threadpool(question)) for _ in range(int(limiter.total_tokens) + 5)]
        try:
            while engine.pool.checkedout() < min(30, limiter.total_tokens):  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            return await asyncio.wait_for(KeyAsking(DeviceKeys(engine)).key_of("gw-01"), PATIENCE_S)
        finally:
            may_end.set()
            await asyncio.gather(*questions, return_exceptions=True)

    assert asyncio.run(ask()) == device.key.public_bytes


def test_who_is_kept_out_is_told_so_and_nobody_else_is(hub: Hub, engine: Engine) -> None:
    for device_id in ("gw-01", "gw-02"):
        enrolled(engine, hub, device_id)
    with engine.begin() as connection:
        take_step(connection, "gw-02", "suspend", reason="in the workshop", actor="test", now_ns=NOW_NS)
    found = DeviceKeys(engine).find_all(["gw-01", "gw-02"])
    assert isinstance(found["gw-01"], bytes)
    assert isinstance(found["gw-02"], DeviceSuspended)
    assert "in the workshop" in str(found["gw-02"])


def test_storage_that_fails_fails_those_who_wait_and_nobody_later() -> None:
    class Failing(DeviceKeys):
        def __init__(self) -> None:
            self.fails = True

        def remembered(self, device_id: str) -> bytes | None:
            return None

        def find_all(self, device_ids: Sequence[str]) -> dict[str, bytes | EnvelopeError]:
            if self.fails:
                raise OSError("disk I/O error")
            return dict.fromkeys(device_ids, b"k" * 32)

    async def ask() -> None:
        keys = Failing()
        asking = KeyAsking(keys)
        with pytest.raises(OSError, match="disk I/O"):
            await asking.key_of("gw-01")
        keys.fails = False
        assert await asking.key_of("gw-01") == b"k" * 32

    asyncio.run(ask())


def test_accounts_are_read_once_and_anew_when_told_so(engine: Engine) -> None:
    key = ("gw-01", "e1", "aggregates")
    known = KnownAccounts()
    with engine.begin() as connection:
        store(connection, {key: LaneAccount(n_received=3)})
        assert known.load(connection, {key[:2]})[key].n_received == 3
    seen = selects(engine)
    with engine.begin() as connection:
        assert known.load(connection, {key[:2]})[key].n_received == 3
        assert not [one for one in seen if one.startswith("SELECT")]
        store(connection, {key: LaneAccount(n_received=5)})
        known.forget()
        assert known.load(connection, {key[:2]}) == load_epochs(connection, {key[:2]})


def test_accounts_that_are_too_many_to_remember_are_read_as_they_come(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ledger.known.MAX_EPOCHS", 4)
    known = KnownAccounts()
    keys = [(f"gw-{n}", "e1", "alerts") for n in range(6)]
    with engine.begin() as connection:
        store(connection, {key: LaneAccount(n_received=n) for n, key in enumerate(keys)})
        for some in (keys[:3], keys[2:5], keys[4:] + keys[:1]):
            found = known.load(connection, {key[:2] for key in some})
            assert [found[key].n_received for key in some] == [keys.index(key) for key in some]
            assert len(found) <= 4


def test_boots_that_are_too_many_to_remember_are_read_as_they_come(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ingest.boots.MAX_EPOCHS", 2)
    boots = LaneBoots()
    epochs = [(f"gw-{n}", "e1") for n in range(4)]
    for device_id, epoch in epochs:
        with engine.begin() as connection:
            boots.load(connection, [(device_id, epoch)])
            boots.note((device_id, epoch, "alerts"), record(1))
            boots.store(connection, NOW_NS)
        assert len(boots._loaded) <= 2
    another = msgspec.structs.replace(record(1), at=msgspec.structs.replace(record(1).at, boot_id="another boot"))
    for device_id, epoch in epochs:
        with engine.begin() as connection:
            boots.load(connection, [(device_id, epoch)])
            assert boots.contradicts((device_id, epoch, "alerts"), another), "it is known, whether remembered or not"
            assert not boots.contradicts((device_id, epoch, "alerts"), record(1))
