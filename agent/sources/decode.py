"""What all formats share: whose value it is, when it was measured, and what is no number.

Rules, the same for lines, frames and payloads:
1. A frame is good or it is not: one FrameError skips all of it, and it is counted.
2. A value that is absent (null, an empty field, not finite) is a reading of NaN: the sensor said that it has nothing.
3. Values for an asset or channel that is not configured are counted and left out; they are no error.
4. Without a time of its own a frame is dated by its arrival; of a block, the last sample is, and the others lie before it.
5. A time before 1970 or after 2200 is a FrameError: it would tear a hole of centuries into event time.

JSON objects (one line, or one MQTT payload):

    {"t": 1700000000.25, "asset": "pump-1", "flow": 12.5, "pressure": null}
    {"t0": 1700000000, "period_ms": 10, "vibration": [0.1, 0.2, 0.15]}

    t, t0      Unix seconds;  t_ms, t_ns  Unix ms and ns; null = absent. Of an array: when its first value was measured
    asset      whose values these are, where it is not said elsewhere
    period_ms  from one value of an array to the next
    the rest   channel: number, null, or array of these. For a key that is no channel, anything at all
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.reading import Block, Reading, Readings
from models.errors import FrameError

Channels = Mapping[str, frozenset[str]]  # by asset
MAX_TIME_NS: Final = 7_258_118_400 * NS_PER_S  # 2200-01-01; int64 ends in 2262
_NS_PER_UNIT: Final = {"t": NS_PER_S, "t_ms": 1_000_000, "t_ns": 1, "t0": NS_PER_S}
_RESERVED: Final = frozenset((*_NS_PER_UNIT, "asset", "period_ms"))
_MAX_PERIOD_MS: Final = 86_400_000
_json = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Decoded:
    """One good frame. `timed`: its times are the device's. `n_lost`: frames that should have come before it."""

    readings: Sequence[Readings] = ()
    n_unknown: int = 0
    timed: bool = False
    n_lost: int = 0


@dataclass(slots=True)
class Tally:
    """What the frames of one burst came to."""

    readings: list[Readings] = field(default_factory=list)
    n_unknown: int = 0
    n_lost: int = 0
    frame_errors: int = 0
    last_error: str = ""

    def add(self, decoded: Decoded) -> None:
        self.readings.extend(decoded.readings)
        self.n_unknown += decoded.n_unknown
        self.n_lost += decoded.n_lost

    def add_error(self, error: str, count: int = 1) -> None:
        self.frame_errors += count
        self.last_error = error[:200]

    @property
    def n_readings(self) -> int:
        return sum(1 if isinstance(r, Reading) else len(r.values) for r in self.readings)


def channels_by_asset(known: Mapping[str, Sequence[str]]) -> Channels:
    return {asset: frozenset(names) for asset, names in known.items()}


def read_json(data: bytes) -> Any:
    """Raises FrameError where `data` is no JSON, as RFC 8259 has it: no NaN, no Infinity, UTF-8."""
    try:
        return _json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None


def as_float(value: object, what: str) -> float:
    """NaN for None. Raises FrameError for what is no JSON number: text, a truth value, an object, an array."""
    if type(value) is float:
        return value
    if value is None:
        return math.nan
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise FrameError(f"{what}: a number beyond 1e308") from None
    raise FrameError(f"{what}: expected a number or null, got {str(value)[:40]!r}")


def time_ns(value: object, ns_per_unit: int, what: str) -> int:
    """`value` (int or float, in units of `ns_per_unit` since 1970) as Unix ns. Raises FrameError: no number, or absurd."""
    if type(value) is float and math.isfinite(value):
        whole = math.floor(value)  # apart, so that the fraction keeps what precision the float had
        at_ns = whole * ns_per_unit + round((value - whole) * ns_per_unit)
    elif type(value) is int:
        at_ns = value * ns_per_unit
    else:
        raise FrameError(f"{what}: expected a time as a number, got {str(value)[:40]!r}")
    return checked_time(at_ns, what)


def checked_time(at_ns: int, what: str) -> int:
    """`at_ns` itself. Raises FrameError before 1970 or after 2200."""
    if not 0 <= at_ns <= MAX_TIME_NS:
        raise FrameError(f"{what}: a time before 1970 or after 2200")
    return at_ns


def sample_times(first_ns: int | None, period_ns: int, n: int, now_ns: int) -> NDArray[np.int64]:
    """(n,) int64 from `first_ns` on, or, where that is None, up to `now_ns`. Raises FrameError beyond 1970..2200."""
    span_ns = period_ns * (n - 1)
    first_ns = now_ns - span_ns if first_ns is None else first_ns
    checked_time(first_ns, "first sample")
    checked_time(first_ns + span_ns, "last sample")
    return np.arange(n, dtype=np.int64) * period_ns + first_ns


def series(asset: str, channel: str, rows: list[tuple[int, float]], shift_ns: int = 0) -> Readings:
    """`rows` of (captured_at_ns, value) in any order, `shift_ns` later, oldest first. Raises FrameError beyond 1970..2200."""
    if len(rows) == 1:
        return Reading(asset, channel, checked_time(rows[0][0] + shift_ns, "t"), rows[0][1])
    rows.sort(key=lambda row: row[0])
    checked_time(rows[0][0] + shift_ns, "t")
    checked_time(rows[-1][0] + shift_ns, "t")
    times = np.array([at for at, _ in rows], dtype=np.int64) + shift_ns
    return Block(asset, channel, times, np.array([value for _, value in rows]))


def object_time(fields: Mapping[str, Any]) -> int | None:
    """The object's own time in Unix ns, None where it has none. Raises FrameError: see rule 5."""
    for key, ns_per_unit in _NS_PER_UNIT.items():
        value = fields.get(key)
        if value is not None:
            return time_ns(value, ns_per_unit, key)
    return None


def decode_object(fields: Mapping[str, Any], asset: str | None, channels: Channels, at_ns: int | None, now_ns: int) -> Decoded:
    """Readings of a JSON object as described above. `at_ns`: its time, None = arrival. `asset`: where it names none."""
    asset = fields.get("asset", asset)
    if type(asset) is not str:
        raise FrameError(f"asset: expected a name, in the data or in the configuration, got {asset!r}")
    names = channels.get(asset, frozenset())
    readings: list[Readings] = []
    n_unknown = 0
    for name, value in fields.items():
        if name in names:
            if type(value) is list:
                if value:
                    readings.append(_block(asset, name, value, fields.get("period_ms"), at_ns, now_ns))
            else:
                readings.append(Reading(asset, name, now_ns if at_ns is None else at_ns, as_float(value, name)))
        elif name not in _RESERVED:
            n_unknown += 1
    return Decoded(readings, n_unknown, at_ns is not None)


def _block(asset: str, name: str, items: list[Any], period_ms: object, at_ns: int | None, now_ns: int) -> Block:
    if isinstance(period_ms, bool) or not isinstance(period_ms, int | float) or not 0 < period_ms <= _MAX_PERIOD_MS:
        raise FrameError(f"{name}: an array needs period_ms, over 0 and at most {_MAX_PERIOD_MS}, got {str(period_ms)[:40]!r}")
    values = np.array([as_float(item, name) for item in items])
    return Block(asset, name, sample_times(at_ns, round(period_ms * 1_000_000), len(items), now_ns), values)
