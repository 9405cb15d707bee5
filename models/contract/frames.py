"""The binary serial frame: many samples of several channels in one checked block.

Layout, little-endian, before byte stuffing:

    u8   version          1
    u8   n_channels       1..64, in the order that both sides have configured
    u16  n_samples        1..; frames are at most MAX_FRAME_BYTES
    u16  seq              counts up by one a frame and wraps; a jump tells how many frames were lost
    u64  t0_us            Unix time of the first sample, µs; 0 = the firmware has no clock
    u32  period_us        from one sample to the next, µs
    f32  values[n_samples][n_channels]      NaN = absent
    u16  crc              CRC-16/CCITT-FALSE over everything above

Then COBS (Cheshire and Baker, 1999), then one 0x00 as delimiter: a receiver that joins late or loses bytes is in step
again at the next zero.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

from models.contract.names import MAX_CHANNELS, MAX_FRAME_BYTES
from models.errors import FrameError

VERSION: Final = 1
DELIMITER: Final = b"\x00"
_HEADER: Final = struct.Struct("<BBHHQI")
_CRC: Final = struct.Struct("<H")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`values`: (n_samples, n_channels) float32. `t0_us`: Unix µs of the first sample, 0 = unknown.
    `period_us`: > 0 where there is more than one sample."""

    seq: int
    t0_us: int
    period_us: int
    values: NDArray[np.float32]


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF (the check value of b"123456789" is 0x29B1)."""
    return binascii.crc_hqx(data, 0xFFFF)


def encode_frame(frame: Frame) -> bytes:
    """The stuffed frame with its delimiter. Raises ValueError where it would not fit MAX_FRAME_BYTES."""
    n_samples, n_channels = frame.values.shape
    head = _HEADER.pack(VERSION, n_channels, n_samples, frame.seq & 0xFFFF, frame.t0_us, frame.period_us)
    body = head + np.ascontiguousarray(frame.values, dtype="<f4").tobytes()
    stuffed: bytes = cobs.encode(body + _CRC.pack(crc16(body)))
    if len(stuffed) >= MAX_FRAME_BYTES:
        raise ValueError(
            f"{n_samples} samples of {n_channels} channels make a frame of {len(stuffed)} bytes; at most {MAX_FRAME_BYTES - 1}"
        )
    return stuffed + DELIMITER


def decode_frame(stuffed: bytes) -> Frame:
    """A frame from the bytes between two delimiters. Raises FrameError: torn, wrong CRC, or not this format."""
    try:
        plain = cobs.decode(stuffed)
    except cobs.DecodeError as error:
        raise FrameError(f"not COBS: {error}") from error
    if len(plain) < _HEADER.size + _CRC.size:
        raise FrameError(f"frame of {len(plain)} bytes; at least {_HEADER.size + _CRC.size}")
    body = plain[: -_CRC.size]
    if crc16(body) != _CRC.unpack(plain[-_CRC.size :])[0]:
        raise FrameError(f"wrong CRC over {len(body)} bytes")
    version, n_channels, n_samples, seq, t0_us, period_us = _HEADER.unpack_from(body)
    if version != VERSION:
        raise FrameError(f"frame version {version}; this agent reads {VERSION}")
    if not 1 <= n_channels <= MAX_CHANNELS or n_samples < 1 or len(body) != _HEADER.size + 4 * n_channels * n_samples:
        raise FrameError(f"{n_samples} samples of {n_channels} channels do not fill {len(body)} bytes")
    values = np.frombuffer(body, dtype="<f4", offset=_HEADER.size).reshape(n_samples, n_channels)
    return Frame(seq=seq, t0_us=t0_us, period_us=period_us, values=values)
