"""Sync: what is pending travels, what is confirmed goes.

The exchange is a loop over one idea: send the next batch, let the hub say per lane how far it holds everything, delete up
to there. Progress is measured by the cursor, not by the connection: a hub that answers and confirms nothing new is as
stuck as one that does not answer, and is treated alike: its connection is dropped, and the next attempt makes a new one.

A hub that has forgotten what it had confirmed is told which numbers are gone (`forgotten.py`).

An item that the hub puts into quarantine counts as received. One over which the hub refuses whole batches is found and set
aside (`portion.py`, `set_aside.py`); an eviction travels in its place, so that neither the cursor stops there nor
the sequence has a hole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.storage.outbox import Outbox
from agent.uplink.forgotten import Forgotten
from agent.uplink.hub_link import HubLink
from agent.uplink.portion import MAX_BATCH_ITEMS, Portion
from agent.uplink.set_aside import SetAside
from models.contract.clock import Clock
from models.contract.envelope import Ack, Batch, Sign, seal
from models.contract.items import Item
from models.errors import LinkError

log = logging.getLogger("tocsin.sync")
MAX_BATCH_BYTES: Final = 512 * 1024


@dataclass(slots=True)
class SyncCounters:
    """Totals since the start; `last_ok_ns`: wall time of the last confirmed progress, 0 = none yet."""

    sent_bytes: int = 0
    sent_items: int = 0
    rejected: int = 0
    last_ok_ns: int = 0
    reasons: list[str] = field(default_factory=list)


class Sync:
    """Empties the outbox into the hub. Not for use from several threads at once. `aside`: what the hub would not take."""

    def __init__(self, outbox: Outbox, link: HubLink, clock: Clock, device_id: str, sign: Sign, set_aside: SetAside) -> None:
        self._outbox = outbox
        self._link = link
        self._clock = clock
        self._device_id = device_id
        self._sign = sign
        self.aside = set_aside
        self._portion = Portion()
        self._forgotten = Forgotten()
        self.counters = SyncCounters()

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Send until nothing is pending. Raises LinkError where the hub fails or confirms nothing new."""
        while not stopping():
            stored = self._outbox.pending(MAX_BATCH_ITEMS, MAX_BATCH_BYTES)
            if not stored:
                return
            pending = [self.aside.in_place_of(self._outbox.epoch, item) for item in stored]
            batch = self._portion.choose(pending)
            ahead = self._forgotten.items({item.lane for item in batch}, self._clock.now())
            try:
                ack = self._exchange([*ahead, *batch])
            except LinkError as error:
                to_blame = self._portion.failed(batch, error)
                if to_blame is None:
                    raise
                self._put_aside(to_blame, str(error))
            else:
                self._take(ack, batch)

    def _exchange(self, items: list[Item]) -> Ack:
        batch = Batch(epoch=self._outbox.epoch, sent=self._clock.now(), items=items)
        body = seal(batch, "ingest", self._device_id, self._sign)
        self.counters.sent_bytes += len(body)
        self.counters.sent_items += len(items)
        try:
            return msgspec.msgpack.decode(self._link.post("/v1/ingest", body), type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._link.reset()
            raise LinkError(f"the hub's answer is no acknowledgement: {error}") from None

    def _take(self, ack: Ack, items: list[Item]) -> None:
        sent: dict[str, int] = {item.lane: item.seq for item in items}  # no hub can have what lies beyond
        cursors = {lane: min(cursor, sent[lane]) for lane, cursor in ack.cursors.items() if lane in sent}
        confirmed = self._outbox.acknowledge(ack.epoch, cursors)
        if ack.epoch == self._outbox.epoch and self._forgotten.note(cursors, self._outbox.confirmed):
            log.warning("the hub has forgotten what it had confirmed; it is told next which numbers nobody has any more")
        elif not confirmed and not self._portion.is_witness:
            self._link.reset()
            raise LinkError("the hub answered, but confirmed nothing new")
        self._portion.accepted()
        self.counters.rejected += len(ack.rejected)
        self.counters.reasons = [f"{r.lane} {r.seq}: {r.reason}" for r in ack.rejected][:5] or self.counters.reasons
        self.counters.last_ok_ns = self._clock.now().wall_ns

    def _put_aside(self, item: Item, reason: str) -> None:
        """From now on an eviction travels in its place. Raises OSError."""
        self.aside.keep(self._outbox.epoch, item, reason)
        self.counters.reasons = [f"{item.lane} {item.seq} ({item.kind}) is set aside: {reason}"]
        log.warning("item %s %d (%s) is set aside, for the hub takes others but not this one: %s",
                    item.lane, item.seq, item.kind, reason)  # fmt: skip
