"""One checked query, run: DuckDB in memory over copies of the state and the lake's own files, within limits.

1. The query has passed `gate.check`; here is the second wall. DuckDB opens no file, no network address and no extension, and
   its settings are locked. What it sees are Arrow tables and the lake's dataset.
2. Only the views that the query reads are loaded, for it alone.
3. Bounded: MAX_RESULT_ROWS rows, MEMORY, TIMEOUT_S, and AT_ONCE queries at a time; who comes beyond is told to come again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import duckdb
import pyarrow.dataset as ds
from sqlalchemy import Engine

from hub.ask.catalog import VIEW_NAMES, VIEWS, ViewName
from hub.ask.gate import QueryRefused, check
from hub.ask.tables import MAX_ROWS, Moment, load_view, sites_table
from hub.lake.query import QueryError
from hub.lake.tables import TableName
from hub.state.database import reading
from models.errors import TocsinError

MAX_RESULT_ROWS: Final = 1000
MAX_CELL: Final = 500  # characters of a text in an answer
MEMORY: Final = "384MB"
TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 2
_WAIT_S: Final = 5.0  # for a turn
_AGAIN_S: Final = 0.05
_SETTINGS: Final[dict[str, str | bool | int]] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,  # a table's name is never a variable of this process
    "max_temp_directory_size": "0B",
    "max_expression_depth": 250,
    "memory_limit": MEMORY,
    "threads": 1,
}

_WINDOWS: Final = """
CREATE TEMP VIEW windows AS
SELECT a.device_id AS device, coalesce(s.site, '') AS site, a.asset, a.profile, to_timestamp(a.start_ns / 1e9) AS started,
    to_timestamp(a.end_ns / 1e9) AS ended, a.day, a.scores[1].p_value AS p_value, a.scores[1].score AS score, a.alarm,
    a.commissioning, a.n_readings, a.n_late, a.top, a.faulty
FROM lake_aggregates a LEFT JOIN device_sites s USING (device_id)
"""


class Windows(Protocol):
    """The part of the lake that is asked about."""

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset: ...


class AskBusy(TocsinError):
    """As many questions as can be run at a time are being answered."""

    retry_after_s = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """`truncated`: there were more rows. `newest_only`: views of which only the newest MAX_ROWS rows were looked at."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    newest_only: tuple[str, ...]
    took_s: float


class AskEngine:
    """Runs queries for all threads. `offline_after_s`: so long after its last word a device counts as offline."""

    def __init__(
        self,
        engine: Engine,
        lake: Windows,
        offline_after_s: float,
        *,
        timeout_s: float = TIMEOUT_S,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = reading(engine)
        self._lake = lake
        self._offline_after_ns = int(offline_after_s * 1e9)
        self._timeout_s = timeout_s
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self.now_ns = now_ns

    def run(self, sql: str, zone: str) -> Result:
        """The answer, times in `zone`. Raises QueryRefused, QueryError: DuckDB says why; AskBusy."""
        wanted = check(sql, VIEW_NAMES)
        if not self._turns.acquire(timeout=_WAIT_S):
            raise AskBusy(f"{AT_ONCE} questions are being answered already")
        try:
            return self._run(sql, [view for view in VIEW_NAMES if view in wanted], zone)
        finally:
            self._turns.release()

    def _run(self, sql: str, wanted: list[ViewName], zone: str) -> Result:
        started = time.monotonic()
        connection = _database(zone).cursor()
        try:
            newest_only = self._provide(connection, wanted)
            columns, rows = _fetched(connection, sql, self._timeout_s)
        except duckdb.Error as error:
            raise QueryError("; ".join(filter(None, map(str.strip, str(error).splitlines()[:2])))) from None
        finally:
            connection.close()
        shown = tuple(tuple(_bounded(value, ZoneInfo(zone)) for value in row) for row in rows[:MAX_RESULT_ROWS])
        return Result(columns, shown, len(rows) > MAX_RESULT_ROWS, newest_only, time.monotonic() - started)

    def _provide(self, connection: duckdb.DuckDBPyConnection, wanted: list[ViewName]) -> tuple[str, ...]:
        """Give the connection its views; which of them are cut."""
        now_ns = self.now_ns()
        moment = Moment(now_ns, now_ns - self._offline_after_ns)
        cut = []
        with self._engine.begin() as state:  # one snapshot for all of them
            for view in wanted:
                if view == "windows":
                    connection.register("device_sites", sites_table(state))
                    continue
                table = load_view(state, view, moment)
                connection.register(view, table.select(list(VIEWS[view].columns)))
                if table.num_rows >= MAX_ROWS:
                    cut.append(view)
        if "windows" in wanted:
            connection.register("lake_aggregates", self._lake.dataset("aggregates"))
            connection.execute(_WINDOWS)
        return tuple(cut)


@cache
def _database(zone: str) -> duckdb.DuckDBPyConnection:
    """An empty database whose settings are locked. Each query has a connection of its own to it, whose temporary views nobody
    else sees and which go with it; the bound on memory is one for all of them."""
    database = duckdb.connect(":memory:", config=dict(_SETTINGS))
    try:
        database.execute("SET GLOBAL TimeZone = ?", [zone])
        database.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        database.close()
        raise QueryError(f"time zone {zone[:64]!r}: {str(error).splitlines()[0]}") from None
    return database


def _fetched(
    connection: duckdb.DuckDBPyConnection, sql: str, timeout_s: float
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Column names, and at most one row beyond MAX_RESULT_ROWS. Interrupted at `timeout_s`."""
    over = threading.Event()
    watch = threading.Thread(target=_end_late, args=(connection, over, timeout_s), name="ask", daemon=True)
    watch.start()
    try:
        done = connection.execute(sql)
        return tuple(column[0] for column in done.description or ()), done.fetchmany(MAX_RESULT_ROWS + 1)
    except duckdb.InterruptException:
        raise QueryRefused(f"it took longer than {timeout_s:g} s and was ended") from None
    finally:
        over.set()
        watch.join()  # before somebody closes what it interrupts


def _end_late(connection: duckdb.DuckDBPyConnection, over: threading.Event, timeout_s: float) -> None:
    """Interrupts again and again until it is `over`: what comes just before the statement begins is forgotten."""
    pause_s = timeout_s
    while not over.wait(pause_s):
        connection.interrupt()
        pause_s = _AGAIN_S


def _bounded(value: Any, zone: ZoneInfo) -> Any:
    """A cell of an answer: no text, list or bytes of any size; times in `zone`."""
    if isinstance(value, datetime):
        return value.astimezone(zone) if value.tzinfo else value
    if isinstance(value, str):
        return value if len(value) <= MAX_CELL else value[:MAX_CELL] + "…"
    if isinstance(value, bytes):
        return value[:MAX_CELL].hex()
    if isinstance(value, (list, tuple)):
        return [_bounded(each, zone) for each in value[:50]]
    if isinstance(value, dict):
        return {str(key): _bounded(each, zone) for key, each in list(value.items())[:50]}
    return value
