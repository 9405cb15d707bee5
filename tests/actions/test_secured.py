"""Certificates and passwords: whom an actor trusts, and whom it does not."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.actions.config import MqttAction, WebhookAction
from agent.actions.mqtt import MqttActor
from agent.actions.webhook import WebhookActor
from tests.actions.conftest import alert_event
from tests.sources.conftest import Broker


def write_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1, signed by itself: `cert.pem` and `key.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))


@pytest.fixture
def https(tmp_path: Path) -> Iterator[int]:
    """The port of a server with that certificate, which answers 204."""
    write_certificate(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.mark.parametrize(
    ("host", "ca_file", "ok"),
    [("127.0.0.1", "cert.pem", True), ("127.0.0.1", None, False), ("localhost", "cert.pem", False)],
    ids=["trusted", "stranger", "other name"],
)
def test_a_webhook_goes_only_to_whom_the_certificate_names(
    tmp_path: Path, https: int, host: str, ca_file: str | None, ok: bool
) -> None:
    action = WebhookAction(url=f"https://{host}:{https}/x", ca_file=ca_file, timeout_s=60)
    result = WebhookActor(action, tmp_path, "1").act(alert_event())
    assert result.ok is ok, result.detail
    assert ok or "certificate" in result.detail


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    """A broker that wants TLS and the password `right` of the user `agent`."""
    if shutil.which("mosquitto") is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto and mosquitto_passwd are not on PATH")
    write_certificate(tmp_path)
    subprocess.run(
        ["mosquitto_passwd", "-c", "-b", str(tmp_path / "passwords"), "agent", "right"], check=True, capture_output=True
    )
    extra = (
        f"certfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\nallow_anonymous false\npassword_file {tmp_path}/passwords\n"
    )
    broker = Broker(tmp_path, extra)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.parametrize(
    ("password", "ca_file", "says"),
    [
        ("right\n", "cert.pem", ""),
        ("wrong", "cert.pem", "refused: Not authorized"),
        ("right", None, "CERTIFICATE_VERIFY_FAILED"),
    ],
    ids=["right", "wrong password", "stranger"],
)
def test_a_broker_is_trusted_by_its_certificate_and_asks_for_the_password(
    tmp_path: Path, guarded: Broker, password: str, ca_file: str | None, says: str
) -> None:
    (tmp_path / "password").write_text(password)
    action = MqttAction(
        port=guarded.port, username="agent", password_file="password", tls=True, ca_file=ca_file, timeout_s=60
    )  # fmt: skip
    result = MqttActor(action, tmp_path).act(alert_event())
    assert result.ok is (not says), result.detail
    assert says in result.detail
