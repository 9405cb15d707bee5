"""Carrying a message to a target: once, within its timeout. Raises DeliveryError with a reason that holds no secret.

What libraries say of a failure often holds the whole address, and addresses of webhooks are secrets by themselves: reasons are
told in words of our own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3

from hub.notify.config import Email, Mqtt, Target, Webhook
from hub.notify.message import Message
from models.errors import TocsinError

MAX_ANSWER_BYTES: Final = 4096  # of a webhook's answer: nobody reads it
MAX_SECRET_BYTES: Final = 4096


class DeliveryError(TocsinError):
    """A message did not arrive, as far as anybody knows."""


def deliver(target: Target, message: Message, root: Path, now_ns: int) -> str:
    """A remark on what arrived, "" where nothing is to be said. Blocks for some times the target's timeout at most.

    `root`: what the paths of secrets are relative to.
    """
    if isinstance(target, Email):
        return _mail(target, message, root)
    if isinstance(target, Webhook):
        _post(target, message, root, now_ns)
    else:
        _publish(target, message, root)
    return ""


def signature(secret: bytes, body: bytes, unix_s: int) -> str:
    """`Tocsin-Signature`: over the time and the body, so that a message that somebody has recorded is worth nothing later."""
    mac = hmac.new(secret, f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={unix_s},v1={mac}"


def _post(target: Webhook, message: Message, root: Path, now_ns: int) -> None:
    body = json.dumps(message.document).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "tocsin", "Tocsin-Delivery": message.delivery}
    if target.secret_file:
        headers["Tocsin-Signature"] = signature(_secret(root, target.secret_file), body, now_ns // 1_000_000_000)
    ca_file = str(root / target.ca_file) if target.ca_file else None
    try:
        with urllib3.PoolManager(retries=False, timeout=target.timeout_s, ca_certs=ca_file) as pool:
            answer = pool.request("POST", target.url, body=body, headers=headers, redirect=False, preload_content=False)
            answer.read(MAX_ANSWER_BYTES)
            answer.close()
    except urllib3.exceptions.NewConnectionError:  # by its class a timeout, too
        raise DeliveryError("not reached: connection refused or host not found") from None
    except urllib3.exceptions.TimeoutError:
        raise DeliveryError(f"no answer within {target.timeout_s:g} s") from None
    except urllib3.exceptions.SSLError:
        raise DeliveryError("its certificate is not believed") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise DeliveryError(f"not reached ({type(error).__name__})") from None
    if not 200 <= answer.status < 300:
        redirect = ", and redirects are not followed" if answer.status // 100 == 3 else ""
        raise DeliveryError(f"answered {answer.status}{redirect}")


def _mail(target: Email, message: Message, root: Path) -> str:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = target.sender, ", ".join(target.to), f"[Tocsin] {message.subject}"
    mail["Date"] = formatdate(localtime=False)
    mail["Message-ID"] = f"<{message.delivery}@{target.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    try:
        with _smtp(target, root) as server:
            if target.security == "starttls":
                server.starttls(context=_context(target, root))
            if target.user:
                server.login(target.user, _password(root, target.password_file))
            refused = server.send_message(mail)
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError(f"{error.smtp_code}: user or password is refused") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        raise DeliveryError(f"{', '.join(codes)}: every recipient is refused") from None
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(f"the server answered {error.smtp_code}") from None
    except ssl.SSLError:
        raise DeliveryError("its certificate is not believed") from None
    except TimeoutError:
        raise DeliveryError(f"no answer within {target.timeout_s:g} s") from None
    except smtplib.SMTPServerDisconnected as error:  # also what smtplib makes of a server that says nothing
        silent = "timed out" in str(error)
        raise DeliveryError(f"no answer within {target.timeout_s:g} s" if silent else "the server hung up") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise DeliveryError(f"not reached ({type(error).__name__})") from None
    return f"{len(refused)} of {len(target.to)} recipients are refused" if refused else ""  # the others have it: no second try


def _smtp(target: Email, root: Path) -> smtplib.SMTP:
    if target.security == "tls":
        return smtplib.SMTP_SSL(target.host, target.port, timeout=target.timeout_s, context=_context(target, root))
    return smtplib.SMTP(target.host, target.port, timeout=target.timeout_s)


def _publish(target: Mqtt, message: Message, root: Path) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, client_id=f"tocsin-notify-{message.delivery}"[:60])
    client.connect_timeout = target.timeout_s
    if target.user:
        client.username_pw_set(target.user, _password(root, target.password_file))
    if target.tls:
        client.tls_set_context(_context(target, root))
    until = time.monotonic() + target.timeout_s
    try:
        client.connect(target.host, target.port)
        client.loop_start()
        sent = client.publish(target.topic, json.dumps(message.document), qos=1)
        sent.wait_for_publish(max(0.1, until - time.monotonic()))
        arrived = sent.is_published()
    except ssl.SSLError:
        raise DeliveryError("its certificate is not believed") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DeliveryError(f"not reached ({type(error).__name__})") from None
    finally:
        client.disconnect()
        client.loop_stop()
    if not arrived:
        raise DeliveryError(f"not acknowledged within {target.timeout_s:g} s: the broker is silent, or refuses the user")


def _context(target: Email | Mqtt, root: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(root / target.ca_file) if target.ca_file else None)
    except OSError:
        raise DeliveryError(f"ca_file {target.ca_file} cannot be read") from None


def _secret(root: Path, name: str) -> bytes:
    try:
        with (root / name).open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES).strip()
    except OSError as error:
        raise DeliveryError(f"the file {name} cannot be read: {error.strerror}") from None
    if not secret:
        raise DeliveryError(f"the file {name} is empty")
    return secret


def _password(root: Path, name: str) -> str:
    try:
        return _secret(root, name).decode()
    except UnicodeDecodeError:
        raise DeliveryError(f"the file {name} is no text in UTF-8") from None


def host_of(target: Target) -> str:
    """Where it is, without what may be secret of its address."""
    return urlsplit(target.url).hostname or "" if isinstance(target, Webhook) else target.host
