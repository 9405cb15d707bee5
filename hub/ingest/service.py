"""Group commit: requests that arrive together share one sync of the disk.

    request ─ admit ─► waiting (bounded) ─► committer task ─► worker thread: log, ledger ─► futures ─► Ack

Whatever waits when a commit begins goes in together, so under load the groups grow by themselves and the disk is synced
at its own pace; an idle hub commits one batch at once, and so does a busy one for a device that is alone. When too much
waits, `submit` refuses and says when to come back. Check-ins are taken in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from hub.devices.checkin import Told
from hub.ingest.admission import Admitted
from hub.state.database import cause_of
from models.contract.checkin import CheckInReply
from models.contract.envelope import Ack
from models.errors import EnvelopeError, LinkError

_log = logging.getLogger(__name__)
MAX_WAITING: Final = 512  # batches
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
MAX_GROUP: Final = 256
RETRY_AFTER_S: Final = 1.0
REST_S: Final = 0.02  # from commit to commit at least, where several came together: a commit costs as much as ten batches
_FLUSH_S: Final = 120.0


class Busy(LinkError):
    """Too much waits to be committed; `retry_after_s` says when to try again."""


class Sized(Protocol):
    @property
    def n_bytes(self) -> int: ...


T = TypeVar("T", bound=Sized)
T_contra = TypeVar("T_contra", bound=Sized, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Commits(Protocol[T_contra, R_co]):
    """Makes a group durable, all or nothing: one outcome for each, in order. Raises where nothing of it was."""

    def commit(self, group: Sequence[T_contra], now_ns: int) -> Sequence[R_co | EnvelopeError]: ...


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T, R]):
    batch: T
    outcome: asyncio.Future[R]


class GroupCommit(Generic[T, R]):
    """Lives on one event loop: `start` and `stop` bracket it. `on_commit` is called in the worker thread after each commit.
    `gather_s`: how long the first of a group waits for others."""

    def __init__(
        self,
        committer: Commits[T, R],
        on_commit: Callable[[], None] = lambda: None,
        now_ns: Callable[[], int] = time.time_ns,
        max_waiting: int = MAX_WAITING,
        gather_s: float = 0.0,
    ) -> None:
        self._committer = committer
        self._on_commit = on_commit
        self._now_ns = now_ns
        self._max_waiting = max_waiting
        self._gather_s = gather_s
        self._waiting: list[_Waiting[T, R]] = []
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committing: Sequence[_Waiting[T, R]] = ()
        self.failure: str | None = None  # why the latest commit failed; None when it did not
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ingest-commit")

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Commits what waits, then ends."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._worker.shutdown()

    def flush(self) -> None:
        """From another thread: returns once what was submitted before has been committed, or has failed."""
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._flushed(), self._loop).result(_FLUSH_S)

    async def _flushed(self) -> None:
        outcomes = [waiting.outcome for waiting in (*self._committing, *self._waiting)]
        if outcomes:
            await asyncio.wait(outcomes)

    async def submit(self, batch: T) -> R:
        """Returns once it is durable. Raises Busy, EnvelopeError (not to be taken), or the storage's own error."""
        full = len(self._waiting) >= self._max_waiting or self._waiting_bytes + batch.n_bytes > MAX_WAITING_BYTES
        if self._stopping or (full and self._waiting):
            raise Busy(f"{len(self._waiting)} batches wait to be committed", RETRY_AFTER_S)
        waiting: _Waiting[T, R] = _Waiting(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += batch.n_bytes
        self._arrived.set()
        return await waiting.outcome

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                if self._gather_s and not self._stopping:
                    await asyncio.sleep(self._gather_s)
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                self._waiting_bytes -= sum(waiting.batch.n_bytes for waiting in group)
                rested = asyncio.get_running_loop().time() + REST_S
                await self._commit(group)
                if len(group) > 1 and not self._stopping:
                    await asyncio.sleep(max(0.0, rested - asyncio.get_running_loop().time()))

    async def _commit(self, group: Sequence[_Waiting[T, R]]) -> None:
        self._committing = group
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._worker, self._commit_now, group)
        except Exception as error:  # whatever the storage raised goes to those who wait for it, and the next group is tried
            self._note(f"{type(error).__name__}: {cause_of(error)}")
            for waiting in group:
                _settle(waiting.outcome, error)
            return
        self._note(None)
        for waiting, outcome in zip(group, outcomes, strict=True):
            _settle(waiting.outcome, outcome)

    def _note(self, failure: str | None) -> None:
        """Log when failing begins, changes or ends: not each time, a full disk can last for days."""
        if failure != self.failure:
            _log.error("nothing can be taken in: %s", failure) if failure else _log.warning("ingest works again")
        self.failure = failure

    def _commit_now(self, group: Sequence[_Waiting[T, R]]) -> Sequence[R | EnvelopeError]:
        outcomes = self._committer.commit([waiting.batch for waiting in group], self._now_ns())
        self._on_commit()
        return outcomes


class IngestService(GroupCommit[Admitted, Ack]):
    """For batches of items."""


class CheckInService(GroupCommit[Told, CheckInReply]):
    """For check-ins."""


def _settle(future: asyncio.Future[R], outcome: R | Exception) -> None:
    if future.done():  # the client went away; the batch is durable all the same
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
