"""From a stream of bytes to frames, however the stream is cut, torn or flooded.

Invariants:
1. The same bytes give the same frames and the same count of errors, whatever the chunks.
2. At most `max_bytes` are kept from one call to the next. A frame that grows beyond is dropped and counted once, and
   the next delimiter puts the stream in step again.
3. Nothing that arrives raises: a frame that its decoder refuses is counted, and the stream goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.sources.decode import Decoded, Tally
from models.contract.names import MAX_FRAME_BYTES
from models.errors import FrameError

Decode = Callable[[bytes, int], Decoded]  # (frame, now_ns); raises FrameError


class Framer:
    """Cuts a stream at `delimiter`, a single byte.

    `in_step`: False where the stream is joined midway and a torn first frame could pass for a whole one; what comes
    before the first delimiter is then left out, and is no error.
    """

    def __init__(self, delimiter: bytes, max_bytes: int = MAX_FRAME_BYTES, in_step: bool = True) -> None:
        self._delimiter = delimiter
        self._max_bytes = max_bytes
        self._skipping = not in_step
        self._rest = b""

    @property
    def n_kept(self) -> int:
        """Bytes of the unfinished frame, <= `max_bytes`."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> tuple[list[bytes], int]:
        """The frames that `chunk` completes, without delimiter or empty ones, and how many were oversized."""
        head, *others = chunk.split(self._delimiter)
        oversized = self._extend(head)
        frames = []
        for following in others:
            if self._rest:
                frames.append(self._rest)
            self._rest, self._skipping = b"", False
            oversized += self._extend(following)
        return frames, oversized

    def _extend(self, part: bytes) -> int:
        """Adds to the unfinished frame; 1 where it has just become oversized."""
        if self._skipping:
            return 0
        if len(self._rest) + len(part) <= self._max_bytes:
            self._rest = self._rest + part if self._rest else part
            return 0
        self._rest, self._skipping = b"", True
        return 1


class StreamDecoder:
    """A framer and what its frames mean: one per connection."""

    def __init__(self, framer: Framer, decode: Decode) -> None:
        self._framer = framer
        self._decode = decode

    def feed(self, chunk: bytes, now_ns: int) -> Tally:
        """What `chunk` brought. `now_ns`: its arrival."""
        tally = Tally()
        frames, oversized = self._framer.feed(chunk)
        if oversized:
            tally.add_error(f"frame of more than {MAX_FRAME_BYTES} bytes", oversized)
        for frame in frames:
            try:
                tally.add(self._decode(frame, now_ns))
            except FrameError as error:
                tally.add_error(str(error))
        return tally
