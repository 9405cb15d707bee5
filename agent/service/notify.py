"""What the agent tells its service manager: ready, still getting on, stopping (sd_notify(3), the datagram protocol).

Invariants:
1. `WATCHDOG=1` is sent from `progress` alone, and the pipeline's loop alone calls that, after each step: no thread and no
   timer of its own keeps the watchdog quiet.
2. Outside of a service manager (no NOTIFY_SOCKET) nothing is sent and nothing fails.
3. A manager that cannot be told is logged, once; the agent's work does not depend on it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

log = logging.getLogger("tocsin.service")
_FEEDS_PER_SPAN: Final = 4  # so that one slow step costs a feed, not the service
_STATUS_EVERY_S: Final = 10.0
_SEND_S: Final = 1.0


class Notifier:
    """`address`: NOTIFY_SOCKET's value, None = nobody to tell. `watchdog_s`: the manager's patience, None = no watchdog.

    `status`: one line for `systemctl status`. `now_s`: monotonic.
    """

    def __init__(
        self,
        address: str | None,
        watchdog_s: float | None,
        status: Callable[[], str],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._verdict = "WATCHDOG=1\n" if watchdog_s else ""
        self._every_s = watchdog_s / _FEEDS_PER_SPAN if watchdog_s else _STATUS_EVERY_S
        self._status = status
        self._now_s = now_s
        self._next_s = 0.0
        self._failed = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], status: Callable[[], str]) -> Notifier:
        """As systemd says it: NOTIFY_SOCKET, WATCHDOG_USEC, and WATCHDOG_PID for whom the latter is meant."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_s = int(microseconds) / 1e6 if for_us and microseconds.isdecimal() else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog_s, status)

    def ready(self) -> None:
        """Everything has started."""
        self._send(f"READY=1\nSTATUS={self._status()}")

    def progress(self) -> None:
        """The pipeline has finished a step. Cheap: most calls only look at the clock."""
        if self._address is None or (now_s := self._now_s()) < self._next_s:
            return
        self._next_s = now_s + self._every_s
        self._send(f"{self._verdict}STATUS={self._status()}")

    def stopping(self) -> None:
        """The agent was asked to stop; what is left to do is being stored."""
        self._send("STOPPING=1\nSTATUS=storing what is left")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
                manager.settimeout(_SEND_S)
                manager.sendto(message.encode(), name)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager cannot be told: %s: %s", self._address, error)
            self._failed = True
