"""Items as bytes on the device's disk: what one commit or one move brings, compressed and checked as one piece.

Layout of a chunk: a zstd frame with a checksum of its content, over msgpack of `_Plain`. The features of all aggregates
are taken out of their bodies and laid side by side by byte (all lowest bytes first, then the next): the bytes that hold sign
and exponent repeat, the others are noise and cost what they cost. What comes back is byte for byte what went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import zstandard

from models.contract.clock import Stamp
from models.contract.items import Aggregate, Item, Lane, decode_body, encode_body
from models.errors import ItemError

_LEVEL: Final = 3
_MAX_BYTES: Final = 64 * 1024 * 1024  # unpacked; a frame that says more was not written here
_WHOLE: Final = -1  # of an entry's features: they are in its body


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """An item; `stamp` is an index, `n_features` says how many floats were taken out of the body."""

    lane: Lane
    first_seq: int
    span: int
    kind: str
    stamp: int
    n_features: int
    body: bytes  # not Raw: one that is no msgpack must not spoil the others


class _Plain(msgspec.Struct, frozen=True, array_like=True):
    entries: list[_Entry]
    stamps: list[Stamp]
    floats: bytes


_decoder = msgspec.msgpack.Decoder(_Plain)
_encoder = msgspec.msgpack.Encoder()


def pack(data: bytes) -> bytes:
    """`data` compressed, with a checksum."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(data)


def unpack(data: bytes) -> bytes:
    """The inverse of `pack`. Raises ItemError where a byte has changed."""
    try:
        if not 0 <= zstandard.frame_content_size(data) <= _MAX_BYTES:
            raise ItemError("not a frame of this device")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_BYTES)
    except zstandard.ZstdError as error:
        raise ItemError(f"damaged: {error}") from error


def encode_chunk(items: Sequence[Item]) -> bytes:
    """Items of any lanes, in the order given."""
    stamps: dict[Stamp, int] = {}
    floats: list[bytes] = []
    entries = []
    for item in items:
        body, features = _split(item)
        n_features = _WHOLE if features is None else len(features) // 4
        if features:
            floats.append(features)
        stamp = stamps.setdefault(item.at, len(stamps))
        span = item.seq - item.first_seq + 1
        entries.append(_Entry(item.lane, item.first_seq, span, item.kind, stamp, n_features, body))
    shuffled = np.frombuffer(b"".join(floats), dtype=np.uint8).reshape(-1, 4).T.tobytes()
    return pack(_encoder.encode(_Plain(entries, list(stamps), shuffled)))


def decode_chunk(data: bytes) -> list[Item]:
    """The inverse of `encode_chunk`. Raises ItemError where a byte has changed."""
    try:
        plain = _decoder.decode(unpack(data))
        floats = np.frombuffer(plain.floats, dtype=np.uint8).reshape(4, -1).T.tobytes()
        items = []
        start = 0
        for entry in plain.entries:
            body = entry.body
            if entry.n_features != _WHOLE:
                end = start + 4 * entry.n_features
                body = _join(body, floats[start:end])
                start = end
            seq = entry.first_seq + entry.span - 1
            at = plain.stamps[entry.stamp]
            items.append(
                Item(lane=entry.lane, seq=seq, first_seq=entry.first_seq, kind=entry.kind, at=at, body=msgspec.Raw(body))
            )
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, IndexError, RecursionError) as error:
        raise ItemError(f"damaged: {error}") from error
    return items


def _split(item: Item) -> tuple[bytes, bytes | None]:
    """An aggregate's body without its features, and these; any other body, or one that would not come back alike, whole."""
    raw = bytes(item.body)
    if item.kind != "aggregate":
        return raw, None
    try:
        body = decode_body(item.kind, raw)
    except ItemError:
        return raw, None
    if not isinstance(body, Aggregate) or len(body.features) % 4 or encode_body(body) != raw:
        return raw, None
    return encode_body(msgspec.structs.replace(body, features=b"")), body.features


def _join(body: bytes, features: bytes) -> bytes:
    return encode_body(msgspec.structs.replace(decode_body("aggregate", body), features=features))
