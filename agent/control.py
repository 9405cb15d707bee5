"""The agent's own small window: a Unix socket in the state directory that answers one question, how are you.

`tocsin agent status` asks here, so that what it shows is true now and costs no write to flash. The socket is readable by
the agent's user alone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAME = "agent.sock"
_TIMEOUT_S = 2.0


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """The socket's path by way of an open directory: a Unix socket's name may have 107 bytes, a state directory more."""
    if not Path("/proc/self/fd").is_dir():
        yield str(directory / _NAME)
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)


class ControlSocket:
    """Serves `status()` as JSON to whoever connects; from `start` to `stop`, in a thread of its own."""

    def __init__(self, directory: Path, status: Callable[[], dict[str, Any]]) -> None:
        self._directory = directory
        self._status = status
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        (self._directory / _NAME).unlink(missing_ok=True)  # left over from a kill; the lock says that nobody serves it
        with _short_path(self._directory) as path:
            self._socket.bind(path)
        (self._directory / _NAME).chmod(0o600)
        self._socket.listen(64)  # where that is full, an asker takes it for nobody being there
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed by `stop`
                return
            with connection:
                try:
                    connection.settimeout(_TIMEOUT_S)
                    connection.sendall(json.dumps(self._status()).encode())
                except OSError:  # the asker went away
                    continue

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_TIMEOUT_S)
        (self._directory / _NAME).unlink(missing_ok=True)


def ask(directory: Path) -> dict[str, Any] | None:
    """The running agent's status, or None where none is running on this state directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            with _short_path(directory) as path:
                connection.connect(path)
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        except OSError:
            return None
    answer: dict[str, Any] = json.loads(b"".join(chunks))
    return answer
