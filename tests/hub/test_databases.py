"""What the hub relies on in its state, on each database that it may live in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from hub.audit.log import record, verify
from hub.settings import init_hub
from hub.state import schema
from hub.state.database import cause_of, connect_state, open_state, reading
from hub.state.json_values import whole_number
from hub.state.upsert import merge, upsert
from models.errors import StorageError
from tests.hub.conftest import FAST, running
from tests.hub.postgres import Cluster, cluster
from tests.hub.simulated_device import NOW_NS, aggregate, aggregates, alert, eviction, item, poison
from tests.waiting import wait_until

POSITION = schema.consumers.c.position
MAX_INT = 2**63 - 1


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hub.db"
    made: Cluster = request.getfixturevalue("postgres")
    return made.url()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_state(url)
    yield opened
    opened.dispose()


def at_once(work: Callable[[], object], n_threads: int = 4) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_migrations_make_exactly_the_tables_of_the_schema(engine: Engine) -> None:
    of_types = engine.dialect.name == "sqlite"  # on PostgreSQL texts have no length, whatever the schema says
    with engine.connect() as connection:
        migrated = MigrationContext.configure(connection, opts={"compare_type": of_types})
        assert compare_metadata(migrated, schema.metadata) == []


def test_a_database_from_a_newer_version_is_refused(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="from a newer Tocsin"):
        open_state(url)


def test_what_is_read_stays_so_until_it_is_written_in_any_process(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        upsert(connection, schema.consumers, [{"name": "n", "position": 0}])

    def count() -> None:
        mine = connect_state(url)  # as another process has it
        for _ in range(25):
            with mine.begin() as connection:
                seen = connection.execute(select(POSITION)).scalar_one()
                connection.execute(update(schema.consumers).values(position=seen + 1))
        mine.dispose()

    at_once(count)
    with engine.connect() as connection:
        assert connection.execute(select(POSITION)).scalar() == 100


def test_who_only_reads_sees_one_snapshot_and_blocks_nobody(engine: Engine) -> None:
    with reading(engine).begin() as reader:
        assert reader.execute(select(POSITION)).all() == []
        with engine.begin() as writer:
            upsert(writer, schema.consumers, [{"name": "n", "position": 1}])
        assert reader.execute(select(POSITION)).all() == []
    with reading(engine).begin() as reader:
        assert reader.execute(select(POSITION)).scalars().all() == [1]


def test_the_audit_log_s_chain_holds_whoever_writes_at_once(engine: Engine) -> None:
    def write() -> None:
        for n in range(10):
            with engine.begin() as connection:
                record(connection, at_ns=n, actor="hub", action="test.do", subject="s")

    at_once(write)
    with reading(engine).begin() as connection:
        assert verify(connection).number == 40


def test_numbers_of_64_bits_are_kept_summed_and_picked_from_json(engine: Engine) -> None:
    row = {"device_id": "gw-1", "epoch": "e", "day": 1, "n_merged": 0, "n_faulty": 0, "n_late": 0}
    with engine.begin() as connection:
        for n, first, last in ((MAX_INT - 1, 5, 9), (7, 3, 4)):
            counts = row | {"n_windows": n, "first_seq": first, "last_seq": last}
            merge(connection, schema.device_days, [counts], {"first_seq": "min", "last_seq": "max"})
        found = connection.execute(select(schema.device_days)).one()
        assert (found.n_windows, found.first_seq, found.last_seq) == (MAX_INT, 3, 9)
        summed = connection.execute(select(func.sum(schema.device_days.c.last_seq))).scalar_one()
        assert (summed, type(summed)) == (9, int)
        said = {"rss_bytes": 3 * 2**31, "nothing": None}
        device = {"device_id": "gw-1", "public_key": b"k" * 32, "agent_version": "1", "site": "", "hardware": "pi"}
        connection.execute(insert(schema.devices).values(**device, enrolled_ns=1, last_seen_ns=1, checkin=said))
        checkin = schema.devices.c.checkin
        picked = select(*(whole_number(checkin[name]) for name in ("rss_bytes", "nothing", "absent")))
        assert tuple(connection.execute(picked).one()) == (3 * 2**31, None, None)


def test_the_cause_of_an_error_holds_neither_statement_nor_values(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as raised, engine.begin() as connection:
        connection.execute(insert(schema.consumers), [{"name": "a-secret", "position": 1}, {"name": "a-secret", "position": 2}])
    assert isinstance(raised.value, DBAPIError)
    assert "a-secret" not in cause_of(raised.value)
    assert "INSERT" not in cause_of(raised.value)


def test_texts_of_any_kind_and_length_are_kept(engine: Engine) -> None:
    """Where they come in, they are bounded; one that is not must not stop a whole commit."""
    long, nul = "x" * 10_000, "a\0b"
    with engine.begin() as connection:
        upsert(connection, schema.consumers, [{"name": long, "position": 1}, {"name": nul, "position": 2}])
    with reading(engine).begin() as connection:
        kept = connection.execute(select(schema.consumers.c.name).order_by(POSITION)).scalars().all()
    assert kept == [long, nul if engine.dialect.name == "sqlite" else "a\N{REPLACEMENT CHARACTER}b"]


def test_a_hub_takes_in_accounts_projects_and_answers(url: str, tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub", f'{FAST}state_url = "{url}"\n')
    with running(hub) as client:
        device = client.enrolled()
        ack = client.ingest(device.batch([*aggregates(1, 5), item(eviction(2), 7, first_seq=6, lane="aggregates")]))
        assert ack.cursors == {"aggregates": 7}
        client.ingest(device.batch([item(alert(), 1), item(last := aggregate(9), 9)]))
        assert client.ingest(device.batch(aggregates(1, 5))).cursors["aggregates"] == 7
        told = client.settled_ledger()
        assert (told["received"], told["evicted"], told["missing"], told["redelivered"], told["lake_rows"]) == (7, 2, 1, 5, 6)
        [rung] = client.get("/v1/alerts")
        assert rung["device_id"] == "gw-01"
        span = client.get("/v1/devices/gw-01/ledger/span", since_ns=NOW_NS, until_ns=last.end_ns + 10**9)
        assert [(gap["first_seq"], gap["last_seq"]) for gap in span["gaps"]] == [(8, 8)]
        client.ingest(device.batch([poison(10)]))
        [held] = client.get("/v1/quarantine")
        assert held["seq"] == 10
        hostile = msgspec.structs.replace(alert(), asset="a\0b", alert_id="nul")
        assert client.ingest(device.batch([item(hostile, 2)])).cursors["alerts"] == 2, "refused, and in nobody's way"
        client.ingest(device.batch([item(msgspec.structs.replace(alert(), alert_id="next"), 3)]))
        wait_until(lambda: len(client.get("/v1/alerts")) == 2, what="the alert behind it")
        assert [one["profile"] for one in client.get("/v1/value")["profiles"]] == ["pump"]
        for page in (
            "/",
            "/fleet",
            "/fleet?view=list&sort=backlog",
            "/alerts",
            "/devices/gw-01",
            "/models",
            "/rollouts",
            "/data",
            "/value",
        ):
            assert client.http.get(page, headers=client.auth, follow_redirects=True).status_code == 200, page
        before = client.settled_ledger()
    with running(hub) as client:  # again, on what is there
        assert client.settled_ledger() == before
