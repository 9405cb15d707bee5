"""What the disk would not take: kept in bounded memory until it does, or counted and told as evicted.

A full disk or one that has become read-only stops neither the pipeline nor the local actions. Nothing of what is held has a
number yet, so nothing of it is sent. When there is room again all of it is stored in one transaction, in its order, each item
with the time at which it came to be, and with it how far the windows had come; what memory had no room for is one eviction a
lane, with reason `disk full`, in front of it. A power cut in between loses what is held: none of the readings that led to it
have been acknowledged, so who can sends them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from agent.asset import SavedState
from agent.storage.database import DamagedError
from agent.storage.outbox import Outbox
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import KIND_OF, LANE_OF, LANES, Body, Eviction, Lane, encode_body
from models.errors import StorageError

log = logging.getLogger("tocsin.storage")
_MAX_BYTES: Final = 1_000_000
_RETRY_NS: Final = 5 * NS_PER_S
_BODY_BYTES: Final = 200  # what a body costs in memory beside its own bytes, about


@dataclass(frozen=True, slots=True)
class _Held:
    lane: Lane
    body: Body
    at: Stamp
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Lost:
    """Of one lane: what memory had no room for."""

    n_items: int
    n_bytes: int
    start_ns: int
    end_ns: int

    def with_one(self, held: _Held) -> _Lost:
        at_ns = held.at.wall_ns
        return _Lost(self.n_items + 1, self.n_bytes + held.n_bytes, min(self.start_ns, at_ns), max(self.end_ns, at_ns))


class Holding:
    """In front of the outbox. Thread-safe. `trouble`: why the disk takes nothing; empty while it does."""

    def __init__(self, outbox: Outbox, max_bytes: int = _MAX_BYTES) -> None:
        self.trouble = ""
        self.outbox = outbox
        self._max_bytes = max_bytes
        self._held: list[_Held] = []
        self._n_bytes = 0
        self._lost: dict[Lane, _Lost] = {}
        self._states: dict[str, SavedState] = {}
        self._progress: Mapping[str, int] | None = None
        self._retried_ns = 0

    @property
    def held_items(self) -> int:
        return len(self._held)

    @property
    def lost_items(self) -> int:
        """What is gone for good, and not told yet."""
        return sum(lost.n_items for lost in self._lost.values())

    def store(
        self,
        bodies: Sequence[Body],
        at: Stamp,
        states: Mapping[str, SavedState] | None = None,
        progress: Mapping[str, int] | None = None,
        beside: Callable[[], None] | None = None,
    ) -> bool:
        """Whether all of it is on disk, and all that was held before. Arguments as for `Outbox.append`. Raises DamagedError.

        `beside`: writes to the same database, in the same transaction, or, where something was held, in the one after that.
        Where the disk refuses, its effect is undone; nothing of it is held.
        """
        database = self.outbox.database
        with database.lock:
            if self.trouble:
                self._hold(bodies, at, states or {}, progress)
                return self.tick(at) and (beside is None or self.store([], at, beside=beside))
            try:
                with database.transaction() if beside is not None else nullcontext():
                    self.outbox.append(bodies, at, states, progress)
                    if beside is not None:
                        beside()
            except DamagedError:
                raise
            except StorageError as error:
                self.trouble = str(error)
                self._retried_ns = at.mono_ns
                log.error("cannot store, going on in memory: %s", error)  # noqa: TRY400  # the stack says nothing more
                self._hold(bodies, at, states or {}, progress)
                return False
            return True

    def tick(self, at: Stamp) -> bool:
        """Try again now and then; whether nothing is held. Raises DamagedError."""
        with self.outbox.database.lock:
            if self.trouble and at.mono_ns - self._retried_ns >= _RETRY_NS:
                self._retry(at)
            return not self.trouble

    def close(self, at: Stamp) -> None:
        """The last try, whenever the one before was; what the disk takes not even now is gone. Raises DamagedError."""
        with self.outbox.database.lock:
            if self.trouble and not self._retry(at):
                n_items = self.held_items + self.lost_items
                log.error("%d items that the disk has not taken are lost as the agent ends: %s", n_items, self.trouble)

    def _hold(
        self, bodies: Sequence[Body], at: Stamp, states: Mapping[str, SavedState], progress: Mapping[str, int] | None
    ) -> None:
        for body in bodies:
            n_bytes = len(encode_body(body)) + _BODY_BYTES
            self._held.append(_Held(LANE_OF[KIND_OF[type(body)]], body, at, n_bytes))
            self._n_bytes += n_bytes
        self._states.update(states)
        self._progress = progress or self._progress
        for lane in reversed(LANES):
            while self._n_bytes > self._max_bytes and (i := self._oldest(lane)) is not None:
                held = self._held.pop(i)
                self._n_bytes -= held.n_bytes
                none = _Lost(0, 0, held.at.wall_ns, held.at.wall_ns)
                self._lost[lane] = self._lost.get(lane, none).with_one(held)

    def _oldest(self, lane: Lane) -> int | None:
        return next((i for i, held in enumerate(self._held) if held.lane == lane), None)

    def _retry(self, at: Stamp) -> bool:
        """Store what is held, all of it or none; whether that worked."""
        self._retried_ns = at.mono_ns
        try:
            with self.outbox.database.transaction():
                self._store_all(at)
        except DamagedError:
            raise
        except StorageError as error:
            self.trouble = str(error)
            return False
        self._held, self._lost, self._states, self._progress = [], {}, {}, None
        self._n_bytes = 0
        self.trouble = ""
        log.warning("storing works again")
        return True

    def _store_all(self, at: Stamp) -> None:
        for lane, lost in self._lost.items():
            told = Eviction(
                reason="disk full", n_items=lost.n_items, n_bytes=lost.n_bytes, start_ns=lost.start_ns, end_ns=lost.end_ns
            )
            self.outbox.append_eviction(lane, told, at)
        for stamp, together in groupby(self._held, key=lambda held: held.at):
            self.outbox.append([held.body for held in together], stamp)
        self.outbox.append([], at, self._states, self._progress)
