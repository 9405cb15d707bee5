"""SenML in JSON (RFC 8428): a pack of records, resolved to readings.

- Base name, time and value hold from their record on (section 4.1). A time below 2**28 s is relative to arrival (4.5.3).
- A name is `asset/channel` or `asset:channel`: the last part is the channel, the one before it the asset. What the topic
  says comes first; a record under another channel's name than the topic's is left out and counted.
- Several records of one channel become a block, oldest first.
- Units are not converted: the profile says what a channel's unit is. Text, data, truth values and sums are no readings
  and count as unknown. A label that ends in `_` must be understood (4.4): such a pack is refused, and so is a version
  above 10.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from agent.sources.decode import Channels, Decoded, as_float, checked_time, series, time_ns
from agent.sources.topics import Place
from models.contract.clock import NS_PER_S
from models.errors import FrameError

_RELATIVE_BELOW_S: Final = 2**28
_OTHER_VALUES: Final = ("vs", "vb", "vd", "s")
_Series = dict[tuple[str, str], list[tuple[int, float]]]  # (asset, channel): [(captured_at_ns, value)]


def decode_senml(content: Any, place: Place, channels: Channels, device_time: bool, now_ns: int) -> Decoded:
    """`content`: the decoded JSON. Raises FrameError where it is no pack of records."""
    if type(content) is not list or not all(type(record) is dict for record in content):
        raise FrameError("expected a SenML pack: an array of records")
    found: _Series = {}
    base: dict[str, Any] = {}
    n_unknown = 0
    timed = device_time
    for record in content:
        base.update((key, record[key]) for key in ("bn", "bt", "bv", "bver") if key in record)
        _refuse_unreadable(record, base)
        if "v" not in record and "bv" not in base:
            n_unknown += any(key in record for key in _OTHER_VALUES)
            continue
        asset, channel = _whose(f"{_text(base, 'bn')}{_text(record, 'n')}", place)
        if channel not in channels.get(asset, ()):
            n_unknown += 1
            continue
        at_ns, absolute = _when(base.get("bt", 0), record.get("t", 0), now_ns)
        timed = timed and absolute
        value = as_float(record.get("v", 0), channel) + as_float(base.get("bv", 0), "bv")
        found.setdefault((asset, channel), []).append((at_ns, value if math.isfinite(value) else math.nan))
    shift_ns = 0 if device_time else now_ns - max((at for rows in found.values() for at, _ in rows), default=now_ns)
    return Decoded([series(*who, rows, shift_ns) for who, rows in found.items()], n_unknown, timed)


def _refuse_unreadable(record: dict[str, Any], base: dict[str, Any]) -> None:
    if "bver" in record and not (type(base["bver"]) is int and base["bver"] <= 10):
        raise FrameError(f"SenML version {str(base['bver'])[:20]}; this agent reads up to 10")
    unread = next((key for key in record if key.endswith("_")), None)
    if unread is not None:
        raise FrameError(f"SenML label {unread[:20]!r} must be understood, and is not")


def _text(record: dict[str, Any], key: str) -> str:
    text = record.get(key, "")
    if type(text) is not str:
        raise FrameError(f"{key}: expected text, got {str(text)[:40]!r}")
    return text


def _whose(name: str, place: Place) -> tuple[str, str]:
    """(asset, channel); an empty one matches nothing that is configured."""
    parts = re.split(r"[/:]", name)
    channel = parts[-1] or place.channel or ""
    if place.channel is not None and channel != place.channel:
        return "", ""
    asset = place.asset or (parts[-2] if len(parts) > 1 else "")
    return asset, channel


def _when(base_s: object, offset_s: object, now_ns: int) -> tuple[int, bool]:
    """Unix ns, and whether it was said absolutely. Raises FrameError: no number, or absurd."""
    seconds = as_float(base_s, "bt") + as_float(offset_s, "t")
    if seconds >= _RELATIVE_BELOW_S:
        return _sum_ns(base_s, offset_s), True
    if not seconds > -_RELATIVE_BELOW_S:
        raise FrameError(f"t: {seconds} s from now")
    return checked_time(now_ns + round(seconds * NS_PER_S), "t"), False


def _sum_ns(base_s: object, offset_s: object) -> int:
    """The parts are converted apart: their sum as a float would round to a few hundred ns."""
    return checked_time(sum(_signed_ns(part) for part in (base_s, offset_s)), "t")


def _signed_ns(seconds: object) -> int:
    number = as_float(seconds, "t")
    return time_ns(seconds, NS_PER_S, "t") if number >= 0 else -time_ns(-number, NS_PER_S, "t")
