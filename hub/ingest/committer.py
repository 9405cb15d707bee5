"""Making a group of batches durable: the log first, then the account of it, and only then the acknowledgement.

Invariants:
1. What an Ack covers is in the synced log (or in quarantine), and in the ledger.
2. A crash between log and ledger loses nothing and counts nothing twice: `recover` accounts for what the log has beyond
   the ledger's own position, and what a device then sends again is a redelivery.
3. Items that the ledger knows already have no effect but the count of redeliveries.
4. One batch that cannot be taken does not fail the others of its group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine

from hub.ingest.admission import Admitted, Judged
from hub.ingest.boots import ANOTHER_ITEM, LaneBoots
from hub.ingest.log import IngestLog, LogRecord
from hub.ingest.positions import get_position, set_position
from hub.ledger.known import KnownAccounts
from hub.ledger.ledger import SPANNING, LaneAccount, LaneKey, store
from hub.state.schema import quarantine
from hub.state.upsert import upsert
from models.contract.envelope import Ack, Rejection
from models.contract.items import LANES, Item
from models.errors import EnvelopeError

LEDGER: Final = "ledger"  # the ledger's name among the log's consumers
MAX_GAPS: Final = 500  # in one lane; an agent sends in order, so more than a few is a fault
_RECOVERY_BATCH: Final = 5000

Accounts = Mapping[LaneKey, LaneAccount]


class Committer:
    """Commits groups; called from one thread at a time."""

    def __init__(self, engine: Engine, log: IngestLog) -> None:
        self._engine = engine
        self._log = log
        self._boots = LaneBoots()
        self._accounts = KnownAccounts()
        self._log_may_be_ahead = True  # of the ledger: at the start, and after a commit that failed half-way
        self._ledger_was_changed = False  # by others; a flag of its own, for it may be raised while a commit is under way

    def commit(self, group: Sequence[Admitted], now_ns: int) -> list[Ack | EnvelopeError]:
        """One outcome per batch, in order. Raises SQLAlchemyError, sqlite3.Error: then nothing of it is acknowledged."""
        if self._log_may_be_ahead or self._ledger_was_changed:
            self._ledger_was_changed = False
            self._boots.forget()
            self._accounts.forget()
            self.recover(now_ns)
        self._log_may_be_ahead = True
        with self._engine.begin() as connection:
            epochs = {(batch.device_id, batch.epoch) for batch in group}
            accounts = self._accounts.load(connection, epochs)
            self._boots.load(connection, epochs)
            changed: dict[LaneKey, LaneAccount] = {}
            records: list[LogRecord] = []
            refused: list[dict[str, Any]] = []
            outcomes: list[Ack | EnvelopeError] = []
            for batch in group:
                taken = _take(batch, accounts, self._boots, now_ns)
                if isinstance(taken, EnvelopeError):
                    outcomes.append(taken)
                    continue
                updates, new, bad = taken
                accounts |= updates
                changed |= updates
                records += new
                refused += bad
                outcomes.append(_ack(batch, accounts, bad, now_ns))
            self._log.append(records)
            store(connection, changed)
            self._boots.store(connection, now_ns)
            upsert(connection, quarantine, refused)
            set_position(connection, LEDGER, self._log.log_id, self._log.end())
        self._log_may_be_ahead = False
        return outcomes

    def look_again(self) -> None:
        """A device was erased behind the committer: what it remembers is read anew before the next commit. From any thread."""
        self._ledger_was_changed = True

    def recover(self, now_ns: int) -> int:
        """Account for what the log has beyond the ledger, as a crash leaves it; how many records that were."""
        n_records = 0
        while True:
            with self._engine.begin() as connection:
                position = get_position(connection, LEDGER, self._log.log_id)
                records = self._log.read(position, _RECOVERY_BATCH)
                if not records:
                    return n_records
                self._account_for(connection, records, now_ns)
                n_records += len(records)

    def _account_for(self, connection: Connection, records: Sequence[LogRecord], now_ns: int) -> None:
        epochs = {(record.device_id, record.epoch) for record in records}
        accounts = self._accounts.load(connection, epochs)
        self._boots.load(connection, epochs)
        changed: dict[LaneKey, LaneAccount] = {}
        for record in records:
            key = (record.device_id, record.epoch, record.lane)
            account = accounts.get(key) or LaneAccount()
            self._boots.note(key, record)
            account, _ = account.with_item(record.first_seq, record.seq, now_ns, kind=record.kind, rejected=False)
            accounts[key] = changed[key] = account
        store(connection, changed)
        self._boots.store(connection, now_ns)
        set_position(connection, LEDGER, self._log.log_id, records[-1].position)


Taken = tuple[dict[LaneKey, LaneAccount], list[LogRecord], list[dict[str, Any]]]


def _take(batch: Admitted, accounts: Accounts, boots: LaneBoots, now_ns: int) -> Taken | EnvelopeError:
    """What the batch changes: the accounts of its lanes, its new records, its new rows for the quarantine."""
    updates: dict[LaneKey, LaneAccount] = {}
    records: list[LogRecord] = []
    refused = []
    for run in runs(batch.items):
        key = (batch.device_id, batch.epoch, run[0][0].lane)
        before = updates.get(key) or accounts.get(key) or LaneAccount()
        account = before.with_run(run[0][0].seq, run[-1][0].seq, now_ns) if len(run) > 1 else None
        if account is not None:
            for item, _ in run if run[0][0].at.boot_id != run[-1][0].at.boot_id else run[:1]:
                boots.note(key, item)
            records += [_record(batch, item, now_ns) for item, _ in run]
        else:
            account = before
            for item, fault in run:
                rejected = fault is not None
                account, new = account.with_item(item.first_seq, item.seq, now_ns, kind=item.kind, rejected=rejected)
                if new:
                    boots.note(key, item)
                    if fault is None:
                        records.append(_record(batch, item, now_ns))
                    else:
                        refused.append(_quarantined(batch, item, fault, now_ns))
                elif fault is None and boots.contradicts(key, item):
                    refused.append(_quarantined(batch, item, ANOTHER_ITEM, now_ns))
        if len(account.seen.ahead) > MAX_GAPS:
            return EnvelopeError(f"{batch.device_id}: more than {MAX_GAPS} gaps in lane {key[2]}; send from the cursor on")
        updates[key] = account
    return updates, records, refused


def runs(items: Sequence[Judged]) -> list[list[Judged]]:
    """The items in their order, those together that follow one another in one lane, ordinary and good: almost always all of
    a lane's, and then they are accounted for in one step."""
    found: list[list[Judged]] = []
    lane, due = "", 0
    for judged in items:
        item, fault = judged
        plain = fault is None and item.first_seq == item.seq and item.kind not in SPANNING
        if plain and item.seq == due and item.lane == lane:
            found[-1].append(judged)
        else:
            found.append([judged])
        lane, due = item.lane, item.seq + 1 if plain else 0
    return found


def _ack(batch: Admitted, accounts: Accounts, refused: Sequence[Mapping[str, Any]], now_ns: int) -> Ack:
    keys = {lane: (batch.device_id, batch.epoch, lane) for lane in LANES}
    cursors: dict[str, int] = {lane: accounts[key].seen.cursor for lane, key in keys.items() if key in accounts}
    rejected = [Rejection(item.lane, item.seq, fault) for item, fault in batch.items if fault is not None]
    rejected += [Rejection(row["lane"], row["seq"], ANOTHER_ITEM) for row in refused if row["reason"] == ANOTHER_ITEM]
    return Ack(epoch=batch.epoch, cursors=cursors, hub_time_ns=now_ns, rejected=rejected)


def _record(batch: Admitted, item: Item, now_ns: int) -> LogRecord:
    body = bytes(item.body)
    return LogRecord(0, batch.device_id, batch.epoch, item.lane, item.seq, item.first_seq, item.kind, item.at, body, now_ns)


def _quarantined(batch: Admitted, item: Item, reason: str, now_ns: int) -> dict[str, Any]:
    return {
        "device_id": batch.device_id,
        "epoch": batch.epoch,
        "lane": item.lane,
        "seq": item.seq,
        "kind": item.kind[:32],
        "reason": reason,
        "body": bytes(item.body),
        "received_ns": now_ns,
    }
