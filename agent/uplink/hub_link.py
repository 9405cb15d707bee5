"""HTTP to the hub: kept connections, deadlines, size limits. Knows addresses and status codes, nothing of content.

1. An exchange has one deadline over all of it: a peer that accepts and never answers, or that drips a byte now and then,
   is given up like one that is not there. A socket's own time-out would start anew with each byte.
2. Whatever goes wrong in an exchange costs its connection; the next exchange begins with a new one.
3. `abort` ends what is under way, from any thread and in any state: resolving a name is all that it cannot cut short.
4. A wish to wait (`Retry-After`, RFC 9110, 10.2.3) is passed on in both of its forms. Its date is read against the
   response's own `Date`, never against this device's clock, which may be in 1970.
5. Where the address says https, whom to believe is the caller's to say (`tls.py`): it is asked once, when first needed.

By http.client, for urllib3 costs a device twice the memory and gives no hold on a socket that waits for an answer.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from agent.uplink.tls import trusting
from models.errors import LinkError, LinkTimeout

if TYPE_CHECKING:
    import ssl

MAX_REPLY_BYTES: Final = 1024 * 1024
MAX_PAUSE_S: Final = 3600.0
_CONNECT_S: Final = 10.0
_SLOWEST_BYTES_PER_S: Final = 4000.0  # what a link must carry at least: a deadline grows with what is to be carried
_KEPT: Final = 2  # connections: sync and check-in

MakeTls = Callable[[], "ssl.SSLContext"]


class _Problem(msgspec.Struct, frozen=True):
    detail: str


class HubLink(Protocol):
    """What sync, check-in and update need of the hub."""

    def post(self, path: str, body: bytes) -> bytes:
        """The reply's body. Raises LinkError: unreachable, timed out, refused, oversized; with what the hub said."""
        ...

    def get(self, path: str, max_bytes: int) -> bytes:
        """The content at `path`, at most `max_bytes`. Raises LinkError."""
        ...

    def reset(self) -> None:
        """Drop kept connections: whoever is at their other end answers, and yet nothing moves."""
        ...


class HttpHubLink:
    """The real one. Safe from several threads. `timeout_s`: for an exchange of little; see `_SLOWEST_BYTES_PER_S`.

    `tls`: makes the context of https connections."""

    def __init__(self, url: str, timeout_s: float, tls: MakeTls = lambda: trusting(None)) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()  # guards what follows
        self._kept: list[_Wire] = []
        self._under_way: set[_Wire] = set()
        self._closed = False

    def post(self, path: str, body: bytes) -> bytes:
        """See `HubLink.post`."""
        return self._exchange("POST", path, MAX_REPLY_BYTES, body, len(body))

    def get(self, path: str, max_bytes: int) -> bytes:
        """See `HubLink.get`."""
        return self._exchange("GET", path, max_bytes, None, max_bytes)

    def reset(self) -> None:
        """See `HubLink.reset`."""
        with self._lock:
            kept, self._kept = self._kept, []
        for wire in kept:
            wire.close()

    def abort(self) -> None:
        """End whatever is under way with LinkError, now; and whatever begins after this."""
        with self._lock:
            self._closed = True
            for wire in self._under_way:
                wire.cut()
        self.reset()

    close = abort

    def _exchange(self, method: str, path: str, max_bytes: int, body: bytes | None, n_bytes: int) -> bytes:
        deadline_s = self._timeout_s + n_bytes / _SLOWEST_BYTES_PER_S
        with self._wire() as wire, _cut_after(wire, deadline_s):
            response, data, failure = None, b"", "cut off"
            try:
                response = wire.ask(method, path, body)
                data = response.read(max_bytes + 1)
            except (HTTPException, OSError, ValueError) as error:
                response, failure = None, _reason(error)
            if wire.was_cut and not self._closed:  # what is cut off may well look like a short answer
                raise LinkTimeout(f"{self._url}: no whole answer within {deadline_s:.1f} s")
            if response is None or wire.was_cut:
                raise LinkError(f"{self._url}: {failure}")
            if response.status >= 300:
                pause_s = pause_asked_s(response.headers)
                raise LinkError(f"{method} {path}: {response.status} {_said(data)}", pause_s, response.status)
            if len(data) > max_bytes:
                raise LinkError(f"{method} {path}: more than {max_bytes} bytes")
            if response.length != 0 and not response.chunked:  # a cut-off body reads like a short one
                raise LinkError(f"{method} {path}: the answer broke off after {len(data)} bytes")
            wire.keep = not response.will_close
            return data

    def _tls_for(self) -> ssl.SSLContext | None:
        if self._tls is None and self._url.startswith("https:"):
            self._tls = self._make_tls()
        return self._tls

    @contextmanager
    def _wire(self) -> Iterator[_Wire]:
        """A connection for one exchange: kept where there is one that is still up, else new."""
        with self._lock:
            if self._closed:
                raise LinkError(f"{self._url}: the agent stops")
            wire = self._kept.pop() if self._kept else _Wire(self._url, self._timeout_s, self._tls_for())
            self._under_way.add(wire)
        wire.keep = False
        try:
            yield wire
        finally:
            with self._lock:
                self._under_way.discard(wire)
                keep = wire.keep and not wire.was_cut and not self._closed and len(self._kept) < _KEPT
                if keep:
                    self._kept.append(wire)
            if not keep:
                wire.close()


class _Wire:
    """One connection, and a second handle on its socket: by that one another thread may end it, whatever it is at."""

    def __init__(self, url: str, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self.keep = False
        self.was_cut = False
        self._base = parts.path
        self._timeout_s = timeout_s
        self._handle: socket.socket | None = None
        port = parts.port or (HTTPConnection if tls is None else HTTPSConnection).default_port
        self._http = _Http(parts.hostname or "", port, self._dial, tls)  # the port always: it takes the end of ::1 for one

    def ask(self, method: str, path: str, body: bytes | None) -> HTTPResponse:
        """The response, its body still to be read."""
        if self._http.sock is not None and _is_over(self._http.sock):
            self._http.close()  # the hub has hung up in between, as it may; the next request connects anew
        headers = {"Content-Type": "application/msgpack"} if body is not None else {}
        self._http.request(method, self._base + path, body=body, headers=headers)
        return self._http.getresponse()

    def cut(self) -> None:
        """From another thread."""
        self.was_cut = True
        handle = self._handle
        if handle is not None:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._http.close()
        if self._handle is not None:
            self._handle.close()

    def _dial(self, host: str, port: int) -> socket.socket:
        """A connected socket. Raises OSError."""
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            if self._handle is not None:
                self._handle.close()
            self._handle = sock.dup()
            sock.settimeout(min(self._timeout_s, _CONNECT_S))
            if self.was_cut:
                sock.close()
                break
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
                continue
            sock.settimeout(None)  # the exchange's deadline counts from here
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        raise failure


Dial = Callable[[str, int], socket.socket]


class _Http(HTTPConnection):
    """On a socket of its owner's making. `tls`: None = in clear. A handshake is part of the exchange and of its deadline."""

    def __init__(self, host: str, port: int, dial: Dial, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._dial = dial
        self._tls = tls

    def connect(self) -> None:
        sock = self._dial(self.host, self.port)
        self.sock = sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=self.host)


@contextmanager
def _cut_after(wire: _Wire, deadline_s: float) -> Iterator[None]:
    timer = threading.Timer(deadline_s, wire.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_over(sock: socket.socket) -> bool:
    """Whether a connection that nobody speaks on has something to read: its end, or what nobody asked for."""
    readable, _, _ = select.select([sock], [], [], 0)
    return bool(readable)


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return "connection refused or host not found"
    if type(error).__name__ == "SSLCertVerificationError":
        return f"its certificate is not believed: {getattr(error, 'verify_message', error)}"[:200]
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:200]


def _said(data: bytes) -> str:
    """What the hub says is wrong: the one line of a problem (RFC 9457), else the beginning of whatever it is."""
    try:
        detail = msgspec.json.decode(data, type=_Problem).detail
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data[:200].decode("utf-8", "replace")
    return detail[:200] if detail.isprintable() else repr(detail[:200])


def pause_asked_s(headers: Message) -> float | None:
    """How long the hub wants to be left alone, at most MAX_PAUSE_S; None where it does not say, or not so that it is clear."""
    said = (headers.get("Retry-After") or "").strip()
    if said.isascii() and said.isdecimal():
        return min(float(said), MAX_PAUSE_S)
    try:
        until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("Date") or "")
        return min(max((until - now).total_seconds(), 0.0), MAX_PAUSE_S)
    except (TypeError, ValueError, OverflowError):  # no date, or of the two only one with its zone
        return None
