"""The ledger's rows: one per device, epoch and lane; loaded, changed as values, stored.

Invariants:
1. received + evicted + merged = the numbers accounted for: every sequence number counts once, however often it comes.
2. A new epoch is a new set of rows: a wiped or restored device begins at 1 again and shows as a restart, not as
   redeliveries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection, Row, bindparam, select, tuple_

from hub.ledger.ranges import Range, Seen, add, size
from hub.state.schema import ledger
from hub.state.upsert import upsert

LaneKey = tuple[str, str, str]  # device_id, epoch, lane
SPANNING: Final = ("eviction", "rollup")  # kinds that may stand for more than one sequence number


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """What is known of one lane in one epoch of one device.

    `n_redelivered`, `n_rejected` count items; `n_received`, `n_evicted` and `n_merged` count sequence numbers. A rejected
    item counts as what it says it is.
    """

    seen: Seen = field(default_factory=Seen)
    n_received: int = 0
    n_evicted: int = 0
    n_merged: int = 0
    n_redelivered: int = 0
    n_rejected: int = 0
    updated_ns: int = 0

    @property
    def missing(self) -> list[Range]:
        return self.seen.missing

    def with_item(self, first_seq: int, seq: int, now_ns: int, *, kind: str, rejected: bool) -> tuple[LaneAccount, bool]:
        """The account after an item that stands for first_seq..seq, and whether it brought anything new.

        An eviction or a rollup that covers numbers received before counts the others only.
        """
        seen, new = add(self.seen, first_seq, seq)
        n_new = size(new)
        changed = LaneAccount(
            seen=seen,
            n_received=self.n_received + (n_new if kind not in SPANNING else 0),
            n_evicted=self.n_evicted + (n_new if kind == "eviction" else 0),
            n_merged=self.n_merged + (n_new if kind == "rollup" else 0),
            n_redelivered=self.n_redelivered + (not new),
            n_rejected=self.n_rejected + (rejected and bool(new)),
            updated_ns=now_ns,
        )
        return changed, bool(new)

    def with_run(self, first_seq: int, last_seq: int, now_ns: int) -> LaneAccount | None:
        """The account after the ordinary items first_seq..last_seq, all good; None unless every one of them is new."""
        seen, new = add(self.seen, first_seq, last_seq)
        if new != [(first_seq, last_seq)]:
            return None
        return replace(self, seen=seen, n_received=self.n_received + last_seq - first_seq + 1, updated_ns=now_ns)


_OF_EPOCHS: Final = select(ledger).where(tuple_(ledger.c.device_id, ledger.c.epoch).in_(bindparam("epochs", expanding=True)))


def load_epochs(connection: Connection, epochs: Collection[tuple[str, str]]) -> dict[LaneKey, LaneAccount]:
    """The accounts of all lanes of these (device_id, epoch) pairs; a lane that never brought anything is absent."""
    rows = connection.execute(_OF_EPOCHS, {"epochs": list(epochs)})
    return {(row.device_id, row.epoch, row.lane): _account(row) for row in rows}


def load_device(connection: Connection, device_id: str) -> dict[LaneKey, LaneAccount]:
    """Every epoch and lane of one device, the epoch that was active last first."""
    rows = connection.execute(select(ledger).where(ledger.c.device_id == device_id).order_by(ledger.c.updated_ns.desc()))
    return {(row.device_id, row.epoch, row.lane): _account(row) for row in rows}


def load_all(connection: Connection) -> dict[LaneKey, LaneAccount]:
    """The whole ledger."""
    rows = connection.execute(select(ledger).order_by(ledger.c.device_id, ledger.c.updated_ns.desc()))
    return {(row.device_id, row.epoch, row.lane): _account(row) for row in rows}


def store(connection: Connection, accounts: Mapping[LaneKey, LaneAccount]) -> None:
    """Write these accounts over what is there."""
    rows = [
        {
            "device_id": device_id,
            "epoch": epoch,
            "lane": lane,
            "cursor": account.seen.cursor,
            "ahead": [list(span) for span in account.seen.ahead],
            "n_received": account.n_received,
            "n_evicted": account.n_evicted,
            "n_merged": account.n_merged,
            "n_redelivered": account.n_redelivered,
            "n_rejected": account.n_rejected,
            "updated_ns": account.updated_ns,
        }
        for (device_id, epoch, lane), account in accounts.items()
    ]
    upsert(connection, ledger, rows)


def _account(row: Row) -> LaneAccount:  # type: ignore[type-arg]
    return LaneAccount(
        seen=Seen(row.cursor, tuple((first, last) for first, last in row.ahead)),
        n_received=row.n_received,
        n_evicted=row.n_evicted,
        n_merged=row.n_merged,
        n_redelivered=row.n_redelivered,
        n_rejected=row.n_rejected,
        updated_ns=row.updated_ns,
    )
