"""Items: what is tolerated, what is quarantined, and vectors as bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.contract.items import BODIES, KIND_OF, LANE_OF, LANES, Body, decode_body, encode_body, pack_floats, unpack_floats
from models.errors import ItemError
from tests import builders

BODIES_MADE = [builders.aggregate(), builders.alert(), builders.evidence(), builders.sensor_fault(), builders.health()]


@pytest.mark.parametrize("body", BODIES_MADE, ids=lambda body: KIND_OF[type(body)])
def test_a_body_comes_back_as_it_went(body: Body) -> None:
    assert decode_body(KIND_OF[type(body)], encode_body(body)) == body


def test_every_kind_has_a_lane_but_evictions_which_stay_where_they_are() -> None:
    assert set(LANE_OF) == set(BODIES) - {"eviction"}
    assert set(LANE_OF.values()) == set(LANES)
    assert LANES == ("alerts", "aggregates", "evidence")


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ItemError, match="unknown kind 'gossip'; known: alert, sensor_fault"):
        decode_body("gossip", encode_body(builders.alert()))


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    fields = msgspec.msgpack.decode(encode_body(builders.alert(3)))
    fields["mood"] = {"deep": [1, 2, {"deeper": None}]}
    assert decode_body("alert", msgspec.msgpack.encode(fields)) == builders.alert(3)


def changed(body: Body, **changes: Any) -> bytes:
    fields = msgspec.msgpack.decode(encode_body(body))
    fields.update(changes)
    return msgspec.msgpack.encode({k: v for k, v in fields.items() if v is not ...})


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("alert", changed(builders.alert(), score="high"), r"alert: Expected `float`, got `str` - at `\$.score`"),
        ("alert", changed(builders.alert(), severity="dire"), "alert: Invalid enum value 'dire'"),
        ("alert", changed(builders.alert(), asset="../../etc"), "alert: Expected `str` matching regex"),
        ("alert", changed(builders.alert(), alert_id=...), "alert: Object missing required field `alert_id`"),
        ("evidence", changed(builders.evidence(), asset="a b"), "evidence: Expected `str` matching regex"),
        ("sensor_fault", changed(builders.sensor_fault(), detail="x" * 501), "sensor_fault: Expected `str` of length <= 500"),
        ("alert", b"", "alert: Input data was truncated"),
        ("alert", encode_body(builders.alert())[:-1], "alert: Input data was truncated"),
        ("alert", encode_body(builders.alert()) + b"\x00", "alert: MessagePack data is malformed: trailing characters"),
        ("alert", b"\xc1", "alert: MessagePack data is malformed"),
        ("alert", b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", "alert: maximum recursion depth exceeded"),
        ("alert", b"\x81\xa8alert_id\xa2\xff\xfe", "alert: "),
    ],
)
def test_a_poison_body_is_an_item_error_that_names_the_kind_and_the_field(kind: str, data: bytes, says: str) -> None:
    with pytest.raises(ItemError, match=says):
        decode_body(kind, data)


@given(st.sampled_from(sorted(BODIES)), st.binary(max_size=200))
def test_garbage_is_never_more_than_an_item_error(kind: str, data: bytes) -> None:
    try:
        body = decode_body(kind, data)
    except ItemError:
        return
    assert isinstance(body, BODIES[kind])


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=8), elements=st.floats(width=32)))
def test_floats_come_back_bit_for_bit(values: np.ndarray) -> None:
    columns = values.shape[1] if values.ndim == 2 else None
    back = unpack_floats(pack_floats(values), columns)
    assert back.shape == values.shape
    assert back.tobytes() == values.tobytes()


def test_floats_travel_little_endian_and_row_major_whatever_they_were_before() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=">f8")
    expected = np.array([1, 2, 3, 4], dtype="<f4").tobytes()
    assert pack_floats(values) == expected
    assert pack_floats(np.asfortranarray(values)) == expected
    assert unpack_floats(b"", 3).shape == (0, 3)


@pytest.mark.parametrize(("n_bytes", "columns"), [(1, None), (6, None), (8, 3), (13, 3)])
def test_a_torn_array_is_refused(n_bytes: int, columns: int | None) -> None:
    with pytest.raises(ItemError, match=f"{n_bytes} bytes are no whole number of float32 rows"):
        unpack_floats(bytes(n_bytes), columns)
