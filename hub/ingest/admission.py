"""From the bytes of a request to items that are known to be good, or known to be bad and why.

Invariants:
1. Nothing is decoded before its signature is verified (models/contract/envelope.py).
2. A bad body is judged alone: it is marked with its reason, keeps its place in the sequence, and harms no other item.
3. What passes here decodes, and fits the tables behind: consumers of the log need not check again.

An item whose place in the sequence makes no sense cannot be acknowledged at all: then the whole batch is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from hub.devices.keys import verifier
from models.contract.envelope import Batch, Sealed, open_sealed
from models.contract.items import (
    BODIES,
    LANE_OF,
    Aggregate,
    Alert,
    Body,
    Commissioning,
    Evidence,
    Health,
    Item,
    Rollup,
    SensorFault,
    SlotScore,
    decode_body,
    unpack_floats,
)
from models.contract.names import MAX_CHANNELS, MAX_FEATURES, is_hash, is_name
from models.errors import EnvelopeError, ItemError

MAX_SEQ: Final = 2**48  # thousands of lanes are summed up in 64 bits; a number each microsecond lasts for nine years
_MAX_INT: Final = 2**63 - 1
_MAX_COUNT: Final = 2**48  # of readings or windows in one item: tens of thousands of items are summed up in 64 bits
_MAX_ID: Final = 64
_MAX_SCORES: Final = 8
_MAX_REASON: Final = 500


Judged = tuple[Item, str | None]  # an item, with the reason why it is refused, or None


@dataclass(frozen=True, slots=True)
class Admitted:
    """One verified batch. `n_bytes`: of the bodies."""

    device_id: str
    epoch: str
    items: list[Judged]
    n_bytes: int


def admit(sealed: Sealed, public_key: bytes) -> Admitted:
    """Verify, open and judge. Raises EnvelopeError, BadSignature."""
    batch = open_sealed(sealed, verifier(public_key), Batch)
    items = []
    for item in batch.items:
        if not 1 <= item.first_seq <= item.seq <= MAX_SEQ:
            place = f"{item.first_seq}..{item.seq} in lane {item.lane}"
            raise EnvelopeError(f"{sealed.device_id}: {place} is no place in a sequence")
        items.append((item, fault_of(item)))
    return Admitted(sealed.device_id, batch.epoch, items, sum(len(item.body) for item in batch.items))


def fault_of(item: Item) -> str | None:
    """Why this item is not usable; None where it is."""
    try:
        body = decode_body(item.kind, item.body)
        if type(body) is Aggregate and _is_plain(item, body):
            return None
        _check_place(item, body)
        _check_times(item, body)
        check = _CHECKS.get(type(body))
        if check is not None:
            check(body)
    except ItemError as error:
        return str(error)[:_MAX_REASON]  # it may quote what the device wrote, at any length
    return None


def _is_plain(item: Item, body: Aggregate) -> bool:
    """Whether an aggregate passes every check below with ease. Almost every item does: what is judged one by one there, with
    a word for each fault, took as long as all its decoding."""
    at, n_bytes = item.at, len(body.features)
    return (
        item.lane == "aggregates"
        and item.first_seq == item.seq
        and 0 <= at.wall_ns <= _MAX_INT
        and 0 <= at.mono_ns <= _MAX_INT
        and len(at.boot_id) <= _MAX_ID
        and 0 <= body.start_ns <= body.end_ns <= _MAX_INT
        and 0 <= body.n_readings <= _MAX_COUNT
        and 0 <= body.n_late <= _MAX_COUNT
        and 0 <= body.end_mono_ns <= _MAX_INT
        and n_bytes % 4 == 0
        and 4 <= n_bytes <= 4 * MAX_FEATURES
        and len(body.scores) <= _MAX_SCORES
        and len(body.faulty) <= MAX_CHANNELS
        and len(body.top) <= MAX_CHANNELS
        and is_name(body.asset)
        and is_name(body.profile)
        and is_hash(body.spec_hash)
        and max(map(_detector_size, body.scores), default=0) <= _MAX_ID
    )


def _detector_size(score: SlotScore) -> int:
    return len(score.detector)


def _check_place(item: Item, body: Body) -> None:
    if item.kind == "eviction":
        return
    if item.lane != LANE_OF[item.kind]:
        raise ItemError(f"{item.kind} belongs in lane {LANE_OF[item.kind]}, not {item.lane}")
    if isinstance(body, Rollup):
        span = item.seq - item.first_seq + 1
        _expect(body.n_windows == span, f"rollup: {body.n_windows} windows in place of {item.first_seq}..{item.seq}")
    elif item.first_seq != item.seq:
        raise ItemError(f"{item.kind} stands for {item.first_seq}..{item.seq}; only evictions and rollups span numbers")


def _check_times(item: Item, body: Body) -> None:
    """Whole numbers must fit 64 bits, and none of them may be negative: they are times, sizes and counts."""
    at = item.at
    if not (0 <= at.wall_ns <= _MAX_INT and 0 <= at.mono_ns <= _MAX_INT):
        raise ItemError(f"{item.kind}: stamp out of range")
    if len(at.boot_id) > _MAX_ID:
        raise ItemError(f"{item.kind}: boot id of {len(at.boot_id)} characters; at most {_MAX_ID}")
    for name in _WHOLE[item.kind]:
        value = getattr(body, name)
        if value is not None and not 0 <= value <= _MAX_INT:
            raise ItemError(f"{item.kind}: {name} is {value}; expected 0..2^63-1")


def _check_aggregate(body: Aggregate) -> None:
    if not (is_name(body.asset) and is_name(body.profile) and is_hash(body.spec_hash)):
        raise ItemError("aggregate: asset, profile or spec_hash is no name; 1-64 of letters, digits, '_', '.', '-'")
    n_features, torn = divmod(len(body.features), 4)
    if torn or not 1 <= n_features <= MAX_FEATURES:
        raise ItemError(f"aggregate: {len(body.features)} bytes of features; expected 1..{MAX_FEATURES} float32")
    if body.start_ns > body.end_ns:
        raise ItemError("aggregate: the window ends before it starts")
    if max(body.n_readings, body.n_late) > _MAX_COUNT:
        raise ItemError(f"aggregate: {max(body.n_readings, body.n_late)} readings; at most 2^48")
    if len(body.scores) > _MAX_SCORES:
        raise ItemError(f"aggregate: {len(body.scores)} scores; at most {_MAX_SCORES}")
    if len(body.faulty) > MAX_CHANNELS or len(body.top) > MAX_CHANNELS:
        raise ItemError("aggregate: more channels than a profile has")
    for score in body.scores:
        if len(score.detector) > _MAX_ID:
            raise ItemError(f"aggregate: detector of {len(score.detector)} characters; at most {_MAX_ID}")


def _check_alert(body: Alert) -> None:
    _expect(math.isfinite(body.p_value) and math.isfinite(body.score), "alert: score and p-value must be finite numbers")
    _expect(len(body.top) <= MAX_CHANNELS, "alert: more channels than a profile has")
    _expect(all(math.isfinite(share) for _, share in body.top), "alert: shares in top must be finite numbers")
    _check_id("alert: detector", body.detector)


def _check_fault(body: SensorFault) -> None:
    for name in ("source", "asset", "channel"):
        _check_id(f"sensor_fault: {name}", getattr(body, name))


def _check_commissioning(body: Commissioning) -> None:
    n_location, n_scale = len(unpack_floats(body.location)), len(unpack_floats(body.scale))
    _expect(n_location == n_scale <= MAX_FEATURES, f"commissioning: {n_location} locations, {n_scale} scales")


def _check_health(body: Health) -> None:
    _expect(math.isfinite(body.uptime_s), "health: uptime must be a finite number")


def _check_evidence(body: Evidence) -> None:
    _expect(1 <= len(body.channels) <= MAX_CHANNELS, f"evidence: {len(body.channels)} channels; expected 1..{MAX_CHANNELS}")
    _expect(math.isfinite(body.rate_hz) and body.rate_hz > 0, "evidence: rate must be above 0 Hz")
    unpack_floats(body.values, len(body.channels))


def _check_rollup(body: Rollup) -> None:
    windows = sum(group.n_windows for group in body.groups)
    _expect(windows == body.n_windows, f"rollup: groups of {windows} windows, {body.n_windows} stated")
    for group in body.groups:
        sizes = {len(group.mean), len(group.low), len(group.high)}
        n_bytes = len(group.mean)
        fits = len(sizes) == 1 and n_bytes % 4 == 0 and 4 <= n_bytes <= 4 * MAX_FEATURES
        _expect(fits, f"rollup: {sorted(sizes)} bytes of mean, low and high; expected as many each, 1..{MAX_FEATURES} float32")
        _expect(all(0 <= at <= _MAX_INT for at in (group.start_ns, group.end_ns)), "rollup: a time out of range")
        _expect(all(0 <= n <= _MAX_COUNT for n in (group.n_readings, group.n_late)), "rollup: a count out of range")
        _expect(group.n_windows > 0 and group.start_ns <= group.end_ns, "rollup: it ends before it starts, or holds no window")
        _expect(len(group.faulty) <= MAX_CHANNELS, "rollup: more channels than a profile has")
        if group.worst is not None:
            _check_id("rollup: detector", group.worst.detector)


def _check_id(what: str, value: str) -> None:
    _expect(len(value) <= _MAX_ID, f"{what} of {len(value)} characters; at most {_MAX_ID}")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ItemError(message)


_WHOLE: Final = {  # by kind: the fields that hold whole numbers
    kind: [name for name, hint in get_type_hints(body_type).items() if hint in (int, int | None)]
    for kind, body_type in BODIES.items()
}
_CHECKS: Final[dict[type[Body], Callable[[Any], None]]] = {
    Aggregate: _check_aggregate,
    Alert: _check_alert,
    SensorFault: _check_fault,
    Commissioning: _check_commissioning,
    Health: _check_health,
    Evidence: _check_evidence,
    Rollup: _check_rollup,
}
