"""Checked binary frames on a serial line: several samples in each, stuffed with COBS; layout in `contract.frames`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.firmware.encoder import Message, Samples
from models.contract.frames import Frame, encode_frame
from models.contract.names import MAX_FRAME_BYTES

_OVERHEAD_BYTES: Final = 64  # header, checksum, stuffing and delimiter, generously


class CobsFrames:
    """A frame holds up to `samples_per_message` evenly spaced samples; where the spacing changes, a new one begins."""

    def __init__(self, n_channels: int, samples_per_message: int = 10) -> None:
        fitting = (MAX_FRAME_BYTES - _OVERHEAD_BYTES) // (4 * n_channels + 1)
        self.samples_per_message = max(1, min(samples_per_message, fitting))
        self._seq = 0

    def encode(self, samples: Samples) -> list[Message]:
        """See `Encoder.encode`."""
        t_us = samples.time_ns // 1000
        messages = []
        start = 0
        while start < len(t_us):
            n = _run_length(t_us[start : start + self.samples_per_message])
            period_us = int(t_us[start + 1] - t_us[start]) if n > 1 else 0
            values = samples.values[start : start + n].astype(np.float32)
            if np.isfinite(values).any():
                frame = encode_frame(Frame(self._seq, int(t_us[start]), period_us, values))
                messages.append(Message("", frame, int(samples.time_ns[start])))
                self._seq = (self._seq + 1) & 0xFFFF
            start += n
        return messages


def _run_length(t_us: NDArray[np.int64]) -> int:
    """How many of the times from the first on lie on one grid, to the 2 µs that rounding costs, and ascend."""
    if len(t_us) < 2:
        return len(t_us)
    period_us = int(t_us[1] - t_us[0])
    if not 0 < period_us < 2**32:
        return 1
    grid_us = t_us[0] + period_us * np.arange(len(t_us))
    off = np.flatnonzero(np.abs(t_us - grid_us) > 2)
    return int(off[0]) if len(off) else len(t_us)
