"""The projector: applies every projection and notes the position, in one transaction per batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection, Engine

from hub.ingest.log import LogRecord
from hub.ingest.positions import get_position, set_position
from hub.state.database import reading


class Projection(Protocol):
    """Turns records into rows. Each record is applied once; records of one lane come in the order in which they arrived,
    which is not always the order of their sequence numbers."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None: ...


class Projector:
    """A consumer of the ingest log."""

    name = "projector"

    def __init__(self, engine: Engine, log_id: str, projections: Sequence[Projection]) -> None:
        self._engine = engine
        self._log_id = log_id
        self._projections = projections

    def position(self) -> int:
        with reading(self._engine).connect() as connection:
            return get_position(connection, self.name, self._log_id)

    def written(self) -> int:
        return self.position()

    def consume(self, records: Sequence[LogRecord]) -> None:
        """All projections and the position, or nothing."""
        with self._engine.begin() as connection:
            for projection in self._projections:
                projection.apply(connection, records)
            set_position(connection, self.name, self._log_id, records[-1].position)
