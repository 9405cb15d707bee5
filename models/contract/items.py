"""The kinds of item that a device produces, and the lane each travels in.

Invariants:
1. An item's identity is `(device_id, epoch, lane, seq)`; `seq` starts at 1 and is gapless within a lane and an epoch.
2. An item stands for the sequence numbers `first_seq..seq`. Ordinary items stand for themselves; an eviction stands
   in place of what was evicted, so that continuity survives the loss and the loss is told; a rollup in place of the
   windows that were merged in it.
3. Lanes keep order inside; between lanes, the more urgent travels first (`LANES` is in order of urgency).
4. Readers tolerate unknown fields; a body that does not decode is quarantined alone.

Vectors and matrices travel as little-endian float32 bytes: 4 bytes a value, decoded without a loop.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from models.contract.clock import Stamp
from models.contract.names import Hash, Name, Text
from models.errors import ItemError

Kind = Literal[
    "alert", "sensor_fault", "action", "commissioning", "clock", "health", "aggregate", "evidence", "rollup", "eviction"
]
Lane = Literal["alerts", "aggregates", "evidence"]
LANES: Final[tuple[Lane, ...]] = get_args(Lane)
LANE_OF: Final[dict[str, Lane]] = {
    "alert": "alerts",
    "sensor_fault": "alerts",
    "action": "alerts",
    "commissioning": "alerts",
    "clock": "alerts",
    "health": "aggregates",
    "aggregate": "aggregates",
    "rollup": "aggregates",
    "evidence": "evidence",
}
BASELINE: Final = "baseline"  # the detector id of the robust statistical detector, which every device has
STREAMING: Final = "streaming"  # the detector id of alerts by single readings; it scores no windows
SAMPLE: Final = "sample"  # the alert id of evidence that belongs to no alert
Severity = Literal["warning", "critical"]
ActorKind = Literal["mqtt", "serial", "webhook", "program"]
FaultKind = Literal[
    "stuck", "missing", "out_of_range", "spike", "link", "step", "noise", "rate", "time", "disagreement"
]  # fmt: skip
ClockSource = Literal["none", "ntp", "hub"]


def pack_floats(values: NDArray[np.floating]) -> bytes:
    """Any float array as little-endian float32 bytes, row-major."""
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def unpack_floats(data: bytes, n_columns: int | None = None) -> NDArray[np.float32]:
    """The inverse of `pack_floats`: (n,) float32, or (n, n_columns) where that is given. Raises ItemError on a torn array."""
    if len(data) % (4 * (n_columns or 1)):
        raise ItemError(f"{len(data)} bytes are no whole number of float32 rows of {n_columns or 1}")
    flat = np.frombuffer(data, dtype="<f4")
    return flat if n_columns is None else flat.reshape(-1, n_columns)


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of every item body: immutable, and unknown fields from a newer writer are ignored. Values only, so there are no
    cycles in it for the collector to find."""


class SlotScore(Body, frozen=True, kw_only=True):
    """What one detector said of a window.

    `detector`: `baseline` or a bundle id. `score`: >= 0, high = anomalous, comparable only within one detector.
    `p_value`: in (0, 1], the chance of such a score on this asset in its normal state; None while commissioning.
    `alarm`: whether this detector's own hysteresis is in alarm after this window.
    """

    detector: str
    score: float
    p_value: float | None = None
    alarm: bool = False


class Aggregate(Body, frozen=True, kw_only=True):
    """One window, reduced: what is synced instead of the readings.

    `asset`, `profile` are `Name`s and `spec_hash` is a `Hash`, which the hub checks as it admits the item: patterns on the
    commonest kind of item cost more than all the rest of its decoding.

    `features`: float32 bytes, as the spec orders them, before local normalization; NaN where a channel gave nothing.
    `n_readings`: readings inside. `n_late`: readings that came after their window had closed, since the last aggregate.
    `faulty`: channels with an open sensor fault; such windows train and commission nothing.
    `scores[0]` is the detector that decides; the others were scored beside it on the same window.
    `partial`: not of normal running: cut short by a clock that jumped, or of its whole length where the profile says by what
    the machine runs, and it was at rest or had just started. It is not scored, and it trains and commissions nothing.
    `end_mono_ns`: its end by the device's monotonic clock, as its readings arrived; 0 = not told. Where a clock was set
    back, windows of the same times differ in it.
    """

    asset: str
    profile: str
    spec_hash: str
    start_ns: int
    end_ns: int
    features: bytes
    n_readings: int
    scores: list[SlotScore] = []
    top: list[str] = []
    faulty: list[str] = []
    commissioning: bool = False
    alarm: bool = False
    n_late: int = 0
    partial: bool = False
    end_mono_ns: int = 0


class Alert(Body, frozen=True, kw_only=True):
    """An alert as it stands: sent when it opens and again when it closes; upserted by `alert_id`.

    `opened_ns`, `closed_ns`: event time of the window that decided, or of the reading. `p_value`: the smallest so far.
    `top`: channels that contribute most, with their share of the score in 0..1, largest first. `detail`: what these do not say,
    in words with figures and units: of the streaming detector, the reading and the nearest value that was ever seen.
    """

    alert_id: Name
    asset: Name
    profile: Name
    detector: str
    severity: Severity
    opened_ns: int
    p_value: float
    score: float
    top: list[tuple[str, float]] = []
    closed_ns: int | None = None
    detail: Text = ""


class SensorFault(Body, frozen=True, kw_only=True):
    """A data-quality verdict on a channel, or on a whole source where `channel` is empty; upserted by `fault_id`."""

    fault_id: Name
    source: str
    asset: str
    channel: str
    fault: FaultKind
    opened_ns: int
    detail: Text = ""
    closed_ns: int | None = None


class Action(Body, frozen=True, kw_only=True):
    """What a device did, or on purpose did not do, by a rule of its configuration.

    `target`: where to, told without what is secret in it. `event_id`: of the alert or the sensor fault. `asset`: empty for
    a fault of a whole source. `reason`: why it failed or was suppressed; what would have been done where it was a dry run.
    `took_ms`: from the event's being stored to the end of the action.
    """

    rule: Name
    actor: ActorKind
    target: Text
    event: Literal["alert", "sensor_fault"]
    event_id: Name
    edge: Literal["opened", "closed"]
    asset: Annotated[str, Meta(max_length=64)]
    outcome: Literal["done", "failed", "suppressed", "dry_run"]
    reason: Text = ""
    took_ms: int = 0


class Commissioning(Body, frozen=True, kw_only=True):
    """What a device learned of an asset's normal: `location` and `scale` are float32 bytes, one value a feature."""

    asset: Name
    profile: Name
    spec_hash: Hash
    n_windows: int
    start_ns: int
    end_ns: int
    location: bytes
    scale: bytes


class ClockMark(Body, frozen=True, kw_only=True):
    """What the device's clock is from `mono_ns` of the stamp's boot on, until that boot's next mark.

    `before_ns`, `after_ns`: Unix time by the device at `mono_ns`; equal where it was not set. `source`: who vouches for it,
    none = nobody since the boot, or no longer. `error_ns`: how far it may be off, as far as the source tells.
    """

    reason: Literal["start", "step", "synced", "lost", "hub"]
    mono_ns: int
    before_ns: int
    after_ns: int
    source: ClockSource
    error_ns: int = 0


class Health(Body, frozen=True, kw_only=True):
    """The device's own state. Bytes and counts are totals since start unless the name says otherwise."""

    uptime_s: float
    rss_bytes: int
    peak_rss_bytes: int
    backlog_items: int
    backlog_bytes: int
    readings: int
    windows: int
    raw_bytes: int
    sent_bytes: int
    frame_errors: int
    sources: dict[str, str] = {}


class Evidence(Body, frozen=True, kw_only=True):
    """A raw excerpt: `values` is (n, len(channels)) float32 bytes on a grid of `rate_hz` from `start_ns`.

    Around an alert, or, where `sample` is set, a whole window of normal running, to learn from; its `alert_id` is `sample`.
    """

    alert_id: Name
    asset: Name
    start_ns: int
    rate_hz: float
    channels: list[str]
    values: bytes
    sample: bool = False


class RolledWindows(Body, frozen=True, kw_only=True):
    """Windows of one asset in one state, merged: `start_ns` of the first to `end_ns` of the last, `n_windows` of them.

    `mean`, `low`, `high`: float32 bytes, a value a feature; the mean weighs each window by its readings; NaN is left out.
    `worst`: the deciding detector's score with the smallest p-value. All of them share what the other fields say.
    """

    asset: Name
    profile: Name
    spec_hash: Hash
    start_ns: int
    end_ns: int
    n_windows: int
    n_readings: int
    mean: bytes
    low: bytes
    high: bytes
    worst: SlotScore | None = None
    faulty: list[str] = []
    commissioning: bool = False
    alarm: bool = False
    n_late: int = 0


class Rollup(Body, frozen=True, kw_only=True):
    """Stands in place of the aggregates `first_seq..seq`, `n_windows` of them, merged by asset and state: `reason` says why.

    `n_bytes`: what their bodies took.
    """

    reason: Text
    n_windows: int
    n_bytes: int
    groups: list[RolledWindows]


class Eviction(Body, frozen=True, kw_only=True):
    """Stands in place of the evicted items `first_seq..seq` of its lane: why they went, and which event times they covered.

    `epoch`: where they had been numbered in an earlier epoch, which ended in damage, that one: then the eviction stands for
    its own number only, and `n_items` is what is known to be lost of the other.
    """

    reason: Text
    n_items: int
    n_bytes: int
    start_ns: int
    end_ns: int
    epoch: str = ""


BODIES: Final[dict[str, type[Body]]] = {
    "alert": Alert,
    "sensor_fault": SensorFault,
    "action": Action,
    "commissioning": Commissioning,
    "clock": ClockMark,
    "health": Health,
    "aggregate": Aggregate,
    "evidence": Evidence,
    "rollup": Rollup,
    "eviction": Eviction,
}
KIND_OF: Final[dict[type[Body], str]] = {body: kind for kind, body in BODIES.items()}


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One place in a lane's sequence. `body` stays encoded until its kind is read, so one bad body harms no other."""

    lane: Lane
    seq: int
    first_seq: int
    kind: str
    at: Stamp
    body: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_decoders = {kind: msgspec.msgpack.Decoder(body) for kind, body in BODIES.items()}


def encode_body(body: Body) -> bytes:
    """The body as msgpack: what the outbox stores and the envelope carries, byte for byte."""
    return _encoder.encode(body)


def decode_body(kind: str, data: bytes | msgspec.Raw) -> Body:
    """Raises ItemError, naming kind and field, on an unknown kind or a body that does not validate."""
    decoder = _decoders.get(kind)
    if decoder is None:
        raise ItemError(f"unknown kind {kind!r}; known: {', '.join(BODIES)}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ItemError(f"{kind}: {error}") from error
