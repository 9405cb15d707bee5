"""Whom light devices believe: the CA that the claim token pins, as a real device does; and whether there is a hub at all."""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from models.contract.claim import ClaimToken, spki_sha256
from models.errors import ConfigError, LinkError

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: a device without a clock cannot look at times
_MAX_BYTES: Final = 64 * 1024


def find_hub(url: str, token: ClaimToken, timeout_s: float = 10.0) -> str:
    """The PEM of the CA to believe, "" = as a browser does, or no TLS. Raises ConfigError: not a way that the token allows;
    LinkError: nobody there, not a hub, or not the hub of this token."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"hub address {url!r}", "http://HOST:PORT or https://HOST:PORT")
    if token.ca_sha256 is not None and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"hub address {url}", f"https://…, for the token pins the hub's certificate; it was made for {token.url}"
        )
    pem = _pinned(url, token.ca_sha256, timeout_s) if token.ca_sha256 is not None and parts.scheme == "https" else ""
    status, data = _get(url, "/healthz", context(url, pem), timeout_s)
    if status != 200:
        raise LinkError(f"{url}: answers /healthz with {status} {data[:80]!r}; no Tocsin hub")
    return pem


def context(url: str, ca_pem: str) -> ssl.SSLContext | None:
    """For connections to `url`; None = in clear."""
    if not url.startswith("https:"):
        return None
    if not ca_pem:
        return ssl.create_default_context()
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags |= _NO_CHECK_TIME
    made.load_verify_locations(cadata=ca_pem)
    return made


def _pinned(url: str, pin: bytes, timeout_s: float) -> str:
    """The CA that the hub shows, if its hash is the token's."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    _, pem = _get(url, "/v1/ca", stranger, timeout_s)
    if _pin_of(pem) != pin:
        raise LinkError(f"{url} shows another CA than the token pins: the token is another hub's, or somebody is in between")
    return pem.decode("ascii")


def _pin_of(pem: bytes) -> bytes | None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    try:
        key = load_pem_x509_certificate(pem).public_key()
        return spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, TypeError):
        return None


def _get(url: str, path: str, tls: ssl.SSLContext | None, timeout_s: float) -> tuple[int, bytes]:
    """Status and body. Raises LinkError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if tls is None:
        connection = HTTPConnection(host, parts.port or 80, timeout=timeout_s)
    else:
        connection = HTTPSConnection(host, parts.port or 443, timeout=timeout_s, context=tls)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        response = connection.getresponse()
        return response.status, response.read(_MAX_BYTES)
    except (HTTPException, OSError, ValueError) as error:
        raise LinkError(f"no hub at {url}: {_reason(error)}") from None
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return "connection refused or host not found"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    return f"{type(error).__name__}: {error}"[:200]
