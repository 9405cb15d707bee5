"""A serial port made of a pseudo-terminal: what an agent opens as it would open /dev/ttyUSB0.

Invariants:
1. Nothing is written while nobody has the port open, so a reader that comes late does not get stale data.
2. What the reader is slow to take waits here, up to a bound; then whole messages are dropped, newest first. A message
   that was begun is always finished: torn frames are made on purpose (see `faults.link`), never by accident.
3. Unplugging closes the terminal: the reader sees a hang-up, as when a USB adapter is pulled. Plugging in makes a new
   terminal; the stable address is a symbolic link, as udev makes them.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from firmware_sim.firmware.encoder import Message
from models.errors import ConfigError

_MAX_PENDING_BYTES: Final = 256 * 1024
_POLL_S: Final = 0.005


class PtyLink:
    """`link_path`: where to make the symbolic link; None = the address is the terminal itself and changes when replugged.

    A file or link at `link_path` that is no symbolic link is not overwritten: ConfigError.
    """

    def __init__(self, link_path: Path | None = None, max_pending_bytes: int = _MAX_PENDING_BYTES) -> None:
        self.n_dropped = 0
        self._link_path = link_path
        self._max_pending_bytes = max_pending_bytes
        self._pending = bytearray()
        self._master: int | None = None
        self._port = ""
        self._poll = select.poll()
        self.plug()

    @property
    def address(self) -> str:
        return str(self._link_path) if self._link_path is not None else self._port

    @property
    def pending_bytes(self) -> int:
        """Bytes that the reader has been too slow to take."""
        return len(self._pending)

    @property
    def has_reader(self) -> bool:
        """Whether somebody has the port open."""
        return self._master is not None and not any(event & select.POLLHUP for _, event in self._poll.poll(0))

    def write(self, messages: Sequence[Message]) -> None:
        """See `Link.write`."""
        if not self.has_reader:
            self.n_dropped += len(messages)
            self._pending.clear()
            return
        for message in messages:
            if len(self._pending) + len(message.payload) > self._max_pending_bytes:
                self.n_dropped += 1
            else:
                self._pending += message.payload
        self._push()

    def flush(self, timeout_s: float) -> bool:
        """See `Link.flush`. Also True where nobody is there to take anything."""
        deadline = time.monotonic() + timeout_s
        while self.has_reader:
            self._push()
            if not self._pending and not self._has_unread():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def wait_for_reader(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody opens the port, None = for ever; whether somebody did."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.has_reader:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(10 * _POLL_S)
        return True

    def unplug(self) -> None:
        """See `Link.unplug`."""
        if self._master is not None:
            self._poll.unregister(self._master)
            os.close(self._master)
            self._master = None
            self._pending.clear()
            self._remove_symlink()

    def plug(self) -> None:
        """See `Link.plug`. Raises ConfigError where the symbolic link cannot be made."""
        if self._master is not None:
            return
        master, slave = os.openpty()
        tty.setraw(slave)  # outlives this descriptor: the terminal's settings last as long as its master
        self._port = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(master, False)
        try:
            self._make_symlink()
        except ConfigError:
            os.close(master)
            raise
        self._master = master
        self._poll.register(master, 0)  # hang-up is always reported

    def close(self) -> None:
        self.unplug()

    def _push(self) -> None:
        assert self._master is not None
        while self._pending:
            try:
                n = os.write(self._master, self._pending[:4096])
            except BlockingIOError:
                return
            except OSError:  # the reader left between the check and the write
                self._pending.clear()
                return
            del self._pending[:n]

    def _has_unread(self) -> bool:
        """Whether something lies in the terminal's buffer, not yet taken by the reader.

        Polling the reader's side also waits for what the kernel is still carrying over; counting the bytes there would not.
        """
        descriptor = os.open(self._port, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(0))
        finally:
            os.close(descriptor)

    def _make_symlink(self) -> None:
        path = self._link_path
        if path is None:
            return
        if path.exists() and not path.is_symlink():
            raise ConfigError(str(path), "a path for a symbolic link; something else is there")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self._port)
        except OSError as error:
            raise ConfigError(str(path), f"a place for a symbolic link: {error.strerror}") from None

    def _remove_symlink(self) -> None:
        if self._link_path is not None:
            with contextlib.suppress(OSError):
                if str(self._link_path.readlink()) == self._port:
                    self._link_path.unlink()
