"""The page's sockets: a few threads that take one request each, and never the agent's time or memory beyond that.

1. At most `_WORKERS` connections are served at once; a few more wait in the kernel, the rest is refused by it.
2. A request's head is at most 8 kB and must be there within 3 s, an answer gone within 5 s; one request a connection.
3. An address that cannot be listened on is tried again every half minute: the agent watches all the same.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from agent.page.answers import HEADERS, Answer, Answers
from agent.page.config import NO_SIGN_IN, PageConfig

log = logging.getLogger("tocsin.page")
_WORKERS: Final = 4
_WAITING: Final = 16
_MAX_HEAD_BYTES: Final = 8192
_HEAD_S: Final = 3.0
_SEND_S: Final = 5.0
_RETRY_S: Final = 30.0
_STOP_S: Final = 1.0


class Page:
    """Serves from `start` to `stop`."""

    def __init__(self, config: PageConfig, status: Callable[[], Mapping[str, Any]]) -> None:
        self._config = config
        self._answers = Answers(config, status)
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._trouble = "not started"
        self._thread = threading.Thread(target=self._listen, name="page", daemon=True)
        self._workers: list[threading.Thread] = []

    def start(self) -> None:
        if self._config.allow_remote:
            log.warning("the page at %s is open to others; %s", self._config.url, NO_SIGN_IN)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # lets go who waits in `accept`
            self._socket.close()
        for thread in (self._thread, *self._workers):
            thread.join(_STOP_S)

    def state(self) -> str:
        """One line for people."""
        return f"{self._config.url}{f': {self._trouble}' if self._trouble else ''}"

    def _listen(self) -> None:
        family = socket.AF_INET6 if ":" in self._config.host else socket.AF_INET
        while not self._stopping.is_set():
            try:
                self._socket = socket.create_server((self._config.host, self._config.port), family=family, backlog=_WAITING)
            except OSError as error:
                if str(error) != self._trouble:
                    log.warning(
                        "the page cannot be served at %s, tried again every %g s: %s", self._config.url, _RETRY_S, error
                    )
                self._trouble = str(error)
                self._stopping.wait(_RETRY_S)
                continue
            self._trouble = ""
            self._workers = [
                threading.Thread(target=self._serve, args=(self._socket,), name=f"page-{n}", daemon=True)
                for n in range(_WORKERS)
            ]
            for worker in self._workers:
                worker.start()
            return

    def _serve(self, listening: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listening.accept()
            except OSError:
                if self._stopping.wait(0.1):  # closed by `stop`; or, for a moment, no descriptor is to be had
                    return
                continue
            with connection:
                try:
                    _Exchange(connection, address, self._answers)
                except OSError:  # whoever asked went away, or was too slow
                    continue
                except Exception:  # a defect costs one answer, not one of the few threads
                    log.exception("the page: no answer")


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer. Raises OSError."""

    def __init__(self, connection: socket.socket, address: Any, answers: Answers) -> None:
        self._answers = answers
        super().__init__(connection, address, None)  # type: ignore[arg-type]  # it is given no server, and asks for none

    def setup(self) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(_head(self.request)))
        self.wfile = io.BytesIO()  # sent whole by `finish`, with one deadline

    def handle(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(_MAX_HEAD_BYTES + 1)
        if self.raw_requestline and self.parse_request():
            self._send(self._answers.answer(self.command, self.path, self.headers.get_all("Host") or []))

    def finish(self) -> None:
        self.request.settimeout(_SEND_S)
        self.request.sendall(self.wfile.getvalue())  # type: ignore[attr-defined]
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)

    def _send(self, answer: Answer) -> None:
        self.request_version = "HTTP/1.0"  # also to who says no version: they get headers like everybody
        self.send_response(answer.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What `parse_request` makes of a head that is none: the same headers, and nothing of what was sent."""
        self.command = getattr(self, "command", None) or "GET"
        self._send(Answer(int(code), "text/plain; charset=utf-8", b"the request was not understood\n"))

    def version_string(self) -> str:
        return "tocsin"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the base class calls it
        log.debug(format, *args)


def _head(connection: socket.socket) -> bytes:
    """The request up to its empty line. Raises OSError where it is too long, or not there in time."""
    deadline_s = time.monotonic() + _HEAD_S
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or len(head) > _MAX_HEAD_BYTES:
            raise TimeoutError("no request")
        connection.settimeout(left_s)
        chunk = connection.recv(4096)
        if not chunk:
            raise ConnectionError("gone")
        head += chunk
    return head
