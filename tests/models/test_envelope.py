"""Sealed messages: what a device sends comes out as it went in, and nothing else comes out at all."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from models.contract.clock import Stamp
from models.contract.envelope import Batch, Sealed, open_sealed, read_sealed, seal, signed_message
from models.contract.items import LANES, Item
from models.contract.names import MAX_ENVELOPE_BYTES, MAX_ITEMS, MAX_UNPACKED_BYTES
from models.contract.signing import verified
from models.errors import EnvelopeError
from tests import builders

KEY, OTHER_KEY = builders.signing_key(1), builders.signing_key(2)
INT64 = st.integers(-(2**63), 2**63 - 1)
STAMPS = st.builds(Stamp, wall_ns=INT64, mono_ns=INT64, boot_id=st.text(max_size=40), synced=st.booleans())
ITEMS = st.builds(
    Item,
    lane=st.sampled_from(LANES),
    seq=INT64,
    first_seq=INT64,
    kind=st.text(max_size=20),
    at=STAMPS,
    body=st.binary(max_size=300).map(msgspec.msgpack.encode).map(msgspec.Raw),
)
BATCHES = st.builds(
    Batch, epoch=st.from_regex(r"[A-Za-z0-9]{1,64}", fullmatch=True), sent=STAMPS, items=st.lists(ITEMS, max_size=20)
)
ENVELOPE = seal(builders.batch(), "ingest", "dev-1", KEY.sign)


def verify(device_id: str, signature: bytes, message: bytes) -> None:
    """As a hub would that knows dev-1 and dev-2."""
    keys = {"dev-1": KEY.public_bytes, "dev-2": OTHER_KEY.public_bytes}
    if not verified(keys.get(device_id, b""), signature, message):
        raise EnvelopeError(f"not signed by {device_id}")


def opened(data: bytes, purpose: Any = "ingest") -> Batch:
    return open_sealed(read_sealed(data, purpose), verify, Batch)


def sealed_payload(payload: bytes, **changes: Any) -> bytes:
    """An envelope around a payload of any kind, rightly signed."""
    fields = {"v": 1, "purpose": "ingest", "device_id": "dev-1", "payload": payload} | changes
    signature = KEY.sign(signed_message(fields["purpose"], fields["device_id"], payload))
    return msgspec.msgpack.encode(fields | {"signature": signature})


def frame_declaring(size: int, plain: bytes) -> bytes:
    """A zstd frame of `plain` whose header says that it unpacks to `size` bytes."""
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
    block = frame[frame.index(b"\x28\xb5\x2f\xfd") + 6 :]  # magic, descriptor, window
    return b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", size) + block


@given(BATCHES)
def test_what_is_sealed_opens_to_the_same(batch: Batch) -> None:
    assert opened(seal(batch, "ingest", "dev-1", KEY.sign)) == batch


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_byte_changed_anywhere_is_refused(at: int, flip: int) -> None:
    data = bytearray(ENVELOPE)
    data[at] ^= flip
    with pytest.raises(EnvelopeError):
        opened(bytes(data))


@given(st.integers(0, len(ENVELOPE) - 1))
def test_a_cut_off_envelope_is_refused(length: int) -> None:
    with pytest.raises(EnvelopeError):
        opened(ENVELOPE[:length])


@given(st.binary(max_size=400))
def test_garbage_is_never_more_than_an_envelope_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        opened(data)


def test_an_envelope_for_another_purpose_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="envelope is for ingest, not checkin"):
        opened(ENVELOPE, "checkin")


def test_a_changed_purpose_or_device_breaks_the_signature() -> None:
    sealed = msgspec.msgpack.decode(ENVELOPE, type=Sealed)
    for changes in ({"purpose": "checkin"}, {"device_id": "dev-2"}, {"device_id": "dev-3"}):
        with pytest.raises(EnvelopeError, match="not signed by"):
            open_sealed(msgspec.structs.replace(sealed, **changes), verify, Batch)


def test_another_devices_signature_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="not signed by dev-1"):
        opened(seal(builders.batch(), "ingest", "dev-1", OTHER_KEY.sign))


def test_a_newer_version_is_refused_by_number() -> None:
    with pytest.raises(EnvelopeError, match="envelope version 2; this hub reads 1"):
        opened(sealed_payload(b"", v=2))


def test_an_oversized_envelope_is_refused_before_it_is_read() -> None:
    with pytest.raises(EnvelopeError, match=f"at most {MAX_ENVELOPE_BYTES}"):
        read_sealed(bytes(MAX_ENVELOPE_BYTES + 1), "ingest")


def test_a_stranger_cannot_reach_the_decoder_by_nesting() -> None:
    with pytest.raises(EnvelopeError, match="recursion"):
        read_sealed(b"\x81\xa1x" + b"\x91" * 500_000 + b"\xc0", "ingest")


def test_nothing_of_an_unsigned_payload_is_looked_at() -> None:
    sealed = Sealed(v=1, purpose="ingest", device_id="dev-1", payload=b"not even zstd", signature=b"")
    with pytest.raises(EnvelopeError, match="not signed by dev-1"):
        open_sealed(sealed, verify, Batch)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (zstandard.ZstdCompressor().compress(bytes(MAX_UNPACKED_BYTES + 1)), f"at most {MAX_UNPACKED_BYTES}"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100)), "-1 bytes; at most .*, and stated"),
        (frame_declaring(2**62, bytes(100)), "at most"),
        (frame_declaring(2**64 - 1, bytes(100)), "and stated|payload of dev-1"),
        (frame_declaring(64, bytes(50_000_000)), "payload of dev-1"),
        (b"", "payload of dev-1|unpacks"),
        (b"not zstd", "payload of dev-1"),
        (zstandard.ZstdCompressor().compress(b"\x93not a batch"), "payload of dev-1"),
        (zstandard.ZstdCompressor().compress(b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0"), "recursion"),
    ],
    ids=["declares too much", "hides its size", "declares absurdly much", "declares unknown", "produces more than it declares",
         "empty", "no frame", "no batch", "nested"],
)  # fmt: skip
def test_a_payload_that_would_harm_the_reader_is_refused(payload: bytes, says: str) -> None:
    with pytest.raises(EnvelopeError, match=says):
        opened(sealed_payload(payload))


def test_too_many_items_are_refused() -> None:
    items = builders.items_of(builders.health(n) for n in range(MAX_ITEMS + 1))
    batch = Batch(epoch="e", sent=builders.stamp(), items=items)
    with pytest.raises(EnvelopeError, match=f"batch of {MAX_ITEMS + 1} items; at most {MAX_ITEMS}"):
        opened(seal(batch, "ingest", "dev-1", KEY.sign))


def test_unknown_fields_of_a_newer_device_are_tolerated_outside_and_inside() -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(builders.batch())) | {"mood": {"deep": [1]}}
    fields["items"][0]["colour"] = "blue"
    payload = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(fields))
    outer = msgspec.msgpack.decode(sealed_payload(payload)) | {"route": "north"}
    assert opened(msgspec.msgpack.encode(outer)) == builders.batch()


def test_one_poison_body_does_not_keep_the_batch_from_being_read() -> None:
    good, bad = builders.items_of([builders.alert(), builders.alert(1)])
    poison = msgspec.structs.replace(bad, body=msgspec.Raw(msgspec.msgpack.encode({"alert_id": 5})))
    batch = Batch(epoch="e", sent=builders.stamp(), items=[good, poison])
    assert len(opened(seal(batch, "ingest", "dev-1", KEY.sign)).items) == 2
