"""Claim tokens: what lets a device enrol, and tells it which hub to trust from the first contact on.

As text:  tocsin1.BASE64URL(body check)      no padding; `check`: the first four bytes of SHA-256(body)
body:     msgpack array [token_id, seed, url, ca_sha256]

Invariants:
1. The secret is the seed of an Ed25519 key and never travels: the hub keeps the public half only, and a device signs with it
   who it is and which key it has made. What leaks from the hub's database or from the line lets nobody in.
2. `ca_sha256` pins the hub: the SHA-256 of the SubjectPublicKeyInfo (RFC 7469, 2.4) of the CA that its certificate must lead
   to. None: the hub's certificate is checked as any web server's is, or there is no TLS.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from models.contract.names import Name
from models.contract.signing import SigningKey
from models.errors import ConfigError

PREFIX: Final = "tocsin1."
_CHECK_BYTES: Final = 4
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]


class ClaimToken(msgspec.Struct, frozen=True, array_like=True):
    """`url`: where the hub said it is when it made the token: a hint, for the device's configuration decides."""

    token_id: Name
    seed: Annotated[bytes, Meta(min_length=32, max_length=32)]
    url: Annotated[str, Meta(max_length=500)]
    ca_sha256: Digest | None = None

    @property
    def key(self) -> SigningKey:
        return SigningKey.from_seed(self.seed)


def new_claim(url: str, ca_sha256: bytes | None) -> ClaimToken:
    """A token that nobody has seen yet."""
    return ClaimToken(f"c{secrets.token_hex(5)}", secrets.token_bytes(32), url, ca_sha256)


def claim_text(token: ClaimToken) -> str:
    """On one line, without a character that a shell or a form would change."""
    body = msgspec.msgpack.encode(token)
    return PREFIX + base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")


def is_claim(text: str) -> bool:
    """Whether `text` means to be a claim token, whole or not."""
    return text.strip().startswith(PREFIX)


def read_claim(text: str) -> ClaimToken:
    """The token in `text`. Raises ConfigError: of another kind, torn, or mistyped. The text itself is never repeated."""
    plain = text.strip()
    if not plain.startswith(PREFIX):
        raise ConfigError("claim token", f"a text that begins with {PREFIX}, as `tocsin hub token` prints it")
    try:
        data = base64.b64decode(plain.removeprefix(PREFIX) + "===", altchars=b"-_", validate=False)
        token = msgspec.msgpack.decode(data[:-_CHECK_BYTES], type=ClaimToken)
    except (ValueError, msgspec.MsgspecError):
        token = None
    if token is None or data[-_CHECK_BYTES:] != _check(data[:-_CHECK_BYTES]):
        raise ConfigError("claim token", "the whole token: this one is cut off or mistyped")
    return token


def claim_message(token_id: str, device_id: str, public_key: bytes) -> bytes:
    """What a device signs with the token's key: nobody can use the signature for another device or another key."""
    return b"\0".join((b"tocsin claim", token_id.encode(), device_id.encode(), public_key))


def spki_sha256(spki_der: bytes) -> bytes:
    """The pin of a CA with this SubjectPublicKeyInfo, DER."""
    return hashlib.sha256(spki_der).digest()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
