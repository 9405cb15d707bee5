"""Keeping the lake in order: what goes, what stays, beside a writer, and cut off anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType
from sqlalchemy import Engine, insert, select

from hub.audit.log import read_entries
from hub.cli import hub as hub_command
from hub.ingest.consumer import Follower
from hub.ingest.log import SqliteIngestLog
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.query import LakeCounter
from hub.lake.rows import rows_of
from hub.lake.tables import SCHEMAS
from hub.lake.upkeep import COMPACT_FROM, Upkeep, retain
from hub.lake.writer import LakeWriter
from hub.settings import Hub
from hub.state.database import open_state
from hub.state.schema import quarantine
from models.contract.items import Aggregate
from tests.hub.simulated_device import NOW_NS, aggregate, health
from tests.hub.test_lake import append_aggregates, record

DAY_NS = 86_400 * 10**9


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return open_lake(str(tmp_path / "lake"))


@pytest.fixture
def engine(hub: Hub) -> Iterator[Engine]:
    opened = open_state(hub.state_url)
    yield opened
    opened.dispose()


def of_day(n: int, days_ago: int, profile: str = "pump") -> Aggregate:
    start_ns = NOW_NS - days_ago * DAY_NS
    return msgspec.structs.replace(aggregate(n, profile=profile), start_ns=start_ns, end_ns=start_ns + 1)


def seqs(lake: DeltaLake) -> list[int]:
    return sorted(lake.dataset("aggregates").to_table(columns=["seq"])["seq"].to_pylist())


def test_retention_takes_whole_days_of_one_table_and_says_so(lake: DeltaLake, engine: Engine) -> None:
    append_aggregates(lake, [record(of_day(n, days_ago=n), n) for n in range(12)], "log", 12)
    lake.append("health", rows_of("health", [record(health(), 1)]), "log", 1)
    assert retain(lake, engine, "aggregates", 0, NOW_NS) == 0
    assert retain(lake, engine, "aggregates", 9, NOW_NS) == 2
    assert retain(lake, engine, "aggregates", 9, NOW_NS) == 0
    assert seqs(lake) == list(range(10))
    assert lake.state("health").n_rows == 1
    with engine.connect() as connection:
        [entry] = read_entries(connection)
    first_kept = datetime.fromtimestamp((NOW_NS - 9 * DAY_NS) // 10**9, UTC).date().isoformat()
    assert (entry.actor, entry.action, entry.subject) == ("hub", "lake.retention", "aggregates")
    assert json.loads(entry.details) == {"rows": 2, "before": first_kept, "version_before": 1}
    assert lake.state("aggregates").first_day == first_kept


def test_compaction_is_of_partitions_with_many_small_files_only(lake: DeltaLake) -> None:
    for n in range(1, 5):
        append_aggregates(lake, [record(of_day(n, 0), n), record(of_day(n, 0, profile="fan"), n)], "log", n)
    append_aggregates(lake, [record(of_day(5, 0), 5)], "log", 5)
    assert lake.compact("aggregates", min_files=5) == 5  # the pumps' five files, not the fans' four
    assert lake.compact("aggregates", min_files=5) == 0
    state = lake.state("aggregates")
    assert (state.n_files, state.n_small, state.n_rows) == (5, 4, 9)


def test_vacuum_keeps_what_recent_versions_need(lake: DeltaLake) -> None:
    for n in range(1, 4):
        append_aggregates(lake, [record(aggregate(n), n)], "log", n)
    lake.compact("aggregates")
    assert lake.vacuum("aggregates", 1) == 0
    assert lake.aggregates("pump", version=2).num_rows == 2
    assert lake.vacuum("aggregates", 0) == 3
    assert seqs(lake) == [1, 2, 3]
    assert lake.position("aggregates", "log") == 3
    version = lake.version("aggregates")
    assert lake.vacuum("aggregates", 0) == 0
    assert lake.version("aggregates") == version  # nothing to do is no commit


def test_upkeep_does_all_of_it_for_every_table_by_the_hubs_settings(hub: Hub, engine: Engine) -> None:
    lake, log = open_lake(hub.lake_url), SqliteIngestLog(hub.paths.ingest)
    for n in range(1, COMPACT_FROM + 1):
        append_aggregates(lake, [record(of_day(n, days_ago=400), n)], "log", n)
    lake.append("health", rows_of("health", [record(health(), 1)]), "log", 1)
    config = msgspec.structs.replace(hub.config, keep_health_days=1, keep_quarantine_days=3)
    refused = {"device_id": "gw-1", "epoch": "e1", "lane": "alerts", "kind": "alert", "reason": "odd", "body": b"?"}
    with engine.begin() as connection:
        rows = [refused | {"seq": n, "received_ns": NOW_NS - n * DAY_NS} for n in range(3)]
        connection.execute(insert(quarantine), rows)
    Upkeep(lake, engine, config, Follower(log, LakeWriter(lake, engine, log.log_id))).run(NOW_NS + 3 * DAY_NS)
    assert (lake.state("aggregates").n_files, lake.state("aggregates").n_rows) == (1, COMPACT_FROM)
    assert lake.state("health").n_rows == 0
    with engine.connect() as connection:
        assert list(connection.execute(select(quarantine.c.seq)).scalars()) == [0]
        told = [entry for entry in read_entries(connection) if entry.action == "quarantine.retention"]
    assert [json.loads(entry.details) for entry in told] == [{"items": 2, "keep_days": 3}]
    log.close()


def test_the_command_tells_what_is_there_and_keeps_it_in_order(hub: Hub) -> None:
    lake = open_lake(hub.lake_url)
    for n in range(1, 4):
        append_aggregates(lake, [record(aggregate(n), n)], "log", n)

    def run(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(hub_command, ["lake", *arguments, "--data", str(hub.paths.root), "--json"])
        assert result.exit_code == 0, result.output
        told: dict[str, object] = json.loads(result.output)
        return told

    assert run("status")["aggregates"]["n_small"] == 3  # type: ignore[index]
    assert run("compact")["aggregates"] == 3
    assert run("vacuum", "--keep-versions-h", "1")["aggregates"] == 0
    shown = CliRunner().invoke(hub_command, ["lake", "status", "--data", str(hub.paths.root)]).output
    assert "aggregates" in shown


def test_columns_that_came_later_are_null_in_older_rows_and_unknown_ones_are_left_alone(tmp_path: Path) -> None:
    """A lake of an older version gains columns; one that a newer version has added to is written and read all the same."""
    uri = str(tmp_path / "lake" / "aggregates")
    old = pa.schema([field for field in SCHEMAS["aggregates"] if field.name not in ("partial", "end_mono_ns")])
    rows = rows_of("aggregates", [record(aggregate(1), 1)])
    write_deltalake(uri, rows.select(old.names), partition_by=["profile", "day"])
    lake = open_lake(str(tmp_path / "lake"))
    append_aggregates(lake, [record(aggregate(2), 2)], "log", 2)
    table = lake.aggregates("pump", columns=["seq", "partial"]).sort_by("seq").to_pylist()
    assert table == [{"seq": 1, "partial": None}, {"seq": 2, "partial": False}]
    DeltaTable(uri).alter.add_columns(Field("of_the_future", PrimitiveType("long")))
    lake = open_lake(str(tmp_path / "lake"))
    append_aggregates(lake, [record(aggregate(3), 3)], "log", 3)
    lake.compact("aggregates")
    assert seqs(lake) == [1, 2, 3]


def test_upkeep_from_another_process_and_a_writer_do_not_harm_each_other(tmp_path: Path) -> None:
    """Two handles on one lake, as the hub's and a command's: what is appended meanwhile is neither lost nor doubled."""
    writing, keeping = open_lake(str(tmp_path / "lake")), open_lake(str(tmp_path / "lake"))
    done = threading.Event()

    def write() -> None:
        try:
            for n in range(1, 31):
                append_aggregates(writing, [record(aggregate(n), n, f"gw-{n % 3}")], "log", n)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    n_deleted = 0
    while not done.is_set():
        keeping.compact("aggregates")
        n_deleted += keeping.delete("aggregates", "device_id = 'gw-2'")
        keeping.vacuum("aggregates", 1)
    writer.join()
    n_deleted += keeping.delete("aggregates", "device_id = 'gw-2'")
    assert n_deleted == 10
    assert seqs(keeping) == [n for n in range(1, 31) if n % 3 != 2]
    assert writing.position("aggregates", "log") == 30


CHILD = """
import sys
from hub.lake.lake import open_lake
from tests.hub.test_lake import append_aggregates, record
from tests.hub.simulated_device import aggregate
lake = open_lake(sys.argv[1])
for n in range(lake.position("aggregates", "log") + 1, 10_000):
    append_aggregates(lake, [record(aggregate(n), n)], "log", n)
    print(n, flush=True)
    if n % 2:
        lake.compact("aggregates")
    if n % 3 == 0:
        lake.vacuum("aggregates", 0)
"""


def test_killed_while_it_appends_compacts_and_vacuums_a_lake_loses_and_doubles_nothing(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    for n_lines in (4, 7):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(root)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(n_lines)]
        child.kill()
        told += [int(line) for line in child.stdout.read().split("\n")[:-1]]
        child.wait()
        child.stdout.close()
        lake = open_lake(str(root))
        found = seqs(lake)
        assert found == list(range(1, len(found) + 1))
        assert len(found) in (told[-1], told[-1] + 1)
        assert lake.position("aggregates", "log") == len(found)
        assert LakeCounter(lake).count().n_duplicates == 0


def test_the_log_forgets_what_it_said_of_versions_that_nobody_can_read_any_more(tmp_path: Path) -> None:
    lake, log = open_lake(str(tmp_path / "lake")), tmp_path / "lake" / "aggregates" / "_delta_log"
    for n in range(25):
        append_aggregates(lake, [record(aggregate(n), n)], "log", n + 1)
    assert (log / f"{19:020}.checkpoint.parquet").exists()
    three_hours_ago = time.time() - 3 * 3600
    for entry in log.iterdir():
        os.utime(entry, (three_hours_ago, three_hours_ago))
    lake.compact("aggregates")
    lake.vacuum("aggregates", 2)
    assert not (log / f"{0:020}.json").exists()
    assert len(list(log.iterdir())) < 15, "the newest checkpoint of that time, and what came since"
    assert seqs(lake) == list(range(25))
