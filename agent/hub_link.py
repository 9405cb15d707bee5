"""HTTP to the hub: small, pooled, with time-outs and size limits. Knows addresses and status codes, nothing of content."""

from __future__ import annotations

from typing import Final, Protocol

import urllib3

from models.errors import LinkError

MAX_REPLY_BYTES: Final = 1024 * 1024


class HubLink(Protocol):
    """What sync, check-in and update need of the hub."""

    def post(self, path: str, body: bytes) -> bytes:
        """The reply's body. Raises LinkError: unreachable, timed out, refused, oversized; with what the hub said."""
        ...

    def get(self, path: str, max_bytes: int) -> bytes:
        """The content at `path`, at most `max_bytes`. Raises LinkError."""
        ...


class HttpHubLink:
    """The real one."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        timeout = urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s)
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=2, timeout=timeout, retries=False)

    def post(self, path: str, body: bytes) -> bytes:
        """See `HubLink.post`."""
        return self._request("POST", path, MAX_REPLY_BYTES, body)

    def get(self, path: str, max_bytes: int) -> bytes:
        """See `HubLink.get`."""
        return self._request("GET", path, max_bytes, None)

    def _request(self, method: str, path: str, max_bytes: int, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/msgpack"} if body is not None else {}
        try:
            response = self._pool.request(
                method, self._url + path, body=body, headers=headers, preload_content=False, redirect=False
            )
            try:
                data: bytes = response.read(max_bytes + 1, decode_content=False)
                whole = response.chunked or response.length_remaining == 0  # a cut-off body reads like a short one
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise LinkError(f"{self._url}: {_reason(error)}") from None
        if response.status >= 300:
            said = data[:200].decode("utf-8", "replace")
            raise LinkError(f"{method} {path}: {response.status} {said}", _retry_after_s(response.headers.get("Retry-After")))
        if len(data) > max_bytes:
            raise LinkError(f"{method} {path}: more than {max_bytes} bytes")
        if not whole:
            raise LinkError(f"{method} {path}: the answer broke off after {len(data)} bytes")
        return data

    def close(self) -> None:
        self._pool.clear()


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "connection refused or host not found"
    return f"{type(error).__name__}: {error}"[:200]


def _retry_after_s(text: str | None) -> float | None:
    """`Retry-After` in seconds (RFC 9110, 10.2.3); its date form is taken as not said."""
    return min(float(text), 3600.0) if text and text.isdigit() else None
