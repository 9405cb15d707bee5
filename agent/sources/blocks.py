"""COBS frames from a serial line: blocks of samples with a checksum and a sequence number; layout in `contract.frames`."""

from __future__ import annotations

import numpy as np

from agent.sources.config import IGNORED
from agent.sources.decode import Channels, Decoded, checked_time, sample_times
from models.contract.frames import decode_frame
from models.contract.reading import Block
from models.errors import FrameError


class CobsFrames:
    """Decodes frames of one firmware; `columns` names its channels in the frame's order.

    A sequence number that jumps ahead tells how many frames are missing before it. One that falls back is a firmware
    that started anew: nothing is counted as lost then.
    """

    def __init__(self, channels: Channels, asset: str, columns: tuple[str, ...], device_time: bool) -> None:
        names = channels.get(asset, frozenset())
        self._asset = asset
        self._columns = columns
        self._device_time = device_time
        self._wanted = [(i, c) for i, c in enumerate(columns) if c in names]
        self._n_unknown = sum(c not in names and c != IGNORED for c in columns)
        self._seq: int | None = None

    def __call__(self, stuffed: bytes, now_ns: int) -> Decoded:
        """Raises FrameError: torn, of another number of channels, samples without a period, or an absurd time."""
        frame = decode_frame(stuffed)
        n_samples, n_channels = frame.values.shape
        if n_channels != len(self._columns):
            raise FrameError(f"frame of {n_channels} channels; {len(self._columns)} are configured")
        if n_samples > 1 and frame.period_us == 0:
            raise FrameError(f"frame of {n_samples} samples with no period between them")
        first_ns = checked_time(frame.t0_us * 1000, "t0_us") if self._device_time and frame.t0_us else None
        times = sample_times(first_ns, frame.period_us * 1000, n_samples, now_ns)
        times.flags.writeable = False  # shared by the frame's blocks
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN too
            values = np.ascontiguousarray(frame.values.T, dtype=np.float64)
        values[~np.isfinite(values)] = np.nan
        blocks = [Block(self._asset, name, times, values[i]) for i, name in self._wanted]
        return Decoded(blocks, self._n_unknown * n_samples, first_ns is not None, self._lost_before(frame.seq))

    def _lost_before(self, seq: int) -> int:
        previous, self._seq = self._seq, seq
        if previous is None:
            return 0
        missing = (seq - previous - 1) & 0xFFFF
        return missing if missing < 0x8000 else 0
