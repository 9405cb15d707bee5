"""Following the ingest log: a thread that hands a consumer what came since its position, batch by batch, for ever.

A consumer that fails is tried again from its own position, with growing pauses; meanwhile `failure` says why, and the
log keeps what it has not read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from hub.ingest.log import IngestLog, LogRecord
from hub.state.database import cause_of
from models.errors import StorageError

_log = logging.getLogger(__name__)
_MAX_PAUSE_S: Final = 30.0


class Consumer(Protocol):
    """Called from one thread at a time. `consume` makes its effects and the new position durable together, or raises."""

    name: str

    def position(self) -> int: ...

    def written(self) -> int:
        """The highest position that any of its effects stems from: at least `position()`, and after a crash perhaps more."""
        ...

    def consume(self, records: Sequence[LogRecord]) -> None: ...


def check_not_older(log: IngestLog, reader: str, position: int) -> None:
    """Raises StorageError where `log` ends before what `reader` has of it: it was restored from an older copy.

    It would give the same positions again, to other records, and those the reader would take for known.
    """
    if position > log.end():
        raise StorageError(
            f"ingest log {log.log_id} ends at {log.end()}, but {reader} has read up to {position}: the log was "
            "restored from an older copy; move ingest.db away, and the devices' next items start a new one"
        )


class Follower:
    """Runs one consumer. `gather_s`: how long after a wake-up more is gathered before it is consumed, until a `batch` is there
    at most. `rest_s`: how long it rests after a round, so that what comes first is consumed at once, and what comes all the
    time in large batches."""

    def __init__(
        self,
        log: IngestLog,
        consumer: Consumer,
        gather_s: float = 0.0,
        batch: int = 1000,
        rest_s: float = 0.0,
    ) -> None:
        self._log = log
        self._consumer = consumer
        self._gather_s = gather_s
        self._batch = batch
        self._rest_s = rest_s
        self._consumed = 0  # up to this position, as far as this process knows
        self._arrived = threading.Event()
        self._enough = threading.Event()
        self._stopping = threading.Event()
        self._busy = threading.Lock()  # from reading records to having consumed them
        self._thread = threading.Thread(target=self._run, name=f"follow-{consumer.name}", daemon=True)
        self.failure: str | None = None

    @property
    def name(self) -> str:
        return self._consumer.name

    def position(self) -> int:
        """How far the consumer has come, durably."""
        return self._consumer.position()

    def check(self) -> None:
        """Raises StorageError, see `check_not_older`."""
        check_not_older(self._log, self.name, self._consumer.written())

    def start(self) -> None:
        """Begins with what is there already."""
        self._arrived.set()
        self._thread.start()

    def wake(self) -> None:
        """Something was appended."""
        self._arrived.set()
        if self._log.end() - self._consumed >= self._batch:
            self._enough.set()

    def stop(self) -> None:
        """Consumes what is there, then ends."""
        self._stopping.set()
        self._enough.set()
        self._arrived.set()
        self._thread.join()

    def drain(self) -> int:
        """Consume to the end of the log, in the caller's thread; how many records that were.

        To where it ends now: what comes meanwhile is gathered for the next round. Else a steady stream would be consumed a
        few records at a time, each time with all that a transaction costs.
        """
        n_records, position, end = 0, self._consumer.position(), self._log.end()
        while position < end:
            records = self._next(position)
            if not records:
                break
            position = self._consumed = records[-1].position
            n_records += len(records)
        return n_records

    def paused(self) -> AbstractContextManager[bool]:
        """Within it nothing is being consumed, and nothing that was read waits to be."""
        return self._busy

    def _next(self, position: int) -> Sequence[LogRecord]:
        with self._busy:
            records = self._log.read(position, self._batch)
            if records:
                self._consumer.consume(records)
            return records

    def _run(self) -> None:
        n_failures = 0
        while True:
            self._arrived.wait()
            self._enough.wait(self._gather_s)
            self._arrived.clear()
            self._enough.clear()
            last_round = self._stopping.is_set()
            n_failures = 0 if self._try() else n_failures + 1
            if last_round:
                return
            self._stopping.wait(self._rest_s)
            if n_failures:
                self._stopping.wait(min(_MAX_PAUSE_S, 0.5 * 2**n_failures))
                self._arrived.set()

    def _try(self) -> bool:
        try:
            self.drain()
        except Exception as error:  # the thread must outlive any failure of what it runs; `failure` and the log tell of it
            _log.exception("%s stopped at a record and will be tried again", self.name)
            self.failure = f"{type(error).__name__}: {cause_of(error)}"
            return False
        self.failure = None
        return True
