"""Items that the hub would not take, kept on the device for a person to look at.

    DIR/set-aside/EPOCH-LANE-SEQ.msgpack     the item (models.contract.items.Item) and why the hub refused it

In their place, under their numbers, travel evictions with the reason: the sequence stays whole, and the cursor passes. The
outbox itself is not changed: it keeps the item until the hub has confirmed its number. What was set aside is known from the
folder, so also after a restart. The newest KEPT files are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from models.contract.items import Eviction, Item, encode_body
from models.files import write_durably

KEPT: Final = 100
_MAX_REASON: Final = 500


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    item: Item
    reason: str


class SetAside:
    """The folder below the state directory `directory`; made when it is first needed."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "set-aside"
        self._names = {path.name for path in self._folder.glob("*.msgpack")}

    def keep(self, epoch: str, item: Item, reason: str) -> None:
        """Durable when this returns. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        refused = Refused(item=item, reason=reason[:_MAX_REASON])
        write_durably(self._folder / _name(epoch, item), msgspec.msgpack.encode(refused))
        self._names.add(_name(epoch, item))
        oldest_first = sorted(self._folder.glob("*.msgpack"), key=lambda each: each.stat().st_mtime_ns)
        for surplus in oldest_first[:-KEPT]:
            surplus.unlink(missing_ok=True)
            self._names.discard(surplus.name)

    def in_place_of(self, epoch: str, item: Item) -> Item:
        """The item itself, or the eviction that travels under its number."""
        if not self._names or _name(epoch, item) not in self._names:
            return item
        at_ns, n_items = item.at.wall_ns, item.seq - item.first_seq + 1
        eviction = Eviction(
            reason=self._reason(epoch, item), n_items=n_items, n_bytes=len(item.body), start_ns=at_ns, end_ns=at_ns
        )
        return msgspec.structs.replace(item, kind="eviction", body=msgspec.Raw(encode_body(eviction)))

    def count(self) -> int:
        """How many lie there."""
        return len(self._names)

    def _reason(self, epoch: str, item: Item) -> str:
        try:
            return msgspec.msgpack.decode((self._folder / _name(epoch, item)).read_bytes(), type=Refused).reason
        except (OSError, msgspec.MsgspecError):  # damaged or gone since: that it was refused is known all the same
            return "refused by the hub"


def _name(epoch: str, item: Item) -> str:
    return f"{epoch}-{item.lane}-{item.seq}.msgpack"
