"""HTTP to the hub, over real sockets: what a hub, a proxy or a cut wire can answer, and what becomes of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from agent.uplink.hub_link import MAX_PAUSE_S, MAX_REPLY_BYTES, HttpHubLink, _is_over
from models.errors import LinkError, LinkTimeout
from tests.ports import own_port
from tests.waiting import wait_until


class OneAnswer:
    """A server that says the same bytes to everybody and hangs up; `heard` is what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hub"
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    request = connection.recv(65536)
                    while b"\r\n\r\n" not in request or (request.startswith(b"POST") and not request.endswith(b"body")):
                        request += connection.recv(65536)
                    self.heard.append(request)
                    connection.sendall(self._answer)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


Make = Callable[[bytes], tuple[HttpHubLink, OneAnswer]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[HttpHubLink, OneAnswer]] = []

    def one(answer: bytes) -> tuple[HttpHubLink, OneAnswer]:
        server = OneAnswer(answer)
        made.append((HttpHubLink(server.url + "/", timeout_s=60), server))
        return made[-1]

    yield one
    for link, server in made:
        link.close()
        server.close()


def http(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_post_goes_below_the_hubs_address_and_its_reply_comes_back(make: Make) -> None:
    link, server = make(http("200 OK", b"reply"))
    assert link.post("/v1/ingest", b"body") == b"reply"
    (heard,) = server.heard
    assert heard.startswith(b"POST /hub/v1/ingest HTTP/1.1\r\n")
    assert b"application/msgpack" in heard
    assert heard.endswith(b"\r\n\r\nbody")


def test_a_get_brings_at_most_what_was_asked_for(make: Make) -> None:
    link, _ = make(http("200 OK", b"x" * 1000))
    assert link.get("/v1/bundles/a", 1000) == b"x" * 1000
    with pytest.raises(LinkError, match="more than 999 bytes"):
        link.get("/v1/bundles/a", 999)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops"])
def test_a_refusal_says_what_the_hub_said(make: Make, status: str) -> None:
    link, _ = make(http(status, b"because of reasons" + b"!" * 500))
    with pytest.raises(LinkError, match=f"POST /v1/ingest: {status[:3]} because of reasons") as caught:
        link.post("/v1/ingest", b"body")
    assert len(str(caught.value)) < 300
    assert caught.value.retry_after_s is None


NOW = "Date: Thu, 26 Nov 2026 21:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        (["Retry-After: 7"], 7.0),
        (["Retry-After: 0"], 0.0),
        (["Retry-After: 999999"], MAX_PAUSE_S),
        (["Retry-After: " + "9" * 5000], MAX_PAUSE_S),
        (["Retry-After: Thu, 26 Nov 2026 21:02:00 GMT", NOW], 120.0),
        (["Retry-After: Thursday, 26-Nov-26 21:02:00 GMT", NOW], 120.0),
        (["Retry-After: Thu Nov 26 21:02:00 2026", "Date: Thu Nov 26 21:00:00 2026"], 120.0),
        (["Retry-After: Thu, 26 Nov 2026 20:59:00 GMT", NOW], 0.0),
        (["Retry-After: Fri, 31 Dec 2049 23:59:59 GMT", NOW], MAX_PAUSE_S),
        (["Retry-After: Fri, 31 Dec 2049 23:59:59 GMT"], None),  # without Date, nobody knows what time it is there
        (["Retry-After: Fri, 31 Dec 2049 23:59:59 GMT", "Date: today"], None),
        (["Retry-After: -5", NOW], None),
        (["Retry-After: soon", NOW], None),
        (["Retry-After: \xb2", NOW], None),
        ([], None),
    ],
)
def test_a_wish_to_wait_is_passed_on_within_reason(make: Make, headers: list[str], waits_s: float | None) -> None:
    link, _ = make(http("503 Busy", b"", *headers))
    with pytest.raises(LinkError) as caught:
        link.post("/v1/ingest", b"body")
    assert (caught.value.retry_after_s, caught.value.status) == (waits_s, 503)


def test_a_redirect_is_not_followed(make: Make) -> None:
    link, server = make(http("302 Found", b"", "Location: http://127.0.0.1:1/elsewhere"))
    with pytest.raises(LinkError, match="302"):
        link.post("/v1/ingest", b"body")
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"half", length=1000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["body cut off", "chunk cut off", "header cut off", "not http", "hung up"],
)
def test_a_link_that_breaks_mid_way_is_a_link_error_and_never_a_short_body(make: Make, answer: bytes) -> None:
    link, _ = make(answer)
    with pytest.raises(LinkError):
        link.get("/v1/bundles/a", 10_000)


def test_an_endless_reply_is_cut_off(make: Make) -> None:
    link, _ = make(http("200 OK", b"x" * (MAX_REPLY_BYTES + 10)))
    with pytest.raises(LinkError, match=f"more than {MAX_REPLY_BYTES} bytes"):
        link.post("/v1/checkin", b"body")


def test_a_compressed_reply_is_not_unpacked(make: Make) -> None:
    link, _ = make(http("200 OK", b"\x1f\x8b\x08", "Content-Encoding: gzip"))
    assert link.post("/v1/checkin", b"body") == b"\x1f\x8b\x08"


def test_nobody_there_is_a_link_error() -> None:
    link = HttpHubLink(f"http://127.0.0.1:{own_port()}", timeout_s=60)
    with pytest.raises(LinkError, match="connection refused or host not found"):
        link.post("/v1/ingest", b"body")
    link.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def link_to(listener: socket.socket, timeout_s: float) -> HttpHubLink:
    return HttpHubLink(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s)


def test_a_hub_that_never_answers_times_out(listener: socket.socket) -> None:
    link = link_to(listener, 0.2)
    with pytest.raises(LinkTimeout, match=r"no whole answer within 0\.2 s"):
        link.post("/v1/ingest", b"body")
    link.close()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_hub_that_drips_bytes_is_given_up_at_the_deadline_of_the_whole_exchange(listener: socket.socket, head: bytes) -> None:
    over = threading.Event()

    def drip() -> None:
        """For a minute and a half, as against the link's half a second; then it hangs up."""
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(head)
            for _ in range(900):
                if over.wait(0.1):
                    return
                connection.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    link = link_to(listener, 0.4)
    started_s = time.monotonic()
    with pytest.raises(LinkTimeout):
        link.post("/v1/ingest", b"body")
    assert time.monotonic() - started_s < 45
    over.set()
    thread.join(10)
    link.close()


def test_a_connection_serves_again_until_the_hub_has_hung_up(listener: socket.socket) -> None:
    n_connections = 0

    def serve() -> None:
        nonlocal n_connections
        for n_requests in (2, 1):
            connection, _ = listener.accept()
            n_connections += 1
            with connection:
                for _ in range(n_requests):
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve)
    thread.start()
    link = link_to(listener, 10)
    assert [link.get("/a", 10), link.get("/b", 10)] == [b"ok", b"ok"]
    wait_until(lambda: n_connections == 1 and _is_over(link._kept[0]._http.sock), what="the hub to hang up")
    assert link.get("/c", 10) == b"ok"
    thread.join(10)
    assert n_connections == 2
    link.close()


def test_after_a_reset_the_next_exchange_has_a_connection_of_its_own(listener: socket.socket) -> None:
    seen: list[int] = []

    def serve() -> None:
        for n in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                seen.append(n)
                assert connection.recv(10) == b""  # dropped by the other side

    thread = threading.Thread(target=serve)
    thread.start()
    link = link_to(listener, 10)
    for _ in range(2):
        link.get("/a", 10)
        link.reset()
    thread.join(10)
    assert seen == [0, 1]
    link.close()


def full(listener: socket.socket) -> list[socket.socket]:
    """Connections that fill the queue of one who does not accept: the next is not even refused."""
    listener.listen(0)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(listener.getsockname())
    return waiting


def is_under_way(link: HttpHubLink) -> bool:
    """Whether its one exchange has begun to connect: the kernel gives a socket its own port only then."""
    handles = [wire._handle for wire in list(link._under_way)]
    return bool(handles) and all(handle is not None and handle.getsockname()[1] for handle in handles)


@pytest.mark.parametrize("accepts", [True, False])
def test_another_thread_ends_what_is_under_way_at_once(listener: socket.socket, accepts: bool) -> None:
    waiting = [] if accepts else full(listener)
    link = link_to(listener, 60)
    failure: list[LinkError] = []

    def exchange() -> None:
        with pytest.raises(LinkError) as caught:
            link.post("/v1/ingest", b"body")
        failure.append(caught.value)

    thread = threading.Thread(target=exchange)
    thread.start()
    wait_until(lambda: is_under_way(link), what="the exchange to begin")
    link.abort()
    thread.join(45)
    assert not thread.is_alive()
    assert not isinstance(failure[0], LinkTimeout)
    with pytest.raises(LinkError, match="the agent stops"):
        link.post("/v1/ingest", b"body")
    for each in waiting:
        each.close()
