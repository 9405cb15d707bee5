"""What a device keeps of its hub's TUF repository.

    DIR/tuf/HUB/root.json         the root that is trusted; HUB: the first 16 digits of the SHA-256 of the hub's public key
    DIR/tuf/HUB/ROLE.json         the newest metadata of each other role that was verified: its versions only go up
    DIR/tuf/HUB/work/             of the child that is at work; emptied before each
    DIR/tuf/HUB/SHA256.part       a download that broke off, to go on with

Invariants:
1. Only verified metadata gets out of `work/`, one durable replacement a file: after a power cut each is the old or the new
   one, and any mix of them is still something that was verified.
2. The first root comes signed by the hub that this device is enrolled with; every later one is signed by the one before.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec

from models.contract.signing import root_message, verified
from models.files import write_durably

MAX_ROOT_BYTES: Final = 64 * 1024
_ROLE: Final = re.compile(r"[A-Za-z0-9_.\-]{1,80}\.json")


class _Signed(msgspec.Struct):
    version: int


class _Root(msgspec.Struct):
    signed: _Signed


def directory_of(state_dir: Path, hub_public_key: bytes) -> Path:
    return state_dir / "tuf" / hashlib.sha256(hub_public_key).hexdigest()[:16]


def staged(directory: Path) -> Path:
    """Where the child leaves a bundle that it has verified."""
    return directory / "work" / "bundle"


def root_version(directory: Path) -> int:
    """Of the root that is trusted; 0 where there is none, or none that can be read."""
    try:
        return msgspec.json.decode((directory / "root.json").read_bytes(), type=_Root).signed.version
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return 0


def adopt_root(directory: Path, root: bytes, signature: bytes, hub_public_key: bytes) -> bool:
    """Begin to trust `root`, if none is trusted yet and the hub has signed it; whether it was taken. Raises OSError."""
    if root_version(directory) or len(root) > MAX_ROOT_BYTES:
        return False
    if not verified(hub_public_key, signature, root_message(root)):
        return False
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(directory / "root.json", root)
    return root_version(directory) > 0


def clear_work(directory: Path, keep_part_of: str = "") -> None:
    """Remove what a child left over, and broken downloads of anything but `keep_part_of`, a SHA-256."""
    shutil.rmtree(directory / "work", ignore_errors=True)
    for path in (*directory.glob("*.part"), *directory.glob(".*.tmp")):
        if path.name != f"{keep_part_of}.part":
            path.unlink(missing_ok=True)


def copy_metadata(source: Path, target: Path) -> None:
    """Every role's metadata but root's, as it is."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        if path.name != "root.json" and _ROLE.fullmatch(path.name):
            (target / path.name).write_bytes(path.read_bytes())


def keep_metadata(source: Path, target: Path) -> None:
    """Take over what was verified: root first, timestamp last, each durably and only where it has changed. Raises OSError."""
    for path in sorted(source.glob("*.json"), key=_order):
        content, kept = path.read_bytes(), target / path.name
        if _ROLE.fullmatch(path.name) and not (kept.is_file() and kept.read_bytes() == content):
            write_durably(kept, content)


def _order(path: Path) -> int:
    return {"root.json": 0, "snapshot.json": 2, "timestamp.json": 3}.get(path.name, 1)
