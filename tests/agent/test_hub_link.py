"""HTTP to the hub, over real sockets: what a hub, a proxy or a cut wire can answer, and what becomes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from agent.hub_link import MAX_REPLY_BYTES, HttpHubLink
from models.errors import LinkError


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
        made.append((HttpHubLink(server.url + "/", timeout_s=0.5), server))
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


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [("7", 7.0), ("0", 0.0), ("999999", 3600.0), ("Fri, 31 Dec 2049 23:59:59 GMT", None), ("-5", None), ("soon", None)],
)
def test_a_wish_to_wait_is_passed_on_within_reason(make: Make, said: str, waits_s: float | None) -> None:
    link, _ = make(http("503 Busy", b"", f"Retry-After: {said}"))
    with pytest.raises(LinkError) as caught:
        link.post("/v1/ingest", b"body")
    assert caught.value.retry_after_s == waits_s


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
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    link = HttpHubLink(f"http://127.0.0.1:{port}", timeout_s=0.5)
    with pytest.raises(LinkError, match="connection refused or host not found"):
        link.post("/v1/ingest", b"body")
    link.close()


def test_a_hub_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = HttpHubLink(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(LinkError, match="no whole answer within"):
            link.post("/v1/ingest", b"body")
        link.close()
