"""COBS frames as blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.blocks import CobsFrames
from agent.sources.decode import channels_by_asset
from models.contract.frames import Frame, encode_frame
from models.errors import FrameError
from tests.sources.conftest import KNOWN, NOW_NS

T0_US = 1_700_000_000_000_000


def decoder(columns: tuple[str, ...] = ("flow", "pressure"), device_time: bool = True) -> CobsFrames:
    return CobsFrames(channels_by_asset(KNOWN), "pump-1", columns, device_time)


def stuffed(values: object, seq: int = 0, t0_us: int = T0_US, period_us: int = 1000) -> bytes:
    return encode_frame(Frame(seq, t0_us, period_us, np.asarray(values, dtype=np.float32)))[:-1]


def test_a_frame_becomes_one_block_a_channel() -> None:
    flow, pressure = decoder()(stuffed([[1, 2], [3, np.nan], [5, np.inf]]), NOW_NS).readings
    assert (flow.channel, pressure.channel) == ("flow", "pressure")
    np.testing.assert_array_equal(flow.captured_at_ns, T0_US * 1000 + np.array([0, 1_000_000, 2_000_000]))
    np.testing.assert_array_equal(flow.values, [1, 3, 5])
    np.testing.assert_array_equal(pressure.values, [2, np.nan, np.nan])
    assert flow.values.dtype == np.float64


@pytest.mark.parametrize(("t0_us", "device_time"), [(0, True), (T0_US, False)])
def test_a_frame_without_a_clock_ends_at_its_arrival(t0_us: int, device_time: bool) -> None:
    decoded = decoder(device_time=device_time)(stuffed([[1, 2], [3, 4]], t0_us=t0_us), NOW_NS)
    np.testing.assert_array_equal(decoded.readings[0].captured_at_ns, [NOW_NS - 1_000_000, NOW_NS])
    assert not decoded.timed


def test_a_jump_of_the_sequence_counts_the_frames_between_also_across_its_wrap() -> None:
    decode = decoder()
    lost = [decode(stuffed([[1, 2]], seq), NOW_NS).n_lost for seq in (65534, 65535, 0, 3, 4)]
    assert lost == [0, 0, 0, 2, 0]


def test_a_sequence_that_falls_back_is_a_restart_and_not_a_loss() -> None:
    decode = decoder()
    assert [decode(stuffed([[1, 2]], seq), NOW_NS).n_lost for seq in (500, 0, 1, 1)] == [0, 0, 0, 0]


def test_columns_may_be_ignored_and_unknown_ones_are_counted_by_value() -> None:
    decoded = decoder(("_", "flow", "humidity"))(stuffed([[1, 2, 3], [4, 5, 6]]), NOW_NS)
    assert [block.channel for block in decoded.readings] == ["flow"]
    np.testing.assert_array_equal(decoded.readings[0].values, [2, 5])
    assert decoded.n_unknown == 2


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (stuffed([[1, 2, 3]]), "frame of 3 channels; 2 are configured"),
        (stuffed([[1, 2], [3, 4]], period_us=0), "no period"),
        (stuffed([[1, 2]], t0_us=2**63), "before 1970 or after 2200"),
        (stuffed([[1, 2]])[:-3], "CRC|COBS"),
        (b"\x01", "frame of 0 bytes"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(frame: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decoder()(frame, NOW_NS)


@given(st.binary(max_size=100).map(lambda b: b.replace(b"\0", b"\1")), st.integers(0, 80))
def test_a_damaged_frame_raises_nothing_but_a_frame_error(noise: bytes, at: int) -> None:
    good = stuffed([[1, 2], [3, 4]])
    damaged = good[:at] + noise + good[at + len(noise) :]
    try:
        decoder()(damaged, NOW_NS)
    except FrameError:
        assert damaged != good


@given(st.binary(min_size=16, max_size=16))
def test_any_bit_pattern_of_a_value_is_a_number_or_absent(bits: bytes) -> None:
    values = np.frombuffer(bits, dtype="<f4").reshape(2, 2)
    for block in decoder()(stuffed(values), NOW_NS).readings:
        assert not np.isinf(block.values).any()
