"""The webhook actor: posts the event as JSON, signed where a secret is given.

The receiver checks the signature like that of a GitHub webhook: HMAC-SHA256 of the body's bytes with the shared secret, as
`sha256=<hexadecimal>`. The event's id and edge in the body tell a repeated delivery.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from agent.actions.actor import Result
from agent.actions.config import WebhookAction
from agent.actions.event import Event
from models.contract.items import ActorKind

_SAID_BYTES: Final = 200


class WebhookActor:
    """See `actor.Actor`. `version`: for the User-Agent."""

    kind: Final[ActorKind] = "webhook"

    def __init__(self, config: WebhookAction, folder: Path, version: str) -> None:
        self._config = config
        self._folder = folder
        self._version = version
        self._url = parse_url(config.url)
        self._connection: HTTPConnection | None = None

    @property
    def target(self) -> str:
        """Without path and query: with many services they are the secret."""
        return f"{self._url.scheme}://{self._url.netloc}"

    def preview(self, event: Event) -> str:
        """See `actor.Actor`."""
        signed = ", signed" if self._config.secret_file else ""
        return f"POST to {self.target}{signed}: {msgspec.json.encode(event).decode()}"

    def act(self, event: Event) -> Result:
        """See `actor.Actor`. Any status of 200..299 is success."""
        connection = self._connection = self._connect()
        # A socket's time-out starts anew with each byte; this one does not, so a peer that drips its answer is cut off too.
        deadline_s = time.monotonic() + self._config.timeout_s
        timer = threading.Timer(self._config.timeout_s, self.close)
        timer.start()
        try:
            return self._post(connection, msgspec.json.encode(event))
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            late = "no answer in time: " if time.monotonic() >= deadline_s else ""
            return Result(False, f"{self.target}: {late}{type(error).__name__}: {error}")
        finally:
            timer.cancel()
            connection.close()

    def close(self) -> None:
        """See `actor.Actor`."""
        sock: Any = self._connection.sock if self._connection else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> HTTPConnection:
        host, timeout_s = (self._url.host or "").strip("[]"), self._config.timeout_s
        if self._url.scheme == "http":
            return HTTPConnection(host, self._url.port or 80, timeout=timeout_s)
        ca_file = str(self._folder / self._config.ca_file) if self._config.ca_file else None
        return HTTPSConnection(host, self._url.port or 443, timeout=timeout_s, ca_certs=ca_file, cert_reqs="CERT_REQUIRED")

    def _post(self, connection: HTTPConnection, body: bytes) -> Result:
        headers = {"Content-Type": "application/json", "User-Agent": f"tocsin/{self._version}", "Connection": "close"}
        if self._config.secret_file:
            headers[self._config.signature_header] = sign(self._secret(), body)
        connection.request("POST", self._url.request_uri, body=body, headers=headers, preload_content=False)
        response = connection.getresponse()
        if 200 <= response.status < 300:
            return Result(True, f"{response.status}")
        said = response.read(_SAID_BYTES, decode_content=False).decode("utf-8", "replace")
        return Result(False, f"{self.target}: {response.status} {said}".strip())

    def _secret(self) -> bytes:
        """Read at each action, so that it can be renewed in place. Raises OSError, ValueError."""
        lines = (self._folder / str(self._config.secret_file)).read_bytes().splitlines()
        if not lines or not lines[0].strip():
            raise ValueError(f"{self._config.secret_file} is empty")
        return lines[0].strip()


def sign(secret: bytes, body: bytes) -> str:
    """What the signature header says."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
