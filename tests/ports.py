"""A port that is this test's own: a free one that is let go may be anybody's by the time it is used."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_KEPT: Final[list[socket.socket]] = []


@contextmanager
def held_port() -> Iterator[int]:
    """Whoever connects to it on loopback is refused, until a server of the test binds it and listens, any number of times.

    Such a server sets SO_REUSEADDR, as asyncio does; nobody who asks for a free port is given this one.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def own_port() -> int:
    """As `held_port`, until this process ends: for what is not one block."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _KEPT.append(kept)
    return int(kept.getsockname()[1])
