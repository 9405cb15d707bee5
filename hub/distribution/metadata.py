"""TUF metadata of this hub's repository: what each role says and for how long, and the rows that it is kept in.

    root       names the keys of the four roles                    5 years
    targets    hands each profile's paths to a role of its own     5 years; lists nothing itself
    profile-P  the bundles of profile P: path, size, SHA-256       5 years
    snapshot   the newest version of targets and every profile-P   30 days
    timestamp  the newest snapshot, and when this was signed       3 days

The first three say who may sign, and what was signed: that stays true. The last two say that it is still the newest, and are
renewed by a running hub; how long a device may be kept from news is how long they last.

Consistent snapshots: every file but timestamp has its version in its name and never changes.
TUF specification 1.0.34, https://theupdateframework.github.io/specification/
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, delete, insert, select
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Signed, Targets, Timestamp

from hub.state.schema import tuf_metadata

SIGNED_AT: Final = "x-tocsin-signed-at-ns"  # a field of timestamp: devices take it for the least that the time can be
NS_PER_S: Final = 1_000_000_000
_KEPT: Final = 8  # versions of what changes often: a device that is in the middle of a refresh finds what it was told of
_LONG: Final = timedelta(days=5 * 365)
_LASTS: Final = {"snapshot": timedelta(days=30), "timestamp": timedelta(days=3)}


def lasts(role: str) -> timedelta:
    """For how long metadata of `role` is signed."""
    return _LASTS.get(role, _LONG)


def at(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC)


def left_of(role: str, signed: Signed, now_ns: int) -> float:
    """Which share of its life is left, 1 = just signed, below 0 = expired."""
    return (signed.expires - at(now_ns)) / lasts(role)


# --- what a new repository says -----------------------------------------------------------------------------------


def first_root(signers: dict[str, CryptoSigner], now_ns: int) -> Root:
    root = Root(expires=at(now_ns) + _LONG, consistent_snapshot=True)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
    return root


def first_targets(now_ns: int) -> Targets:
    return Targets(expires=at(now_ns) + _LONG, delegations=Delegations({}, {}))


def delegate(targets: Targets, role: str, profile: str, signer: CryptoSigner) -> None:
    """Hand the paths of `profile` to `role`, signed by `signer`'s key, and to nobody after it."""
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], 1, terminating=True, paths=[f"{profile}/*"])
    targets.add_key(signer.public_key, role)


def keyids_of(role: str, root: Root, targets: Targets) -> list[str]:
    """The keys that may sign `role`; none where no such profile is delegated yet."""
    if role in root.roles:
        return list(root.roles[role].keyids)
    delegated = (targets.delegations.roles or {}) if targets.delegations else {}
    return list(delegated[role].keyids) if role in delegated else []


def snapshot_meta(contents: dict[str, tuple[int, bytes]]) -> dict[str, MetaFile]:
    """What snapshot says of targets and profiles; `contents`: version and bytes by role."""
    return {f"{role}.json": MetaFile.from_data(version, data, ["sha256"]) for role, (version, data) in contents.items()}


def signed_by(signed: Any, *signers: CryptoSigner) -> bytes:
    """The file: `signed` with a signature of each of `signers`."""
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def signed_at_ns(timestamp: Timestamp | None) -> int:
    """When it was signed, by this hub's clock; 0 where there is none yet."""
    return int(timestamp.unrecognized_fields.get(SIGNED_AT, 0)) if timestamp is not None else 0


# --- rows ---------------------------------------------------------------------------------------------------------


def load(connection: Connection, role: str, version: int | None = None) -> tuple[int, bytes] | None:
    """Version and bytes of a role's metadata, its newest by default; None where there is none."""
    columns = (tuf_metadata.c.version, tuf_metadata.c.content)
    query = select(*columns).where(tuf_metadata.c.role == role).order_by(tuf_metadata.c.version.desc()).limit(1)
    if version is not None:
        query = query.where(tuf_metadata.c.version == version)
    row = connection.execute(query).first()
    return (row.version, row.content) if row is not None else None


def store(connection: Connection, role: str, version: int, content: bytes) -> None:
    """Add a version. Every root is kept, for devices follow them one by one; of timestamp only the newest is ever asked for."""
    connection.execute(insert(tuf_metadata).values(role=role, version=version, content=content))
    kept = {"root": version, "timestamp": 1}.get(role, _KEPT)
    connection.execute(delete(tuf_metadata).where(tuf_metadata.c.role == role, tuf_metadata.c.version <= version - kept))
