"""How much of the backlog goes into the next batch, and what to do about an item that no batch gets through with.

Pure. While all is well a batch is as large as it may be. A batch that the hub refuses (400, 413, 422, 500: it has looked at
the content) or that a slow link cannot carry in time is halved, and grows again with success. So a refusal narrows down to one
item, the *suspect*. Only an item that is refused alone, time after time, **while others pass**, is set aside: after
`TRIES` refusals another item goes alone, as a witness. Where that is taken and the suspect is refused once more, the item is
to blame. Where the witness is refused too it is the hub that fails, and everything stays where it is, however long it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.contract.items import Item
from models.errors import LinkError, LinkTimeout

MAX_BATCH_ITEMS: Final = 500
TRIES: Final = 3
_OF_CONTENT: Final = (400, 413, 422, 500)


class Portion:
    """Told what came of each batch; says what the next one holds."""

    def __init__(self) -> None:
        self._limit = MAX_BATCH_ITEMS
        self._suspect: tuple[str, int] | None = None
        self._refusals = 0
        self._witness: tuple[str, int] | None = None
        self._witnessed = False
        self._n_witnesses = 0

    def choose(self, pending: Sequence[Item]) -> list[Item]:
        """What of `pending`, which is not empty, to send next: its beginning, or a witness out of its middle."""
        if _place(pending[0]) != self._suspect:
            self._acquit()
        if self._refusals < TRIES or self._witnessed or len(pending) < 2:
            self._witness = None
            return list(pending[: self._limit])
        witness = pending[1 + self._n_witnesses % (len(pending) - 1)]  # another each time: the next may be as bad
        self._witness = _place(witness)
        return [witness]

    @property
    def is_witness(self) -> bool:
        """Whether the batch last chosen is one item out of its turn: its lane's cursor cannot move by it."""
        return self._witness is not None

    def accepted(self) -> None:
        """The batch last chosen got through."""
        if self._witness is not None:
            self._witnessed = True
        else:
            self._limit = min(MAX_BATCH_ITEMS, self._limit * 2)
            self._acquit()

    def failed(self, batch: Sequence[Item], error: LinkError) -> Item | None:
        """The batch last chosen did not get through; the item to set aside, where it is now clear that it is to blame."""
        refused = error.status in _OF_CONTENT
        if not refused and not isinstance(error, LinkTimeout):
            return None  # busy, away, not letting anybody in: nothing is said of the content
        if self._witness is not None:
            self._n_witnesses += 1
            self._refusals = 0
        elif len(batch) > 1:
            self._limit = max(1, len(batch) // 2)
        elif refused:
            return self._accuse(batch[0])
        return None

    def _accuse(self, item: Item) -> Item | None:
        self._suspect = _place(item)
        self._refusals += 1
        if not self._witnessed or item.kind == "eviction":
            return None
        self._acquit()
        return item

    def _acquit(self) -> None:
        self._suspect, self._refusals, self._witnessed, self._n_witnesses = None, 0, False, 0


def _place(item: Item) -> tuple[str, int]:
    return item.lane, item.seq
