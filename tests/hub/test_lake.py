"""The lake: what is written is read back, versions stay, queries only read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from hub.ingest.log import LogRecord
from hub.lake import query as query_module
from hub.lake.lake import DeltaLake, LakeDay, open_lake
from hub.lake.query import LakeCount, LakeCounter, QueryError, query
from hub.lake.rows import rows_of
from models.contract.items import KIND_OF, Body, encode_body, pack_floats
from models.errors import StorageError
from tests.hub.simulated_device import NOW_NS, aggregate, evidence, health, rollup, stamp
from tests.waiting import PATIENCE_S, wait_until


def record(body: Body, position: int, device_id: str = "gw-01") -> LogRecord:
    kind = KIND_OF[type(body)]
    lane = "evidence" if kind == "evidence" else "aggregates"
    return LogRecord(position, device_id, "e1", lane, position, position, kind, stamp(), encode_body(body), NOW_NS + 1)


def append_aggregates(lake: DeltaLake, records: list[LogRecord], log_id: str, position: int) -> None:
    lake.append("aggregates", rows_of("aggregates", records), log_id, position)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return open_lake(str(tmp_path / "lake"))


def test_aggregates_come_back_by_profile_and_spec(lake: DeltaLake) -> None:
    records = [record(aggregate(n, profile="pump" if n % 2 else "fan", n_features=26 if n % 2 else 7), n) for n in range(1, 11)]
    append_aggregates(lake, records, "log", 10)
    table = lake.aggregates("pump", columns=["features", "start_ns"])
    features = np.asarray(table["features"].combine_chunks().flatten()).reshape(-1, 26)
    assert features.dtype == np.float32
    assert sorted(features[:, 0]) == [1, 3, 5, 7, 9]
    assert lake.aggregates("fan")["features"].to_pylist()[0] == [2.0] * 7
    assert lake.aggregates("pump", "ffffffffffffffff").num_rows == 0
    assert lake.aggregates("motor").num_rows == 0


def test_missing_features_stay_missing(lake: DeltaLake) -> None:
    body = msgspec.structs.replace(aggregate(1), features=pack_floats(np.array([1.0, np.nan], dtype=np.float32)))
    append_aggregates(lake, [record(body, 1)], "log", 1)
    [features] = lake.aggregates("pump")["features"].to_pylist()
    assert features[0] == 1.0
    assert np.isnan(features[1])


def test_a_rollup_is_a_row_for_each_group_of_its_windows(lake: DeltaLake) -> None:
    records = [record(rollup(3, "pump-1", "pump-2"), 6), record(aggregate(1), 7), record(rollup(2, "pump-1"), 9)]
    lake.append("rollups", rows_of("rollups", records), "log", 9)
    sql = "SELECT seq, part, asset, n_windows, mean[1] AS mean, worst.p_value AS p FROM rollups ORDER BY seq, part"
    assert query(sql, lake).to_pylist() == [
        {"seq": 6, "part": 0, "asset": "pump-1", "n_windows": 3, "mean": 2.0, "p": 0.01},
        {"seq": 6, "part": 1, "asset": "pump-2", "n_windows": 3, "mean": 2.0, "p": 0.01},
        {"seq": 9, "part": 0, "asset": "pump-1", "n_windows": 2, "mean": 2.0, "p": 0.01},
    ]
    count = LakeCounter(lake).count()
    assert (count.n_rows, count.n_duplicates) == (3, 0)


def test_a_version_never_changes(lake: DeltaLake) -> None:
    append_aggregates(lake, [record(aggregate(1), 1)], "log", 1)
    version = lake.version("aggregates")
    for n in range(2, 6):
        append_aggregates(lake, [record(aggregate(n), n)], "log", n)
    assert lake.compact("aggregates") > 0
    assert lake.aggregates("pump", version=version).num_rows == 1
    assert lake.aggregates("pump").num_rows == 5
    assert lake.position("aggregates", "log") == 5  # compaction keeps it


def test_each_table_knows_how_far_it_has_each_log(lake: DeltaLake) -> None:
    append_aggregates(lake, [record(aggregate(1), 1)], "one", 17)
    assert (lake.position("aggregates", "one"), lake.position("aggregates", "other")) == (17, 0)
    assert lake.position("health", "one") == 0


def test_evidence_and_health_have_tables_of_their_own(lake: DeltaLake) -> None:
    records = [record(evidence(), 1), record(health(), 2), record(aggregate(), 3)]
    for table in ("evidence", "health", "aggregates"):
        lake.append(table, rows_of(table, records), "log", 3)
    [row] = query("SELECT channels, len(values) AS n, rate_hz FROM evidence", lake).to_pylist()
    assert row == {"channels": ["flow", "pressure"], "n": 20, "rate_hz": 5.0}
    [row] = query("SELECT uptime_s, frame_errors, synced FROM health", lake).to_pylist()
    assert row == {"uptime_s": 60.0, "frame_errors": 0, "synced": True}


def test_duplicates_would_be_seen(lake: DeltaLake) -> None:
    counter = LakeCounter(lake)
    assert counter.count().n_rows == 0
    append_aggregates(lake, [record(aggregate(1), 1)], "log", 1)
    append_aggregates(lake, [record(aggregate(1), 1)], "log", 1)  # what the writer never does
    assert (counter.count().n_rows, counter.count().n_duplicates) == (2, 1)


def test_who_asks_for_the_count_while_it_is_made_gets_the_same_one(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads all of the lake: forty at once would read it forty times."""
    append_aggregates(lake, [record(aggregate(1), 1)], "log", 1)
    counted, may_go_on = [], threading.Event()

    def slow(_lake: DeltaLake, *of: object) -> int:
        counted.append(of)
        may_go_on.wait(PATIENCE_S)
        return 0

    monkeypatch.setattr("hub.lake.query._n_duplicates", slow)
    counter = LakeCounter(lake)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(counter.count) for _ in range(4)]
        wait_until(lambda: counted, what="a count has begun")
        may_go_on.set()
        assert {one.result(PATIENCE_S) for one in asked} == {LakeCount(1, 0)}
    assert len(counted) == 1


def test_only_days_that_changed_are_counted_anew(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """All identities at once would not fit the memory of a hub."""
    counted: list[str] = []

    def noted(of: DeltaLake, table: str, day: LakeDay) -> int:
        counted.append(day.day)
        return really(of, table, day)

    really = query_module._n_duplicates
    monkeypatch.setattr(query_module, "_n_duplicates", noted)
    counter = LakeCounter(lake)
    days = 86_400 // 10  # windows of ten seconds
    append_aggregates(lake, [record(aggregate(n * days), n) for n in range(1, 4)], "log", 3)
    assert (counter.count(), len(counted)) == (LakeCount(3, 0), 3)
    append_aggregates(lake, [record(aggregate(2 * days), 2), record(aggregate(3 * days), 4)], "log", 4)
    assert (counter.count(), len(counted)) == (LakeCount(5, 1), 5)
    lake.compact("aggregates")
    assert counter.count() == LakeCount(5, 1)


def test_sql_sees_the_tables_and_nothing_else(lake: DeltaLake, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    append_aggregates(lake, [record(aggregate(n), n) for n in range(1, 4)], "log", 3)
    table = query("SELECT profile, count(*) AS n FROM aggregates GROUP BY profile", lake)
    assert table.to_pylist() == [{"profile": "pump", "n": 3}]
    for sql in (
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        f"COPY aggregates TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/other.db'",
        "INSTALL delta",
        "SET enable_external_access = true",
        "SELECT * FROM lake",  # a local variable of the hub's code is no table
        "SELEC 1",
    ):
        with pytest.raises(QueryError):
            query(sql, lake)
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "secret.csv"}


def test_a_name_that_is_no_table_is_no_variable_either(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.lake.query.kept", pa.table({"token": ["abc"]}), raising=False)
    with pytest.raises(QueryError, match="kept does not exist"):
        query("SELECT * FROM kept", lake)


def test_a_statement_without_a_result_gives_an_empty_table(lake: DeltaLake) -> None:
    assert query("CREATE TABLE t (a INTEGER)", lake).num_rows == 0


def test_a_place_that_cannot_hold_a_lake_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="lake"):
        open_lake(str(tmp_path / "file"))
