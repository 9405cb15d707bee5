"""HTTP/1.1 on one connection, by asyncio: as much of it as devices and hub use, with a deadline and bounds.

A connection is made for each turn of a device, as by a real one, whose hub has closed the last in between; none is shared among
devices, so the hub has to take as many connections, and TLS handshakes, as it would.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from firmware_sim.load.ask import Ask

MAX_PAUSE_S: Final = 3600.0
_MAX_HEAD_BYTES: Final = 32 * 1024


class WireError(Exception):
    """No whole answer; the text says why, in few words that are the same each time."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the hub is. `tls`: None = in clear."""

    host: str
    port: int
    base: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, tls: ssl.SSLContext | None) -> Target:
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or (80 if tls is None else 443), parts.path.rstrip("/"), tls)


@dataclass(frozen=True, slots=True)
class Reply:
    """`retry_after_s`: the pause that the hub asks for, at most MAX_PAUSE_S; None = none."""

    status: int
    data: bytes
    retry_after_s: float | None


class Wire:
    """One connection. Raises WireError from `open` and `exchange`; then it is of no use any more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> None:
        self._reader = reader
        self._writer = writer
        self._target = target

    @classmethod
    async def open(cls, target: Target, timeout_s: float) -> Wire:
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls, limit=_MAX_HEAD_BYTES)
        except TimeoutError:
            raise WireError("no connection in time") from None
        except ssl.SSLError as error:
            raise WireError(f"TLS: {error.reason}") from None
        except ConnectionRefusedError:
            raise WireError("connection refused") from None
        except OSError as error:  # among them: this process may open no more files
            raise WireError(error.strerror or type(error).__name__) from None
        return cls(reader, writer, target)

    async def exchange(self, ask: Ask, timeout_s: float) -> Reply:
        """Send it whole, and read the answer."""
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(self._head(ask) + (ask.body or b""))
                return await self._read(ask.max_bytes)
        except TimeoutError:
            raise WireError("no answer in time") from None
        except asyncio.LimitOverrunError:
            raise WireError("an answer without end") from None
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            raise WireError("broken off") from None

    async def hang(self, ask: Ask, for_s: float) -> None:
        """Send half of it, and then nothing, until the hub has had enough of it."""
        whole = self._head(ask) + (ask.body or b"")
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(for_s):
                self._writer.write(whole[: max(1, len(whole) // 2)])
                await self._reader.read(1)

    def close(self) -> None:
        """At once: the farewell of TLS would be waited for."""
        if self._target.tls is None:
            self._writer.close()
        else:
            self._writer.transport.abort()

    def _head(self, ask: Ask) -> bytes:
        lines = [f"{ask.method} {self._target.base}{ask.path} HTTP/1.1", f"Host: {self._target.host}:{self._target.port}"]
        if ask.body is not None:
            lines += ["Content-Type: application/msgpack", f"Content-Length: {len(ask.body)}"]
        return "\r\n".join([*lines, "", ""]).encode()

    async def _read(self, max_bytes: int) -> Reply:
        """Raises ValueError for what is no answer, or one that is too large."""
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"]) if "content-length" in headers else -1
        if not 0 <= length <= max_bytes:
            raise ValueError(f"an answer of {length} bytes; at most {max_bytes}, and stated")
        data = await self._reader.readexactly(length)
        return Reply(int(status.split()[1]), data, pause_s(headers))


def pause_s(headers: dict[str, str]) -> float | None:
    """Retry-After in both of its forms (RFC 9110, 10.2.3); a date is read against the answer's own."""
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdecimal():
        return min(float(said), MAX_PAUSE_S)
    try:
        until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("date", ""))
        return min(max((until - now).total_seconds(), 0.0), MAX_PAUSE_S)
    except (TypeError, ValueError, OverflowError):
        return None
