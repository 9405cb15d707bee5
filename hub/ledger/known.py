"""The accounts that the committer needs again and again, kept in memory: it alone changes them, so each is read once.

A change is noted here before it is committed. Whoever fails to commit, or changes the ledger behind it (an erasure), has it
`forget`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection

from hub.ledger.ledger import LaneAccount, LaneKey, load_epochs

MAX_EPOCHS: Final = 50_000  # some 30 MB; beyond, all is read anew as it comes


class KnownAccounts:
    """The accounts of every (device, epoch) that was heard of since the start; for one thread at a time."""

    def __init__(self) -> None:
        self._accounts: dict[LaneKey, LaneAccount] = {}
        self._loaded: set[tuple[str, str]] = set()

    def load(self, connection: Connection, epochs: Collection[tuple[str, str]]) -> dict[LaneKey, LaneAccount]:
        """All that is known, of these (device_id, epoch) pairs in any case, for the caller to change; a lane that never
        brought anything is absent."""
        missing = [epoch for epoch in epochs if epoch not in self._loaded]
        if missing:
            if len(self._loaded) + len(missing) > MAX_EPOCHS:
                self.forget()
                missing = list(epochs)
            self._accounts |= load_epochs(connection, missing)
            self._loaded.update(missing)
        return self._accounts

    def forget(self) -> None:
        self._accounts.clear()
        self._loaded.clear()
