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
    """First contact. One of two things shows that the device may come in, and neither tells a secret:

    `claim_id`, `claim_proof`: a claim token's name, and its key's signature over `claim.claim_message`.
    `join_proof`: HMAC-SHA256(join token, device_id NUL public_key), where the hub has a join token for all.
    `profiles`: of the assets that the device watches; None = it does not say.
    """

    public_key: bytes
    agent_version: str
    join_proof: bytes = b""
    claim_id: Annotated[str, Meta(max_length=64)] = ""
    claim_proof: bytes = b""
    profiles: Annotated[list[Name], Meta(max_length=256)] | None = None
    site: Name = "default"
    hardware: Text = ""


class EnrolReply(msgspec.Struct, frozen=True, kw_only=True):
    """`hub_public_key`: Ed25519, 32 bytes; the device pins it and takes the TUF root from nobody else. `site`: where the hub
    has it stand, which a claim token decides; empty = where the device says."""

    hub_id: Name
    hub_public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    site: str = ""


class Rotate(msgspec.Struct, frozen=True, kw_only=True):
    """A change of keys, signed by the old key as an envelope, and by the new one over `signing.rotation_message`."""

    new_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    proof: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """The key that is pinned from now on."""

    public_key: bytes


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


class LaneBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in one lane of the outbox."""

    items: int
    bytes: int


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """An item that waits, and for how long."""

    kind: Annotated[str, Meta(max_length=64)]
    lane: Annotated[str, Meta(max_length=64)]
    age_s: float


class FlashWear(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to flash. None = unknown: not measured for long enough, or the kernel or the configuration does not tell.

    `agent_bytes_per_day`: by the agent alone. `device_bytes_per_day`: to all of `disk`, by whoever. `agent_bytes`: by the agent
    since its state directory was made. `endurance_bytes`: what the maker of the card says can be written to a new one.
    `years`: how long that lasts at the rate of the disk, or else of the agent.
    """

    agent_bytes_per_day: float | None = None
    device_bytes_per_day: float | None = None
    disk: Annotated[str, Meta(max_length=64)] = ""
    agent_bytes: int = 0
    endurance_bytes: float | None = None
    years: float | None = None


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """How long a device lasts without its hub, and at what cost.

    `bytes_per_day`: what is stored for the hub, at the rate of the last `measured_s` (at most about a day). `days`: until the
    outbox is full at that rate; None = not known yet, or nothing is stored. `oldest`: what has waited longest.
    """

    lanes: dict[str, LaneBacklog] = {}
    oldest: Unsent | None = None
    bytes_per_day: float | None = None
    measured_s: float = 0.0
    days: float | None = None
    flash: FlashWear = FlashWear()


class CheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """A device's state at one moment. `backlog` is what waits for sync; `survival_days`: `days` of `survival`.

    `storage`: why the disk takes nothing, empty while it does. `unstored_items`: what is in memory only for that, or was lost.
    `root_version`: of the TUF root that it trusts, 0 = none yet; None = an agent from before TUF, which is sent no bundles.
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
    survival: Survival | None = None
    storage: Text = ""
    unstored_items: int = 0
    root_version: int | None = None


class DesiredBundle(msgspec.Struct, frozen=True):
    """A bundle to hold: `target_path` of its profile and id in the hub's TUF repository, where alone it is to be had."""

    bundle_id: Name
    sha256: Hash
    size: int


class DesiredSlots(msgspec.Struct, frozen=True, kw_only=True):
    """What one profile should hold. None = nothing there: without an active bundle the baseline detector decides."""

    profile: Name
    active: DesiredBundle | None = None
    shadow: DesiredBundle | None = None


class CheckInReply(msgspec.Struct, frozen=True, kw_only=True):
    """`slots` lists every profile that the hub has an opinion on; others stay as they are.

    `root`: the TUF root for a device that has none, signed with the hub's key (`root_message`); for others empty.
    """

    hub_time_ns: int
    next_checkin_s: float
    slots: list[DesiredSlots] = []
    root: bytes = b""
    root_signature: bytes = b""
