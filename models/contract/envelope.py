"""Sealed messages: the unit of everything a device sends to the hub.

On the wire:  msgpack map {v, purpose, device_id, payload, signature}
    payload    zstd(msgpack(message))
    signature  Ed25519 over  b"tocsin\\0" v "\\0" purpose "\\0" device_id "\\0" payload

Invariants:
1. Nothing inside the payload is looked at before the signature has been verified, and nothing is decompressed
   beyond a stated size: a stranger can neither reach the decoder nor fill the memory.
2. The purpose is signed, so a check-in can never be replayed as an ingest.
3. Replaying a batch is harmless: its items have identities and are upserted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal, TypeVar

import msgspec
import zstandard

from models.contract.clock import Stamp
from models.contract.items import Item, Lane
from models.contract.names import MAX_ENVELOPE_BYTES, MAX_ITEMS, MAX_UNPACKED_BYTES, Name
from models.errors import EnvelopeError

T = TypeVar("T")
VERSION: Final = 1
Purpose = Literal["enrol", "ingest", "checkin", "rotate"]
Sign = Callable[[bytes], bytes]
Verify = Callable[[str, bytes, bytes], None]  # (device_id, signature, message); raises EnvelopeError


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one ingest request carries: items of one device and epoch, in the order of their lanes' urgency."""

    epoch: Name
    sent: Stamp
    items: list[Item]


class Rejection(msgspec.Struct, frozen=True):
    """An item that the hub has put into quarantine: it counts as received, and the reason is told."""

    lane: Lane
    seq: int
    reason: str


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's answer: per lane the highest contiguous `seq` that is durable there. Below it the device may delete."""

    epoch: Name
    cursors: dict[str, int]
    hub_time_ns: int
    rejected: list[Rejection] = []


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The outer shape, readable by anyone; see the module's text."""

    v: int
    purpose: Purpose
    device_id: Name
    payload: bytes
    signature: bytes


_of_thread = threading.local()
_encoder = msgspec.msgpack.Encoder()
_sealed_decoder = msgspec.msgpack.Decoder(Sealed)


def _decompressor() -> zstandard.ZstdDecompressor:
    """One for each thread: to make one takes twice as long as what it does, and two threads may not share it."""
    found = getattr(_of_thread, "decompressor", None)
    if found is None:
        found = _of_thread.decompressor = zstandard.ZstdDecompressor()
    return found


def signed_message(purpose: str, device_id: str, payload: bytes) -> bytes:
    """The bytes that the signature covers."""
    return b"\0".join((b"tocsin", str(VERSION).encode(), purpose.encode(), device_id.encode(), payload))


def seal(message: msgspec.Struct, purpose: Purpose, device_id: str, sign: Sign) -> bytes:
    """Encode, compress and sign `message`."""
    payload = zstandard.ZstdCompressor(level=3).compress(_encoder.encode(message))
    signature = sign(signed_message(purpose, device_id, payload))
    return _encoder.encode(Sealed(v=VERSION, purpose=purpose, device_id=device_id, payload=payload, signature=signature))


def read_sealed(data: bytes, purpose: Purpose) -> Sealed:
    """The outer shape of `data`, not yet verified. Raises EnvelopeError: oversized, malformed, version or purpose."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeError(f"envelope of {len(data)} bytes; at most {MAX_ENVELOPE_BYTES}")
    try:
        sealed = _sealed_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"not an envelope: {error}") from error
    if sealed.v != VERSION:
        raise EnvelopeError(f"envelope version {sealed.v}; this hub reads {VERSION}")
    if sealed.purpose != purpose:
        raise EnvelopeError(f"envelope is for {sealed.purpose}, not {purpose}")
    return sealed


def unpacked_bytes(sealed: Sealed) -> int:
    """What the payload of a message that was opened takes."""
    return zstandard.frame_content_size(sealed.payload)


def open_sealed(sealed: Sealed, verify: Verify, message_type: type[T], max_bytes: int = MAX_UNPACKED_BYTES) -> T:
    """Verify, decompress to at most `max_bytes`, decode. Raises EnvelopeError."""
    verify(sealed.device_id, sealed.signature, signed_message(sealed.purpose, sealed.device_id, sealed.payload))
    try:
        size = zstandard.frame_content_size(sealed.payload)
        if not 0 <= size <= max_bytes:
            raise EnvelopeError(f"payload unpacks to {size} bytes; at most {max_bytes}, and stated")
        plain = _decompressor().decompress(sealed.payload, max_output_size=max_bytes)
        message = msgspec.msgpack.decode(plain, type=message_type)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"payload of {sealed.device_id}: {error}") from error
    if isinstance(message, Batch) and len(message.items) > MAX_ITEMS:
        raise EnvelopeError(f"batch of {len(message.items)} items; at most {MAX_ITEMS}")
    return message
