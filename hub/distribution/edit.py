"""One change of the TUF repository, in the caller's transaction: what changes is signed anew, then snapshot and timestamp.

    root (if keys changed) -> targets (if delegations changed) -> profile-P (if its bundles changed) -> snapshot -> timestamp

Invariants:
1. All of it is one transaction with what led to it: after a kill at any point it is the old repository or the new one, and
   both are whole. Rolled back, a new key file may be left over, which nothing names.
2. A version number is never given twice, and what is signed never goes back in time: a clock that is set back does not make
   new metadata expire earlier than what it follows.
"""

from __future__ import annotations

from typing import Any

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, select
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from hub.distribution import metadata
from hub.distribution.keys import OFFLINE, ONLINE, KeyRing, profile_of, role_of
from hub.state.schema import bundles
from models.contract.names import target_path
from models.errors import SigningError


class Edit:
    """`renew` and `replace_key` collect changes, `close` writes the snapshot that has them. `old_keys`: to be removed once the
    transaction stands."""

    def __init__(self, connection: Connection, keys: KeyRing, now_ns: int) -> None:
        self._connection = connection
        self._keys = keys
        self._changed = False
        self._clock_ns = now_ns
        self.old_keys: list[tuple[str, str]] = []
        root = metadata.load(connection, "root")
        timestamp = metadata.load(connection, "timestamp")
        self._timestamp = Metadata[Timestamp].from_bytes(timestamp[1]).signed if timestamp else None
        self.now_ns = max(now_ns, metadata.signed_at_ns(self._timestamp))
        if root is None:
            self._found()
        else:
            self.root = Metadata[Root].from_bytes(root[1]).signed
            self.targets = Metadata[Targets].from_bytes(self._newest("targets")[1]).signed

    def _found(self) -> None:
        """A new repository, with keys of its own. Those of an earlier one stay where they are, and are worth nothing."""
        signers = {role: self._keys.create(role) for role in (*OFFLINE, *ONLINE)}
        self.root, self.targets = metadata.first_root(signers, self.now_ns), metadata.first_targets(self.now_ns)
        self._write("root", self.root, signers["root"])
        self._write("targets", self.targets, signers["targets"])

    def keyids(self, role: str) -> list[str]:
        return metadata.keyids_of(role, self.root, self.targets)

    def signer(self, role: str) -> CryptoSigner | None:
        """The key of `role`, if it is at hand."""
        return self._keys.find(role, self.keyids(role))

    def need(self, role: str) -> CryptoSigner:
        """The key of `role`. Raises SigningError where it is not at hand."""
        signer = self.signer(role)
        if signer is None:
            raise SigningError(f"this needs {role}.{self.keyids(role)[0][:8]}.key; name its folder with --keys")
        return signer

    # --- changes -------------------------------------------------------------------------------------------------

    def renew(self, role: str) -> None:
        """Sign `role` again, for its full time. Raises SigningError."""
        if role == "root":
            self._put_root(self.need("root"))
        elif role == "targets":
            self._put_targets(self.need("targets"))
        elif role in ONLINE:
            self._changed = True
        else:
            self.put_profile(role, self.listed(role), self.need(role))

    def replace_key(self, role: str) -> tuple[str, str]:
        """Give `role` a new key, which takes the place of the old one at once: (old key id, new). Raises SigningError."""
        authority = self.need("root" if role in self.root.roles else "targets")
        (old,) = self.keyids(role)
        new = self._keys.create(role, beside=self._keys.path(role, old))
        if role in self.root.roles:
            self.root.revoke_key(old, role)
            self.root.add_key(new.public_key, role)
            self._put_root(authority, *([new] if role == "root" else []))
        else:
            self.targets.revoke_key(old, role)
            self.targets.add_key(new.public_key, role)
            self._put_targets(authority)
            self.put_profile(role, self.listed(role), new)
        if role == "targets":
            self._put_targets(new)
        if role == "timestamp":
            self._timestamp_from_now()
        self._changed = True
        self.old_keys.append((role, old))
        return old, new.public_key.keyid

    def profile_signer(self, profile: str) -> CryptoSigner | None:
        """The key of a profile; for a new profile one is made, if the targets key is at hand to say so."""
        role = role_of(profile)
        if self.keyids(role):
            return self.signer(role)
        authority = self.signer("targets")
        if authority is None:
            return None
        signer = self._keys.create(role)
        metadata.delegate(self.targets, role, profile, signer)
        self._put_targets(authority)
        return signer

    def put_profile(self, role: str, listed: dict[str, TargetFile], signer: CryptoSigner) -> None:
        """Let `role` list exactly these."""
        newest = metadata.load(self._connection, role)
        self._write(role, Targets(version=newest[0] + 1 if newest else 1, targets=listed), signer)

    def unsigned_profile(self, role: str, listed: dict[str, TargetFile]) -> Targets:
        """What `role` would say next, for a key that is elsewhere."""
        newest = metadata.load(self._connection, role)
        return Targets(newest[0] + 1 if newest else 1, expires=metadata.at(self.now_ns) + metadata.lasts(role), targets=listed)

    def put_signed(self, role: str, content: bytes) -> Targets:
        """Take over what was signed elsewhere. Raises SigningError: not by the role's key, or not what comes next."""
        try:
            signed = Metadata[Targets].from_bytes(content)
            self.targets.verify_delegate(role, signed.signed_bytes, signed.signatures)
        except (RepositoryError, ValueError) as error:
            raise SigningError(f"{role}: not signed by its key: {error}") from None
        newest = metadata.load(self._connection, role)
        if signed.signed.version != (newest[0] + 1 if newest else 1) or signed.signed.delegations is not None:
            raise SigningError(f"{role}: something else was signed meanwhile; export it again")
        metadata.store(self._connection, role, signed.signed.version, content)
        self._changed = True
        return signed.signed

    def listed(self, role: str) -> dict[str, TargetFile]:
        """What `role` is to list: its profile's bundles that were signed or are being signed."""
        query = select(bundles).where(bundles.c.profile == profile_of(role), bundles.c.signed_ns.is_not(None))
        return targets_of(self._connection.execute(query).all())

    def close(self) -> bool:
        """Write snapshot and timestamp if anything has changed; whether it has. Raises SigningError without their keys."""
        if not self._changed:
            return False
        roles = ["targets", *((self.targets.delegations.roles or {}) if self.targets.delegations else {})]
        contents = {role: found for role in roles if (found := metadata.load(self._connection, role)) is not None}
        newest = metadata.load(self._connection, "snapshot")
        version = newest[0] + 1 if newest else 1
        content = self._write("snapshot", Snapshot(version, meta=metadata.snapshot_meta(contents)), self.need("snapshot"))
        said = {metadata.SIGNED_AT: self.now_ns}
        told = MetaFile.from_data(version, content, ["sha256"])
        self._timestamp = Timestamp(
            self._timestamp.version + 1 if self._timestamp else 1, snapshot_meta=told, unrecognized_fields=said
        )
        self._write("timestamp", self._timestamp, self.need("timestamp"))
        return True

    # --- how -----------------------------------------------------------------------------------------------------

    def _put_root(self, *signers: CryptoSigner) -> None:
        self.root.version += 1
        self._write("root", self.root, *signers)

    def _put_targets(self, signer: CryptoSigner) -> None:
        self.targets.version += 1
        self._write("targets", self.targets, signer)

    def _write(self, role: str, signed: Signed, *signers: CryptoSigner) -> bytes:
        signed.expires = metadata.at(self.now_ns) + metadata.lasts(role)
        content = metadata.signed_by(signed, *signers)
        metadata.store(self._connection, role, signed.version, content)
        self._changed = True
        return content

    def _newest(self, role: str) -> tuple[int, bytes]:
        found = metadata.load(self._connection, role)
        if found is None:
            raise SigningError(f"the TUF repository in the hub's state has no {role} metadata; restore the state from a backup")
        return found

    def _timestamp_from_now(self) -> None:
        """A new timestamp key ends what the old one said, the time included."""
        self.now_ns = self._clock_ns


def targets_of(rows: Any) -> dict[str, TargetFile]:
    """What a profile's role lists; `rows`: of the table `bundles`."""
    files = [TargetFile(row.size, {"sha256": row.sha256}, target_path(row.profile, row.bundle_id)) for row in rows]
    return {file.path: file for file in files}
