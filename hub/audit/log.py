"""The audit log: who did what to what, and when, written in the transaction of what it tells about.

Invariants:
1. An entry is there exactly if what it tells about was done: both are one commit.
2. Numbers start at 1 and are gapless; each entry's hash covers the entry and the hash of the one before.
3. Entries are never changed or removed by Tocsin.

What the chain proves: an entry that was changed, removed or put in is found by `verify`, unless all entries after it were made
anew as well. Whoever can write the database can do that; against them, keep a head (number and hash) elsewhere and give it to
`verify`. The hub writes its head into its own log at each start.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from hub.state.schema import audit_entries, audit_head

JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
FIRST_PREVIOUS: Final = "0" * 64
MAX_DETAILS_BYTES: Final = 16 * 1024
_READ_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry's number and hash; number 0 while there is none."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `details`: JSON as it was hashed."""

    number: int
    at_ns: int
    actor: str
    action: str
    subject: str
    details: str
    previous: str
    sha256: str


class AuditBroken(Exception):
    """The chain does not hold; the text says from which entry on."""


def record(
    connection: Connection, *, at_ns: int, actor: str, action: str, subject: str, details: Mapping[str, JsonValue] | None = None
) -> Head:
    """Append one entry; it stands once the caller's transaction is committed.

    `actor`: `user:NAME`, `token:NAME`, `cli:UNIXUSER`, `device:ID` or `hub`. `action`: dotted, as `rollout.halt`. `subject`:
    what was acted on. Secrets never belong in `details`. Raises ValueError: details beyond MAX_DETAILS_BYTES or no JSON.
    """
    text = json.dumps(details or {}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if len(text.encode()) > MAX_DETAILS_BYTES:
        raise ValueError(f"audit details of {len(text.encode())} bytes; at most {MAX_DETAILS_BYTES}")
    head = head_of(connection)
    number = head.number + 1
    sha256 = _hash(number, at_ns, actor, action, subject, text, head.sha256)
    row = {"number": number, "at_ns": at_ns, "actor": actor, "action": action, "subject": subject, "details": text}
    connection.execute(insert(audit_entries).values(**row, previous=head.sha256, sha256=sha256))
    new_head = {"number": number, "sha256": sha256}
    if head.number:
        connection.execute(update(audit_head).values(**new_head))
    else:
        connection.execute(insert(audit_head).values(id=1, **new_head))
    return Head(number, sha256)


def head_of(connection: Connection) -> Head:
    """The chain's end; in a transaction that writes it stays so, for nobody else does."""
    row = connection.execute(select(audit_head.c.number, audit_head.c.sha256)).first()
    return Head(0, FIRST_PREVIOUS) if row is None else Head(row.number, row.sha256)


def read_entries(
    connection: Connection, *, before: int | None = None, limit: int = 200, actor: str = "", action: str = ""
) -> list[Entry]:
    """Newest first; `before`: only those with lower numbers; `actor`, `action`: only theirs, as they are written."""
    query = select(audit_entries).order_by(audit_entries.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_entries.c.number < before)
    if actor:
        query = query.where(audit_entries.c.actor == actor)
    if action:
        query = query.where(audit_entries.c.action == action)
    return [Entry(**row) for row in connection.execute(query).mappings()]


def verify(connection: Connection, kept: Head | None = None) -> Head:
    """Follow the chain from its first entry. `kept`: a head noted earlier, that must still be part of it.

    Raises AuditBroken naming the first entry that does not fit.
    """
    at = Head(0, FIRST_PREVIOUS)
    return _follow(connection, at, _in_order(connection), kept)


def verify_latest(connection: Connection, n_entries: int) -> tuple[int, Head]:
    """Follow the chain over its newest `n_entries`, on the word of the one before them: how many those were, and the head.

    Raises AuditBroken as `verify` does.
    """
    first = max(1, head_of(connection).number - n_entries + 1)
    query = select(audit_entries.c.sha256).where(audit_entries.c.number == first - 1)
    before = FIRST_PREVIOUS if first == 1 else connection.execute(query).scalar()
    if before is None:
        raise AuditBroken(f"entry {first - 1} is missing")
    start = Head(first - 1, before)
    head = _follow(connection, start, _in_order(connection, after=first - 1 if first > 1 else None), None)
    return head.number - start.number, head


def _follow(connection: Connection, at: Head, entries: Iterator[Entry], kept: Head | None) -> Head:
    for entry in entries:
        if entry.number != at.number + 1:
            raise AuditBroken(f"entry {at.number + 1} is missing; {entry.number} follows {at.number}")
        told = _hash(entry.number, entry.at_ns, entry.actor, entry.action, entry.subject, entry.details, at.sha256)
        if entry.previous != at.sha256 or entry.sha256 != told:
            raise AuditBroken(f"entry {entry.number} is not what was written: its hash does not fit it and the entry before")
        at = Head(entry.number, entry.sha256)
        if kept is not None and kept.number == at.number and kept.sha256 != at.sha256:
            raise AuditBroken(f"entry {at.number} has another hash than the one that was kept: the log was made anew")
    head = head_of(connection)
    if head != at:
        raise AuditBroken(
            f"the log ends at entry {at.number}, but {head.number} were written: the last ones are missing or changed"
        )
    if kept is not None and kept.number > at.number:
        raise AuditBroken(f"the log ends at entry {at.number}, before the one that was kept, {kept.number}")
    return at


def cli_actor() -> str:
    """Who runs this command, by the process's real user."""
    uid = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container may run under a number without a name
        return f"cli:{uid}"


def _in_order(connection: Connection, after: int | None = None) -> Iterator[Entry]:
    last = -(2**62) if after is None else after  # whatever was put in must be seen
    while True:
        query = select(audit_entries).where(audit_entries.c.number > last).order_by(audit_entries.c.number).limit(_READ_AT_ONCE)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        yield from (Entry(**row) for row in rows)
        last = rows[-1]["number"]


def _hash(*fields: Any) -> str:
    """Of the fields as a JSON array: no two different entries have the same text."""
    return hashlib.sha256(json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()
