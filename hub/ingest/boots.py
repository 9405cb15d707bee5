"""In which boot of its device each stretch of a lane was made: what tells an item that comes again from another one.

A device gives each number once. What comes under a known number is therefore the same item, unless two devices write in one
epoch: then it was made in another boot than the one that the hub has under that number. So:

1. A number's boot is noted with the item, in the transaction that accounts for it: of each lane only where the boot changes.
2. An item under a known number that was made in another boot is another item: it goes into quarantine, and the device is named
   as cloned (`hub/devices/clones.py`). Nothing of it is lost silently.
3. Evictions and rollups are left out: they may stand in place of what was received. Of a lane the newest MAX_RUNS stretches
   are kept; what lies before them is taken for the same.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, delete, insert, select, tuple_

from hub.devices.cloned import name_cloned
from hub.ingest.log import LogRecord
from hub.ledger.known import MAX_EPOCHS
from hub.ledger.ledger import LaneKey
from hub.state.schema import lane_boots
from models.contract.items import Item

ANOTHER_ITEM: Final = "another item is already stored under this number"
MAX_RUNS: Final = 32
_SPANNING: Final = ("eviction", "rollup")
_MAX_BOOT: Final = 64


class LaneBoots:
    """Of every lane that was heard of since the start; the committer's alone."""

    def __init__(self) -> None:
        self._runs: dict[LaneKey, list[tuple[int, str]]] = {}  # (first seq, boot), ascending
        self._loaded: set[tuple[str, str]] = set()
        self._changed: set[LaneKey] = set()
        self._found: dict[tuple[str, str], tuple[str, str]] = {}  # by device and epoch: the boots of two writers

    def load(self, connection: Connection, epochs: Collection[tuple[str, str]]) -> None:
        """Read what is known of these (device_id, epoch) pairs, once."""
        missing = [epoch for epoch in epochs if epoch not in self._loaded]
        if not missing:
            return
        if len(self._loaded) + len(missing) > MAX_EPOCHS:  # nothing has changed yet: it is read before that
            self.forget()
            missing = list(epochs)
        wanted = tuple_(lane_boots.c.device_id, lane_boots.c.epoch).in_(missing)
        for row in connection.execute(select(lane_boots).where(wanted).order_by(lane_boots.c.first_seq)):
            self._runs.setdefault((row.device_id, row.epoch, row.lane), []).append((row.first_seq, row.boot_id))
        self._loaded |= set(missing)

    def note(self, key: LaneKey, item: Item | LogRecord) -> None:
        """An item that is new."""
        runs = self._runs.get(key)
        seq, boot_id = item.seq, item.at.boot_id
        if runs is not None and runs[-1][1] == boot_id and runs[-1][0] <= seq:
            return  # the ordinary case
        boot_id = boot_id[:_MAX_BOOT]
        if item.kind in _SPANNING or self._boot_at(key, seq) == boot_id:
            return
        runs = [run for run in runs or [] if run[0] != seq]
        insort(runs, (seq, boot_id))
        self._runs[key] = runs[-MAX_RUNS:]
        self._changed.add(key)

    def contradicts(self, key: LaneKey, item: Item) -> bool:
        """Whether `item`, whose number is known, is another one than the one that is stored; noted as a finding, too."""
        stored, boot_id = self._boot_at(key, item.seq), item.at.boot_id[:_MAX_BOOT]
        if item.kind in _SPANNING or stored is None or stored == boot_id:
            return False
        self._found[key[:2]] = (stored, boot_id)
        return True

    def store(self, connection: Connection, now_ns: int) -> None:
        """Write what has changed, and what was found; in the transaction that accounts for it."""
        for key in self._changed:
            device_id, epoch, lane = key
            mine = (lane_boots.c.device_id == device_id) & (lane_boots.c.epoch == epoch) & (lane_boots.c.lane == lane)
            connection.execute(delete(lane_boots).where(mine))
            place = {"device_id": device_id, "epoch": epoch, "lane": lane}
            connection.execute(insert(lane_boots), [{**place, "first_seq": seq, "boot_id": b} for seq, b in self._runs[key]])
        for (device_id, epoch), boots in self._found.items():
            name_cloned(connection, device_id, epoch, boots, now_ns)
        self._changed.clear()
        self._found.clear()

    def forget(self) -> None:
        """A commit has failed: what is here may be ahead of what is on disk."""
        self._runs.clear()
        self._loaded.clear()
        self._changed.clear()
        self._found.clear()

    def _boot_at(self, key: LaneKey, seq: int) -> str | None:
        runs = self._runs.get(key, [])
        at = bisect_right(runs, (seq, "\U0010ffff"))
        return runs[at - 1][1] if at else None
