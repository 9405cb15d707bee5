"""A link that is polled: a Modbus device, whose registers hold the newest sample. Needs the extra `tocsin[modbus]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware_sim.firmware.encoder import Message
from firmware_sim.firmware.registers import FUNCTION, UNIT, blank, words_of
from firmware_sim.links.modbus import ModbusLine, ModbusPeer


class PolledLink:
    """TCP on a free port of the loopback address, or RTU at `serial_path`. What nobody polled is overwritten, not counted."""

    n_dropped = 0

    def __init__(self, n_channels: int, serial_path: Path | None = None) -> None:
        """Raises LinkError where the server does not start."""
        words = _registers(blank(n_channels))
        if serial_path is None:
            self._peer = ModbusPeer({UNIT: words})
            self.address = f"127.0.0.1:{self._peer.port}"
        else:
            serial_path.parent.mkdir(parents=True, exist_ok=True)
            serial_path.unlink(missing_ok=True)
            self._peer = ModbusLine({UNIT: words}, serial_path)
            self.address = str(serial_path)
        self._plugged = False
        self.plug()

    def write(self, messages: Sequence[Message]) -> None:
        """See `Link.write`: the newest image is what the next poll finds."""
        if messages:
            for (function, address), word in _registers(messages[-1].payload).items():
                self._peer.set_word(UNIT, function, address, word)

    def flush(self, timeout_s: float) -> bool:
        """See `Link.flush`: nothing ever waits here."""
        return True

    def unplug(self) -> None:
        """See `Link.unplug`."""
        if self._plugged:
            self._plugged = False
            self._peer.stop()

    def plug(self) -> None:
        """See `Link.plug`."""
        if not self._plugged:
            self._peer.start()
            self._plugged = True

    def close(self) -> None:
        self.unplug()


def _registers(image: bytes) -> Mapping[tuple[int, int], int]:
    return {(FUNCTION, address): word for address, word in enumerate(words_of(image))}
