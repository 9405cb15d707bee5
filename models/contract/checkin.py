"""Enrolment and check-in: how a device introduces itself, and how the hub tells it which bundles it should hold.

The check-in is declarative: the hub states what each profile should have in its active and shadow slots, the device
works towards it and reports how far it got. A device that was away for a month needs no replay of what it missed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.contract.clock import Stamp
from models.contract.names import Hash, Name, Text

SlotName = Literal["active", "shadow", "previous"]


class Enrol(msgspec.Struct, frozen=True, kw_only=True):
    """First contact. `join_proof`: HMAC-SHA256(join token, device_id NUL public_key), so the token itself never travels."""

    public_key: bytes
    join_proof: bytes
    agent_version: str
    site: Name = "default"
    hardware: Text = ""


class EnrolReply(msgspec.Struct, frozen=True, kw_only=True):
    """`hub_public_key`: Ed25519, 32 bytes; the device pins it and accepts only bundles signed by it."""

    hub_id: Name
    hub_public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a device holds in one slot of one profile, and what serving it costs there."""

    profile: Name
    slot: SlotName
    bundle_id: Name
    n_windows: int = 0
    score_us_median: float | None = None


class BundleFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A desired bundle that this device refused. It is not tried again until the desired bundle changes."""

    bundle_id: Name
    reason: Text


class AssetReport(msgspec.Struct, frozen=True, kw_only=True):
    """One asset as its device sees it. `state`: commissioning, normal, alarm, or silent (no readings)."""

    asset: Name
    profile: Name
    spec_hash: Hash
    state: Literal["commissioning", "normal", "alarm", "silent"]
    p_value: float | None = None
    since_ns: int | None = None


class CheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """A device's state at one moment. `backlog` is what waits for sync; `survival_days` None = longer than measured.

    `storage`: why the disk takes nothing, empty while it does. `unstored_items`: what is in memory only for that, or was lost.
    """

    at: Stamp
    epoch: Name
    agent_version: str
    starts: int
    uptime_s: float
    rss_bytes: int
    peak_rss_bytes: int
    backlog_items: int
    backlog_bytes: int
    assets: list[AssetReport] = []
    slots: list[SlotReport] = []
    failures: list[BundleFailure] = []
    sources: dict[str, str] = {}
    survival_days: float | None = None
    storage: Text = ""
    unstored_items: int = 0


class DesiredBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle to hold. `path`: relative to the hub's address. `signature`: the hub's Ed25519 over the archive's SHA-256."""

    bundle_id: Name
    sha256: Hash
    size: int
    path: str
    signature: bytes


class DesiredSlots(msgspec.Struct, frozen=True, kw_only=True):
    """What one profile should hold. None = nothing there: without an active bundle the baseline detector decides."""

    profile: Name
    active: DesiredBundle | None = None
    shadow: DesiredBundle | None = None


class CheckInReply(msgspec.Struct, frozen=True, kw_only=True):
    """`slots` lists every profile that the hub has an opinion on; others stay as they are."""

    hub_time_ns: int
    next_checkin_s: float
    slots: list[DesiredSlots] = []
