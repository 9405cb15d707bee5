"""The serial actor: writes a command to a port, which stays open for the next one.

Where a source of this device reads the same port, it is written to as it stands: setting it up a second time would throw
away what the sensor has sent.
"""

from __future__ import annotations

import os
import select
import termios
import threading
import time
from contextlib import suppress
from typing import Final

import serial

from agent.actions.actor import Result
from agent.actions.config import SerialAction
from agent.actions.event import Event, fill
from models.contract.items import ActorKind

_PORT_ERRORS: Final = (OSError, ValueError, termios.error)  # pyserial's own is an OSError; it lets the others through


class SerialActor:
    """See `actor.Actor`. `shared`: a source of this device reads the port."""

    kind: Final[ActorKind] = "serial"

    def __init__(self, config: SerialAction, shared: bool) -> None:
        self._config = config
        self._shared = shared
        self._port: serial.Serial | None = None
        self._closing = threading.Event()

    @property
    def target(self) -> str:
        return self._config.port

    def preview(self, event: Event) -> str:
        """See `actor.Actor`."""
        return f"write {self._command(event)!r} to {self._config.port}"

    def act(self, event: Event) -> Result:
        """See `actor.Actor`. A port that was unplugged since the last command is opened anew, once."""
        command = self._command(event)
        deadline_s = time.monotonic() + self._config.timeout_s
        try:
            if self._shared:
                _write_beside(self._config.port, command, deadline_s)
                return Result(True)
            was_open = self._port is not None
            try:
                self._write(command, deadline_s)
            except _PORT_ERRORS:
                if not was_open or time.monotonic() >= deadline_s:
                    raise
                self._write(command, deadline_s)
        except _PORT_ERRORS as error:
            return Result(False, f"{self._config.port}: {error}")
        return Result(True)

    def close(self) -> None:
        """See `actor.Actor`."""
        self._closing.set()
        self._drop()

    def _command(self, event: Event) -> bytes:
        config = self._config
        closed = event.edge == "closed" and config.command_closed is not None
        return fill((config.command_closed or "") if closed else config.command, event).encode("latin-1", "replace")

    def _write(self, command: bytes, deadline_s: float) -> None:
        """Raises OSError and its like; then the port is closed."""
        try:
            port = self._port
            if port is None:
                port = self._port = serial.Serial(self._config.port, self._config.baud, timeout=0, exclusive=True)
                self._closing.wait(self._config.settle_s)
            _write_all(port.fileno(), command, deadline_s)
        except _PORT_ERRORS:
            self._drop()
            raise

    def _drop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            with suppress(*_PORT_ERRORS):
                port.close()


def _write_beside(path: str, command: bytes, deadline_s: float) -> None:
    """Write to a terminal that somebody else has set up."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        _write_all(descriptor, command, deadline_s)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, command: bytes, deadline_s: float) -> None:
    """Until the driver has taken all of it. Raises TimeoutError: a peer that holds its flow control would block for ever."""
    done = 0
    while done < len(command):
        left_s = deadline_s - time.monotonic()
        _, writable, _ = select.select([], [descriptor], [], max(0.0, left_s))
        if not writable:
            raise TimeoutError(f"took {done} of {len(command)} bytes in time")
        done += os.write(descriptor, command[done:])
