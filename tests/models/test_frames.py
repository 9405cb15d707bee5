"""The binary serial frame's own rules; its round trip is shown where both ends meet, in tests/sim and tests/sources."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from models.contract.frames import Frame, crc16, decode_frame, encode_frame
from models.contract.names import MAX_FRAME_BYTES
from models.errors import FrameError


def stuffed(**changes: int) -> bytes:
    """A frame made by hand from its fields, with a right CRC over whatever they say."""
    fields = {"version": 1, "n_channels": 2, "n_samples": 1, "seq": 7, "t0_us": 0, "period_us": 0} | changes
    body = struct.pack("<BBHHQI", *fields.values()) + np.array([1.5, -2.5], dtype="<f4").tobytes()
    return bytes(cobs.encode(body + struct.pack("<H", crc16(body))))


def test_the_crc_is_ccitt_false() -> None:
    assert crc16(b"123456789") == 0x29B1
    assert crc16(b"") == 0xFFFF


def test_the_layout_is_as_documented() -> None:
    frame = Frame(seq=7, t0_us=0, period_us=0, values=np.array([[1.5, -2.5]], dtype=np.float32))
    assert encode_frame(frame) == stuffed() + b"\x00"


def test_a_sequence_number_wraps() -> None:
    values = np.zeros((1, 1), dtype=np.float32)
    assert decode_frame(encode_frame(Frame(seq=65_536 + 3, t0_us=0, period_us=0, values=values))[:-1]).seq == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "frame version 2; this agent reads 1"),
        ({"n_channels": 0}, "1 samples of 0 channels do not fill 26 bytes"),
        ({"n_channels": 65}, "do not fill"),
        ({"n_samples": 0}, "0 samples of 2 channels do not fill"),
        ({"n_samples": 2}, "2 samples of 2 channels do not fill"),
    ],
)
def test_a_whole_frame_that_contradicts_itself_is_refused(changes: dict[str, int], says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decode_frame(stuffed(**changes))


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x05ab", cobs.encode(b"short"), stuffed()[:-3]])
def test_a_torn_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


@given(st.integers(0, len(stuffed()) - 1), st.integers(1, 255))
def test_one_changed_byte_never_passes(at: int, flip: int) -> None:
    data = bytearray(stuffed())
    data[at] ^= flip
    with pytest.raises(FrameError):
        decode_frame(bytes(data))


def test_a_frame_that_no_receiver_would_take_is_not_made() -> None:
    values = np.zeros((MAX_FRAME_BYTES // 4, 1), dtype=np.float32)
    with pytest.raises(ValueError, match="at most 4095"):
        encode_frame(Frame(seq=0, t0_us=0, period_us=1, values=values))
