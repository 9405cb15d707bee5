"""Keeping the lake in order while the hub runs: retention, compaction, vacuum.

Invariants:
1. Rows go by whole days, of the day that they are filed under, and only where `hub.toml` says how long a table is kept; how
   many went stands in the audit log.
2. The lake's writer waits meanwhile, one table at a time; ingest does not, for the log keeps what the writer has not read.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from hub.audit.log import record
from hub.ingest.consumer import Follower
from hub.ingest.quarantine import prune_quarantine
from hub.lake.days import prune_days
from hub.lake.lake import Lake
from hub.lake.tables import TABLES, TableName
from hub.settings import HubConfig
from models.contract.clock import NS_PER_S

COMPACT_FROM: Final = 16  # small files of a partition: each time, what they hold is written once more


class Upkeep:
    """`run` does what is due; called from one thread at a time."""

    def __init__(self, lake: Lake, engine: Engine, config: HubConfig, writer: Follower) -> None:
        self._lake = lake
        self._engine = engine
        self._config = config
        self._writer = writer

    def run(self, now_ns: int) -> None:
        """Raises DeltaError, OSError: what was done by then is done, the rest is tried at the next time."""
        for table in TABLES:
            with self._alone():
                retain(self._lake, self._engine, table, keep_days(self._config, table), now_ns)
            with self._alone():
                self._lake.compact(table, COMPACT_FROM)
            with self._alone():
                self._lake.vacuum(table, self._config.keep_versions_h)
        with self._engine.begin() as connection:
            prune_days(connection, now_ns)
            prune_quarantine(connection, self._config.keep_quarantine_days, now_ns)

    def _alone(self) -> AbstractContextManager[bool]:
        return self._writer.paused()


def keep_days(config: HubConfig, table: TableName) -> int:
    """How many days of a table are kept; 0 = all."""
    days: int = getattr(config, f"keep_{table}_days")
    return days


def retain(lake: Lake, engine: Engine, table: TableName, days: int, now_ns: int) -> int:
    """Take out the rows of days that are older than `days` full days; how many. 0 days: none."""
    if not days:
        return 0
    first_kept = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).date() - timedelta(days=days)
    before = lake.state(table)
    if not before.first_day or before.first_day >= first_kept.isoformat():
        return 0
    n_rows = lake.delete(table, f"day < DATE '{first_kept.isoformat()}'")
    details: dict[str, str | int] = {"rows": n_rows, "before": first_kept.isoformat(), "version_before": before.version}
    with engine.begin() as connection:
        record(connection, at_ns=now_ns, actor="hub", action="lake.retention", subject=table, details=details)
    return n_rows
