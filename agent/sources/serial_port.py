"""The serial source: a port, read in blocks, whose lines or frames become readings.

- The port is locked for this process: two readers would each get half of the bytes.
- What was in the driver's buffer before the port was opened is left out: nobody knows when it was measured.
- A port that vanishes (unplugged, or a pseudo-terminal whose other end has closed) is a link that is down; it is tried
  again until it is back under its name. An adapter may come back as another ttyUSB: give its stable name, a link below
  /dev/serial/by-id, which is followed anew at each attempt; or a pattern (/dev/ttyUSB*) that one port alone matches. Of
  several nobody could say which is meant: then none is opened.
- While `deliver` blocks nothing is read: the driver's buffer (about 4 kB) fills, and beyond that the line loses bytes,
  which shows as frame errors or lost frames.
"""

from __future__ import annotations

import glob
import random
import select
import termios
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import serial

from agent.backoff import Backoff
from agent.sources.blocks import CobsFrames
from agent.sources.config import SerialConfig
from agent.sources.decode import Tally, channels_by_asset
from agent.sources.framing import Framer, StreamDecoder
from agent.sources.lines import CsvLines, JsonLines
from agent.sources.link import Link
from agent.sources.source import Burst, SourceState
from models.contract.frames import DELIMITER
from models.errors import LinkError

_BACKOFF: Final = Backoff(cap_s=5.0)  # a port that is plugged in again should be back soon
_READ_BYTES: Final = 65536
_SMALL_BYTES: Final = 1024
_GATHER_S: Final = 0.01
_WAIT_S: Final = 60.0  # only a bound: `stop` wakes the wait
_PORT_ERRORS: Final = (OSError, ValueError, termios.error)  # pyserial's own is an OSError; it lets the others through


class SerialSource:
    """See `source.Source`. `known`: channels by asset. `now_ns`: Unix ns, for what carries no time of its own."""

    def __init__(
        self,
        config: SerialConfig,
        now_ns: Callable[[], int],
        known: Mapping[str, Sequence[str]],
        backoff: Backoff = _BACKOFF,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = config.name
        self._config = config
        self._now_ns = now_ns
        self._known = known
        self._link = Link(config.name, now_ns, backoff, jitter, extra=("lost_frames",))

    def start(self, deliver: Callable[[Burst], None]) -> None:
        self._link.start(lambda: self._session(deliver))

    def stop(self) -> None:
        self._link.stop()

    @property
    def state(self) -> SourceState:
        return self._link.state

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        """From opening the port to losing it. Raises LinkError."""
        port = self._open()
        try:
            self._link.up(f"{port.name} open")
            decoder = stream_decoder(self._config, self._known)
            while not self._link.stopping:
                arrived_ns, chunk = self._read(port)
                if chunk and not self._link.stopping:
                    deliver(self._burst(decoder.feed(chunk, arrived_ns), len(chunk)))
        finally:
            port.close()

    def _open(self) -> serial.Serial:
        try:
            return serial.Serial(_found(self._config.port), self._config.baud, timeout=0, exclusive=True)
        except _PORT_ERRORS as error:
            raise LinkError(f"{self._config.port}: {error}") from error

    def _read(self, port: serial.Serial) -> tuple[int, bytes]:
        """When bytes came, and what has come by then. Raises LinkError once the port is gone."""
        try:
            readable, _, _ = select.select([port.fileno(), self._link.wake.fileno()], [], [], _WAIT_S)
            arrived_ns = self._now_ns()
            chunk: bytes = port.read(_READ_BYTES) if port.fileno() in readable else b""
            if 0 < len(chunk) < _SMALL_BYTES:  # a slow line: a block of it costs little more than its first byte did
                self._link.pause(_GATHER_S)
                chunk += port.read(_READ_BYTES)
        except _PORT_ERRORS as error:
            raise LinkError(f"{self._config.port}: {error}") from error
        return arrived_ns, chunk

    def _burst(self, tally: Tally, n_bytes: int) -> Burst:
        self._link.count(
            readings=tally.n_readings,
            bytes=n_bytes,
            frame_errors=tally.frame_errors,
            unknown=tally.n_unknown,
            lost_frames=tally.n_lost,
        )
        return Burst(self.name, tally.readings, n_bytes, tally.frame_errors, tally.last_error)


def _found(port: str) -> str:
    """The one port that is called so now. Raises LinkError."""
    if not glob.has_magic(port):
        return port
    matching = sorted(glob.glob(port))  # noqa: PTH207  # the pattern is a whole path
    if len(matching) != 1:
        raise LinkError(f"{port}: one port; there {f'are {len(matching)}: ' + ', '.join(matching) if matching else 'is none'}")
    return matching[0]


def stream_decoder(config: SerialConfig, known: Mapping[str, Sequence[str]]) -> StreamDecoder:
    """What turns the bytes of one connection into readings, as `config` says."""
    channels, device_time = channels_by_asset(known), config.timestamps == "device"
    if config.format == "jsonl":
        return StreamDecoder(Framer(b"\n"), JsonLines(channels, config.asset, device_time))
    assert config.asset is not None  # SerialConfig sees to it
    if config.format == "cobs":
        return StreamDecoder(Framer(DELIMITER), CobsFrames(channels, config.asset, config.columns, device_time))
    lines = CsvLines(channels, config.asset, config.columns, config.separator, device_time)
    return StreamDecoder(Framer(b"\n", in_step=False), lines)
