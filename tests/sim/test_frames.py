"""The binary frame's codec: what goes in comes out, and nothing else passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.contract.frames import DELIMITER, Frame, crc16, decode_frame, encode_frame
from models.errors import FrameError

frames = st.builds(
    Frame,
    seq=st.integers(0, 0xFFFF),
    t0_us=st.integers(0, 2**63),
    period_us=st.integers(0, 2**32 - 1),
    values=hnp.arrays(np.float32, st.tuples(st.integers(1, 15), st.integers(1, 64))),
)


@settings(deadline=None)
@given(frames)
def test_frame_comes_back_as_it_was_with_one_delimiter_at_its_end(frame: Frame) -> None:
    wire = encode_frame(frame)
    assert wire.index(DELIMITER) == len(wire) - 1
    back = decode_frame(wire[:-1])
    assert (back.seq, back.t0_us, back.period_us) == (frame.seq, frame.t0_us, frame.period_us)
    assert back.values.tobytes() == frame.values.tobytes()


@settings(deadline=None)
@given(frames, st.data())
def test_frame_cut_anywhere_is_refused(frame: Frame, data: st.DataObject) -> None:
    stuffed = encode_frame(frame)[:-1]
    with pytest.raises(FrameError):
        decode_frame(stuffed[: data.draw(st.integers(0, len(stuffed) - 1))])


@settings(deadline=None)
@given(frames, st.data())
def test_frame_with_one_wrong_byte_is_refused(frame: Frame, data: st.DataObject) -> None:
    stuffed = bytearray(encode_frame(frame)[:-1])
    at = data.draw(st.integers(0, len(stuffed) - 1))
    stuffed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        decode_frame(bytes(stuffed))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(garbage)


def test_checksum_is_the_published_one() -> None:
    assert crc16(b"123456789") == 0x29B1


def test_frame_beyond_the_limit_is_not_made() -> None:
    with pytest.raises(ValueError, match="at most 4095"):
        encode_frame(Frame(0, 0, 1, np.zeros((100, 64), np.float32)))
