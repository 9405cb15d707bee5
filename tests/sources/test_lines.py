"""JSON and CSV lines, one at a time."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.decode import Decoded, channels_by_asset
from agent.sources.lines import CsvLines, JsonLines
from models.errors import FrameError
from tests.sources.conftest import KNOWN, NOW_NS, rows_of

CHANNELS = channels_by_asset(KNOWN)
T_NS = 1_700_000_000_250_000_000


def from_json(line: bytes, asset: str | None = "pump-1", device_time: bool = True) -> Decoded:
    return JsonLines(CHANNELS, asset, device_time)(line, NOW_NS)


def from_csv(
    line: bytes, columns: tuple[str, ...] = ("t", "flow", "pressure"), separator: str = ",", device: bool = True
) -> Decoded:
    return CsvLines(CHANNELS, "pump-1", columns, separator, device)(line, NOW_NS)


@pytest.mark.parametrize(
    "time", [b'"t": 1700000000.25', b'"t_ms": 1700000000250', b'"t_ns": 1700000000250000000', b'"t0":1700000000.25']
)
def test_json_times_in_any_unit_name_the_same_moment(time: bytes) -> None:
    decoded = from_json(b"{" + time + b', "flow": 12}')
    assert rows_of(decoded.readings) == [("pump-1", "flow", T_NS, 12.0)]
    assert decoded.timed


def test_nanoseconds_are_kept_exactly() -> None:
    assert from_json(b'{"t_ns": 1700000000000000001, "flow": 1}').readings[0].captured_at_ns == 1_700_000_000_000_000_001
    assert from_csv(b"1700000000000000001,1", ("t_ns", "flow")).readings[0].captured_at_ns == 1_700_000_000_000_000_001


@pytest.mark.parametrize("line", [b'{"flow": 1}', b'{"t": null, "flow": 1}'])
def test_a_line_without_a_time_is_dated_by_its_arrival(line: bytes) -> None:
    decoded = from_json(line)
    assert decoded.readings[0].captured_at_ns == NOW_NS
    assert not decoded.timed


def test_arrival_timestamps_never_look_at_the_devices() -> None:
    assert from_json(b'{"t": -5, "flow": 1}', device_time=False).readings[0].captured_at_ns == NOW_NS
    assert from_csv(b"-5,1,2", device=False).readings[0].captured_at_ns == NOW_NS


def test_null_and_what_firmware_prints_for_no_number_are_absent() -> None:
    assert math.isnan(from_json(b'{"flow": null}').readings[0].value)
    for text in (b"", b" ", b"nan", b"NaN", b"inf", b"-inf", b"ovf", b"null", b"1e999"):
        assert math.isnan(from_csv(b"1," + text, ("flow", "pressure")).readings[1].value), text


def test_the_line_may_name_its_asset() -> None:
    assert rows_of(from_json(b'{"asset": "fan-1", "speed": 900}').readings) == [("fan-1", "speed", NOW_NS, 900.0)]
    assert from_json(b'{"asset": "fan-1", "speed": 900}', asset=None).readings


def test_unknown_assets_and_channels_are_counted_and_left_out() -> None:
    decoded = from_json(b'{"flow": 1, "status": "ok", "info": {"rssi": -60}, "tags": ["a"]}')
    assert [r.channel for r in decoded.readings] == ["flow"]
    assert decoded.n_unknown == 3
    assert from_json(b'{"asset": "nobody", "flow": 1, "pressure": 2}').n_unknown == 2
    assert from_csv(b"1,2,3,4", ("flow", "_", "humidity", "pressure")).n_unknown == 1


def test_an_array_with_its_period_becomes_a_block() -> None:
    block = from_json(b'{"t": 1700000000.25, "period_ms": 0.5, "flow": [1, 2.5, null]}').readings[0]
    np.testing.assert_array_equal(block.captured_at_ns, [T_NS, T_NS + 500_000, T_NS + 1_000_000])
    np.testing.assert_array_equal(block.values, [1, 2.5, math.nan])


def test_an_array_without_a_time_ends_at_its_arrival() -> None:
    block = from_json(b'{"period_ms": 10, "flow": [1, 2, 3]}').readings[0]
    assert list(block.captured_at_ns) == [NOW_NS - 20_000_000, NOW_NS - 10_000_000, NOW_NS]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"Booting v1.2", "not JSON"),
        (b'{"flow": 1', "not JSON"),
        (b'{"flow": NaN}', "not JSON"),
        (b'{"flow": Infinity}', "not JSON"),
        (b'{"flow": 1e400}', "not JSON"),
        (b'{"flow": "\xff"}', "not JSON"),
        (b'{"x": ' + b"[" * 4000, "not JSON"),
        (b"[1, 2]", "expected a JSON object"),
        (b'{"flow": true}', "flow: expected a number"),
        (b'{"flow": "12"}', "flow: expected a number"),
        (b'{"flow": {}}', "flow: expected a number"),
        (b'{"flow": ' + b"9" * 400 + b"}", "beyond 1e308"),
        (b'{"flow": [1, 2]}', "period_ms"),
        (b'{"flow": [1, 2], "period_ms": 0}', "period_ms"),
        (b'{"flow": [1, 2], "period_ms": true}', "period_ms"),
        (b'{"flow": [1, true], "period_ms": 1}', "flow: expected a number"),
        (b'{"flow": [1, 2], "period_ms": 1, "t": 7258118400}', "last sample"),
        (b'{"t": -1, "flow": 1}', "before 1970 or after 2200"),
        (b'{"t": 7258118401, "flow": 1}', "before 1970 or after 2200"),
        (b'{"t": 1e300, "flow": 1}', "before 1970 or after 2200"),
        (b'{"t_ns": ' + b"9" * 400 + b', "flow": 1}', "before 1970 or after 2200"),
        (b'{"t": "2024-01-01", "flow": 1}', "expected a time as a number"),
        (b'{"t": true, "flow": 1}', "expected a time as a number"),
        (b'{"asset": 7, "flow": 1}', "asset: expected a name"),
    ],
)
def test_a_json_line_that_says_something_wrong_is_refused_whole(line: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        from_json(line)


def test_a_json_line_of_no_asset_is_refused() -> None:
    with pytest.raises(FrameError, match="asset: expected a name"):
        from_json(b'{"flow": 1}', asset=None)


def test_csv_columns_are_read_in_their_order() -> None:
    assert rows_of(from_csv(b"1700000000.25;1.5;-2e-3\r", separator=";").readings) == [
        ("pump-1", "flow", T_NS, 1.5),
        ("pump-1", "pressure", T_NS, -0.002),
    ]
    assert from_csv(b",1,2").readings[0].captured_at_ns == NOW_NS


def test_empty_lines_and_a_header_are_no_errors() -> None:
    for line in (b"\r", b"", b"t, flow,pressure\r"):
        assert from_csv(line) == Decoded()
    assert from_json(b"\r") == Decoded()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"1700000000,1.5", "expected 3 columns, got 2"),
        (b"1700000000,1.5,2,3", "expected 3 columns, got 4"),
        (b"1700000000,1.5,err", "pressure: expected a number"),
        (b"1700000000,1_000,2", "flow: expected a number"),
        (b"1700000000,0x10,2", "flow: expected a number"),
        (b"1700000000,1.5,\xff", "expected ASCII"),
        (b"nan,1.5,2", "expected a time"),
        (b"-1,1.5,2", "before 1970"),
        (b"99999999999999999999999999,1.5,2", "before 1970 or after 2200"),
    ],
)
def test_a_csv_line_that_says_something_wrong_is_refused_whole(line: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        from_csv(line)


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_a_frame_error(line: bytes) -> None:
    for decode in (from_json, from_csv):
        with suppress(FrameError):
            assert isinstance(decode(line), Decoded)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
keys = st.sampled_from(["t", "t_ms", "t_ns", "t0", "asset", "period_ms", "flow", "pressure", "other"])


@given(st.dictionaries(keys, scalars | st.lists(scalars, max_size=3)))
def test_any_object_decodes_or_raises_a_frame_error(fields: dict[str, object]) -> None:
    try:
        decoded = from_json(json.dumps(fields).encode())
    except FrameError:
        return
    assert all(at >= 0 for *_, at, _ in rows_of(decoded.readings))
