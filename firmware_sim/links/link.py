"""The seam between a firmware and the wire it is on.

Contract: `write` never waits for the other side. Like a wire, a link forgets what nobody took; it counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from firmware_sim.firmware.encoder import Message


class Link(Protocol):
    """`address`: where the other side connects. `n_dropped`: messages that nobody took."""

    n_dropped: int

    @property
    def address(self) -> str: ...

    def write(self, messages: Sequence[Message]) -> None:
        """Send, or keep for the next call within bounds, or drop and count."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until the other side has everything; whether it has."""
        ...

    def unplug(self) -> None:
        """Pull the cable: the other side sees the link go down. What is written meanwhile is dropped."""
        ...

    def plug(self) -> None:
        """Put it back, at the same address."""
        ...

    def close(self) -> None: ...
