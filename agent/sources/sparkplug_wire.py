"""Sparkplug B payloads on the wire: the few fields of Eclipse Tahu's `sparkplug_b.proto` that readings need, read by hand.

The schema is fixed, so a reader of protobuf's wire format serves in its place: the `protobuf` package takes 2.6 MB of
memory and 15 to 30 ms at the start of every agent that speaks Sparkplug, and has no compiled wheel for 32-bit ARM.

    Payload    1 timestamp (ms)  2 metrics (repeated)  3 seq
    Metric     1 name  2 alias  3 timestamp (ms)  4 datatype  5 is_historical  7 is_null  9 properties
               10 int  11 long  12 float  13 double  14 boolean  15.. text, bytes, data set, template
    Properties 1 keys (repeated)  2 values (repeated), of which only `Quality` is read: 3 int  4 long

Invariants:
1. Any bytes give a payload or a FrameError, in time and memory linear in their length; there is no recursion.
2. What protobuf reads is read here with the same result (`tests/sources/test_sparkplug_wire.py`), but for groups, names
   that are not UTF-8, and more than MAX_METRICS metrics, which are refused.
3. A message inside that readings do not need is passed over, whatever it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from models.errors import FrameError

MAX_METRICS: Final = 10_000
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK32: Final = (1 << 32) - 1
_MASK64: Final = (1 << 64) - 1
_DATATYPE_BOOLEAN: Final = 11
_double = struct.Struct("<d").unpack
_float = struct.Struct("<f").unpack

Value = int | float | bool | None  # unsigned as it came: the datatype says what the bits mean


@dataclass(slots=True)
class Metric:
    """One metric as sent. `value`: None = absent, or no number. `quality`: 192 is good; None = not said."""

    name: str = ""
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int = 0
    historical: bool = False
    null: bool = False
    quality: int | None = None
    value: Value = None


@dataclass(slots=True)
class Payload:
    """What a message carries. `seq`: None where it has none, as in a node's death."""

    timestamp_ms: int | None
    seq: int | None
    metrics: list[Metric]


def read_payload(data: bytes) -> Payload:
    """Raises FrameError."""
    payload = Payload(None, None, [])
    for number, wire, content in _fields(data):
        if wire == _LENGTH and number == 2:
            if len(payload.metrics) == MAX_METRICS:
                raise FrameError(f"more than {MAX_METRICS} metrics")
            payload.metrics.append(_metric(content))  # type: ignore[arg-type]
        elif wire == _VARINT and number == 1:
            payload.timestamp_ms = content  # type: ignore[assignment]
        elif wire == _VARINT and number == 3:
            payload.seq = content  # type: ignore[assignment]
    return payload


def rebirth_command(at_ms: int) -> bytes:
    """The payload that asks an edge node to send its births again (`NCMD`, metric `Node Control/Rebirth`)."""
    name = b"Node Control/Rebirth"
    fields = _number(1, len(name), wire=_LENGTH) + name + _number(3, at_ms) + _number(4, _DATATYPE_BOOLEAN) + _number(14, 1)
    return _number(1, at_ms) + _number(2, len(fields), wire=_LENGTH) + fields


def _metric(data: bytes) -> Metric:
    metric = Metric()
    properties = b""
    for number, wire, content in _fields(data):
        if wire == _VARINT:
            _set_integer(metric, number, content)  # type: ignore[arg-type]
        elif number == 12 and wire == _FIXED32:
            metric.value = _float(content)[0]  # type: ignore[arg-type]
        elif number == 13 and wire == _FIXED64:
            metric.value = _double(content)[0]  # type: ignore[arg-type]
        elif wire == _LENGTH:
            if number == 1:
                metric.name = _text(content)  # type: ignore[arg-type]
            elif number == 9:
                properties += content  # type: ignore[operator]  # parts of one message are merged by joining them
            elif 15 <= number <= 19:
                metric.value = None
    if properties:
        metric.quality = _quality(properties)
    return metric


def _set_integer(metric: Metric, number: int, content: int) -> None:
    if number == 2:
        metric.alias = content
    elif number == 3:
        metric.timestamp_ms = content
    elif number == 4:
        metric.datatype = content & _MASK32
    elif number == 5:
        metric.historical = content != 0
    elif number == 7:
        metric.null = content != 0
    elif number == 10:
        metric.value = content & _MASK32
    elif number == 11:
        metric.value = content
    elif number == 14:
        metric.value = content != 0


def _quality(data: bytes) -> int | None:
    keys: list[bytes] = []
    values: list[bytes] = []
    for number, wire, content in _fields(data):
        if wire == _LENGTH and number in (1, 2):
            (keys if number == 1 else values).append(content)  # type: ignore[arg-type]
    for key, value in zip(keys, values, strict=False):
        if key == b"Quality":
            said = [content for number, wire, content in _fields(value) if wire == _VARINT and number in (3, 4)]
            return int(said[-1]) & _MASK32 if said else None
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, its content: an int for a varint, else bytes) in order. Raises FrameError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > _MASK32:
            raise FrameError("protobuf: no such field")
        if wire == _VARINT:
            content, at = _varint(data, at)
            yield number, wire, content
            continue
        if wire == _LENGTH:
            size, at = (data[at], at + 1) if at < end and data[at] < 0x80 else _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise FrameError(f"protobuf: wire type {wire}")
        if size > end - at:
            raise FrameError("protobuf: cut off")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, 0 to 2**64 - 1, and where it ends. Raises FrameError."""
    value = shift = 0
    for byte in data[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, at
        shift += 7
    raise FrameError("protobuf: a number without an end")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FrameError(f"a name that is not UTF-8: {data[:40]!r}") from None


def _number(field: int, value: int, wire: int = _VARINT) -> bytes:
    """Field `field` holding `value`; with `wire` = _LENGTH, its tag and length."""
    return _packed(field << 3 | wire) + _packed(value)


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
