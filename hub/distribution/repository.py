"""The hub's TUF repository: signs what may be signed unattended, says what waits for a key, and changes keys.

Each method with a `connection` works in that transaction, which must have begun for writing; the others in one of their own.
What an attacker can do who holds which keys is in docs/security.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, select, update
from tuf.api.metadata import Metadata, Targets

from hub.audit.log import record
from hub.distribution import metadata
from hub.distribution.edit import Edit
from hub.distribution.keys import OFFLINE, ONLINE, KeyRing, profile_of, role_of
from hub.state.database import reading
from hub.state.schema import bundles
from models.errors import SigningError, StorageError

log = logging.getLogger("tocsin.hub.distribution")
_RENEW_AT: Final = {"snapshot": 0.5, "timestamp": 0.5}  # of its life
_RENEW_LONG_AT: Final = 0.25
_WARN_EVERY_NS: Final = 86_400 * metadata.NS_PER_S


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """`key`: where it is, None = not at hand. `key_file`: what it is called. `waiting`: bundles that it has still to sign."""

    role: str
    key_file: str
    key: Path | None
    version: int
    expires: datetime
    waiting: int


class Repository:
    """`keys`: where to look for them. Safe from several threads and processes."""

    def __init__(self, keys: KeyRing) -> None:
        self.keys = keys
        self._warned_ns: dict[str, int] = {}  # by role: when its expiry was last told of

    # --- publishing ----------------------------------------------------------------------------------------------

    def sign_waiting(self, connection: Connection, *, actor: str, now_ns: int) -> list[str]:
        """Sign every bundle that waits and whose profile's key is at hand; their ids. Raises SigningError without the online
        keys: then nothing is signed."""
        edit = Edit(connection, self.keys, now_ns)
        signed: list[str] = []
        for profile, rows in groupby(waiting(connection), key=lambda row: str(row.profile)):
            signer = edit.profile_signer(profile)
            if signer is None:
                continue
            fresh = list(rows)
            ids = [row.bundle_id for row in fresh]
            connection.execute(update(bundles).where(bundles.c.bundle_id.in_(ids)).values(signed_ns=now_ns))
            edit.put_profile(role_of(profile), edit.listed(role_of(profile)), signer)
            for row in fresh:
                details = {"sha256": row.sha256, "key": signer.public_key.keyid[:8]}
                record(connection, at_ns=now_ns, actor=actor, action="bundle.sign", subject=row.bundle_id, details=details)
            signed += ids
        edit.close()
        return signed

    def tend(self, engine: Engine, now_ns: int) -> None:
        """Whatever is due: a repository where there is none, signatures that waited, metadata that would expire. A hub whose
        keys are not there does all else: this is logged, and tried again."""
        try:
            self._tend(engine, now_ns)
        except (SigningError, StorageError) as error:
            log.error("what devices may load cannot be signed: %s", error)  # noqa: TRY400  # one line says it

    def _tend(self, engine: Engine, now_ns: int) -> None:
        with reading(engine).begin() as connection:
            due = self._due(connection, now_ns)
            n_waiting = len(waiting(connection))
        if not due and not n_waiting:
            return
        with engine.begin() as connection:
            if n_waiting or "root" in due:  # the latter: there may be no repository at all
                self.sign_waiting(connection, actor="hub", now_ns=now_ns)
                due = self._due(connection, now_ns)
            edit = Edit(connection, self.keys, now_ns)
            for role in due:
                edit.renew(role)
            edit.close()

    def _due(self, connection: Connection, now_ns: int) -> list[str]:
        """Roles to sign again now; `root` also where there is no repository yet. Of those whose key is elsewhere it is told."""
        found = _newest_of_all(connection)
        if "root" not in found:
            return ["root"]
        left = {role: metadata.left_of(role, signed, now_ns) for role, (_, signed) in found.items()}
        late = [role for role in left if left[role] < _RENEW_AT.get(role, _RENEW_LONG_AT)]
        root, targets = found["root"][1], found["targets"][1]
        able = [role for role in late if role in ONLINE or self.keys.find(role, metadata.keyids_of(role, root, targets))]
        for role in late:
            if role not in able and now_ns - self._warned_ns.get(role, 0) >= _WARN_EVERY_NS:
                self._warned_ns[role] = now_ns
                log.warning("the TUF metadata of %s expires soon: `tocsin hub keys renew --keys FOLDER` with its key", role)
        return able

    # --- keys ----------------------------------------------------------------------------------------------------

    def status(self, connection: Connection) -> list[RoleStatus]:
        """Every role, in the order of trust."""
        found = _newest_of_all(connection)
        if "root" not in found:
            raise SigningError("this hub has no keys for bundles yet; `tocsin hub init` makes them")
        root, targets = found["root"][1], found["targets"][1]
        counts = {profile: len(list(rows)) for profile, rows in groupby(waiting(connection), key=lambda row: row.profile)}
        return [
            RoleStatus(
                role=role,
                key_file=f"{role}.{keyid[:8]}.key",
                key=self.keys.path(role, keyid),
                version=version,
                expires=signed.expires,
                waiting=counts.get(profile_of(role), 0),
            )
            for role, (version, signed) in found.items()
            for keyid in metadata.keyids_of(role, root, targets)
        ]

    def rotate(self, engine: Engine, role: str, *, actor: str, now_ns: int) -> str:
        """Give `role` a new key and remove the old one; the new key's id. Raises SigningError: no such role, or a key that this
        needs is not at hand."""
        with engine.begin() as connection:
            edit = Edit(connection, self.keys, now_ns)
            if not edit.keyids(role):
                raise SigningError(f"no role {role!r}; `tocsin hub keys list` shows what there is")
            old, new = edit.replace_key(role)
            edit.close()
            details = {"old": old[:8], "new": new[:8]}
            record(connection, at_ns=now_ns, actor=actor, action="keys.rotate", subject=role, details=details)
        self.keys.forget(role, old)  # only now: until here the old one was the one that counts
        return new

    def renew(self, engine: Engine, *, actor: str, now_ns: int) -> list[str]:
        """Sign every role whose key is at hand for its full time; which those were."""
        with engine.begin() as connection:
            edit = Edit(connection, self.keys, now_ns)
            renewed = [role for role in _newest_of_all(connection) if edit.signer(role) is not None]
            for role in renewed:
                edit.renew(role)
            edit.close()
            record(connection, at_ns=now_ns, actor=actor, action="keys.renew", subject=",".join(renewed))
        return renewed


def waiting(connection: Connection) -> list[Row[Any]]:
    """Bundles that no role lists yet, by profile and version."""
    query = select(bundles).where(bundles.c.signed_ns.is_(None)).order_by(bundles.c.profile, bundles.c.version)
    return list(connection.execute(query).all())


def newest_root(connection: Connection) -> bytes:
    """What a device begins with; b"" where there is no repository yet."""
    found = metadata.load(connection, "root")
    return found[1] if found else b""


def _newest_of_all(connection: Connection) -> dict[str, tuple[int, Any]]:
    """Version and payload of each role that has metadata, in the order of trust; empty where there is no repository."""
    root = metadata.load(connection, "root")
    if root is None:
        return {}
    roles = list(OFFLINE)
    targets = metadata.load(connection, "targets")
    if targets is not None:
        delegations = Metadata[Targets].from_bytes(targets[1]).signed.delegations
        roles += list((delegations.roles or {}) if delegations else {})
    contents = {role: metadata.load(connection, role) for role in [*roles, *ONLINE]}
    return {role: (found[0], Metadata.from_bytes(found[1]).signed) for role, found in contents.items() if found is not None}
