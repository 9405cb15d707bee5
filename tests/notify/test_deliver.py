"""Messages to real servers: HTTP, SMTP with and without TLS, MQTT; and what is told where they do not arrive."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from hub.notify.config import Email, Mqtt, Webhook
from hub.notify.deliver import DeliveryError, deliver, signature
from hub.notify.message import Message, trial_message
from hub.tls.authority import issue, make_authority
from tests.notify.receivers import webhook
from tests.ports import held_port
from tests.sources.conftest import Broker
from tests.waiting import PATIENCE_S

NOW = 1_800_000_000_000_000_000
MESSAGE = trial_message("7-1", "ops", "plant")
SECRET = "correct horse"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A hub's directory with a secret, a CA, and a server's certificate for loopback."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "empty").write_text("\n")
    key, certificate = make_authority("test")
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "server.pem").write_bytes(issue(key, certificate, ["127.0.0.1", "localhost"], datetime.now(UTC)))
    return tmp_path


def why(target: Any, root: Path, message: Message = MESSAGE) -> str:
    with pytest.raises(DeliveryError) as refusal:
        deliver(target, message, root, NOW)
    assert SECRET not in str(refusal.value)
    assert "token-in-path" not in str(refusal.value)
    return str(refusal.value)


# --- webhook ------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_document_signed_with_the_time(root: Path) -> None:
    with webhook() as hook:
        assert deliver(Webhook(name="ops", url=f"{hook.url}/in", secret_file="secret"), MESSAGE, root, NOW) == ""
        [(headers, body)] = hook.requests
    assert json.loads(body) == MESSAGE.document
    assert (headers["Content-Type"], headers["Tocsin-Delivery"]) == ("application/json", "7-1")
    mac = hmac.new(SECRET.encode(), b"1800000000." + body, hashlib.sha256).hexdigest()
    assert headers["Tocsin-Signature"] == f"t=1800000000,v1={mac}" == signature(SECRET.encode(), body, 1_800_000_000)


def test_without_a_secret_a_webhook_is_not_signed(root: Path) -> None:
    with webhook(204) as hook:
        deliver(Webhook(name="ops", url=hook.url), MESSAGE, root, NOW)
        assert "Tocsin-Signature" not in hook.requests[0][0]


@pytest.mark.parametrize(
    ("status", "words"), [(500, "answered 500"), (404, "answered 404"), (302, "redirects are not followed")]
)
def test_an_answer_that_is_no_success_is_a_failure_and_no_redirect_is_followed(root: Path, status: int, words: str) -> None:
    with webhook(status) as hook:
        assert words in why(Webhook(name="ops", url=f"{hook.url}/token-in-path"), root)
        assert len(hook.requests) == 1


def test_a_webhook_that_is_not_there_or_never_answers_is_told_without_its_address(root: Path) -> None:
    with held_port() as port:
        assert "not reached" in why(Webhook(name="ops", url=f"http://127.0.0.1:{port}/token-in-path"), root)
    with silent() as port:
        target = Webhook(name="ops", url=f"http://127.0.0.1:{port}/token-in-path", timeout_s=0.2)
        assert why(target, root) == "no answer within 0.2 s"


@pytest.mark.parametrize(("name", "words"), [("nowhere", "cannot be read: No such file"), ("empty", "is empty")])
def test_a_secret_that_is_not_there_is_named_by_its_file(root: Path, name: str, words: str) -> None:
    assert words in why(Webhook(name="ops", url="http://127.0.0.1:1/", secret_file=name), root)


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# --- mail ---------------------------------------------------------------------------------------------------------


class MailServer(Controller):
    """On a free port, which it tells once it listens."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Inbox:
    """What a mail server took; refuses recipients that begin with `no`."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.tls: list[bool] = []

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address.startswith("no"):
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.tls.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 OK"


def _signs_in(server: Any, session: Any, envelope: Any, mechanism: str, auth: Any) -> AuthResult:
    good = isinstance(auth, LoginPassword) and (auth.login, auth.password) == (b"ann", SECRET.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(root: Path, security: str) -> Iterator[tuple[Inbox, int]]:
    inbox = Inbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(root / "server.pem")
    options: dict[str, Any] = {"authenticator": _signs_in}
    options |= {"tls_context": context, "require_starttls": True} if security == "starttls" else {"auth_require_tls": False}
    secured = context if security == "tls" else None
    controller = MailServer(
        inbox, hostname="127.0.0.1", port=0, ready_timeout=PATIENCE_S, ssl_context=secured, server_kwargs=options
    )
    controller.start()
    try:
        yield inbox, controller.port
    finally:
        controller.stop()


def mail_to(port: int, *to: str, **options: Any) -> Email:
    return Email(name="shift", host="127.0.0.1", port=port, sender="tocsin@example.com", to=list(to), **options)


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_a_mail_arrives_with_what_happened(root: Path, security: Any) -> None:
    with mail_server(root, security) as (inbox, port):
        target = mail_to(port, "shift@example.com", security=security, ca_file="ca.pem", user="ann", password_file="secret")
        assert deliver(target, MESSAGE, root, NOW) == ""
        [mail] = inbox.mails
    assert inbox.tls == [security != "none"]
    assert (mail["Subject"], mail["To"]) == ("[Tocsin] test: hub plant reaches ops", "shift@example.com")
    assert mail["Message-ID"] == "<7-1@example.com>"
    assert mail.get_content().replace("\r\n", "\n").startswith("test: hub plant reaches ops\n\nNothing has happened")


def test_a_mail_server_whose_certificate_is_not_believed_gets_nothing(root: Path) -> None:
    with mail_server(root, "starttls") as (inbox, port):
        assert why(mail_to(port, "shift@example.com"), root) == "its certificate is not believed"
        assert inbox.mails == []


def test_refusals_of_a_mail_server_are_told(root: Path) -> None:
    (root / "wrong").write_text("wrong")
    with mail_server(root, "none") as (inbox, port):
        target = mail_to(port, "shift@example.com", security="none", user="ann", password_file="wrong")
        assert why(target, root) == "535: user or password is refused"
        assert why(mail_to(port, "nobody@example.com", security="none"), root) == "550: every recipient is refused"
        remark = deliver(mail_to(port, "nobody@example.com", "shift@example.com", security="none"), MESSAGE, root, NOW)
        assert (remark, len(inbox.mails)) == ("1 of 2 recipients are refused", 1)
    with held_port() as port:
        assert "not reached" in why(mail_to(port, "shift@example.com", security="none"), root)
    with silent() as port:
        assert "no answer" in why(mail_to(port, "shift@example.com", security="none", timeout_s=0.2), root)


# --- MQTT ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not on PATH")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def test_a_broker_gets_the_document(root: Path, broker: Broker) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    here, arrived, heard = threading.Event(), threading.Event(), list[Any]()
    listener = Client(CallbackAPIVersion.VERSION2)
    listener.on_subscribe = lambda *_: here.set()
    listener.on_message = lambda _client, _data, told: (heard.append(told), arrived.set())
    listener.connect("127.0.0.1", broker.port)
    listener.loop_start()
    listener.subscribe("plant/incidents", qos=1)
    assert here.wait(PATIENCE_S)
    assert deliver(Mqtt(name="bus", host="127.0.0.1", port=broker.port, topic="plant/incidents"), MESSAGE, root, NOW) == ""
    assert arrived.wait(PATIENCE_S)
    listener.disconnect()
    listener.loop_stop()
    assert (json.loads(heard[0].payload), heard[0].qos) == (MESSAGE.document, 1)


def test_a_password_that_is_no_text_is_a_failure_like_any_other(root: Path) -> None:
    (root / "latin").write_bytes("mot de passé".encode("latin-1"))
    words = "the file latin is no text in UTF-8"
    with held_port() as port:
        assert words in why(Mqtt(name="bus", host="127.0.0.1", port=port, user="ann", password_file="latin"), root)
    with mail_server(root, "none") as (_, port):
        target = mail_to(port, "shift@example.com", security="none", user="ann", password_file="latin")
        assert words in why(target, root)


def test_a_broker_that_is_not_there_or_silent_is_told(root: Path) -> None:
    with held_port() as port:
        assert "not reached" in why(Mqtt(name="bus", host="127.0.0.1", port=port), root)
    with silent() as port:
        assert "not acknowledged within 0.3 s" in why(Mqtt(name="bus", host="127.0.0.1", port=port, timeout_s=0.3), root)
