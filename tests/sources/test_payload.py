"""MQTT payloads: numbers, JSON and SenML, with what their topics say."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.config import PayloadKind
from agent.sources.decode import Decoded, channels_by_asset
from agent.sources.payload import PayloadDecoder
from agent.sources.topics import Place
from models.contract.names import MAX_PAYLOAD_BYTES
from models.errors import FrameError
from tests.sources.conftest import KNOWN, NOW_NS, rows_of

FLOW = Place("pump-1", "flow")
PUMP = Place("pump-1")
NOWHERE = Place()
S = 1_000_000_000
T_NS = 1_700_000_000 * S


def decode(payload: bytes | object, place: Place = FLOW, kind: PayloadKind = "auto", device_time: bool = True) -> Decoded:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return PayloadDecoder(kind, channels_by_asset(KNOWN), device_time).decode(data, place, NOW_NS)


@pytest.mark.parametrize(("payload", "value"), [(b"21.5", 21.5), (b" -3\n", -3.0), (b"+1e3", 1000.0), (b".5", 0.5)])
def test_a_plain_number_arrives_on_a_topic_that_names_its_channel(payload: bytes, value: float) -> None:
    for kind in ("auto", "number"):
        assert rows_of(decode(payload, kind=kind).readings) == [("pump-1", "flow", NOW_NS, value)]


@pytest.mark.parametrize("payload", [b"nan", b"NaN", b"null", b"", b"inf", b"1e999"])
def test_a_number_that_is_none_is_absent(payload: bytes) -> None:
    assert math.isnan(decode(payload).readings[0].value)


def test_a_json_value_with_its_time() -> None:
    decoded = decode({"value": 2, "t": 1700000000})
    assert rows_of(decoded.readings) == [("pump-1", "flow", T_NS, 2.0)]
    assert decoded.timed
    assert rows_of(decode(b"2.5", kind="json").readings) == [("pump-1", "flow", NOW_NS, 2.5)]
    assert rows_of(decode({"flow": 3}).readings) == [("pump-1", "flow", NOW_NS, 3.0)]


def test_a_json_object_of_several_channels() -> None:
    decoded = decode({"t": 1700000000, "flow": 1, "pressure": None, "mode": {"x": [1]}}, PUMP)
    assert [(c, at) for _, c, at, _ in rows_of(decoded.readings)] == [("flow", T_NS), ("pressure", T_NS)]
    assert decoded.n_unknown == 1


def test_a_json_block() -> None:
    rows = rows_of(decode({"t0": 1700000000, "period_ms": 500, "values": [1, 2, 3]}).readings)
    assert [at for *_, at, _ in rows] == [T_NS, T_NS + S // 2, T_NS + S]
    assert [v for *_, v in rows] == [1, 2, 3]


def test_the_topics_word_on_the_asset_stands_and_without_it_the_payload_says() -> None:
    assert decode({"asset": "fan-1", "flow": 1}, PUMP).readings[0].asset == "pump-1"
    assert decode({"asset": "fan-1", "speed": 1}, NOWHERE).readings[0].asset == "fan-1"
    assert decode({"asset": "fan-1", "value": 1}, Place(None, "speed")).readings[0].asset == "fan-1"


def test_unknown_names_are_counted() -> None:
    assert decode(b"1", Place("pump-1", "humidity")) == Decoded(n_unknown=1)
    assert decode(b"1", Place("nobody", "flow")) == Decoded(n_unknown=1)
    assert decode({"value": 1}, Place("nobody", "flow")).n_unknown == 1


@pytest.mark.parametrize(
    ("payload", "place", "says"),
    [
        (b"12,5", FLOW, "expected a number"),
        (b"1_000", FLOW, "expected a number"),
        (b"on", FLOW, "expected a number"),
        (b"\xff\xfe", FLOW, "expected a number"),
        (b"9" * 65, FLOW, "expected a number"),
        (b"5", PUMP, "does not name both"),
        (b'{"t": 1}', FLOW, "expected 'value' or 'values'"),
        (b'{"value": "on"}', FLOW, "expected a number"),
        (b'{"value": true}', FLOW, "expected a number"),
        (b'{"flow": 1}', NOWHERE, "asset"),
        (b"{" * 65000, PUMP, "not JSON"),
        (b"[" * 65000, PUMP, "not JSON"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), FLOW, "payload of 65537 bytes"),
    ],
)
def test_a_payload_that_cannot_be_read_is_refused(payload: bytes, place: Place, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decode(payload, place)


def test_payload_json_refuses_other_json() -> None:
    for payload in (b"true", b'"on"', b"[1]"):
        with pytest.raises(FrameError, match="payload: expected a number"):
            decode(payload, kind="json")


# --- SenML, RFC 8428 ---------------------------------------------------------------------------------------------
def test_senml_names_values_and_times_resolve_with_their_bases() -> None:
    pack = [
        {"bn": "urn:dev:pump-1:", "bt": 1700000000, "bv": 100, "n": "flow", "v": 1.5},
        {"n": "flow", "v": 2.5, "t": 1},
        {"n": "pressure", "v": -1, "t": -1},
    ]
    assert rows_of(decode(pack, NOWHERE).readings) == [
        ("pump-1", "flow", T_NS, 101.5),
        ("pump-1", "flow", T_NS + S, 102.5),
        ("pump-1", "pressure", T_NS - S, 99.0),
    ]


def test_senml_records_of_one_channel_become_a_block_oldest_first() -> None:
    pack = [{"bn": "pump-1/flow", "bt": 1700000000, "v": 1}, {"t": -2, "v": 3}, {"t": -1, "v": 2}]
    decoded = decode(pack, PUMP)
    assert len(decoded.readings) == 1
    assert list(decoded.readings[0].values) == [3, 2, 1]
    assert decoded.timed


def test_senml_times_below_2_to_28_are_relative_to_arrival() -> None:
    decoded = decode([{"n": "flow", "v": 1, "t": -5}, {"n": "pressure", "v": 2}], PUMP)
    assert [at for *_, at, _ in rows_of(decoded.readings)] == [NOW_NS - 5 * S, NOW_NS]
    assert not decoded.timed


def test_senml_by_arrival_keeps_the_spacing_and_ends_at_arrival() -> None:
    pack = [{"n": "flow", "bt": 1700000000, "v": 1}, {"n": "flow", "v": 2, "t": 10}]
    decoded = decode(pack, PUMP, device_time=False)
    assert [at for *_, at, _ in rows_of(decoded.readings)] == [NOW_NS - 10 * S, NOW_NS]


def test_senml_precision_of_a_base_time_is_kept() -> None:
    rows = rows_of(decode([{"n": "flow", "bt": 1700000000, "t": 0.001, "v": 1}], PUMP).readings)
    assert rows[0][2] == T_NS + 1_000_000


def test_senml_records_that_hold_no_number_are_counted_and_left_out() -> None:
    pack = [
        {"bn": "pump-1/"},
        {"n": "flow", "vs": "ok"},
        {"n": "flow", "vb": True},
        {"n": "humidity", "v": 1},
        {"n": "flow", "v": 1},
    ]
    decoded = decode(pack, NOWHERE)
    assert len(decoded.readings) == 1
    assert decoded.n_unknown == 3


def test_senml_on_a_topic_of_another_channel_is_left_out() -> None:
    decoded = decode([{"n": "pressure", "v": 1}, {"v": 2}, {"n": "flow", "v": 3, "t": 1}], FLOW)
    assert [v for *_, v in rows_of(decoded.readings)] == [2, 3]
    assert decoded.n_unknown == 1


@pytest.mark.parametrize(
    ("pack", "says"),
    [
        ([1], "array of records"),
        ({"e": []}, "array of records"),
        ([{"n": "flow", "v": "1"}], "expected a number"),
        ([{"n": "flow", "v": True}], "expected a number"),
        ([{"n": 5, "v": 1}], "n: expected text"),
        ([{"bver": 11, "n": "flow", "v": 1}], "version 11"),
        ([{"n": "flow", "v": 1, "new_": 1}], "must be understood"),
        ([{"n": "flow", "v": 1, "t": 1e11}], "after 2200"),
        ([{"n": "flow", "v": 1, "t": -1e10}], "from now"),
        ([{"n": "flow", "v": 1, "t": None}], "from now"),
    ],
)
def test_a_senml_pack_that_cannot_be_read_is_refused(pack: object, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decode(pack, PUMP, kind="senml")


record = st.dictionaries(
    st.sampled_from(["n", "bn", "t", "bt", "v", "bv", "vs", "bver"]),
    st.none() | st.integers() | st.floats() | st.sampled_from(["flow", "pump-1/", "x"]),
)


@given(st.lists(record, max_size=5), st.sampled_from([FLOW, PUMP, NOWHERE]), st.booleans())
def test_any_pack_decodes_or_raises_a_frame_error(pack: list[dict[str, object]], place: Place, device_time: bool) -> None:
    try:
        decoded = decode(pack, place, "senml", device_time)
    except FrameError:
        return
    assert all(at >= 0 and not math.isinf(value) for *_, at, value in rows_of(decoded.readings))


@given(st.binary(max_size=200), st.sampled_from([FLOW, PUMP, NOWHERE]), st.sampled_from(["auto", "number", "json", "senml"]))
def test_any_payload_decodes_or_raises_a_frame_error(payload: bytes, place: Place, kind: PayloadKind) -> None:
    with suppress(FrameError):
        assert isinstance(decode(payload, place, kind), Decoded)
