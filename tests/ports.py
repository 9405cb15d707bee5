"""Ports of this machine that stay a test's own, from the moment it is told of one until its process ends.

A port that was found free and let go is anybody's: tests that run beside this one ask the kernel for hundreds, and one that is
given it before the server of this test listens there, or while it is being restarted, takes its place. A socket that is bound
and does not listen keeps it: the kernel gives the port to nobody, who connects is refused, and a server that asks for
SO_REUSEADDR, as all here do, may listen there as often as it likes.
"""

from __future__ import annotations

import socket

_kept: list[socket.socket] = []


def own_port() -> int:
    """A port of loopback on which nobody listens until whoever is told of it does."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _kept.append(kept)
    port: int = kept.getsockname()[1]
    return port
