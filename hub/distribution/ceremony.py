"""Signing with keys that never come near the hub: what waits goes to another machine as a file, and comes back signed.

    hub: write_request ──file──> elsewhere: countersign ──file──> hub: take_signed

The file is JSON: for each role the TUF metadata that it would sign next. What comes back is checked against the role's key and
version, and that it lists the bundles of this registry and nothing else: the file may pass through anybody's hands.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets

from hub.audit.log import record
from hub.distribution.edit import Edit, targets_of
from hub.distribution.keys import KeyRing, role_of
from hub.distribution.repository import waiting
from hub.state.schema import bundles
from models.contract.names import target_path
from models.errors import SigningError


class Requested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`keyid`: of the key that is needed. `metadata`: a file of TUF metadata, with or without its signature."""

    keyid: str
    metadata: msgspec.Raw


Request = dict[str, Requested]  # by role


def write_request(connection: Connection, keys: KeyRing, now_ns: int) -> Request:
    """What waits for a profile's key that is not at hand; profiles that are new need the targets key on the hub first."""
    edit = Edit(connection, keys, now_ns)
    request: Request = {}
    for profile, rows in groupby(waiting(connection), key=lambda row: str(row.profile)):
        role, fresh = role_of(profile), targets_of(list(rows))
        for keyid in edit.keyids(role):
            signed = edit.unsigned_profile(role, edit.listed(role) | fresh)
            request[role] = Requested(keyid=keyid, metadata=msgspec.Raw(Metadata(signed).to_bytes()))
    return request


def read_request(data: bytes) -> Request:
    """Raises SigningError where it is none."""
    try:
        return msgspec.json.decode(data, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SigningError(f"not a file of `tocsin hub sign --export`: {error}") from None


def contents(request: Request) -> list[tuple[str, str, int, str]]:
    """(role, path, bytes, SHA-256) of everything that would be vouched for. Raises SigningError."""
    return [
        (role, path, target.length, str(target.hashes.get("sha256")))
        for role, requested in request.items()
        for path, target in sorted(_parsed(role, requested).signed.targets.items())
    ]


def countersign(request: Request, keys: KeyRing) -> Request:
    """The request, signed. Raises SigningError: a key is not at hand, or it is no such request."""
    signed: Request = {}
    for role, requested in request.items():
        signer = keys.find(role, [requested.keyid])
        if signer is None:
            raise SigningError(f"this needs {role}.{requested.keyid[:8]}.key; name its folder with --keys")
        metadata = _parsed(role, requested)
        metadata.sign(signer)
        signed[role] = msgspec.structs.replace(requested, metadata=msgspec.Raw(metadata.to_bytes()))
    return signed


def take_signed(connection: Connection, keys: KeyRing, request: Request, *, actor: str, now_ns: int) -> list[str]:
    """Publish what was signed elsewhere; the bundles that no longer wait. Raises SigningError; then nothing has changed."""
    edit = Edit(connection, keys, now_ns)
    taken: list[str] = []
    for role, requested in request.items():
        listed = edit.put_signed(role, bytes(requested.metadata)).targets
        rows = [row for row in _rows(connection, role) if row.signed_ns is not None or _listed(row, listed)]
        if targets_of(rows) != listed:
            raise SigningError(f"{role}: it lists other bundles than this registry has")
        ids = [row.bundle_id for row in rows if row.signed_ns is None]
        connection.execute(update(bundles).where(bundles.c.bundle_id.in_(ids)).values(signed_ns=now_ns))
        for bundle_id in ids:
            details = {"key": requested.keyid[:8], "signed": "elsewhere"}
            record(connection, at_ns=now_ns, actor=actor, action="bundle.sign", subject=bundle_id, details=details)
        taken += ids
    edit.close()
    return taken


def _parsed(role: str, requested: Requested) -> Metadata[Targets]:
    try:
        parsed: Metadata[Any] = Metadata.from_bytes(bytes(requested.metadata))
    except RepositoryError as error:
        raise SigningError(f"{role}: no TUF metadata: {error}") from None
    if not isinstance(parsed.signed, Targets) or parsed.signed.delegations is not None:
        raise SigningError(f"{role}: {parsed.signed.type} metadata, or with delegations; expected a list of bundles")
    return parsed


def _listed(row: Any, listed: dict[str, TargetFile]) -> bool:
    return target_path(row.profile, row.bundle_id) in listed


def _rows(connection: Connection, role: str) -> list[Any]:
    return [row for row in connection.execute(select(bundles)) if role_of(row.profile) == role]
