"""What came is counted by day as it is written, each record once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, insert, select

from hub.ingest.log import LogRecord
from hub.lake.days import DAY_NS, KEEP_DEVICE_DAYS, count_days, prune_days
from hub.lake.lake import open_lake
from hub.lake.recount import recount
from hub.lake.rows import rows_of
from hub.lake.writer import LakeWriter
from hub.serve import only_one
from hub.settings import init_hub
from hub.state.database import open_state
from hub.state.schema import device_days, profile_days, received_days
from models.contract.items import KIND_OF, Aggregate, Body, SlotScore, encode_body
from models.errors import StorageError
from tests.hub.simulated_device import NOW_NS, aggregate, health, rollup, stamp
from tests.waiting import least_cpu_s
from tocsin.cli import cli

DAY = NOW_NS // DAY_NS


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_state(f"sqlite:///{tmp_path / 'hub.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def writer(engine: Engine, tmp_path: Path) -> LakeWriter:
    return LakeWriter(open_lake(str(tmp_path / "lake")), engine, "log")


def record(body: Body, position: int, received_ns: int = NOW_NS) -> LogRecord:
    kind = KIND_OF[type(body)]
    return LogRecord(position, "gw-01", "e1", "aggregates", position, position, kind, stamp(), encode_body(body), received_ns)


def window(n: int, p: float | None = 0.4, **values: object) -> Aggregate:
    scores = [] if p is None else [SlotScore(detector="pump-v1", score=1.0, p_value=p)]
    start_ns = DAY * DAY_NS + n * 10 * 10**9
    times = {"start_ns": start_ns, "end_ns": start_ns + 10 * 10**9}
    plain = {"alarm": False, "commissioning": False, "faulty": [], "partial": False}
    return msgspec.structs.replace(aggregate(n), **times, scores=scores, **plain | values)


def rows(engine: Engine, table: object) -> list[dict[str, object]]:
    with engine.begin() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]  # type: ignore[call-overload]


def test_windows_are_counted_by_device_profile_and_day(engine: Engine, writer: LakeWriter) -> None:
    bodies = [window(1), window(2, 0.01), window(3, 0.001, alarm=True), window(4, faulty=["flow"])]
    bodies += [window(5, None, commissioning=True), window(6, profile="fan")]
    writer.consume([record(body, k) for k, body in enumerate(bodies, start=11)])
    writer.consume([record(window(7), 17), record(health(), 18)])
    [device] = rows(engine, device_days)
    assert device | {"device_id": "gw-01", "day": DAY, "n_windows": 7, "n_faulty": 1, "first_seq": 11, "last_seq": 17} == device
    found = {(row["profile"], row["detector"]): row for row in rows(engine, profile_days)}
    pump = found["pump", "pump-v1"]
    assert pump | {"n_windows": 5, "n_faulty": 1, "n_alarm": 1, "n_clean": 3, "n_unlikely": 1} == pump
    assert pump["watched_ns"] == 5 * 10 * 10**9
    learning = found["pump", ""]
    assert learning | {"n_windows": 1, "n_learning": 1, "watched_ns": 0, "n_clean": 0} == learning
    assert found["fan", "pump-v1"]["n_windows"] == 1
    kinds = {row["kind"]: (row["n_items"], row["n_bytes"]) for row in rows(engine, received_days)}
    assert {kind: n for kind, (n, _) in kinds.items()} == {"aggregate": 7, "health": 1}
    assert kinds["health"][1] == len(encode_body(health()))


def test_merged_and_late_windows_are_told_apart(engine: Engine, writer: LakeWriter) -> None:
    late = record(window(1), 21, received_ns=NOW_NS + 2 * DAY_NS)
    writer.consume([late, record(rollup(3, "pump-1"), 24)])
    totals = {
        name: sum(int(str(row[name])) for row in rows(engine, device_days)) for name in ("n_windows", "n_merged", "n_late")
    }
    assert totals == {"n_windows": 1, "n_merged": 3, "n_late": 1}


def test_windows_at_rest_are_not_watched_nor_are_those_that_were_merged(engine: Engine, writer: LakeWriter) -> None:
    running = rollup(10, "pump-1").groups[0]  # a hundred seconds
    of_running = msgspec.structs.replace(running, n_windows=6, worst=SlotScore(detector="pump-v1", score=1.0, p_value=0.4))
    at_rest = msgspec.structs.replace(
        running, n_windows=4, start_ns=NOW_NS + 30 * 10**9, end_ns=NOW_NS + 70 * 10**9, worst=None
    )
    merged = msgspec.structs.replace(rollup(10, "pump-1"), groups=[of_running, at_rest])
    writer.consume([record(window(1), 1), record(window(2, None, partial=True), 2), record(merged, 12)])
    watched = {row["detector"]: (row["n_windows"], row["watched_ns"]) for row in rows(engine, profile_days)}
    assert watched == {"pump-v1": (7, 70 * 10**9), "": (5, 0)}


def test_records_that_come_again_after_a_crash_are_counted_once(
    engine: Engine, writer: LakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record(window(k), k) for k in range(1, 6)]
    with monkeypatch.context() as patched:
        patched.setattr("hub.lake.writer.add_counts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.consume(records)  # in the lake, and not noted
    assert writer.position() == 0
    writer.consume([*records, record(window(6), 6)])
    assert [row["n_windows"] for row in rows(engine, device_days)] == [6]
    assert [row["n_windows"] for row in rows(engine, profile_days)] == [6]


def test_days_of_devices_go_after_a_quarter(engine: Engine) -> None:
    zeros = dict.fromkeys(("n_windows", "n_merged", "n_faulty", "n_late", "first_seq", "last_seq"), 0)
    with engine.begin() as connection:
        for day in (DAY, DAY - KEEP_DEVICE_DAYS, DAY - KEEP_DEVICE_DAYS - 1):
            connection.execute(insert(device_days).values(device_id="d", epoch="e", day=day, **zeros))
        assert prune_days(connection, NOW_NS) == 1


def test_counting_a_full_batch_costs_little(writer: LakeWriter) -> None:
    records = [record(window(k % 800), k) for k in range(1, 20_001)]
    aggregates, rollups = rows_of("aggregates", records), rows_of("rollups", [])
    took_s = least_cpu_s(lambda: count_days(aggregates, rollups, records))
    assert took_s < 1.0  # some 50 ms; making the rows takes ten times as long
    counts = count_days(aggregates, rollups, records)
    assert counts.devices[0]["n_windows"] == 20_000


def test_the_whole_lake_counted_anew_gives_the_same(engine: Engine, writer: LakeWriter, tmp_path: Path) -> None:
    bodies = [window(1), window(2, 0.01), window(3, 0.001, alarm=True), window(4, faulty=["flow"]), window(5, profile="fan")]
    writer.consume([*(record(body, k) for k, body in enumerate(bodies, start=1)), record(rollup(3, "pump-1"), 9)])
    before = [rows(engine, table) for table in (device_days, profile_days, received_days)]
    with engine.begin() as connection:
        connection.execute(profile_days.delete().where(profile_days.c.profile == "fan"))
        connection.execute(device_days.update().values(n_windows=99))
    assert recount(engine, open_lake(str(tmp_path / "lake")), "log") >= 6
    assert [sorted(rows(engine, table), key=str) for table in (device_days, profile_days, received_days)] == [
        sorted(table, key=str) for table in before
    ]


def test_a_lake_ahead_of_its_writer_is_not_counted(engine: Engine, writer: LakeWriter, tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    lake.append("aggregates", rows_of("aggregates", [record(window(1), 1)]), "log", 1)
    with pytest.raises(StorageError, match="start the hub once"):
        recount(engine, lake, "log")


def test_the_command_counts_while_no_hub_is_running(tmp_path: Path) -> None:
    hub = init_hub(tmp_path / "hub")
    told = CliRunner().invoke(cli, ["hub", "lake", "recount", "--data", str(hub.paths.root)])
    assert told.output == "0 rows of the lake are counted by day\n"
    with only_one(hub.paths.lock):
        refused = CliRunner().invoke(cli, ["hub", "lake", "recount", "--data", str(hub.paths.root)])
    assert refused.exit_code == 1


HUGE, MANY = 2**63 - 1, 2**48  # the latest time, and the most readings that are admitted


def test_whatever_one_device_says_the_counts_of_all_go_on(engine: Engine, writer: LakeWriter) -> None:
    """What is in the log is taken for good: a record over which the writer fell would stop it for the whole fleet."""
    merged = rollup(1, "p1")
    group = msgspec.structs.replace(merged.groups[0], n_readings=HUGE, start_ns=0, end_ns=HUGE)
    ages = [msgspec.structs.replace(window(n), start_ns=0, end_ns=HUGE, n_readings=MANY) for n in range(3)]
    bodies = [window(1), msgspec.structs.replace(merged, groups=[group, group]), *ages]
    writer.consume([record(body, k) for k, body in enumerate(bodies, start=1)])
    writer.consume([record(body, k) for k, body in enumerate(bodies, start=6)])
    writer.consume([record(window(4), 11)])
    numbers = [row[name] for row in rows(engine, profile_days) for name in ("n_windows", "watched_ns", "n_readings")]
    assert all(isinstance(number, int) and 0 <= number <= HUGE for number in numbers)
    days = {(row["day"], row["detector"]): row for row in rows(engine, profile_days)}
    assert days[0, "pump-v1"]["watched_ns"] == 6 * DAY_NS
    assert days[DAY, "pump-v1"]["watched_ns"] == 3 * 10 * 10**9
    assert days[0, "baseline"]["n_readings"] == HUGE
