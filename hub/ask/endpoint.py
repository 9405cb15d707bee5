"""An OpenAI-compatible endpoint for what the grammar does not understand. Off unless it is configured.

1. It is sent the question, the views and columns of `catalog.py`, the time, and the fleet's names (at most MAX_NAMES of a
   kind): never a row of data, nor anything of what an answer contains.
2. What it answers is SQL, and nothing but a proposal: it passes the same gate as what a person types.
3. It has one deadline over the whole exchange and a limit of size; it follows no redirect; beyond this machine it must be
   HTTPS. The key is read from a file at each use, and is in no log and no error.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from hub.ask.catalog import VIEWS
from hub.ask.names import KINDS, Names
from models.errors import ConfigError, TocsinError

MAX_REPLY: Final = 65_536  # bytes
MAX_NAMES: Final = 400  # of a kind
MAX_KEY: Final = 1000
AT_ONCE: Final = 4  # questions at the endpoint: each keeps a thread waiting, of forty that all of the hub's pages share
_FENCE: Final = re.compile(r"```(?:sql)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TASK: Final = (
    "You turn a question about a fleet of machines into one DuckDB SELECT statement. Read only from the views below, by these "
    "names alone; no other tables, no file functions, no comments, at most 200 rows. Answer with the SQL and nothing else. If "
    "the question cannot be answered from the views, answer with NONE."
)


class EndpointError(TocsinError):
    """The endpoint gave no SQL: what happened, in one line."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url`: what /chat/completions is appended to. `key_file` None: no key is sent. `timeout_s`: for the whole exchange."""

    url: str
    model: str
    key_file: Path | None = None
    timeout_s: float = 20.0
    _turns: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(AT_ONCE), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError("hub.toml: ask_endpoint_url", "an http or https URL without user and query")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ConfigError("hub.toml: ask_endpoint_url", "https, beyond this machine: questions and names travel there")
        if not self.model:
            raise ConfigError("hub.toml: ask_endpoint_model", "the name of a model at the endpoint")

    def propose(self, question: str, names: Names, now: datetime) -> str:
        """SQL for the question, unchecked. Raises EndpointError, ConfigError."""
        body = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": 800,
            "messages": [{"role": "system", "content": told(names, now)}, {"role": "user", "content": question}],
        }
        if not self._turns.acquire(blocking=False):
            raise EndpointError(f"{AT_ONCE} questions are waiting for the endpoint already")
        try:
            return _sql_in(self._exchange(msgspec.json.encode(body)))
        finally:
            self._turns.release()

    def _exchange(self, body: bytes) -> bytes:
        parts = urlsplit(self.url)
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._authorization()}
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout_s)
        ended = threading.Event()
        watch: threading.Timer | None = None
        try:
            connection.connect()
            watch = threading.Timer(self.timeout_s, _end, (connection.sock, ended))
            watch.daemon = True
            watch.start()
            connection.request("POST", parts.path.rstrip("/") + "/chat/completions", body, headers)
            reply = connection.getresponse()
            if reply.status != 200:  # a redirect too: nobody else is sent the key
                raise EndpointError(f"the endpoint answered {reply.status}")
            read = reply.read(MAX_REPLY + 1)
        except (HTTPException, OSError, ValueError) as error:
            if ended.is_set() or isinstance(error, TimeoutError):
                raise EndpointError(f"the endpoint took longer than {self.timeout_s:g} s") from None
            raise EndpointError(f"the endpoint cannot be used: {type(error).__name__}") from None
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()
        if ended.is_set():
            raise EndpointError(f"the endpoint took longer than {self.timeout_s:g} s")
        if len(read) > MAX_REPLY:
            raise EndpointError(f"the endpoint's answer is larger than {MAX_REPLY} bytes")
        return read

    def _authorization(self) -> dict[str, str]:
        if self.key_file is None:
            return {}
        try:
            key = self.key_file.read_text(encoding="ascii")[: MAX_KEY + 1].strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigError(str(self.key_file), "a readable file with the endpoint's key") from None
        if not key or len(key) > MAX_KEY or not key.isprintable():
            raise ConfigError(str(self.key_file), f"one line of at most {MAX_KEY} characters")
        return {"Authorization": f"Bearer {key}"}


def told(names: Names, now: datetime) -> str:
    """All that the endpoint is told beside the question."""
    lines = [_TASK, "", f"It is {now:%A %Y-%m-%d %H:%M} in the time zone {now.tzinfo}; weeks begin on Monday.", ""]
    for view, described in VIEWS.items():
        lines.append(f"{view}:")
        lines += [f"  {column}: {meaning}" for column, meaning in described.columns.items()]
    lines.append("")
    lines += [f"{kind}: {', '.join(names.values(kind)[:MAX_NAMES])}" for kind in KINDS]
    return "\n".join(lines)


def _end(connected: socket.socket, ended: threading.Event) -> None:
    """The deadline: whatever is being waited for, the wait is over. Of the socket, which the connection gives to its reply."""
    ended.set()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _sql_in(reply: bytes) -> str:
    try:
        decoded: Any = msgspec.json.decode(reply)
        content = decoded["choices"][0]["message"]["content"]
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, RecursionError):
        raise EndpointError("the endpoint's answer is not that of a chat completion") from None
    if not isinstance(content, str):
        raise EndpointError("the endpoint's answer has no text")
    found = _FENCE.search(content)
    sql = (found[1] if found else content).strip().rstrip(";").strip()
    if not sql or sql.upper() == "NONE":
        raise EndpointError("the endpoint has no query for this")
    return sql
