"""The agent's TLS: it believes the CA that its token pins and nobody else, whatever the time is."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from agent.app import make_link
from agent.uplink.enrol import Introduction, Said
from agent.uplink.hub_link import HttpHubLink
from agent.uplink.identity import Identity
from agent.uplink.tls import trusting
from hub.tls.authority import issue, make_authority, pin_of
from models.contract.checkin import EnrolReply
from models.contract.claim import claim_text, new_claim
from models.errors import LinkError, LinkTimeout, StorageError
from tests.agent.test_hub_link import is_under_way
from tests.waiting import wait_until

OURS, EVIL = make_authority("ours"), make_authority("ours")
REPLY = msgspec.msgpack.encode(EnrolReply(hub_id="hub-1", hub_public_key=bytes(32), site="lyon"))


@contextmanager
def server(
    authority: tuple[bytes, bytes],
    directory: Path,
    *,
    ca: bytes | None = None,
    name: str = "127.0.0.1",
    at: datetime | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """A hub that shows a certificate of `authority` and hands out `ca`; its address, and what it was asked."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.append(self.path)
            body = (authority[1] if ca is None else ca) if self.path == "/v1/ca" else REPLY
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815  # as the library spells it

        def log_message(self, *_: object) -> None:
            pass

    pem = directory / f"{len(list(directory.iterdir()))}.pem"
    pem.write_bytes(issue(*authority, {name}, at or datetime.now(UTC)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    httpd.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{httpd.server_port}", heard
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class Device:
    """A device with a token of `authority`'s hub."""

    def __init__(self, directory: Path, authority: tuple[bytes, bytes] = OURS) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.identity = Identity(self.state, "dev-1")
        self.token = directory / "token"
        self.token.write_text(claim_text(new_claim("https://hub.plant:8700", pin_of(authority[1]))))

    def settle(self, url: str) -> None:
        link = make_link(url, 60.0, self.identity)
        try:
            Introduction(self.identity, link, url, 60.0, Said("1", "x", "", []), self.token).settle()
        finally:
            link.close()

    def ask(self, url: str) -> bytes:
        link = make_link(url, 60.0, self.identity)
        try:
            return link.post("/v1/ingest", b"x")
        finally:
            link.close()

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.state.iterdir()}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


def test_it_pins_the_ca_of_its_token_and_speaks_to_whom_that_vouches_for(device: Device, files: Path) -> None:
    with server(OURS, files) as (url, heard):
        device.settle(url)
        assert device.ask(url) == REPLY
    assert heard == ["/v1/ca", "/v1/enrol", "/v1/ingest"]
    assert (device.state / "ca.pem").read_bytes() == OURS[1]
    assert device.identity.enrolment is not None


def test_another_ca_at_the_first_contact_is_told_nothing(device: Device, files: Path) -> None:
    with server(EVIL, files) as (url, heard), pytest.raises(LinkError, match="shows another CA than the token pins"):
        device.settle(url)
    assert heard == ["/v1/ca"]
    assert device.files == {"device.key"}


def test_somebody_in_between_who_hands_out_the_right_ca_is_told_nothing(device: Device, files: Path) -> None:
    with server(EVIL, files, ca=OURS[1]) as (url, heard), pytest.raises(LinkError, match="its certificate is not believed"):
        device.settle(url)
    assert heard == ["/v1/ca"]
    assert device.identity.enrolment is None


@pytest.mark.parametrize(
    "ca", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", b"x" * 70_000]
)
def test_what_is_no_ca_is_not_pinned(ca: bytes, device: Device, files: Path) -> None:
    with server(OURS, files, ca=ca) as (url, _), pytest.raises(LinkError, match=r"shows another CA|more than"):
        device.settle(url)
    assert device.files == {"device.key"}


def test_after_enrolment_another_server_is_told_nothing_though_it_has_the_name(device: Device, files: Path) -> None:
    with server(OURS, files) as (url, _):
        device.settle(url)
    with server(EVIL, files) as (url, heard), pytest.raises(LinkError, match="its certificate is not believed"):
        device.ask(url)
    assert heard == []


def test_a_certificate_for_another_name_is_not_believed(device: Device, files: Path) -> None:
    with server(OURS, files, name="other.plant") as (url, _), pytest.raises(LinkError, match=r"not valid for '127\.0\.0\.1'"):
        device.settle(url)


@pytest.mark.parametrize("days", [-20_000, -400, 5000], ids=["a device in 2081", "renewed too late", "a device in 1970"])
def test_with_a_pinned_ca_the_time_in_a_certificate_does_not_matter(days: int, device: Device, files: Path) -> None:
    with server(OURS, files, at=datetime.now(UTC) + timedelta(days=days)) as (url, _):
        device.settle(url)
        assert device.ask(url) == REPLY


def test_without_a_pinned_ca_a_certificate_that_no_public_ca_signed_is_not_believed(files: Path) -> None:
    with server(OURS, files) as (url, heard):
        link = HttpHubLink(url, 60.0)
        with pytest.raises(LinkError, match="its certificate is not believed"):
            link.post("/v1/ingest", b"x")
        link.close()
    assert heard == []


def test_a_damaged_ca_stops_it_safely(device: Device, files: Path) -> None:
    device.identity.pin_ca(b"damaged")
    with server(OURS, files) as (url, heard), pytest.raises(StorageError, match=r"ca\.pem: not a CA certificate"):
        device.ask(url)
    assert heard == []


def test_a_hub_that_never_shakes_hands_is_given_up_at_the_deadline(device: Device) -> None:
    import socket

    device.identity.pin_ca(OURS[1])

    def link_to(listening: socket.socket, timeout_s: float) -> HttpHubLink:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        return HttpHubLink(url, timeout_s, lambda: trusting(device.identity.ca_file))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(LinkTimeout, match="no whole answer within"):
            link_to(silent, 0.2).post("/v1/ingest", b"")
        link = link_to(silent, 600.0)

        def ask() -> None:
            with pytest.raises(LinkError):
                link.post("/v1/ingest", b"x" * 400_000)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: is_under_way(link), what="the next exchange")
        link.abort()
        thread.join(45)
        assert not thread.is_alive()


def test_a_connection_by_tls_is_kept(device: Device, files: Path) -> None:
    with server(OURS, files) as (url, _):
        device.settle(url)
        link = make_link(url, 60.0, device.identity)
        link.post("/v1/ingest", b"x")
        [wire] = link._kept
        link.post("/v1/ingest", b"x")
        assert link._kept == [wire]
        link.close()
