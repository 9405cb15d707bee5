"""Sync: what is pending travels, what is confirmed goes.

The exchange is a loop over one idea: send the next batch, let the hub say per lane how far it holds everything, delete up
to there. Progress is measured by the cursor, not by the connection: a hub that answers and confirms nothing new is as
stuck as one that does not answer, and is treated alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.hub_link import HubLink
from agent.outbox import Outbox
from models.contract.clock import Clock
from models.contract.envelope import Ack, Batch, Sign, seal
from models.contract.items import Item
from models.errors import LinkError

MAX_BATCH_ITEMS: Final = 500
MAX_BATCH_BYTES: Final = 512 * 1024


@dataclass(slots=True)
class SyncCounters:
    """Totals since the start; `last_ok_ns`: wall time of the last confirmed progress, 0 = none yet."""

    sent_bytes: int = 0
    sent_items: int = 0
    rejected: int = 0
    last_ok_ns: int = 0
    last_error: str = ""
    reasons: list[str] = field(default_factory=list)


class Sync:
    """Empties the outbox into the hub. Not for use from several threads at once."""

    def __init__(self, outbox: Outbox, link: HubLink, clock: Clock, device_id: str, sign: Sign) -> None:
        self._outbox = outbox
        self._link = link
        self._clock = clock
        self._device_id = device_id
        self._sign = sign
        self.counters = SyncCounters()

    def drain(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Send until nothing is pending. Raises LinkError where the hub fails or confirms nothing new."""
        while not stopping():
            items = self._outbox.pending(MAX_BATCH_ITEMS, MAX_BATCH_BYTES)
            if not items:
                return
            self._exchange(items)

    def _exchange(self, items: list[Item]) -> None:
        batch = Batch(epoch=self._outbox.epoch, sent=self._clock.now(), items=items)
        body = seal(batch, "ingest", self._device_id, self._sign)
        self.counters.sent_bytes += len(body)
        self.counters.sent_items += len(items)
        try:
            ack = msgspec.msgpack.decode(self._link.post("/v1/ingest", body), type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkError(f"the hub's answer is no acknowledgement: {error}") from None
        self.counters.rejected += len(ack.rejected)
        self.counters.reasons = [f"{r.lane} {r.seq}: {r.reason}" for r in ack.rejected][:5] or self.counters.reasons
        sent: dict[str, int] = {item.lane: item.seq for item in items}  # no hub can have what lies beyond
        cursors = {lane: min(cursor, sent[lane]) for lane, cursor in ack.cursors.items() if lane in sent}
        if not self._outbox.acknowledge(ack.epoch, cursors):
            raise LinkError("the hub answered, but confirmed nothing new")
        self.counters.last_ok_ns = self._clock.now().wall_ns
