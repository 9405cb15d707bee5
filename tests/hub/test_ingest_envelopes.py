"""What the hub refuses at the door, and that a refusal leaves nothing behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import httpx
import msgspec
import pytest
import zstandard

from hub.settings import init_hub
from models.contract.envelope import Sealed, signed_message
from models.contract.names import MAX_ENVELOPE_BYTES, MAX_UNPACKED_BYTES
from tests.hub.conftest import FAST, HubClient, running
from tests.hub.simulated_device import SimulatedDevice, aggregate, aggregates, item


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """One hub for all: refusals leave nothing behind, and each test says so."""
    with running(init_hub(tmp_path_factory.mktemp("refusals"), FAST)) as found:
        yield found


def newcomer(client: HubClient) -> SimulatedDevice:
    return client.enrolled(SimulatedDevice(f"gw-{secrets.token_hex(4)}"))


def refused(client: HubClient, sealed: bytes, status: int, kind: str) -> str:
    reply = client.http.post("/v1/ingest", content=sealed)
    assert (reply.status_code, reply.json()["type"]) == (status, f"urn:tocsin:{kind}"), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert client.get("/v1/ledger")["items"] == 0
    return str(reply.json()["detail"])


def resealed(device: SimulatedDevice, payload: bytes, **changed: object) -> bytes:
    """An envelope around any payload, properly signed."""
    fields = {"v": 1, "purpose": "ingest", "device_id": device.device_id, "payload": payload} | changed
    signature = device.key.sign(signed_message(str(fields["purpose"]), str(fields["device_id"]), payload))
    return msgspec.msgpack.encode(Sealed(**fields, signature=signature))


def test_a_device_that_never_enrolled_is_told_so(client: HubClient) -> None:
    detail = refused(client, SimulatedDevice("stranger").batch(aggregates(1, 3)), 401, "unknown-device")
    assert "stranger" in detail


def test_a_batch_signed_by_another_key_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    impostor = SimulatedDevice(device.device_id)
    refused(client, impostor.batch(aggregates(1, 3)), 401, "bad-signature")


def test_a_changed_payload_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    sealed = msgspec.msgpack.decode(device.batch(aggregates(1, 3)), type=Sealed)
    other = msgspec.msgpack.decode(device.batch(aggregates(1, 4)), type=Sealed)
    mixed = msgspec.structs.replace(sealed, payload=other.payload)
    refused(client, msgspec.msgpack.encode(mixed), 401, "bad-signature")


def test_an_unsigned_batch_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    sealed = msgspec.msgpack.decode(device.batch(aggregates(1, 3)), type=Sealed)
    refused(client, msgspec.msgpack.encode(msgspec.structs.replace(sealed, signature=b"")), 401, "bad-signature")


def test_a_checkin_cannot_be_replayed_as_an_ingest(client: HubClient) -> None:
    refused(client, newcomer(client).checkin(), 400, "bad-envelope")


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"not msgpack at all", msgspec.msgpack.encode({"v": 1}), os.urandom(500)])
def test_garbage_is_refused(client: HubClient, garbage: bytes) -> None:
    refused(client, garbage, 400, "bad-envelope")


def test_an_envelope_of_a_future_version_is_refused_by_its_number(client: HubClient) -> None:
    device = newcomer(client)
    sealed = msgspec.msgpack.decode(device.batch(aggregates(1, 3)), type=Sealed)
    detail = refused(client, msgspec.msgpack.encode(msgspec.structs.replace(sealed, v=2)), 400, "bad-envelope")
    assert "version 2" in detail


def test_a_zip_bomb_is_refused_before_it_is_unpacked(client: HubClient) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(MAX_UNPACKED_BYTES + 1))
    assert len(bomb) < 10_000
    detail = refused(client, resealed(newcomer(client), bomb), 400, "bad-envelope")
    assert "unpacks to" in detail


def test_a_bomb_that_hides_its_size_is_refused(client: HubClient) -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    bomb = compressor.compress(bytes(MAX_UNPACKED_BYTES + 1)) + compressor.flush()
    refused(client, resealed(newcomer(client), bomb), 400, "bad-envelope")


def test_a_signed_payload_that_is_no_batch_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    refused(client, resealed(device, b"not zstd"), 400, "bad-envelope")
    refused(client, resealed(device, zstandard.compress(b"not msgpack")), 400, "bad-envelope")


@pytest.mark.parametrize(("first_seq", "seq"), [(-1, 1), (5, 4), (1, 2**63)])
def test_an_item_without_a_place_refuses_the_batch(client: HubClient, first_seq: int, seq: int) -> None:
    device = newcomer(client)
    detail = refused(client, device.batch([item(aggregate(), seq, first_seq=first_seq)]), 400, "bad-envelope")
    assert "no place in a sequence" in detail


def test_a_lane_full_of_gaps_is_refused(client: HubClient) -> None:
    device = newcomer(client)
    scattered = [item(aggregate(n), 2 * n) for n in range(1, 502)]
    detail = refused(client, device.batch(scattered), 400, "bad-envelope")
    assert "gaps" in detail


def test_an_oversized_body_is_refused_while_it_arrives(client: HubClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    try:
        reply = client.http.post("/v1/ingest", content=endless())
        assert reply.status_code == 413
    except httpx.TransportError:
        pass  # the hub closed the connection while we were still sending
    assert sent < 16 * MAX_ENVELOPE_BYTES
    assert client.http.post("/v1/ingest", content=bytes(MAX_ENVELOPE_BYTES + 1)).status_code == 413
    assert client.get("/v1/ledger")["items"] == 0
