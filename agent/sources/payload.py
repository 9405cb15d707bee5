"""MQTT payloads, with what the topic already said of them.

    number   21.5, as text; `nan` or `null` is absent. The topic has to name the channel
    json     a number or null, as above; or an object as in `decode`. Where the topic names the channel, its value is
             under `value` (or `values`, an array with `period_ms`), or under the channel's own name
    senml    a SenML pack, see `senml`
    auto     by the first character: `[` SenML, `{` an object, anything else a number

What the topic says of the asset stands: brokers check topics against rights, and payloads they do not read.
"""

from __future__ import annotations

import math
from typing import Any, Final

from agent.sources.config import PayloadKind
from agent.sources.decode import Channels, Decoded, as_float, decode_object, object_time, read_json
from agent.sources.senml import decode_senml
from agent.sources.topics import Place
from models.contract.names import MAX_PAYLOAD_BYTES
from models.contract.reading import Reading
from models.errors import FrameError

_ABSENT: Final = frozenset((b"", b"nan", b"null", b"none"))


class PayloadDecoder:
    """Decodes the payloads of one source; the topic's `Place` comes with each."""

    def __init__(self, kind: PayloadKind, channels: Channels, device_time: bool) -> None:
        self._kind = kind
        self._channels = channels
        self._device_time = device_time

    def decode(self, payload: bytes, place: Place, now_ns: int) -> Decoded:
        """Raises FrameError."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise FrameError(f"payload of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
        payload = payload.strip()
        kind = self._kind if self._kind != "auto" else _kind_of(payload)
        if kind == "number":
            return self._number(_text_number(payload), place, now_ns)
        content = read_json(payload)
        if kind == "senml":
            return decode_senml(content, place, self._channels, self._device_time, now_ns)
        if type(content) is dict:
            return self._object(content, place, now_ns)
        return self._number(as_float(content, "payload"), place, now_ns)

    def _number(self, value: float, place: Place, now_ns: int) -> Decoded:
        asset, channel = place.asset, place.channel
        if asset is None or channel is None:
            raise FrameError("a plain number on a topic that does not name both asset and channel")
        if channel not in self._channels.get(asset, ()):
            return Decoded(n_unknown=1)
        return Decoded([Reading(asset, channel, now_ns, value)])

    def _object(self, fields: dict[str, Any], place: Place, now_ns: int) -> Decoded:
        at_ns = object_time(fields) if self._device_time else None
        if place.channel is not None:
            key = next((key for key in ("value", "values", place.channel) if key in fields), None)
            if key is None:
                raise FrameError(f"expected 'value' or 'values' on a topic that names the channel {place.channel}")
            fields = {place.channel: fields[key], **{k: fields[k] for k in ("asset", "period_ms") if k in fields}}
        if place.asset is not None:
            fields.pop("asset", None)
        return decode_object(fields, place.asset, self._channels, at_ns, now_ns)


def _kind_of(payload: bytes) -> PayloadKind:
    if payload.startswith(b"["):
        return "senml"
    return "json" if payload.startswith(b"{") else "number"


def _text_number(text: bytes) -> float:
    """NaN where it says so, or is not finite. Raises FrameError."""
    try:
        value = float(text) if len(text) <= 64 and b"_" not in text else None
    except ValueError:
        value = math.nan if text.lower() in _ABSENT else None
    if value is None:
        raise FrameError(f"expected a number, got {text[:40]!r}")
    return value if math.isfinite(value) else math.nan
