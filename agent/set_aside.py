"""Items that the hub would not take, kept on the device for a person to look at.

    DIR/set-aside/EPOCH-LANE-SEQ.msgpack     the item (models.contract.items.Item) and why the hub refused it

In the sequence an eviction with the reason stands in its place (`Outbox.set_aside`). The newest KEPT files are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from models.contract.items import Item
from models.files import write_durably

KEPT: Final = 100


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    item: Item
    reason: str


class SetAside:
    """The folder below the state directory `directory`; made when it is first needed."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "set-aside"

    def keep(self, epoch: str, item: Item, reason: str) -> None:
        """Durable when this returns. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{epoch}-{item.lane}-{item.seq}.msgpack"
        write_durably(path, msgspec.msgpack.encode(Refused(item=item, reason=reason)))
        oldest_first = sorted(self._folder.glob("*.msgpack"), key=lambda each: each.stat().st_mtime_ns)
        for surplus in oldest_first[:-KEPT]:
            surplus.unlink(missing_ok=True)

    def count(self) -> int:
        """How many lie there."""
        return sum(1 for _ in self._folder.glob("*.msgpack"))
