"""The protobuf reader for Sparkplug payloads, against protobuf's own classes and against garbage."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.sparkplug_metrics import number
from agent.sources.sparkplug_wire import MAX_METRICS, Metric, Payload, read_payload, rebirth_command
from firmware_sim.firmware.sparkplug import metric, payload
from models.errors import FrameError

NUMBERS = {"int_value": 10, "long_value": 11, "float_value": 12, "double_value": 13, "boolean_value": 14}
OTHERS = {"string_value": 15, "bytes_value": 16}
UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
VALUES = {
    "int_value": UINT32,
    "long_value": UINT64,
    "float_value": st.floats(width=32),
    "double_value": st.floats(),
    "boolean_value": st.booleans(),
    "string_value": st.text(max_size=20),
    "bytes_value": st.binary(max_size=20),
}


def make_tahu() -> Any:
    """The classes that protobuf makes of the parts of Tahu's schema that are read here."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="tahu", syntax="proto2")

    def message(called: str, /, **fields: tuple[int, int, str | None, bool]) -> None:
        made = file.message_type.add(name=called)
        if called in ("Metric", "PropertyValue"):
            made.oneof_decl.add(name="value")
        for label, (tag, kind, type_name, repeated) in fields.items():
            one = made.field.add(name=label, number=tag, type=kind, type_name=type_name)
            one.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if label.endswith("_value"):
                one.oneof_index = 0

    def plain(tag: int, kind: int, type_name: str | None = None, repeated: bool = False) -> tuple[int, int, str | None, bool]:
        return tag, kind, type_name, repeated

    value = {"int_value": plain(3, field.TYPE_UINT32), "long_value": plain(4, field.TYPE_UINT64)}
    message("PropertyValue", type=plain(1, field.TYPE_UINT32), is_null=plain(2, field.TYPE_BOOL), **value)
    values = plain(2, field.TYPE_MESSAGE, ".tahu.PropertyValue", repeated=True)
    message("PropertySet", keys=plain(1, field.TYPE_STRING, repeated=True), values=values)
    message(
        "Metric",
        name=plain(1, field.TYPE_STRING),
        alias=plain(2, field.TYPE_UINT64),
        timestamp=plain(3, field.TYPE_UINT64),
        datatype=plain(4, field.TYPE_UINT32),
        is_historical=plain(5, field.TYPE_BOOL),
        is_transient=plain(6, field.TYPE_BOOL),
        is_null=plain(7, field.TYPE_BOOL),
        properties=plain(9, field.TYPE_MESSAGE, ".tahu.PropertySet"),
        int_value=plain(10, field.TYPE_UINT32),
        long_value=plain(11, field.TYPE_UINT64),
        float_value=plain(12, field.TYPE_FLOAT),
        double_value=plain(13, field.TYPE_DOUBLE),
        boolean_value=plain(14, field.TYPE_BOOL),
        string_value=plain(15, field.TYPE_STRING),
        bytes_value=plain(16, field.TYPE_BYTES),
    )
    message(
        "Payload",
        timestamp=plain(1, field.TYPE_UINT64),
        metrics=plain(2, field.TYPE_MESSAGE, ".tahu.Metric", repeated=True),
        seq=plain(3, field.TYPE_UINT64),
        uuid=plain(4, field.TYPE_STRING),
        body=plain(5, field.TYPE_BYTES),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tahu.Payload"))


TAHU = make_tahu()


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    some = {
        "name": st.text(max_size=30),
        "alias": UINT64,
        "timestamp": UINT64,
        "datatype": UINT32,
        "is_historical": st.booleans(),
        "is_transient": st.booleans(),
        "is_null": st.booleans(),
    }
    fields = {key: draw(values) for key, values in some.items() if draw(st.booleans())}
    kind = draw(st.sampled_from([None, *VALUES]))
    if kind is not None:
        fields[kind] = draw(VALUES[kind])
    if draw(st.booleans()):
        keys = draw(st.lists(st.sampled_from(["Quality", "engUnit"]), max_size=3))
        which = draw(st.sampled_from(["int_value", "long_value"]))
        fields["properties"] = {"keys": keys, "values": [{which: draw(UINT32)} for _ in keys]}
    return fields


def as_read(message: Any) -> Payload:
    """What protobuf read, in our words."""

    def optional(of: Any, key: str) -> Any:
        return getattr(of, key) if of.HasField(key) else None

    def one(m: Any) -> Metric:
        kind = m.WhichOneof("value")
        quality = None
        for key, value in zip(m.properties.keys, m.properties.values, strict=False):
            if key == "Quality":
                which = value.WhichOneof("value")
                quality = getattr(value, which) & 0xFFFFFFFF if which else None
                break
        value = getattr(m, kind) if kind in NUMBERS else None
        head = (m.name, optional(m, "alias"), optional(m, "timestamp"), m.datatype, m.is_historical, m.is_null)
        return Metric(*head, quality, value)

    return Payload(optional(message, "timestamp"), optional(message, "seq"), [one(m) for m in message.metrics])


def same(a: Payload, b: Payload) -> bool:
    return repr(a) == repr(b)  # NaN is itself here


@given(st.none() | UINT64, st.none() | UINT64, st.lists(metrics(), max_size=5), st.binary(max_size=20))
def test_what_protobuf_writes_is_read_alike(timestamp: Any, seq: Any, sent: list[dict[str, Any]], body: bytes) -> None:
    message = TAHU(timestamp=timestamp, seq=seq, metrics=sent, body=body, uuid="u")
    assert same(read_payload(message.SerializeToString()), as_read(message))


def try_both(data: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        ours = read_payload(data)
    except FrameError:
        return  # stricter than protobuf is allowed, and said where
    try:
        message = TAHU.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        return  # a part that readings do not need may be malformed
    assert same(ours, as_read(message))


@given(st.binary(max_size=300))
def test_garbage_is_a_frame_error_or_what_protobuf_reads(data: bytes) -> None:
    try_both(data)


@given(st.lists(metrics(), min_size=1, max_size=3), st.data())
def test_damaged_payloads_are_frame_errors_or_what_protobuf_reads(sent: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = bytearray(TAHU(timestamp=1, seq=2, metrics=sent).SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try_both(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x08", "without an end"),
        (b"\x08" + b"\xff" * 11, "without an end"),
        (b"\x12\x05\x08", "cut off"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off"),
        (b"\x13\x14", "wire type 3"),
        (b"\x00\x00", "no such field"),
        (b"\x12\x03\x0a\x01\xff", "not UTF-8"),
        (payload([b""] * (MAX_METRICS + 1)), "more than 10000 metrics"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        read_payload(data)


def test_a_rebirth_command_is_read_by_protobuf() -> None:
    message = TAHU.FromString(rebirth_command(1_700_000_000_000))
    (asked,) = message.metrics
    assert (asked.name, asked.datatype, asked.boolean_value) == ("Node Control/Rebirth", 11, True)
    assert message.timestamp == asked.timestamp == 1_700_000_000_000


def test_the_simulated_node_writes_what_protobuf_reads() -> None:
    message = TAHU.FromString(
        payload([metric("a/b", 3, 5, 10, 1.5, historical=True, quality=500), metric("c", value=-2)], 7, 255)
    )
    first, second = message.metrics
    assert (first.name, first.alias, first.timestamp, first.datatype, first.double_value) == ("a/b", 3, 5, 10, 1.5)
    assert first.is_historical
    assert first.properties.values[0].int_value == 500
    assert second.long_value == 2**64 - 2
    assert (message.timestamp, message.seq) == (7, 255)


@pytest.mark.parametrize(
    ("value", "datatype", "expected"),
    [
        (0xFB, 1, -5.0),  # Int8 in its own width
        (0xFFFFFFFB, 1, -5.0),  # and as two's complement of 32 bits
        (0x8000, 2, -32768.0),
        (2**32 - 1, 3, -1.0),
        (2**64 - 7, 4, -7.0),
        (200, 5, 200.0),
        (2**64 - 1, 8, 1.8446744073709552e19),
        (1, 11, 1.0),
        (True, 0, 1.0),
        (1.5, 0, 1.5),
        (math.inf, 10, math.nan),
        (None, 9, math.nan),
        (5, 0, None),
        (1_700_000_000_000, 13, None),
        (None, 12, None),
    ],
)
def test_bits_mean_what_the_datatype_says(value: Any, datatype: int, expected: float | None) -> None:
    assert repr(number(Metric(value=value), datatype)) == repr(expected)
