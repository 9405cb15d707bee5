"""What the agent and its verifying child say to each other: one JSON request on standard input, one JSON line back."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from models.contract.names import MAX_BUNDLE_BYTES, Hash, Name

MAX_REPORT_BYTES: Final = 4096
Outcome = Literal["verified", "untrusted", "link", "storage"]


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Get one bundle. `directory`: what is trusted of this hub (see `store.py`). `now_ns`: the device's timeline, Unix ns.

    `timeout_s`: for a connection, and for the next bytes on it. `ca_file`: the only certificates to trust, "" = the system's.
    """

    hub_url: str
    directory: str
    profile: Name
    bundle_id: Name
    sha256: Hash
    size: Annotated[int, Meta(gt=0, le=MAX_BUNDLE_BYTES)]
    now_ns: int
    timeout_s: float
    ca_file: str = ""
    parent_pid: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How it went. `verified`: the bundle is where `store.staged` says.

    `untrusted`: the repository does not vouch for it, or what was served is not what it vouches for. `link`: it could not be
    fetched. `storage`: the disk takes nothing. `peak_rss_bytes`: of the child.
    """

    outcome: Outcome
    text: str = ""
    peak_rss_bytes: int = 0
