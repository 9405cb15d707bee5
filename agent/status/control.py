"""The agent's own small window: a Unix socket in the state directory that answers how the agent is, and takes a command.

`tocsin agent status` asks here, so that what it shows is true now and costs no write to flash; `tocsin agent recommission`
commands here. Who connects says a line of words and ends its side, or says nothing, which asks for the status. The socket is
for the agent's user alone.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import StorageError, TocsinError

log = logging.getLogger("tocsin.agent")
_NAME = "agent.sock"
_TIMEOUT_S = 2.0  # for an asker to take the answer
_ANSWER_S = 10.0  # for an agent that is held up
_PATIENCE_S = 0.5  # for the words of whoever has connected
_MAX_WORDS = 1024  # bytes
Command = Callable[[list[str]], dict[str, Any]]


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
    """Serves `status()` as JSON to whoever connects, or what `command` answers to its words; from `start` to `stop`, in a
    thread of its own."""

    def __init__(self, directory: Path, status: Callable[[], dict[str, Any]], command: Command | None = None) -> None:
        self._directory = directory
        self._status = status
        self._command = command
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
                    words = _words(connection)
                    connection.settimeout(_TIMEOUT_S)
                    connection.sendall(json.dumps(self._answer(words)).encode())
                except OSError:  # the asker went away
                    continue

    def _answer(self, words: list[str]) -> dict[str, Any]:
        try:
            return self._command(words) if words and self._command else self._status()
        except (TocsinError, OSError) as error:
            return {"error": str(error)}
        except Exception as error:  # a defect costs one answer, not the window
            log.exception("the control socket: no answer")
            return {"error": f"a defect: {error!r}"}

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_TIMEOUT_S)
        (self._directory / _NAME).unlink(missing_ok=True)


def _words(connection: socket.socket) -> list[str]:
    """What the other side says until it ends its side; nothing where it is silent, or says too much."""
    connection.settimeout(_PATIENCE_S)
    said = b""
    try:
        while len(said) <= _MAX_WORDS and (chunk := connection.recv(_MAX_WORDS)):
            said += chunk
    except TimeoutError:
        return []
    return said.decode(errors="replace").split() if len(said) <= _MAX_WORDS else []


def ask(directory: Path, *words: str) -> dict[str, Any] | None:
    """The running agent's status, or its answer to a command; None where none is running on this state directory.

    Raises StorageError where this user may not ask, or the agent does not answer, or cannot say how it is.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            with _short_path(directory) as path:
                connection.connect(path)
            connection.sendall(" ".join(words).encode())
            connection.shutdown(socket.SHUT_WR)
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        except PermissionError:
            raise StorageError(f"{directory}: its agent answers its own user alone; ask as that user, or as root") from None
        except TimeoutError:  # somebody is there: not to be taken for nobody, whom a command would stand in for
            raise StorageError(f"{directory}: its agent does not answer within {_ANSWER_S:g} s; ask again") from None
        except OSError:
            return None
    if not chunks:
        return None  # it ends just now
    answer: dict[str, Any] = json.loads(b"".join(chunks))
    if not words and "error" in answer:
        raise StorageError(f"{directory}: its agent cannot answer: {answer['error']}")
    return answer
