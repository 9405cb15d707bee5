"""A Modbus device's registers: each channel a big-endian float32 in two input registers, in the profile's order from address 0.

A message is an image of them all after a sample. Over a link the image is what polls find; in virtual time the images are
written one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from firmware_sim.firmware.encoder import Message, Samples

FUNCTION = 4  # read input registers
UNIT = 1


class RegisterImages:
    """One image a sample; an absent value is NaN, which a reader takes for no reading."""

    samples_per_message = 1

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`. A sample without any value makes an image, too: a device does not know that nobody measured."""
        images = samples.values.astype(">f4")
        return [Message("", row.tobytes(), at_ns) for row, at_ns in zip(images, samples.time_ns.tolist(), strict=True)]


def words_of(image: bytes) -> Sequence[int]:
    """The registers' words, from address 0."""
    return struct.unpack(f">{len(image) // 2}H", image)


def blank(n_channels: int) -> bytes:
    """The image before the first sample."""
    return np.full(n_channels, np.nan, dtype=">f4").tobytes()
